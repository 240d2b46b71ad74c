//! Key files whose passphrase somebody may be asked for.

use std::io::{IsTerminal as _, stdin};
use std::path::Path;

use anyhow::{Context as _, bail};
use colearn_records::keys::{self, KeyError, KeyFile, Passphrase};
use ed25519_dalek::SigningKey;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Reads a key file.
pub(crate) fn load(path: &Path) -> anyhow::Result<SigningKey> {
    Ok(open(path)?.0)
}

/// Reads a key file, and gives what opened it if it is encrypted.
pub(crate) fn open(path: &Path) -> anyhow::Result<(SigningKey, Option<Passphrase>)> {
    let locked = match keys::read(path)? {
        KeyFile::Open(key) => return Ok((key, None)),
        KeyFile::Locked(locked) => locked,
    };
    let given = match Passphrase::from_environment() {
        Some(passphrase) => Some(passphrase),
        None => ask(&format!("Passphrase of {}: ", path.display()))?,
    };
    let passphrase = given.ok_or_else(|| KeyError::Locked { path: path.to_owned() })?;
    Ok((locked.unlock(&passphrase)?, Some(passphrase)))
}

/// The passphrase for a new key: from the environment, or asked for twice.
pub(crate) fn new_passphrase(path: &Path) -> anyhow::Result<Passphrase> {
    if let Some(passphrase) = Passphrase::from_environment() {
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
fn ask(prompt: &str) -> anyhow::Result<Option<Passphrase>> {
    let input = stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    eprint!("{prompt}");
    let shown = tcgetattr(&input).context("cannot ask for a passphrase")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &hidden).context("cannot ask for a passphrase")?;
    let mut line = String::new();
    let read = input.read_line(&mut line);
    tcsetattr(&input, OptionalActions::Flush, &shown).context("cannot show what is typed again")?;
    eprintln!("");
    read.context("cannot read the passphrase")?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(Passphrase::new(line))
}
