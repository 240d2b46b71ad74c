//! Somebody between CometBFT and the application, who passes on what it likes.

use std::io::{self, BufReader, BufWriter, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::abci::{Response, read, response, write};

/// Takes CometBFT's connections and passes them on to the application: requests as they are, and what it makes
/// of the answers. Takes none any more once it is dropped; those that there are end with either side.
#[derive(Debug)]
pub struct Between {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Between {
    /// Listens at `socket`. Where the application listens is asked anew for each connection; `alter` makes
    /// of its answer what CometBFT gets.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub fn stand(
        socket: &Path,
        application: impl Fn() -> io::Result<PathBuf> + Send + 'static,
        alter: impl Fn(response::Value) -> response::Value + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = ended.clone();
        let accepting = thread::spawn(move || {
            for comet in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let pass = || pass_on(comet?, UnixStream::connect(application()?)?, alter.clone());
                // CometBFT sees its connection end, and so does the test.
                let _ = pass();
            }
        });
        Ok(Self { socket: socket.to_owned(), ended, accepting: Some(accepting) })
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Has the thread look; it cannot be deaf to that.
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            let _ = accepting.join();
        }
    }
}

/// Passes on in two threads of their own what comes over one connection, until either side ends.
fn pass_on(
    comet: UnixStream,
    application: UnixStream,
    alter: impl Fn(response::Value) -> response::Value + Send + 'static,
) -> io::Result<()> {
    let (mut asks, mut asked) = (comet.try_clone()?, application.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut asks, &mut asked);
        let _ = asked.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let (mut answers, mut told) = (BufReader::new(&application), BufWriter::new(&comet));
        while let Ok(Some(Response { value })) = read::<Response>(&mut answers) {
            let altered = Response { value: value.map(&alter) };
            let written = write(&mut told, &altered);
            // What belongs together is told together.
            let waits = answers.buffer().is_empty();
            if written.and_then(|()| if waits { told.flush() } else { Ok(()) }).is_err() {
                break;
            }
        }
        let _ = comet.shutdown(Shutdown::Both);
    });
    Ok(())
}
