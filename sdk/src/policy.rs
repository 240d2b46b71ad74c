//! A site's policy: what may leave for any experiment, whatever its rules allow. The site's own file,
//! read once, before anything is signed. What it does not say clearly stops the learner.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use colearn_contracts::{Digest, ExperimentName, PrivacySegment, Scores};
use colearn_dp::{MAX_NOISE, MIN_NOISE, gaussian_of};
use colearn_records::plan::toml_error;
use colearn_records::transaction::LedgerId;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::learner::Privacy;

/// The longest file that is read.
const MAX_BYTES: u64 = 64 << 10;
/// The least ε that a score may have: with less there is nothing but noise.
pub const MIN_SCORE_EPSILON: f64 = 1e-3;
/// The largest: with more there is hardly any noise.
pub const MAX_SCORE_EPSILON: f64 = 16.0;
/// Where what is spent is kept unless the file says otherwise, beside the file.
const SPENT: &str = "spent";

/// What a site lets leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The file that it was read from, as it was named.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// What the site calls the data: whatever is trained on it is counted together.
    pub data: ExperimentName,
    /// The folder in which that is kept.
    pub spent: PathBuf,
    /// The least noise multiplier of a private training, in millionths.
    pub least_noise_micros: Option<u64>,
    /// The largest clipping norm of a private training, in millionths.
    pub largest_clip_micros: Option<u64>,
    /// What all that was trained on the data, with any key in any experiment, may reveal together.
    pub budget: Option<Budget>,
    /// The ledgers that learners may take part on; `None` for any.
    pub ledgers: Option<Vec<LedgerId>>,
    /// The experiments that they may take part in; `None` for any.
    pub experiments: Option<Vec<ExperimentName>>,
    /// Whether scores may leave; if not, votes and proposals carry none.
    pub scores: bool,
    /// The largest ε that a score may have, in millionths: then those without noise do not leave.
    pub score_epsilon_micros: Option<u64>,
    /// Whether what was trained without differential privacy may leave.
    pub unprotected: bool,
}

/// An ε at a δ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// ε, in millionths.
    pub max_epsilon_micros: u64,
    /// δ, in millionths of a millionth.
    pub delta_picos: u64,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    data: String,
    spent: Option<PathBuf>,
    least_noise: Option<f64>,
    largest_clip: Option<f64>,
    max_epsilon: Option<f64>,
    delta: Option<f64>,
    ledgers: Option<Vec<String>>,
    experiments: Option<Vec<String>>,
    // Not optional: what nobody has decided is not decided here.
    scores: bool,
    score_epsilon: Option<f64>,
    unprotected: bool,
}

