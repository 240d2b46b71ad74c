//! A key behind a command, which is how tokens, HSMs and services sign for a learner.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::key::{Signer, SignerError};

/// What is read of an answer at most: two in hexadecimal would fit, and a few lines of white space.
const MAX_ANSWER_BYTES: u64 = 512;
/// How often it is looked whether a command that has answered has ended.
const END_POLL: Duration = Duration::from_millis(2);

/// A command that signs. It is run without a shell, with one more argument: `public`, for the public key, or `sign`, for
/// a signature over what comes on its standard input. It answers on standard output, in hexadecimal or base64, with
/// whatever white space, and ends with 0. What it writes to standard error is for people.
pub struct CommandKey {
    text: String,
    program: String,
    arguments: Vec<String>,
    /// How long an answer may take.
    limit: Duration,
}

impl CommandKey {
    /// The command with these words, which may take so long for each answer. Quotes and backslashes are a shell's;
    /// nothing else is.
    ///
    /// # Errors
    /// If there are no words, or a quote has no end.
    pub fn new(text: &str, limit: Duration) -> Result<Self, SignerError> {
        let none = |what| SignerError::NoCommand { by: format!("exec:{text}"), what };
        let words = shlex::split(text).ok_or_else(|| none("a quote or a backslash has no end"))?;
        let mut words = words.into_iter();
        let program = words.next().ok_or_else(|| none("it has no words"))?;
        Ok(Self { text: text.to_owned(), program, arguments: words.collect(), limit })
    }

    /// Runs it, and gives the bytes that it answers.
    fn ask<const N: usize>(
        &self,
        asked: &'static str,
        input: &[u8],
    ) -> Result<[u8; N], SignerError> {
        let by = || self.to_string();
        let cannot =
            |error: std::io::Error| SignerError::CannotRun { by: by(), reason: error.to_string() };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(asked)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let until = Instant::now() + self.limit;
        let answered = match answer_of(&mut child, input.to_vec(), self.limit) {
            Some(answer) => answer.map_err(cannot),
            None => Err(SignerError::Silent { by: by(), limit: self.limit }),
        };
        let answered = answered.and_then(|answer| match answer.len() as u64 > MAX_ANSWER_BYTES {
            true => {
                let what = format!("more than {MAX_ANSWER_BYTES} bytes");
                Err(SignerError::Malformed { by: by(), what })
            }
            false => Ok((answer, self.end_of(&mut child, until)?)),
        });
        let (answer, status) = answered.inspect_err(|_| {
            // It may have ended meanwhile; then there is nobody to end.
            let _ = child.kill();
            let _ = child.wait();
        })?;
        if !status.success() {
            return Err(SignerError::CommandFailed { by: by(), status: status.to_string(), asked });
        }
        decode(&answer).ok_or_else(|| SignerError::Malformed {
            by: by(),
            what: format!("{N} bytes in hexadecimal or base64 were asked for ({asked})"),
        })
    }

    /// How a command ends that has answered.
    fn end_of(&self, child: &mut Child, until: Instant) -> Result<ExitStatus, SignerError> {
        loop {
            let ended = child.try_wait().map_err(|error| SignerError::CannotRun {
                by: self.to_string(),
                reason: error.to_string(),
            })?;
            match ended {
                Some(status) => return Ok(status),
                None if Instant::now() >= until => {
                    return Err(SignerError::Silent { by: self.to_string(), limit: self.limit });
                }
                // Its output was its last act, as a rule.
                None => std::thread::sleep(END_POLL),
            }
        }
    }
}

/// What a command answers to what it is given, until it closes its output; `None` if that takes too long.
fn answer_of(
    child: &mut Child,
    input: Vec<u8>,
    limit: Duration,
) -> Option<std::io::Result<Vec<u8>>> {
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (told, answer) = mpsc::channel();
    // Threads of their own: a pipe has no time limit. They end with the command.
    std::thread::spawn(move || {
        // Who does not want all of it may answer all the same.
        let _ = stdin.as_mut().map(|stdin| stdin.write_all(&input));
    });
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map_or(Ok(0), |it| it.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut bytes));
        let _ = told.send(read.map(|_| bytes));
    });
    answer.recv_timeout(limit).ok()
}

/// Bytes in hexadecimal or base64: which, their number tells.
fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let text: Vec<u8> = text.iter().copied().filter(|it| !it.is_ascii_whitespace()).collect();
    let bytes = match text.len() == 2 * N {
        true => hex::decode(&text).ok()?,
        false => STANDARD.decode(&text).ok()?,
    };
    bytes.try_into().ok()
}

impl Signer for CommandKey {
    fn public_key(&self) -> Result<[u8; 32], SignerError> {
        self.ask("public", &[])
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignerError> {
        self.ask("sign", message)
    }
}

impl fmt::Display for CommandKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exec:{}", self.text)
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn public(script: &str) -> Result<[u8; 32], SignerError> {
        public_within(script, Duration::from_secs(60))
    }

    fn public_within(script: &str, limit: Duration) -> Result<[u8; 32], SignerError> {
        CommandKey::new(&format!("sh -c '{script}' sh"), limit)?.public_key()
    }

    #[test]
    fn both_spellings_are_read_and_white_space_is_not() {
        let expected = Ok([0x61; 32]);
        assert_eq!(public("for i in 1 2 3 4; do echo 6161616161616161; done"), expected);
        let base64 = "YWFh".repeat(10);
        assert_eq!(public(&format!("echo {base64}; echo YWE=")), expected);
        // It is told what is wanted.
        assert_eq!(public(&format!("test $1 = public && echo {base64}YWE=")), expected);
    }

    #[test]
    fn what_is_signed_comes_in_and_a_signature_goes_out() {
        let key =
            CommandKey::new("sh -c 'cat; printf %62s | tr \" \" a' sh", Duration::from_secs(60));
        // 66 of the characters are the message: 128 in all.
        let signed = key.unwrap().sign("ab".repeat(33).as_bytes()).unwrap();
        assert_eq!((signed[0], signed[63]), (0xab, 0xaa));
    }

    #[test]
    fn failures_and_nonsense_are_told_apart() {
        let by = |script: &str| format!("exec:sh -c '{script}' sh");
        let failed = public("exit 3").unwrap_err();
        assert!(failed.is_transient() && failed.to_string().contains("3"), "{failed}");
        for nonsense in ["echo 61", "true", "printf %65s | tr \" \" a", "printf %64s | tr \" \" z"]
        {
            let told = public(nonsense).unwrap_err();
            assert!(matches!(told, SignerError::Malformed { .. }), "{nonsense}: {told}");
        }
        let endless = public("yes").unwrap_err();
        let what = "more than 512 bytes".to_owned();
        assert_eq!(endless, SignerError::Malformed { by: by("yes"), what });
        let limit = Duration::from_millis(50);
        // One that says nothing, and one that has said it and does not end.
        for script in ["exec sleep 1000", "exec >&-; exec sleep 1000"] {
            let silent = public_within(script, limit).unwrap_err();
            assert_eq!(silent, SignerError::Silent { by: by(script), limit });
        }
    }

    #[test]
    fn what_is_no_command_is_told() {
        for text in ["", "  ", "sign 'x", "sign \\"] {
            let told = CommandKey::new(text, Duration::from_secs(1)).err().unwrap();
            assert!(matches!(told, SignerError::NoCommand { .. }), "{text:?}: {told}");
        }
        let told = CommandKey::new("/nowhere/signer", Duration::from_secs(1)).unwrap();
        let told = told.public_key().unwrap_err();
        assert!(matches!(told, SignerError::CannotRun { .. }), "{told}");
    }
}
