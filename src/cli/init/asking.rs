//! Asking whoever sits at the terminal.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal as _, stdin};

use anyhow::{Context as _, anyhow, bail};

/// How often something is asked again that could not be understood.
const TRIES: usize = 5;

/// What is not said by flags is asked for at a terminal; elsewhere it is as usual, or missing.
pub(super) struct Asking<R> {
    /// The answers; `None` if nobody is to be asked.
    answers: Option<R>,
}

impl Asking<Box<dyn BufRead>> {
    /// Asks at the terminal, if there is one and it is wanted.
    pub(super) fn at_the_terminal(wanted: bool) -> Self {
        let input = stdin();
        let is_there = wanted && input.is_terminal() && std::io::stderr().is_terminal();
        Self { answers: is_there.then(|| Box::new(input.lock()) as Box<dyn BufRead>) }
    }
}

/// What is asked, and how it is said without being asked.
pub(super) struct Question {
    pub(super) text: &'static str,
    /// The answer where nothing is answered; `None` where something must be.
    pub(super) usual: Option<&'static str>,
    pub(super) flag: &'static str,
}

impl<R: BufRead> Asking<R> {
    /// Whether somebody is asked.
    pub(super) fn is_asking(&self) -> bool {
        self.answers.is_some()
    }

    /// What was given; else what is answered; else what is usual.
    ///
    /// # Errors
    /// If it must be said, and is not; or is not understood.
    pub(super) fn ask<T, E: Display>(
        &mut self,
        given: Option<T>,
        question: &Question,
        mut read: impl FnMut(&str) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let Question { text, usual, flag } = question;
        if let Some(given) = given {
            return Ok(given);
        }
        let Some(answers) = &mut self.answers else {
            let usual = usual.with_context(|| format!("say {flag}: nobody is asked here"))?;
            return read(usual).map_err(|told| anyhow!("say {flag}: {told}"));
        };
        for _ in 0..TRIES {
            match usual {
                Some(usual) if !usual.is_empty() => eprintln!("{text} [{usual}]"),
                _ => eprintln!("{text}"),
            }
            let mut line = String::new();
            if answers.read_line(&mut line).context("cannot read the answer")? == 0 {
                bail!("broken off; nothing was written");
            }
            let answer = match (line.trim(), usual) {
                ("", Some(usual)) => usual,
                (answer, _) => answer,
            };
            match read(answer) {
                Ok(answer) => return Ok(answer),
                Err(told) => eprintln!("{told}"),
            }
        }
        bail!("say {flag}; nothing was written")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ask(
        answers: Option<&str>,
        given: Option<u32>,
        usual: Option<&'static str>,
    ) -> Result<u32, String> {
        let mut asking = Asking { answers: answers.map(str::as_bytes) };
        let question = Question { text: "How many?", usual, flag: "--many N" };
        asking.ask(given, &question, str::parse::<u32>).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_not_asked_and_what_is_not_understood_is_asked_again() {
        assert_eq!(ask(Some("7\n"), Some(1), Some("2")), Ok(1));
        assert_eq!(ask(None, None, Some("2")), Ok(2));
        assert_eq!(ask(Some("\n"), None, Some("2")), Ok(2));
        assert_eq!(ask(Some("many\n 7 \n"), None, None), Ok(7));
        assert_eq!(ask(Some("\n7\n"), None, None), Ok(7));
        assert!(ask(None, None, None).unwrap_err().contains("--many N"));
        assert!(ask(Some("many\n"), None, Some("2")).unwrap_err().contains("broken off"));
        assert!(ask(Some(&"x\n".repeat(9)), None, None).unwrap_err().contains("--many N"));
    }
}