/// Why a policy cannot be followed, or what it forbids.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {source}; nothing was joined", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is no policy.
    #[error("the policy {} is none: {message}; nothing was joined", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line if that is known.
        message: String,
    },
    /// The ledger is not one of those that are allowed.
    #[error("the site's policy does not allow the ledger {0}; nothing was joined")]
    Ledger(LedgerId),
    /// The experiment is not one of those that are allowed.
    #[error("the site's policy does not allow the experiment {0}; nothing was joined")]
    Experiment(ExperimentName),
    /// There is less noise than the policy asks for.
    #[error(
        "the site's policy asks for a noise multiplier of at least {}, and the training has {}; nothing \
         of it leaves",
        micros(*.least_micros), micros(*.noise_micros)
    )]
    Noise {
        /// What it has, in millionths.
        noise_micros: u64,
        /// The least, in millionths.
        least_micros: u64,
    },
    /// The clipping norm is larger than the policy allows.
    #[error(
        "the site's policy allows a clipping norm of at most {}, and the training has {}; nothing of it \
         leaves",
        micros(*.largest_micros), micros(*.clip_micros)
    )]
    Clip {
        /// What it has, in millionths.
        clip_micros: u64,
        /// The largest, in millionths.
        largest_micros: u64,
    },
    /// There are scores.
    #[error("the site's policy lets no scores leave")]
    Scores,
    /// Scores have less noise than the policy asks for, or none.
    #[error(
        "the site's policy lets scores leave with noise only, of an epsilon of at most {} each (colearn learner --score-epsilon)",
        micros(*.largest_micros)
    )]
    ScoreNoise {
        /// The largest ε, in millionths.
        largest_micros: u64,
    },
    /// Training is not private.
    #[error(
        "the site's policy lets nothing leave that was trained without differential privacy; train with \
         noise (colearn learner --noise SIGMA)"
    )]
    Unprotected,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`], and [`PolicyError::Malformed`] for an unknown key, a missing one,
    /// or a value that cannot be.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |source| PolicyError::Unreadable { path: path.to_owned(), source };
        let malformed = |message| PolicyError::Malformed { path: path.to_owned(), message };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(malformed(format!("it has more than {MAX_BYTES} bytes")));
        }
        // Whatever the working folder is when it is looked for. Where the file is a link to one of its versions, what
        // is spent lies beside the link: another version brings nothing back.
        let path = std::path::absolute(path).map_err(unreadable)?;
        Self::parse(&path, &bytes).map_err(malformed)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        let written: Written = toml::from_str(text).map_err(|error| toml_error(text, &error))?;
        let number = |name: &str, value: Option<f64>, least: f64, most: f64, unit: f64| {
            let Some(value) = value else { return Ok(None) };
            // NaN is in no range.
            if !(least..=most).contains(&value) {
                return Err(format!("{name} is between {least:e} and {most:e}, not {value}"));
            }
            Ok(Some((value * unit).round() as u64))
        };
        let least_noise_micros =
            number("least_noise", written.least_noise, MIN_NOISE, MAX_NOISE, 1e6)?;
        let largest_clip_micros = number("largest_clip", written.largest_clip, 1e-6, 1e9, 1e6)?;
        let epsilon = number("max_epsilon", written.max_epsilon, 1e-6, 1e6, 1e6)?;
        let delta = number("delta", written.delta, 1e-12, 0.5, 1e12)?;
        let budget = match (epsilon, delta) {
            (Some(max_epsilon_micros), Some(delta_picos)) => {
                Some(Budget { max_epsilon_micros, delta_picos })
            }
            (None, None) => None,
            (Some(_), None) => return Err("max_epsilon needs the delta that it is for".to_owned()),
            (None, Some(_)) => return Err("delta needs the max_epsilon that it is for".to_owned()),
        };
        let is_private = budget.is_some() || least_noise_micros.is_some();
        if written.unprotected && (is_private || largest_clip_micros.is_some()) {
            return Err(
                "least_noise, largest_clip and max_epsilon hold nothing back where unprotected is true"
                    .to_owned(),
            );
        }
        let score_epsilon_micros = number(
            "score_epsilon",
            written.score_epsilon,
            MIN_SCORE_EPSILON,
            MAX_SCORE_EPSILON,
            1e6,
        )?;
        if score_epsilon_micros.is_some() && !written.scores {
            return Err("score_epsilon says how scores may leave, and scores is false".to_owned());
        }
        Ok(Self {
            digest: Digest(Sha256::digest(bytes).into()),
            data: named("data", &written.data)?,
            spent: match path.parent() {
                Some(folder) => folder.join(written.spent.as_deref().unwrap_or(Path::new(SPENT))),
                None => return Err("it lies in no folder".to_owned()),
            },
            path: path.to_owned(),
            least_noise_micros,
            largest_clip_micros,
            budget,
            ledgers: all("ledgers", written.ledgers, |text| text.parse())?,
            experiments: all("experiments", written.experiments, |it| named("experiments", it))?,
            scores: written.scores,
            score_epsilon_micros,
            unprotected: written.unprotected,
        })
    }

    /// Whether a learner may take part in an experiment of this name.
    ///
    /// # Errors
    /// [`PolicyError::Experiment`].
    pub fn check_experiment(&self, name: &ExperimentName) -> Result<(), PolicyError> {
        match &self.experiments {
            Some(allowed) if !allowed.contains(name) => Err(PolicyError::Experiment(name.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a learner may take part on a ledger.
    ///
    /// # Errors
    /// [`PolicyError::Ledger`].
    pub fn check_ledger(&self, ledger: LedgerId) -> Result<(), PolicyError> {
        match &self.ledgers {
            Some(allowed) if !allowed.contains(&ledger) => Err(PolicyError::Ledger(ledger)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether what comes of a training may leave, as far as its settings go.
    ///
    /// # Errors
    /// [`PolicyError::Noise`], [`PolicyError::Clip`] and [`PolicyError::Unprotected`].
    pub fn check_training(&self, privacy: Option<&Privacy>) -> Result<(), PolicyError> {
        match privacy {
            Some(privacy) => self.check_settings(privacy.segment),
            None if self.unprotected => Ok(()),
            None => Err(PolicyError::Unprotected),
        }
    }

    /// Whether what carries these scores may leave.
    ///
    /// # Errors
    /// [`PolicyError::Scores`].
    pub fn check_scores(&self, scores: Scores) -> Result<(), PolicyError> {
        match self.scores || scores == Scores::default() {
            true => Ok(()),
            false => Err(PolicyError::Scores),
        }
    }

    /// Whether scores may leave that take this, if they have noise.
    ///
    /// # Errors
    /// [`PolicyError::Scores`] and [`PolicyError::ScoreNoise`].
    pub fn check_score(&self, takes: Option<&Privacy>) -> Result<(), PolicyError> {
        if !self.scores {
            return Err(PolicyError::Scores);
        }
        let Some(largest_micros) = self.score_epsilon_micros else { return Ok(()) };
        let least =
            gaussian_of(micros(largest_micros)).map_or(u64::MAX, |noise| (noise * 1e6) as u64);
        match takes.filter(|takes| takes.segment.noise_micros >= least) {
            Some(_) => Ok(()),
            None => Err(PolicyError::ScoreNoise { largest_micros }),
        }
    }

    fn check_settings(&self, segment: PrivacySegment) -> Result<(), PolicyError> {
        let PrivacySegment { noise_micros, clip_micros, .. } = segment;
        if let Some(least_micros) = self.least_noise_micros
            && noise_micros < least_micros
        {
            return Err(PolicyError::Noise { noise_micros, least_micros });
        }
        match self.largest_clip_micros {
            Some(largest_micros) if clip_micros > largest_micros => {
                Err(PolicyError::Clip { clip_micros, largest_micros })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What a file's names are in.
fn named(key: &str, text: &str) -> Result<ExperimentName, String> {
    text.parse().map_err(|error| format!("{key}: {text:?}: {error}"))
}

/// All of a list; `None` where there is none. An empty one would forbid everything, which nobody means.
fn all<T>(
    key: &str,
    written: Option<Vec<String>>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<Vec<T>>, String> {
    let Some(written) = written else { return Ok(None) };
    if written.is_empty() {
        return Err(format!("{key} names none; leave it out to allow any"));
    }
    written.iter().map(|text| read(text)).collect::<Result<_, _>>().map(Some)
}

fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WHOLE: &str = "data = 'xray'\nscores = false\nunprotected = false\n";

    fn parse(text: &str) -> Result<Policy, String> {
        Policy::parse(Path::new("/site/policy.toml"), text.as_bytes())
    }

    #[test]
    fn a_policy_says_what_may_leave() {
        let policy = parse(WHOLE).unwrap();
        assert_eq!(policy.spent, Path::new("/site/spent"));
        assert_eq!((policy.budget, &policy.ledgers, &policy.experiments), (None, &None, &None));
        let ledger = "ab".repeat(32);
        let policy = parse(&format!(
            "{WHOLE}spent = '/var/spent'\nleast_noise = 1.1\nlargest_clip = 2\nmax_epsilon = 3\n\
             delta = 1e-5\nledgers = ['{ledger}']\nexperiments = ['chest', 'hip']\n"
        ))
        .unwrap();
        assert_eq!(policy.spent, Path::new("/var/spent"));
        let budget = Budget { max_epsilon_micros: 3_000_000, delta_picos: 10_000_000 };
        assert_eq!(policy.budget, Some(budget));
        policy.check_experiment(&"hip".parse().unwrap()).unwrap();
        assert!(policy.check_experiment(&"hips".parse().unwrap()).is_err());
        policy.check_ledger(ledger.parse().unwrap()).unwrap();
        assert!(policy.check_ledger(LedgerId([1; 32])).is_err());
        let takes = |noise_micros, clip_micros| {
            let segment = PrivacySegment { noise_micros, clip_micros, sampling_nanos: 1, steps: 1 };
            let privacy = Privacy { segment, delta_picos: 1, max_epsilon_micros: None };
            policy.check_training(Some(&privacy))
        };
        takes(1_100_000, 2_000_000).unwrap();
        assert!(matches!(takes(1_099_999, 2_000_000), Err(PolicyError::Noise { .. })));
        assert!(matches!(takes(1_100_000, 2_000_001), Err(PolicyError::Clip { .. })));
        assert!(matches!(policy.check_training(None), Err(PolicyError::Unprotected)));
    }

    /// A site that links its policy to one of many versions.
    #[cfg(unix)]
    #[test]
    fn another_version_of_the_file_does_not_begin_the_budget_anew() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("site.toml");
        let read = |version: &str| {
            let folder = dir.path().join(version);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("site.toml"), WHOLE).unwrap();
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(folder.join("site.toml"), &link).unwrap();
            Policy::read(&link).unwrap()
        };
        let (first, second) = (read("1"), read("2"));
        assert_eq!(first.spent, dir.path().join("spent"));
        assert_eq!(second.spent, first.spent);
    }

    #[test]
    fn what_is_not_clear_is_no_policy() {
        for (more, said) in [
            ("max_epsilonn = 3", "unknown field"),
            ("max_epsilon = 3", "delta"),
            ("delta = 1e-5", "max_epsilon"),
            ("max_epsilon = nan\ndelta = 1e-5", "max_epsilon"),
            ("max_epsilon = 0\ndelta = 1e-5", "max_epsilon"),
            ("max_epsilon = inf\ndelta = 1e-5", "max_epsilon"),
            ("max_epsilon = 1\ndelta = 1.0", "delta"),
            ("max_epsilon = '3'\ndelta = 1e-5", "line 4"),
            ("least_noise = -1", "least_noise"),
            ("largest_clip = 0", "largest_clip"),
            ("ledgers = []", "ledgers"),
            ("ledgers = ['abc']", "64 hex digits"),
            ("experiments = ['../x']", "experiments"),
            ("scores = true", "line 4"),
        ] {
            let told = parse(&format!("{WHOLE}{more}\n")).unwrap_err();
            assert!(told.contains(said), "{more}: {told}");
        }
        for text in [
            "scores = true\nunprotected = false",
            "data = 'x'\nunprotected = false",
            "data = 'x'\nscores = false",
            "data = ''\nscores = false\nunprotected = false",
            "data = '../x'\nscores = false\nunprotected = false",
            "data = 'x'\nscores = 0\nunprotected = false",
            "data = 'x'\nscores = true\nunprotected = true\nleast_noise = 1.0",
            "data = 'x'\nscores = true\nunprotected = true\nmax_epsilon = 1.0\ndelta = 1e-5",
        ] {
            parse(text).unwrap_err();
        }
        Policy::parse(Path::new("/site/policy.toml"), b"data = '\xff'").unwrap_err();
    }
}
