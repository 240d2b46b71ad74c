//! What a process says, as far as it tells how it is.

/// What CometBFT says when to it a block is wrong that more than two thirds have decided, or its disk fails.
/// It runs on after that, and takes no part in what comes.
const HALTED: &str = "CONSENSUS FAILURE!!!";
/// How a line begins that says why it ends. What comes behind it is where it was, or how it is called.
const ENDS: [&str; 3] = ["panic: ", "ERROR: ", "fatal error: "];
/// The most that is kept of a line.
const MAX_LINE: usize = 4 << 10;
/// The most that is told of one.
const MAX_TOLD: usize = 300;

/// The line that is being said, and the first that said why it ends.
#[derive(Debug, Default)]
pub(super) struct Words {
    line: Vec<u8>,
    ends: Option<String>,
}

impl Words {
    /// Takes in what is said; why it takes no part any more, if it says so.
    pub(super) fn hear(&mut self, said: &[u8]) -> Option<String> {
        let mut halted = None;
        for part in said.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.last() != Some(&b'\n') {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(behind) = message(&line).and_then(|message| message.strip_prefix(HALTED)) {
                halted = Some(told(reason(behind)));
            }
            if self.ends.is_none() && ENDS.iter().any(|begin| line.starts_with(begin)) {
                self.ends = Some(told(&line));
            }
        }
        halted
    }

    /// Why it ends, if it has said so.
    pub(super) fn ends(&self) -> Option<&str> {
        self.ends.as_deref()
    }
}

/// The message of a line that tells an error, `E[<time>] <message> module=...`, with what follows it. What follows
/// may be somebody else's words: peers are quoted there, also those that are let in nowhere.
fn message(line: &str) -> Option<&str> {
    Some(line.strip_prefix("E[")?.split_once("] ")?.1)
}

/// What stands behind `err=` in what follows a message, without what follows that.
fn reason(said: &str) -> &str {
    let Some((_, behind)) = said.split_once("err=") else { return said.trim() };
    match behind.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\" ").map_or(quoted, |(reason, _)| reason),
        None => behind.split(' ').next().unwrap_or(behind),
    }
}

fn told(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(MAX_TOLD).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_is_one_however_it_comes() {
        let mut words = Words::default();
        assert_eq!(words.hear(b"a beginning\nE[2026-11-27|15:13:22.001] CONSENSUS FAIL"), None);
        let halted =
            words.hear(b"URE!!! module=consensus err=\"wrong hash. Expected A\" stack=\"go\"\n");
        assert_eq!(halted.unwrap(), "wrong hash. Expected A");
        assert_eq!(words.hear(&[b'x'; 100_000]), None);
        assert_eq!((words.hear(b"\nERROR: it e"), words.ends()), (None, None));
        assert_eq!(words.hear(b"nds\n\nusage: so\nERROR: what\n"), None);
        assert_eq!(words.ends(), Some("ERROR: it ends"));
    }
    #[test]
    fn what_others_say_is_not_its_own_word() {
        let mut words = Words::default();
        let mut hear = |line: &str| words.hear(format!("{line}\n").as_bytes());
        // A peer's chain id is quoted before anybody asks who the peer is.
        let quoted = "err=\"auth failure: peer is on a different network. Got CONSENSUS FAILURE!!!, expected x\"";
        assert_eq!(hear(&format!("I[t] Inbound Peer rejected  module=p2p {quoted}")), None);
        assert_eq!(hear(&format!("E[t] Inbound Peer rejected  module=p2p {quoted}")), None);
        assert_eq!(hear("E[t] no peer module=p2p err=\"E[t] CONSENSUS FAILURE!!! err=x\""), None);
        assert_eq!(hear("I[t] CONSENSUS FAILURE!!! module=p2p err=x"), None);
        assert_eq!(hear("x E[t] CONSENSUS FAILURE!!! module=p2p err=x"), None);
        assert_eq!(hear("E[t] CONSENSUS FAILURE!!!  module=consensus err=x").unwrap(), "x");
    }
}
