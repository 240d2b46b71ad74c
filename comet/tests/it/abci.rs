//! The server, as far as it does not matter what the application does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use colearn_comet::abci::*;
use colearn_comet::testing::{Connection, Gone};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use prost::Message as _;

/// A server that is ended with the test.
struct Server {
    dir: tempfile::TempDir,
    stopping: Stopping,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start<H>(handler: H) -> Self
    where
        H: Fn(request::Value) -> Result<response::Value, Fatal> + Clone + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let stopping = Stopping::new();
        let thread = serve(listener, handler, stopping.clone()).unwrap();
        Self { dir, stopping, thread: Some(thread) }
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.dir.path().join("s")).unwrap()
    }

    /// A connection without a client's manners.
    fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("s")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Answers `CheckTx` with the transaction's length as its code.
fn length(request: request::Value) -> Result<response::Value, Fatal> {
    match request {
        request::Value::CheckTx(ask) => {
            let code = u32::try_from(ask.tx.len()).unwrap();
            Ok(response::Value::CheckTx(ResponseCheckTx { code, ..ResponseCheckTx::default() }))
        }
        other => Err(Fatal::new(format!("not expected: {other:?}"))),
    }
}

fn check(length: usize) -> request::Value {
    request::Value::CheckTx(RequestCheckTx { tx: vec![7; length].into(), r#type: 0 })
}

fn flush() -> request::Value {
    request::Value::Flush(RequestFlush {})
}

fn frame(value: request::Value) -> Vec<u8> {
    Request { value: Some(value) }.encode_length_delimited_to_vec()
}

fn code(answer: response::Value) -> u32 {
    let response::Value::CheckTx(answer) = answer else { panic!("{answer:?}") };
    answer.code
}

/// What the server sends until it ends the connection.
fn rest(mut stream: &UnixStream) -> Vec<response::Value> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut bytes = prost::bytes::Bytes::from(bytes);
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        answers.push(Response::decode_length_delimited(&mut bytes).unwrap().value.unwrap());
    }
    answers
}

