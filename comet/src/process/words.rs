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
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).trim().to_owned();
            if line.contains(HALTED) {
                halted = Some(told(reason(&line)));
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

/// What stands behind `err=` in a line of its log, without what follows.
fn reason(line: &str) -> &str {
    let Some((_, behind)) = line.split_once("err=") else { return line };
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
        assert_eq!(words.hear(b"a beginning\nE[..] CONSENSUS FAIL"), None);
        let halted =
            words.hear(b"URE!!! module=consensus err=\"wrong hash. Expected A\" stack=\"go\"\n");
        assert_eq!(halted.unwrap(), "wrong hash. Expected A");
        assert_eq!(words.hear(&[b'x'; 100_000]), None);
        assert_eq!((words.hear(b"\nERROR: it e"), words.ends()), (None, None));
        assert_eq!(words.hear(b"nds\n\nusage: so\nERROR: what\n"), None);
        assert_eq!(words.ends(), Some("ERROR: it ends"));
    }
}
