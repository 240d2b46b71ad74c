//! The terminal: taken over while something is drawn on it, and left as it was however that ends.

use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc::{Receiver, channel};

/// How many events may wait.
const WAITING: usize = 64;
/// So long it takes at most until nobody reads from the terminal any more.
const LOOKS: Duration = Duration::from_millis(100);

/// A terminal that is drawn on.
pub(super) struct Screen {
    /// Never dropped: see what this is dropped by.
    terminal: ManuallyDrop<DefaultTerminal>,
    events: Receiver<io::Result<Event>>,
}

impl Screen {
    /// Takes the terminal over. From here on a panic, too, gives it back before it is told.
    ///
    /// # Errors
    /// If it cannot be had.
    pub(super) fn open() -> io::Result<Self> {
        let terminal = ManuallyDrop::new(ratatui::try_init().inspect_err(|_| give_back())?);
        let (tell, events) = channel(WAITING);
        let reading = move || {
            while !tell.is_closed() {
                let event = match event::poll(LOOKS) {
                    Ok(false) => continue,
                    Ok(true) => event::read(),
                    Err(error) => Err(error),
                };
                let is_end = event.is_err();
                if tell.blocking_send(event).is_err() || is_end {
                    return;
                }
            }
        };
        // Nobody waits for it: where the terminal has gone it may never come back from reading.
        std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(reading)
            .inspect_err(|_| give_back())?;
        Ok(Self { terminal, events })
    }

    /// Draws all of it.
    ///
    /// # Errors
    /// If the terminal has gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// The next key, or another size.
    ///
    /// # Errors
    /// If the terminal cannot be read.
    pub(super) async fn event(&mut self) -> io::Result<Event> {
        let closed = || Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        self.events.recv().await.unwrap_or_else(closed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Its own end complains on stderr where the terminal has gone, which would be a panic.
        let _ = self.terminal.show_cursor();
        give_back();
    }
}

/// A terminal that has gone needs nothing.
fn give_back() {
    let _ = ratatui::try_restore();
}
