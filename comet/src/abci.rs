//! The application's side of ABCI 2.0: a server of CometBFT's four connections, on one unix socket.
//!
//! A message is a length, as a varint without sign, and then a `Request` or a `Response`. Answers come
//! in the order of the requests, and are held back until a `Flush` is answered.

mod frame;
mod stopping;

use std::io::{BufReader, BufWriter, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
// What requests and responses are made of, under the names that they have in ABCI.
pub use tendermint_proto::google::protobuf::Timestamp;
pub use tendermint_proto::v0_38::abci::*;
pub use tendermint_proto::v0_38::types::{ConsensusParams, VersionParams};

pub use self::frame::{FrameError, MAX_FRAME};
pub(crate) use self::frame::{read, write};
pub use self::stopping::{Fatal, Stopping};

use tendermint_proto::v0_38::crypto::{PublicKey, public_key};

/// CometBFT opens four. Whoever opens more than this is something else.
const MAX_CONNECTIONS: usize = 16;

/// How long no connection is taken after one could not be.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Serves until `stopping` says so, each connection in a thread of its own. `Echo` and `Flush` are
/// answered here, every other request by `handler`. The thread that is returned ends after all of them.
///
/// A request that cannot be read ends its connection. Where the handler fails, or panics, the server
/// ends and
/// `stopping` has the reason: CometBFT is told, and stops too.
///
/// # Errors
/// If the system has no thread or descriptor left.
pub fn serve<H>(
    listener: UnixListener,
    handler: H,
    stopping: Stopping,
) -> io::Result<JoinHandle<()>>
where
    H: Fn(request::Value) -> Result<response::Value, Fatal> + Clone + Send + 'static,
{
    // Not to be stuck in a connection that is gone again.
    listener.set_nonblocking(true)?;
    let (wake, woken) = UnixStream::pair()?;
    thread::Builder::new().name("abci".to_owned()).spawn(move || {
        let mut connections = Vec::new();
        // While this lives, stopping ends the pair, and so the wait below.
        let registered = stopping.register(wake);
        while registered.is_some() && !stopping.is_stopped() {
            match accept(&listener, &woken) {
                Ok(Some(stream)) => {
                    connections.retain(|connection: &JoinHandle<()>| !connection.is_finished());
                    if connections.len() >= MAX_CONNECTIONS {
                        tracing::warn!("more connections to the application than CometBFT needs");
                        continue;
                    }
                    let (handler, stopping) = (handler.clone(), stopping.clone());
                    let serve = move || connection(stream, handler, &stopping);
                    match thread::Builder::new().name("abci-connection".to_owned()).spawn(serve) {
                        Ok(connection) => connections.push(connection),
                        Err(error) => tracing::error!(%error, "no thread for a connection"),
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection to the application cannot be taken");
                    let mut ends = [PollFd::new(&woken, PollFlags::IN)];
                    // Interrupted or not, it is tried again.
                    let _ = poll(&mut ends, Some(&PAUSE));
                }
            }
        }
        for connection in connections {
            // It has told `stopping` if it panicked.
            let _ = connection.join();
        }
    })
}

/// The next connection; `None` where there is none after all, or the server ends.
fn accept(listener: &UnixListener, woken: &UnixStream) -> io::Result<Option<UnixStream>> {
    let mut ends = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
    retry_on_intr(|| poll(&mut ends, None))?;
    if !ends[1].revents().is_empty() {
        return Ok(None);
    }
    match listener.accept() {
        Ok((stream, _)) => {
            // Some systems hand the listener's mode on.
            stream.set_nonblocking(false)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers what comes over one connection until it ends.
fn connection<H>(stream: UnixStream, handler: H, stopping: &Stopping)
where
    H: Fn(request::Value) -> Result<response::Value, Fatal>,
{
    let registered = stream.try_clone().map(|stream| stopping.register(stream));
    match registered {
        Ok(Some(_registered)) => {
            let _panic = PanicIsFatal(stopping);
            match answer_all(&stream, handler, stopping) {
                Ok(()) => {}
                // It has the reason.
                Err(Ended::Handler) => stopping.stop(),
                Err(Ended::Frame(error)) if !stopping.is_stopped() => {
                    tracing::warn!(%error, "a connection to the application has ended");
                }
                Err(Ended::Frame(_)) => {}
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "no descriptor for a connection"),
    }
}

/// Why a connection ended before the other side ended it.
enum Ended {
    Handler,
    Frame(FrameError),
}

fn answer_all<H>(stream: &UnixStream, handler: H, stopping: &Stopping) -> Result<(), Ended>
where
    H: Fn(request::Value) -> Result<response::Value, Fatal>,
{
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut writer = BufWriter::with_capacity(64 << 10, stream);
    loop {
        let (answer, ended) = match read::<Request>(&mut reader) {
            Ok(None) => return Ok(()),
            Ok(Some(Request { value: Some(request::Value::Echo(RequestEcho { message })) })) => {
                (response::Value::Echo(ResponseEcho { message }), None)
            }
            Ok(Some(Request { value: Some(request::Value::Flush(RequestFlush {})) })) => {
                (response::Value::Flush(ResponseFlush {}), None)
            }
            Ok(Some(Request { value: Some(request) })) => match handler(request) {
                Ok(answer) => (answer, None),
                Err(fatal) => {
                    stopping.blame(fatal.clone());
                    (exception(&fatal), Some(Ended::Handler))
                }
            },
            Ok(Some(Request { value: None })) => {
                (exception(&FrameError::Unknown), Some(Ended::Frame(FrameError::Unknown)))
            }
            // Nobody is there to be told.
            Err(error @ (FrameError::Io(_) | FrameError::Cut)) => return Err(Ended::Frame(error)),
            Err(error) => (exception(&error), Some(Ended::Frame(error))),
        };
        let flush = ended.is_some() || matches!(answer, response::Value::Flush(_));
        let mut written = write(&mut writer, &Response { value: Some(answer) });
        if flush {
            written = written.and_then(|()| writer.flush());
        }
        // That the handler failed says more than that nobody listens.
        match ended {
            Some(ended) => return Err(ended),
            None => written.map_err(|error| Ended::Frame(FrameError::Io(error)))?,
        }
    }
}

fn exception(error: &dyn std::error::Error) -> response::Value {
    response::Value::Exception(ResponseException { error: error.to_string() })
}

/// A handler that has panicked has left something half done: nothing may go on as if nothing was.
struct PanicIsFatal<'a>(&'a Stopping);

impl Drop for PanicIsFatal<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(Fatal::new("the application panicked"));
        }
    }
}

/// What `InitChain` and `FinalizeBlock` say of a validator: its key, and how much it counts; 0 is not
/// at all.
pub fn validator_update(public_key: &[u8; 32], power: u32) -> ValidatorUpdate {
    let sum = Some(public_key::Sum::Ed25519(public_key.to_vec()));
    ValidatorUpdate { pub_key: Some(PublicKey { sum }), power: power.into() }
}

/// A time of CometBFT's in whole milliseconds since 1970, rounded down; none before that.
pub fn time_ms(time: &Timestamp) -> Option<u64> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u64::try_from(time.nanos).ok()?;
    seconds.checked_mul(1000)?.checked_add(nanos / 1_000_000)
}

/// Milliseconds since 1970 as a time of CometBFT's.
pub fn timestamp(time_ms: u64) -> Timestamp {
    let time = Duration::from_millis(time_ms);
    Timestamp {
        // A u64 of milliseconds has fewer seconds than an i64.
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}
