//! `result.json`: what a command answers, believed as little as anything that comes from elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

use colearn_contracts::{PrivacySegment, Reason};
use colearn_records::words::Words as _;
use colearn_sdk::learner::{LARGE_BYTES, Weights};
use serde::Deserialize;

use super::ExecError;

/// What is read of it at most.
const MAX_BYTES: u64 = 64 << 10;
/// What is not understood is told up to here.
const MAX_TOLD: usize = 120;

/// What a command answers. All of it may be left out; what is not known is refused, so that no word is misspelt in vain.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// SHA-256 of the model that it began from, in hex, if it says that.
    pub(super) base: Option<String>,
    /// SHA-256 of `update.safetensors`, likewise.
    pub(super) update: Option<String>,
    /// What the model scores on the rows that decide; more is better.
    pub(super) score: Option<f64>,
    /// The same on rows that decide nothing.
    pub(super) test: Option<f64>,
    /// What the base scores, where it was computed, too.
    pub(super) base_score: Option<f64>,
    /// The score more finely, such as a negative loss, for merged rounds.
    pub(super) measure: Option<f64>,
    /// Whether it should become the global model; without it the scores decide.
    pub(super) approve: Option<bool>,
    /// Why not, in one of the ledger's words.
    #[serde(default, deserialize_with = "reason")]
    pub(super) reason: Option<Reason>,
    /// Nothing is proposed, or neither yes nor no is said, for this reason.
    #[serde(default, deserialize_with = "reason")]
    pub(super) abstain: Option<Reason>,
    /// What a private training took.
    pub(super) privacy: Option<Took>,
}

/// Steps of DP-SGD.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Took {
    noise_multiplier: f64,
    clip: f64,
    sampling_rate: f64,
    steps: u64,
}

fn reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
    let word = Option::<String>::deserialize(from)?;
    let parsed = word.map(|word| Reason::parse(&word)).transpose();
    parsed.map_err(serde::de::Error::custom)
}

impl Took {
    /// As the ledger counts it: never less than it was.
    pub(super) fn segment(self) -> Result<PrivacySegment, String> {
        let Self { noise_multiplier, clip, sampling_rate, steps } = self;
        segment(noise_multiplier, clip, sampling_rate, steps)
    }
}

/// Steps of DP-SGD as the ledger counts them: never less than they were.
pub(super) fn segment(
    noise_multiplier: f64,
    clip: f64,
    sampling_rate: f64,
    steps: u64,
) -> Result<PrivacySegment, String> {
    let in_range = |name, value: f64, most: f64| match value > 0.0 && value <= most {
        true => Ok(value),
        false => Err(format!("{name} is {value}, and has to be above 0 and at most {most}")),
    };
    if steps == 0 {
        return Err("steps is 0; a training that takes nothing is not private".to_owned());
    }
    Ok(PrivacySegment {
        noise_micros: (in_range("noise_multiplier", noise_multiplier, 1e6)? * 1e6).floor() as u64,
        clip_micros: (in_range("clip", clip, 1e9)? * 1e6).ceil() as u64,
        sampling_nanos: (in_range("sampling_rate", sampling_rate, 1.0)? * 1e9).ceil() as u64,
        steps,
    })
}

impl Answer {
    /// Reads it; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ExecError> {
        let Some(bytes) = read_at_most(path, MAX_BYTES)? else { return Ok(None) };
        let wrong = |what: String| ExecError::Answer { path: path.to_owned(), what };
        let answer: Self = serde_json::from_slice(&bytes).map_err(|error| {
            wrong(error.to_string().chars().take(MAX_TOLD).filter(|it| !it.is_control()).collect())
        })?;
        answer.check().map_err(wrong)?;
        Ok(Some(answer))
    }

    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("score", self.score),
            ("test", self.test),
            ("base_score", self.base_score),
            ("measure", self.measure),
        ];
        for (name, number) in numbers {
            if number.is_some_and(|number| !number.is_finite()) {
                return Err(format!("{name} is no finite number"));
            }
        }
        if self.abstain.is_some() && self.approve.is_some() {
            return Err("it says both abstain and approve".to_owned());
        }
        if let Some(took) = self.privacy {
            took.segment().map_err(|what| format!("privacy: {what}"))?;
        }
        Ok(())
    }
}

/// Reads a file of at most so many bytes; `None` if it is not there.
pub(super) fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ExecError> {
    let Some(file) = open_if_there(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|source| ExecError::File { path: path.to_owned(), source })?;
    check_length(path, bytes.len() as u64, most)?;
    Ok(Some(bytes))
}

