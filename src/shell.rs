//! Commands that users have given, run by the shell: each in a process group of its own, so that all that it starts can
//! be ended with it.

use std::io;
use std::process::{Child, Command};

#[cfg(unix)]
use rustix::process::{Pid, Signal, getpgrp, kill_process_group};

/// The shell with a command.
#[cfg(unix)]
pub(crate) fn shell(command: &str) -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).process_group(0);
    shell
}

/// The shell with a command, as it is: quotes in it are for the shell.
#[cfg(windows)]
pub(crate) fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt as _;
    let mut shell = Command::new("cmd");
    shell.raw_arg("/C").raw_arg(command);
    shell
}

/// Asks a command, and all that it has started, to end; by SIGTERM, where there are signals.
pub(crate) fn ask_to_end(group: u32) -> io::Result<()> {
    #[cfg(unix)]
    signal_group(group, Signal::TERM)?;
    #[cfg(not(unix))]
    let _ = group;
    Ok(())
}

/// Ends all processes of a group.
pub(crate) fn kill_group(group: u32) -> io::Result<()> {
    #[cfg(unix)]
    signal_group(group, Signal::KILL)?;
    #[cfg(not(unix))]
    let _ = group;
    Ok(())
}

#[cfg(unix)]
fn signal_group(group: u32, signal: Signal) -> io::Result<()> {
    let known = i32::try_from(group).ok().and_then(Pid::from_raw);
    // Signals for group 1 would go to every process there is.
    let Some(group) = known.filter(|it| *it != Pid::INIT && *it != getpgrp()) else {
        let told = format!("no command has the process group {group}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    };
    match kill_process_group(group, signal) {
        // It has ended meanwhile.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        sent => Ok(sent?),
    }
}

/// Ends a command, and all that it has started.
pub(crate) fn kill(child: &mut Child) -> io::Result<()> {
    kill_group(child.id())?;
    child.kill()?;
    child.wait().map(drop)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_no_command_can_have_get_no_signal() {
        let own = getpgrp().as_raw_nonzero().get().cast_unsigned();
        for group in [0, 1, own, u32::MAX] {
            for refused in [ask_to_end(group), kill_group(group)] {
                assert!(refused.is_err_and(|it| it.kind() == io::ErrorKind::InvalidInput));
            }
        }
    }
}
