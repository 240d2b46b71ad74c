//! A terminal without a window: a program runs in it, and what is on its screen is read.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use vt100::Parser;

use super::{DEADLINE, wait_for};

/// A pair of a terminal: what its user has, and what the programs in it have.
pub(crate) fn pair() -> (File, File) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let path = ptsname(&user, Vec::new()).unwrap();
    let inside = File::options().read(true).write(true).open(path.to_str().unwrap()).unwrap();
    (File::from(user), inside)
}

/// A terminal in which a program runs.
pub(crate) struct Terminal {
    user: File,
    /// Kept open, so that it can be asked how it was left.
    inside: File,
    program: Child,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Runs a command in a terminal of this size, which is the one that controls it.
    pub(crate) fn run(command: &Command, (columns, rows): (u16, u16)) -> Self {
        let (user, inside) = pair();
        set_size(&user, columns, rows);
        let mut program = Command::new("setsid");
        program.arg("-c").arg(command.get_program()).args(command.get_args());
        program.env("TERM", "xterm-256color");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        let end = || inside.try_clone().unwrap();
        program.stdin(end()).stdout(end()).stderr(end());
        let program = program.spawn().expect("setsid is a part of util-linux");
        let seen = Seen { screen: Parser::new(some(rows), some(columns), 0), bytes: Vec::new() };
        let seen = Arc::new(Mutex::new(seen));
        let (mut shown, telling) = (user.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut read = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut read) {
                let mut seen = telling.lock().unwrap();
                seen.screen.process(&read[..count]);
                seen.bytes.extend(&read[..count]);
            }
        });
        Self { user, inside, program, seen }
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// All that was ever written to it.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).into_owned()
    }

    /// Waits until all of this is on the screen, and gives it.
    pub(crate) fn wait(&self, parts: &[&str]) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if parts.iter().all(|part| screen.contains(part)) {
                return screen;
            }
            assert!(started.elapsed() < DEADLINE, "{parts:?} are not on the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types something.
    pub(crate) fn press(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Makes it larger or smaller; the program is told by the system.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.seen.lock().unwrap().screen.screen_mut().set_size(some(rows), some(columns));
        set_size(&self.user, columns, rows);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).unwrap();
    }

    /// Waits for the program's end, and gives its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        wait_for("the program's end", || self.program.try_wait().unwrap()).code()
    }

    /// Whether it is as programs should leave it: the usual screen, with its cursor, and keys that are shown.
    pub(crate) fn is_as_before(&self) -> bool {
        let modes = tcgetattr(self.inside.as_fd()).unwrap().local_modes;
        let is_usual = modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        let seen = self.seen.lock().unwrap();
        let screen = seen.screen.screen();
        is_usual && !screen.alternate_screen() && !screen.hide_cursor()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn some(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn set_size(user: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(user, size).unwrap();
}