/// The weights in a file of at most so many bytes, as they are now, whatever is written to it later; `None` if it is not
/// there. Large ones are copied to a file without a name in another folder, where no command looks, and not to memory.
pub(super) fn weights_at_most(
    path: &Path,
    most: u64,
    beside: &Path,
) -> Result<Option<Weights>, ExecError> {
    let failed = |source| ExecError::File { path: path.to_owned(), source };
    let Some(file) = open_if_there(path)? else { return Ok(None) };
    if file.metadata().map_err(failed)?.len() < LARGE_BYTES {
        return Ok(read_at_most(path, most)?.map(Weights::new));
    }
    let mut copy = tempfile::tempfile_in(beside).map_err(failed)?;
    let copied = io::copy(&mut file.take(most.saturating_add(1)), &mut copy).map_err(failed)?;
    check_length(path, copied, most)?;
    Weights::in_file(copy).map(Some).map_err(failed)
}

fn open_if_there(path: &Path) -> Result<Option<File>, ExecError> {
    match open_file(path, File::options().read(true)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ExecError::File { path: path.to_owned(), source }),
    }
}

fn check_length(path: &Path, length: u64, most: u64) -> Result<(), ExecError> {
    match length > most {
        true => Err(ExecError::answer(path, format!("it has more than {most} bytes"))),
        false => Ok(()),
    }
}

/// Opens what is itself a file: not a link, which may lead to what a command cannot see but its learner can, and not a
/// pipe, at whose end it would be waited.
pub(super) fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let is_none = || io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| {
        let is_other = path.symlink_metadata().is_ok_and(|found| !found.is_file());
        if is_other { is_none() } else { error }
    })?;
    // Of what was opened, not of what has the name by now.
    if file.metadata()?.is_file() { Ok(file) } else { Err(is_none()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Answer>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        std::fs::write(&path, text).unwrap();
        Answer::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_says_what_it_says() {
        assert_eq!(read("{}"), Ok(Some(Answer::default())));
        let answer = read(r#"{"score": 0.5, "approve": false, "reason": "worse"}"#).unwrap();
        let reason = Some(Reason::Worse);
        let expected =
            Answer { score: Some(0.5), approve: Some(false), reason, ..Answer::default() };
        assert_eq!(answer, Some(expected));
        let abstains = read(r#"{"abstain": "too_little_data"}"#).unwrap().unwrap();
        assert_eq!(abstains.abstain, Some(Reason::TooLittleData));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "EOF"),
            ("[]", "invalid"),
            ("{\"score\": 1e999}", "out of range"),
            ("{\"score\": NaN}", "expected value"),
            ("{\"scroe\": 1}", "unknown field `scroe`"),
            ("{\"abstain\": \"tired\"}", "\"tired\" is not one of worse"),
            ("{\"abstain\": \"failed\", \"approve\": true}", "both abstain and approve"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(why) && told.contains("result.json"), "{text}: {told}");
        }
        let privacy = |noise: f64, clip: f64, rate: f64, steps: u64| {
            read(&format!(
                "{{\"privacy\": {{\"noise_multiplier\": {noise:?}, \"clip\": {clip:?}, \
                 \"sampling_rate\": {rate:?}, \"steps\": {steps}}}}}"
            ))
        };
        for wrong in [
            privacy(0.0, 1.0, 0.1, 1),
            privacy(1.0, -1.0, 0.1, 1),
            privacy(1.0, 1.0, 1.1, 1),
            privacy(1.0, 1.0, 0.1, 0),
        ] {
            assert!(wrong.unwrap_err().contains("privacy: "));
        }
        let took = privacy(1.000_000_9, 0.1, 1.0 / 3.0, 7).unwrap().unwrap().privacy.unwrap();
        let segment = PrivacySegment {
            noise_micros: 1_000_000,
            clip_micros: 100_000,
            sampling_nanos: 333_333_334,
            steps: 7,
        };
        assert_eq!(took.segment(), Ok(segment));
    }

    #[test]
    fn no_more_is_read_than_an_answer_can_have() {
        let told = read(&format!("{{}}{}", " ".repeat(MAX_BYTES as usize))).unwrap_err();
        assert!(told.contains("more than 65536 bytes"), "{told}");
        let dir = tempfile::tempdir().unwrap();
        assert!(Answer::read(dir.path()).unwrap_err().to_string().contains("no file"));
        assert!(matches!(Answer::read(&dir.path().join("none")), Ok(None)));
    }

    #[cfg(unix)]
    #[test]
    fn no_link_is_followed_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let [secret, link] = ["secret", "result.json"].map(|name| dir.path().join(name));
        std::fs::write(&secret, "{}").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(Answer::read(&link).unwrap_err().to_string().contains("no file"));
        assert!(open_file(&link, File::options().append(true).create(true)).is_err());
    }
}