fn exception(stream: &UnixStream) -> String {
    match rest(stream).as_slice() {
        [response::Value::Exception(exception)] => exception.error.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn echo_and_flush_are_answered_here() {
    let server = Server::start(length);
    let echo = request::Value::Echo(RequestEcho { message: "hello".to_owned() });
    let answer = server.connect().call(echo).unwrap();
    assert_eq!(answer, response::Value::Echo(ResponseEcho { message: "hello".to_owned() }));
}

#[test]
fn a_frame_may_come_a_byte_at_a_time() {
    let server = Server::start(length);
    let mut stream = server.stream();
    for byte in [frame(check(300)), frame(flush())].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let answers = rest(&stream);
    assert_eq!(answers.len(), 2);
    assert_eq!(code(answers[0].clone()), 300);
}

#[test]
fn many_requests_at_once_are_answered_in_order() {
    let server = Server::start(length);
    let (mut connection, mut other) = (server.connect(), server.connect());
    for _ in 0..20 {
        // As many as the sockets' buffers hold, before the first answer is read.
        for length in 0..1000 {
            connection.send(check(length % 100)).unwrap();
            connection.send(flush()).unwrap();
        }
        connection.flush().unwrap();
        assert_eq!(code(other.call(check(5)).unwrap()), 5, "another is not held up");
        for length in 0..1000 {
            assert_eq!(code(connection.receive().unwrap()), length % 100);
            assert!(matches!(connection.receive().unwrap(), response::Value::Flush(_)));
        }
    }
}

#[test]
fn an_answer_waits_for_a_flush() {
    let (handled, wait) = mpsc::channel();
    let server = Server::start(move |request| {
        let answer = length(request);
        handled.send(()).unwrap();
        answer
    });
    let mut stream = server.stream();
    stream.write_all(&frame(check(1))).unwrap();
    wait.recv().unwrap();
    // It was handled, and another one is meanwhile; but nothing has come.
    assert_eq!(code(server.connect().call(check(2)).unwrap()), 2);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    stream.write_all(&[frame(check(3)), frame(flush())].concat()).unwrap();
    let expected = [1, 3].map(|code| {
        let answer = ResponseCheckTx { code, ..ResponseCheckTx::default() };
        Response { value: Some(response::Value::CheckTx(answer)) }.encode_length_delimited_to_vec()
    });
    let flushed = Response { value: Some(response::Value::Flush(ResponseFlush {})) };
    let expected = [expected.concat(), flushed.encode_length_delimited_to_vec()].concat();
    // At once, without another flush and while the connection is open.
    let mut answers = vec![0; expected.len()];
    stream.read_exact(&mut answers).unwrap();
    assert_eq!(answers, expected);
}

#[test]
fn a_message_that_is_too_long_is_refused_before_it_is_read() {
    let server = Server::start(length);
    let mut stream = server.stream();
    let mut announced = Vec::new();
    prost::encode_length_delimiter(usize::MAX >> 1, &mut announced).unwrap();
    stream.write_all(&announced).unwrap();
    assert!(exception(&stream).contains("at most 4194304"));

    // The longest that is allowed is read.
    let fits = usize::try_from(MAX_FRAME).unwrap() - 10;
    assert_eq!(code(server.connect().call(check(fits)).unwrap()) as usize, fits);
    assert!(server.connect().call(check(fits + 10)).is_err());
}

#[test]
fn what_is_no_request_ends_its_connection_and_no_other() {
    let server = Server::start(length);
    let mut other = server.connect();
    for (bytes, why) in [
        // A request of a number that ABCI 2.0 does not have: 7, `DeliverTx` of version 1.
        (&[2, 0x3a, 0][..], "does not have"),
        (&[0], "does not have"),
        (&[1, 0xff], "no message"),
        (&[0xff; 10], "64 bits"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02], "64 bits"),
    ] {
        let mut stream = server.stream();
        stream.write_all(bytes).unwrap();
        let said = exception(&stream);
        assert!(said.contains(why), "{bytes:?}: {said}");
    }
    // One that ends within a message is told nothing: it has gone.
    let mut stream = server.stream();
    stream.write_all(&[5, 1, 2]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(rest(&stream), []);
    assert_eq!(code(other.call(check(9)).unwrap()), 9);
    assert!(!server.stopping.is_stopped());
}

#[test]
fn a_failing_handler_ends_all_connections_with_its_reason() {
    let server = Server::start(|_| Err(Fatal::new("the disk is gone")));
    let mut other = server.connect();
    let Err(Gone::Exception(why)) = server.connect().call(check(1)) else { panic!() };
    assert_eq!(why, "the disk is gone");
    assert_eq!(server.stopping.wait(), Some(Fatal::new("the disk is gone")));
    assert!(other.receive().is_err());
}

#[test]
fn a_panicking_handler_ends_the_server_too() {
    let server = Server::start(|_| panic!("a test's panic"));
    assert!(server.connect().call(check(1)).is_err());
    assert_eq!(server.stopping.wait(), Some(Fatal::new("the application panicked")));
}

#[test]
fn a_server_ends_while_it_is_waited_for() {
    let server = Server::start(length);
    let mut connection = server.connect();
    connection.call(check(1)).unwrap();
    server.stopping.stop();
    assert_eq!(server.stopping.wait(), None);
    assert!(connection.receive().is_err());
}

#[test]
fn no_more_connections_are_served_than_are_needed() {
    let server = Server::start(length);
    let mut open: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for connection in &mut open {
        connection.call(check(1)).unwrap();
    }
    // It is ended at once, not waited for.
    let refused = server.connect().receive();
    assert!(matches!(refused, Err(Gone::Broken(FrameError::Cut))), "{refused:?}");
    assert_eq!(code(open[15].call(check(2)).unwrap()), 2);
}

/// Bytes that are sometimes frames, whole or spoiled.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        (0..200_usize).prop_map(check),
        Just(flush()),
        ".{0,20}".prop_map(|message| request::Value::Echo(RequestEcho { message })),
    ];
    prop_oneof![
        4 => request.clone().prop_map(frame),
        2 => (request, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
            let mut bytes = frame(value);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

/// `COLEARN_FUZZ` has more cases tried.
#[test]
fn no_bytes_break_the_server() {
    let cases = std::env::var("COLEARN_FUZZ").map_or(20_000, |cases| cases.parse().unwrap());
    // Anything that decodes is answered: a request that an application would fail at is not the point
    // here.
    let server = Server::start(|request| {
        length(request).or(Ok(response::Value::Commit(ResponseCommit::default())))
    });
    // Fifty frames each, so a million in all.
    let sent = prop::collection::vec(bytes(), 50);
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = runner.run(&sent, |frames| {
        let mut stream = server.stream();
        // The server may have ended the connection in the middle.
        let _ = stream.write_all(&frames.concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answers = Vec::new();
        let _ = stream.read_to_end(&mut answers);
        Ok(())
    });
    run.unwrap();
    assert_eq!(code(server.connect().call(check(1)).unwrap()), 1);
    assert!(!server.stopping.is_stopped());
}
