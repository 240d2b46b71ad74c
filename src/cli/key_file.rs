//! Keys wherever they are kept, and files of them whose passphrase somebody may be asked for.

#[cfg(unix)]
use std::io::{BufRead, IsTerminal as _, stdin};
use std::path::Path;

#[cfg(unix)]
use anyhow::Context as _;
use anyhow::bail;
use colearn_records::keys::{self, Key, KeyError, KeyFile, Passphrase, Place};
use ed25519_dalek::SigningKey;
#[cfg(unix)]
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// The key in a place.
pub(crate) fn load(place: &Place) -> anyhow::Result<Key> {
    place.open(|path| Ok(open(path)?.0))
}

/// Reads a key file, and gives what opened it if it is encrypted.
pub(crate) fn open(path: &Path) -> anyhow::Result<(SigningKey, Option<Passphrase>)> {
    let locked = match keys::read(path)? {
        KeyFile::Open(key) => return Ok((key, None)),
        KeyFile::Locked(locked) => locked,
    };
    let given = match Passphrase::from_environment()? {
        Some(passphrase) => Some(passphrase),
        None => ask(&format!("Passphrase of {}: ", path.display()))?,
    };
    let passphrase = given.ok_or_else(|| KeyError::Locked { path: path.to_owned() })?;
    Ok((locked.unlock(&passphrase)?, Some(passphrase)))
}

/// The passphrase for a new key: from the environment, or asked for twice.
pub(crate) fn new_passphrase(path: &Path) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = Passphrase::from_environment()? {
        return Ok(passphrase);
    }
    let asked = ask(&format!("New passphrase of {}: ", path.display()))?;
    let Some(passphrase) = asked else {
        bail!("no passphrase: set {} to one, or run this at a terminal", Passphrase::VARIABLE);
    };
    if ask("Once more: ")?.as_ref() != Some(&passphrase) {
        bail!("the second passphrase is not the first; nothing was written");
    }
    Ok(passphrase)
}

/// Asks whoever is at the terminal, without showing what is typed; `None` if nobody is, or says nothing.
#[cfg(unix)]
fn ask(prompt: &str) -> anyhow::Result<Option<Passphrase>> {
    let input = stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let shown = tcgetattr(&input).context("cannot ask for a passphrase")?;
    let mut hidden = shown.clone();
    // Ctrl-C is read like any other key: a signal would leave the terminal as it is meanwhile.
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&input, OptionalActions::Flush, &hidden).context("cannot ask for a passphrase")?;
    // Not before: what was typed ahead is thrown away.
    eprint!("{prompt}");
    let typed = typed(input.lock());
    tcsetattr(&input, OptionalActions::Flush, &shown).context("cannot show what is typed again")?;
    eprintln!("");
    let line = typed.context("cannot read the passphrase")?.ok_or(Interrupted)?;
    Ok(Passphrase::new(line))
}

/// Nobody is asked where what is typed cannot be hidden.
#[cfg(not(unix))]
fn ask(_: &str) -> anyhow::Result<Option<Passphrase>> {
    Ok(None)
}

/// A line as it is typed at a terminal that sends every key; `None` if it was broken off.
#[cfg(unix)]
fn typed(input: impl BufRead) -> std::io::Result<Option<String>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte? {
            CTRL_C => return Ok(None),
            b'\r' | b'\n' | CTRL_D => break,
            CTRL_U => line.clear(),
            // The whole of a character: its last byte is the first one here that is no continuation.
            BACKSPACE | DELETE => while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {},
            other => line.push(other),
        }
    }
    let line = String::from_utf8(line);
    line.map(Some).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}

/// Somebody at the terminal has pressed Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("broken off")]
pub(crate) struct Interrupted;

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::typed;

    #[test]
    fn what_is_typed_can_be_mended_and_broken_off() {
        let line = |keys: &str| typed(keys.as_bytes()).ok().flatten();
        assert_eq!(line("abc\nrest").as_deref(), Some("abc"));
        assert_eq!(line("ab\u{7f}c\r").as_deref(), Some("ac"));
        assert_eq!(line("a\u{e9}\u{20ac}\u{7f}\u{8}b\n").as_deref(), Some("ab"));
        assert_eq!(line("\u{7f}x\u{15}abc\u{4}").as_deref(), Some("abc"));
        assert_eq!(line("ab\u{3}c\n"), None);
        assert!(typed(&b"\xff\n"[..]).is_err());
    }
}
