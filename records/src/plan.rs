//! Plan files: the rules of an experiment in TOML, for people to agree on before they begin.

use std::collections::BTreeMap;
use std::fmt::Write as _;
#[cfg(feature = "files")]
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use colearn_contracts::{
    Admission, BallotKind, Close, CreateExperiment, Digest, ExperimentName, Invitation, MemberName,
    Merging, Parameters, PrivacyCap, Selection, Threshold,
};
use colearn_ledger::Verifier;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::keys;
use crate::pins::Pins;
use crate::transaction::LedgerId;
use crate::words::{self, AdmissionKind, Word as _, Words};

/// Why a plan's file cannot be used.
#[cfg(feature = "files")]
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file cannot be read.
    #[error("cannot read the plan {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not a plan.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
}

/// A plan as it is written: what is left out takes its default.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<Text<ExperimentName>>,
    threshold: Option<Text<Threshold>>,
    selection: Option<Choice<Selection>>,
    proposal_deadline: Option<Millis>,
    vote_deadline: Option<Millis>,
    reveal_deadline: Option<Millis>,
    close: Option<Choice<Close>>,
    ballot: Option<Choice<BallotKind>>,
    min_learners: Option<u32>,
    max_rounds: Option<u64>,
    patience: Option<u64>,
    /// 0 for never.
    missed_turns: Option<u32>,
    /// 0 for never.
    idle_rotations: Option<u32>,
    max_weights_bytes: Option<u64>,
    governance_threshold: Option<Text<Threshold>>,
    motion_deadline: Option<Millis>,
    creator_may_stop: Option<bool>,
    privacy: Option<WrittenPrivacy>,
    merging: Option<WrittenMerging>,
    admission: Option<String>,
    /// The digest of the terms, as 64 hex digits.
    terms: Option<String>,
    ledger: Option<Text<LedgerId>>,
    verifier_key: Option<Text<Verifier>>,
    #[serde(default)]
    witnesses: Vec<Text<Verifier>>,
    witness_quorum: Option<usize>,
    trust: Option<String>,
    /// `agreement = [{ title = "...", sha256 = "..." }]`, or `[[agreement]]` tables.
    #[serde(default)]
    agreement: Vec<WrittenAgreement>,
    /// Public key to weight, or more.
    #[serde(default)]
    members: BTreeMap<String, WrittenMember>,
}

/// An agreement as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAgreement {
    title: String,
    /// 64 hex digits.
    sha256: String,
}

/// A member: `4`, or `{ weight = 4, name = "St. Mary's", judge = true }`.
#[derive(Clone, Debug)]
struct WrittenMember {
    weight: u32,
    name: Option<MemberName>,
    judge: bool,
}

impl<'de> Deserialize<'de> for WrittenMember {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = WrittenMember;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a weight, or { weight = 4, name = \"St. Mary's\", judge = true }")
            }

            fn visit_i64<E: serde::de::Error>(self, weight: i64) -> Result<WrittenMember, E> {
                let out_of_range =
                    |_| E::invalid_value(serde::de::Unexpected::Signed(weight), &self);
                let weight = u32::try_from(weight).map_err(out_of_range)?;
                Ok(WrittenMember { weight, name: None, judge: false })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                map: A,
            ) -> Result<WrittenMember, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Table {
                    #[serde(default = "one")]
                    weight: u32,
                    name: Option<Text<MemberName>>,
                    #[serde(default)]
                    judge: bool,
                }

                fn one() -> u32 {
                    1
                }

                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let Table { weight, name, judge } = table;
                Ok(WrittenMember { weight, name: name.map(|it| it.0), judge })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrivacy {
    epsilon: f64,
    delta: f64,
}

/// Merged rounds: `{}` with their defaults.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMerging {
    proposers: Option<u32>,
    clip_permille: Option<u32>,
    momentum_permille: Option<u32>,
    checkers: Option<u32>,
    gather_deadline: Option<Millis>,
}

impl WrittenMerging {
    fn merging(self) -> Merging {
        let defaults = Merging::default();
        Merging {
            proposers: self.proposers.unwrap_or(defaults.proposers),
            clip_permille: self.clip_permille.unwrap_or(defaults.clip_permille),
            momentum_permille: self.momentum_permille.unwrap_or(defaults.momentum_permille),
            checkers: self.checkers.unwrap_or(defaults.checkers),
            gather_deadline_ms: self
                .gather_deadline
                .map_or(defaults.gather_deadline_ms, |it| Some(it.0)),
        }
    }
}

/// Something that is read from a string.
#[derive(Clone, Debug)]
struct Text<T>(T);

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// What is wrong with a TOML text, and in which line.
pub fn toml_error(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim();
    let newlines = |at: usize| text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count();
    match error.span() {
        Some(span) => format!("line {}: {message}", newlines(span.start) + 1),
        None => message.to_owned(),
    }
}

/// A duration in milliseconds, written such as "10m".
#[derive(Clone, Copy, Default, Debug)]
pub struct Millis(pub u64);

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let duration = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
        u64::try_from(duration.as_millis()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// One of a few words.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
struct Choice<T: Words>(#[serde(deserialize_with = "words::deserialize", bound = "")] T);

/// The most agreements of a plan.
pub const MAX_AGREEMENTS: usize = 16;

/// An agreement that an experiment stands on, such as one on sharing data, or an ethics board's approval. Its text is
/// nobody's but its holders'; the plan has its digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agreement {
    /// What it is called: 1 to 64 printable characters without spaces at the ends.
    title: String,
    /// SHA-256 of the document's bytes.
    digest: Digest,
}

impl Agreement {
    /// The agreement of this title, of a document with this SHA-256.
    ///
    /// # Errors
    /// What is wrong with the title.
    pub fn new(title: &str, digest: Digest) -> Result<Self, String> {
        // The same characters as in a member's name: a plan is shown in terminals.
        let _: MemberName = title.parse().map_err(|_| {
            format!(
                "an agreement's title {title:?} is not 1 to 64 printable characters, without spaces at its ends"
            )
        })?;
        Ok(Self { title: title.to_owned(), digest })
    }

    /// What it is called.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// SHA-256 of the document's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// Whether an experiment stands on some agreements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stands {
    /// It was created from a plan with just these.
    On,
    /// It was created from a plan with others, or none.
    OnOthers,
    /// It was created from no plan.
    OnNone,
}

impl Stands {
    /// Whether an experiment that was created so stands on just these agreements, in this order. All else that its
    /// plan says its creation tells, so the digest there decides.
    pub fn of(
        experiment: &ExperimentName,
        create: &CreateExperiment,
        agreements: &[Agreement],
    ) -> Self {
        let plan = Plan::of_creation(experiment, create);
        let plan = Plan { agreements: agreements.to_vec(), ..plan };
        match create.plan {
            Some(recorded) if recorded == plan.digest() => Self::On,
            Some(_) => Self::OnOthers,
            None => Self::OnNone,
        }
    }
}

/// Checks that there are not too many agreements, and no two of one title.
///
/// # Errors
/// What is wrong.
pub fn check_agreements(agreements: &[Agreement]) -> Result<(), String> {
    if agreements.len() > MAX_AGREEMENTS {
        return Err(format!("a plan has at most {MAX_AGREEMENTS} agreements"));
    }
    let mut titles: Vec<&str> = agreements.iter().map(Agreement::title).collect();
    titles.sort_unstable();
    match titles.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("two agreements are called {:?}", two[0])),
        None => Ok(()),
    }
}

/// A plan: the rules of an experiment, and who may join.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Plan {
    /// The experiment's name, if the plan says it.
    pub name: Option<ExperimentName>,
    /// The rules.
    pub parameters: Parameters,
    /// Whether the plan says how large a proposal may be; otherwise that follows from the model.
    pub limits_weights: bool,
    /// Who may join; `None` if the plan does not say.
    pub admission: Option<Admission>,
    /// What its members have agreed on besides, at most [`MAX_AGREEMENTS`] of different titles. They are part of the
    /// plan's digest, by which the ledger holds them.
    pub agreements: Vec<Agreement>,
    /// The digest of the terms of an experiment that was created from it, if the plan says it: then who
    /// joins compares no more than that. It is no part of the plan's own digest.
    pub terms: Option<Digest>,
    /// Whom those who follow it believe. They are no rules: no part of the plan's own digest, nor of what
    /// is compared.
    pub pins: Pins,
}

impl Plan {
    /// Reads a plan file.
    ///
    /// # Errors
    /// If it cannot be read, has an unknown key or a value that cannot be; the line is named.
    #[cfg(feature = "files")]
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PlanError::Io { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|message| PlanError::Malformed { path: path.to_owned(), message })
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| toml_error(text, &error))?;
        let defaults = Parameters::default();
        let ms = |written: Option<Millis>, default_ms| written.map_or(default_ms, |it| it.0);
        let or_never = |written: Option<u32>, default| match written {
            Some(most) => Some(most).filter(|most| *most > 0),
            None => default,
        };
        let privacy = written.privacy.map(|privacy| privacy_cap(privacy.epsilon, privacy.delta));
        let parameters = Parameters {
            threshold: written.threshold.map_or(defaults.threshold, |it| it.0),
            selection: written.selection.map_or(defaults.selection, |it| it.0),
            proposal_deadline_ms: ms(written.proposal_deadline, defaults.proposal_deadline_ms),
            vote_deadline_ms: ms(written.vote_deadline, defaults.vote_deadline_ms),
            reveal_deadline_ms: ms(written.reveal_deadline, defaults.reveal_deadline_ms),
            close: written.close.map_or(defaults.close, |it| it.0),
            ballot: written.ballot.map_or(defaults.ballot, |it| it.0),
            min_learners: written.min_learners.unwrap_or(defaults.min_learners),
            max_rounds: written.max_rounds,
            patience: written.patience,
            missed_turns: or_never(written.missed_turns, defaults.missed_turns),
            idle_rotations: or_never(written.idle_rotations, defaults.idle_rotations),
            privacy: privacy.transpose()?,
            max_weights_bytes: written.max_weights_bytes.unwrap_or(defaults.max_weights_bytes),
            governance_threshold: written.governance_threshold.map(|it| it.0),
            motion_deadline_ms: ms(written.motion_deadline, defaults.motion_deadline_ms),
            creator_may_stop: written.creator_may_stop.unwrap_or(defaults.creator_may_stop),
            merging: written.merging.map_or(defaults.merging, |it| Some(it.merging())),
        };
        let mut shares = Vec::new();
        for (key, WrittenMember { weight, name, judge }) in written.members {
            let learner = keys::parse_learner_id(&key)?;
            shares.push(Invitation { learner, weight, name, judge });
        }
        let terms = written.terms.as_deref();
        let terms = terms.map(|text| parse_digest("terms", text)).transpose()?;
        let agreement = |it: &WrittenAgreement| {
            Agreement::new(&it.title, parse_digest(&format!("{:?}: sha256", it.title), &it.sha256)?)
        };
        let agreements: Vec<Agreement> =
            written.agreement.iter().map(agreement).collect::<Result<_, String>>()?;
        check_agreements(&agreements)?;
        let witnesses = written.witnesses.into_iter().map(|it| it.0).collect();
        let (ledger, key) = (written.ledger.map(|it| it.0), written.verifier_key.map(|it| it.0));
        let pins = Pins::new(ledger, key, witnesses, written.witness_quorum)
            .map_err(|bad| bad.to_string())?
            .trusting(written.trust);
        shares.sort_by_key(|share| share.learner);
        let kind = match written.admission {
            Some(word) => Some(
                AdmissionKind::parse(&word).map_err(|unknown| format!("admission {unknown}"))?,
            ),
            None => None,
        };
        let admission = match (kind, shares.is_empty()) {
            (None, true) => None,
            (Some(AdmissionKind::Open), true) => Some(Admission::Open),
            (Some(AdmissionKind::Open), false) => {
                return Err("admission is \"open\", but members are listed".to_owned());
            }
            (None | Some(AdmissionKind::Invited), false) => Some(Admission::Invited(shares)),
            (Some(AdmissionKind::ByVote), false) => Some(Admission::ByVote(shares)),
            (Some(AdmissionKind::Invited | AdmissionKind::ByVote), true) => {
                return Err("list who may join under [members], as PUBLIC_KEY = WEIGHT".to_owned());
            }
        };
        Ok(Self {
            name: written.name.map(|it| it.0),
            parameters,
            limits_weights: written.max_weights_bytes.is_some(),
            admission,
            agreements,
            terms,
            pins,
        })
    }

    /// The plan that an experiment was created from, if there was one, as far as its creation tells: all but its
    /// agreements.
    pub fn of_creation(experiment: &ExperimentName, create: &CreateExperiment) -> Self {
        Self {
            name: Some(experiment.clone()),
            parameters: create.parameters.clone(),
            limits_weights: true,
            admission: Some(create.admission.clone()),
            agreements: Vec::new(),
            terms: None,
            pins: Pins::default(),
        }
    }

    /// How this plan differs from an experiment's, line by line: `-` what the plan says, `+` what
    /// the experiment has. Empty if it does not.
    pub fn difference(&self, actual: &Self) -> Vec<String> {
        let mut expected = self.clone();
        if !self.limits_weights {
            expected.parameters.max_weights_bytes = actual.parameters.max_weights_bytes;
        }
        expected.name = self.name.clone().or_else(|| actual.name.clone());
        expected.admission = self.admission.clone().or_else(|| actual.admission.clone());
        expected.terms = self.terms.or(actual.terms);
        expected.pins = actual.pins.clone();
        // An experiment shows none: whether it stands on these, the plan's digest says.
        expected.agreements = actual.agreements.clone();
        let (expected, actual) = (expected.to_text(), actual.to_text());
        let (planned, found): (Vec<&str>, Vec<&str>) =
            (expected.lines().collect(), actual.lines().collect());
        let missing = planned.iter().filter(|line| !found.contains(line));
        let added = found.iter().filter(|line| !planned.contains(line));
        missing
            .map(|line| format!("- {line}"))
            .chain(added.map(|line| format!("+ {line}")))
            .collect()
    }

    /// The plan in full, in its one form, which can be read again.
    pub fn to_text(&self) -> String {
        let Self { name, parameters, admission, agreements, terms, pins, .. } = self;
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        let duration = |ms: u64| {
            let text = humantime::format_duration(Duration::from_millis(ms)).to_string();
            format!("\"{text}\"")
        };
        if let Some(name) = name {
            line("name", format!("\"{name}\""));
        }
        line("threshold", format!("\"{}\"", parameters.threshold));
        line("selection", format!("\"{}\"", parameters.selection.word()));
        line("proposal_deadline", duration(parameters.proposal_deadline_ms));
        line("vote_deadline", duration(parameters.vote_deadline_ms));
        line("reveal_deadline", duration(parameters.reveal_deadline_ms));
        line("close", format!("\"{}\"", parameters.close.word()));
        line("ballot", format!("\"{}\"", parameters.ballot.word()));
        line("min_learners", parameters.min_learners.to_string());
        if let Some(max) = parameters.max_rounds {
            line("max_rounds", max.to_string());
        }
        if let Some(patience) = parameters.patience {
            line("patience", patience.to_string());
        }
        line("missed_turns", parameters.missed_turns.unwrap_or(0).to_string());
        line("idle_rotations", parameters.idle_rotations.unwrap_or(0).to_string());
        line("max_weights_bytes", parameters.max_weights_bytes.to_string());
        if let Some(threshold) = parameters.governance_threshold {
            line("governance_threshold", format!("\"{threshold}\""));
        }
        line("motion_deadline", duration(parameters.motion_deadline_ms));
        line("creator_may_stop", parameters.creator_may_stop.to_string());
        if let Some(cap) = parameters.privacy {
            let epsilon = decimal(cap.epsilon_micros, 6);
            let delta = decimal(cap.delta_picos, 12);
            line("privacy", format!("{{ epsilon = {epsilon}, delta = {delta} }}"));
        }
        if let Some(merging) = parameters.merging {
            let Merging {
                proposers,
                clip_permille,
                momentum_permille,
                checkers,
                gather_deadline_ms,
            } = merging;
            let gathers = gather_deadline_ms
                .map(|ms| format!(", gather_deadline = {}", duration(ms)))
                .unwrap_or_default();
            line(
                "merging",
                format!(
                    "{{ proposers = {proposers}, clip_permille = {clip_permille}, momentum_permille = \
                    {momentum_permille}, checkers = {checkers}{gathers} }}"
                ),
            );
        }
        if let Some(terms) = terms {
            line("terms", format!("\"{terms}\""));
        }
        for (key, value) in pins.in_plan() {
            line(key, value);
        }
        if !agreements.is_empty() {
            line("agreement", agreements_line(agreements));
        }
        if let Some(admission) = admission {
            line("admission", format!("\"{}\"", admission.word()));
            if !admission.invitations().is_empty() {
                text.push_str("\n[members]\n");
                for Invitation { learner, weight, judge, name } in admission.invitations() {
                    let _ = match (name, judge) {
                        (None, false) => writeln!(text, "{learner} = {weight}"),
                        _ => writeln!(text, "{learner} = {}", member_table(*weight, name, *judge)),
                    };
                }
            }
        }
        text
    }

    /// SHA-256 of the plan in its one form: what the creating entry holds.
    pub fn digest(&self) -> Digest {
        let plan = Self { terms: None, pins: Pins::default(), ..self.clone() };
        Digest(Sha256::digest(plan.to_text()).into())
    }
}

/// A member as a table in one line.
fn member_table(weight: u32, name: &Option<MemberName>, judge: bool) -> String {
    let mut table = format!("{{ weight = {weight}");
    if let Some(name) = name {
        let _ = write!(table, ", name = {}", quoted(name.as_str()));
    }
    if judge {
        table.push_str(", judge = true");
    }
    table.push_str(" }");
    table
}

/// Agreements as a plan has them behind `agreement = `: in one line, so that it can be pasted above any other.
pub fn agreements_line(agreements: &[Agreement]) -> String {
    let one = |Agreement { title, digest }: &Agreement| {
        format!("{{ title = {}, sha256 = \"{digest}\" }}", quoted(title))
    };
    format!("[{}]", agreements.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// A text as TOML has it. Quoted here and not by a library, which may find another way to do it one day: the
/// digest of the plan is recorded.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '\\' | '"' => quoted.extend(['\\', char]),
            // Only a key's name may have one.
            char if char.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// A digest from 64 hex digits.
fn parse_digest(what: &str, text: &str) -> Result<Digest, String> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Digest).ok_or_else(|| format!("{what} {text:?} is not a digest of 64 hex digits"))
}

/// A cap from ordinary numbers.
///
/// # Errors
/// If they are not positive, or too large or small to be written as integers.
pub fn privacy_cap(epsilon: f64, delta: f64) -> Result<PrivacyCap, String> {
    let fixed = |value: f64, scale: f64, name: &str| {
        let scaled = (value * scale).round();
        if scaled >= 1.0 && scaled < 2_f64.powi(63) {
            Ok(scaled as u64)
        } else {
            Err(format!("{name} {value} is not a number that can be kept in fixed point"))
        }
    };
    Ok(PrivacyCap {
        epsilon_micros: fixed(epsilon, 1e6, "epsilon")?,
        delta_picos: fixed(delta, 1e12, "delta")?,
    })
}

/// A fixed-point number as a decimal, without trailing zeros but with a point.
fn decimal(value: u64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let fraction = format!("{:0width$}", value % scale, width = digits as usize);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", value / scale, if fraction.is_empty() { "0" } else { fraction })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_ledger::note::KeyKind;
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn a_plan_is_read_written_and_compared() {
        let key = "11".repeat(32);
        let text = format!(
            "name = \"xray\"\nthreshold = \"2/3\"\nballot = \"sealed\"\nvote_deadline = \"1h\"\n\
             missed_turns = 0\nprivacy = {{ epsilon = 3.5, delta = 1e-5 }}\n\n[members]\n{key} = 4\n"
        );
        let plan = Plan::parse(&text).unwrap();
        assert_eq!(plan.parameters.vote_deadline_ms, 3_600_000);
        assert_eq!(plan.parameters.missed_turns, None);
        let cap = PrivacyCap { epsilon_micros: 3_500_000, delta_picos: 10_000_000 };
        assert_eq!(plan.parameters.privacy, Some(cap));
        assert!(
            matches!(plan.admission.as_ref().unwrap(), Admission::Invited(s) if s[0].weight == 4)
        );
        // Its one form says the same.
        let again = Plan::parse(&plan.to_text()).unwrap();
        assert_eq!(again.to_text(), plan.to_text());
        assert_eq!(again.digest(), plan.digest());
        assert!(plan.difference(&again).is_empty());
        let mut other = again.clone();
        other.parameters.threshold = Threshold::HALF;
        assert_eq!(plan.difference(&other), ["- threshold = \"2/3\"", "+ threshold = \"1/2\""]);
        // What a plan leaves open does not differ.
        let open = Plan::parse(
            "threshold = \"2/3\"\nballot = \"sealed\"\nvote_deadline = \"1h\"\n\
             missed_turns = 0\nprivacy = { epsilon = 3.5, delta = 1e-5 }",
        )
        .unwrap();
        assert!(open.difference(&again).is_empty());
    }

    /// A plan with one member, which is this.
    fn with_member(member: &str) -> Result<Plan, String> {
        Plan::parse(&format!("[members]\n{} = {member}\n", "11".repeat(32)))
    }

    fn member(plan: &Plan) -> &Invitation {
        let [member] = plan.admission.as_ref().unwrap().invitations() else { panic!("one") };
        member
    }

    #[test]
    fn members_have_names_and_may_be_judges() {
        for (written, weight, name, judge) in [
            ("4", 4, None, false),
            ("{}", 1, None, false),
            ("{ weight = 4 }", 4, None, false),
            ("{ name = \"St. Mary's\" }", 1, Some("St. Mary's"), false),
            ("{ weight = 2, name = '東京大学病院', judge = true }", 2, Some("東京大学病院"), true),
            ("{ judge = true }", 1, None, true),
        ] {
            let plan = with_member(written).unwrap();
            let Invitation { weight: votes, name: called, judge: judges, .. } = member(&plan);
            let called = called.as_ref().map(MemberName::as_str);
            assert_eq!((*votes, called, *judges), (weight, name, judge), "{written}");
            assert_eq!(Plan::parse(&plan.to_text()).unwrap().admission, plan.admission);
        }
        // Who only has a weight is written as ever, so plans of version 1 keep their digest.
        let plan = with_member("{ weight = 4 }").unwrap();
        assert!(plan.to_text().ends_with("11 = 4\n"), "{}", plan.to_text());
    }

    #[test]
    fn whatever_a_name_holds_it_is_written_so_that_it_reads_back() {
        for name in ["\"", "\\", "a\"b'c\\d", "'''", "\"\"\"", "\\u0041", "# comment", "} , {"] {
            let mut plan = with_member("1").unwrap();
            let called: MemberName = name.parse().unwrap();
            let Some(Admission::Invited(members)) = &mut plan.admission else { panic!("invited") };
            members[0].name = Some(called.clone());
            let again = Plan::parse(&plan.to_text()).unwrap();
            assert_eq!(member(&again).name.as_ref(), Some(&called), "{}", plan.to_text());
            assert_eq!(again.digest(), plan.digest());
        }
        // Its one form, byte by byte.
        let plan = with_member(r#"{ name = 'a"b\c', judge = true }"#).unwrap();
        let line = r#"11 = { weight = 1, name = "a\"b\\c", judge = true }"#;
        assert!(plan.to_text().trim_end().ends_with(line), "{}", plan.to_text());
    }

    #[test]
    fn merged_rounds_are_a_table_whose_defaults_are_written_out() {
        let plan = Plan::parse("merging = {}").unwrap();
        assert_eq!(plan.parameters.merging, Some(Merging::default()));
        let line = "merging = { proposers = 64, clip_permille = 2000, momentum_permille = 500, \
            checkers = 0 }\n";
        assert!(plan.to_text().contains(line), "{}", plan.to_text());
        let text = "[merging]\nproposers = 5\ncheckers = 2\ngather_deadline = \"5m\"";
        let plan = Plan::parse(text).unwrap();
        let merging = Merging {
            proposers: 5,
            checkers: 2,
            gather_deadline_ms: Some(300_000),
            ..Merging::default()
        };
        assert_eq!(plan.parameters.merging, Some(merging));
        assert_eq!(Plan::parse(&plan.to_text()).unwrap().parameters, plan.parameters);
        // Plans without it are what they were.
        assert!(!Plan::default().to_text().contains("merging"));
    }

    #[test]
    fn terms_say_more_than_the_plan_and_are_no_part_of_its_digest() {
        let terms = "22".repeat(32);
        let plan = Plan::parse(&format!("threshold = \">1/2\"\nterms = \"{terms}\"")).unwrap();
        assert_eq!(plan.terms, Some(Digest([0x22; 32])));
        assert_eq!(plan.parameters.threshold, Threshold::MORE_THAN_HALF);
        let again = Plan::parse(&plan.to_text()).unwrap();
        assert_eq!((again.terms, again.to_text()), (plan.terms, plan.to_text()));
        let without = Plan { terms: None, ..plan.clone() };
        assert_eq!(without.digest(), plan.digest());
        assert_ne!(without.to_text(), plan.to_text());
        // A plan that names none leaves them open.
        assert!(without.difference(&plan).is_empty());
        let other = Plan { terms: Some(Digest([0x33; 32])), ..plan.clone() };
        let [planned, found] = [("-", &terms), ("+", &"33".repeat(32))]
            .map(|(sign, terms)| format!("{sign} terms = \"{terms}\""));
        assert_eq!(plan.difference(&other), [planned, found]);
    }

    #[test]
    fn agreements_are_part_of_the_digest_and_plans_without_them_are_what_they_were() {
        let sha256 = "44".repeat(32);
        let text = format!(
            "threshold = \">1/2\"\n\n[[agreement]]\ntitle = \"Data \\\"A\\\"\"\nsha256 = \"{sha256}\"\n"
        );
        let plan = Plan::parse(&text).unwrap();
        let [agreement] = &plan.agreements[..] else { panic!("one") };
        assert_eq!((agreement.title(), agreement.digest()), ("Data \"A\"", Digest([0x44; 32])));
        let line =
            format!("agreement = [{{ title = \"Data \\\"A\\\"\", sha256 = \"{sha256}\" }}]\n");
        assert!(plan.to_text().ends_with(&line), "{}", plan.to_text());
        let again = Plan::parse(&plan.to_text()).unwrap();
        assert_eq!((again.digest(), &again.agreements), (plan.digest(), &plan.agreements));
        let without = Plan { agreements: Vec::new(), ..plan.clone() };
        assert!(!without.to_text().contains("agreement") && without.digest() != plan.digest());
        // What an experiment shows has none: the digest tells.
        assert!(plan.difference(&without).is_empty() && without.difference(&plan).is_empty());
        let one = |title: &str| format!("{{ title = \"{title}\", sha256 = \"{sha256}\" }}");
        let many: Vec<String> = (0..17).map(|at| one(&at.to_string())).collect();
        for (written, what) in [
            (one("a\\u202Eb"), "is not 1 to 64 printable characters"),
            (one(""), "is not 1 to 64 printable characters"),
            (
                "{ title = \"a\", sha256 = \"44\" }".to_owned(),
                "\"a\": sha256 \"44\" is not a digest",
            ),
            ("{ title = \"a\" }".to_owned(), "line 1: missing field `sha256`"),
            (format!("{0}, {0}", one("a")), "two agreements are called \"a\""),
            (many.join(", "), "a plan has at most 16 agreements"),
        ] {
            let error = Plan::parse(&format!("agreement = [{written}]")).unwrap_err();
            assert!(error.contains(what), "{written}: {error}");
        }
    }

    fn verifier(name: &str, kind: KeyKind, seed: u8) -> Verifier {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        Verifier::new(name, kind, key).unwrap()
    }

    #[test]
    fn pins_say_whom_to_believe_and_are_no_rules() {
        let log = verifier("log", KeyKind::Log, 1);
        let [w1, w2] = [2, 3].map(|seed| verifier("the\"w\\", KeyKind::Witness, seed));
        let ledger = "22".repeat(32);
        let text = format!(
            "threshold = \">1/2\"\nledger = \"{ledger}\"\nverifier_key = \"{log}\"\n\
             witnesses = ['{w1}', '{w2}']\n"
        );
        let plan = Plan::parse(&text).unwrap();
        let witnesses = vec![w1.clone(), w2];
        let pins = Pins::new(Some(LedgerId([0x22; 32])), Some(log), witnesses, None).unwrap();
        assert_eq!((&plan.pins, plan.pins.quorum()), (&pins, 2));
        let again = Plan::parse(&plan.to_text()).unwrap();
        assert_eq!((again.pins, again.parameters), (pins, plan.parameters.clone()));
        let without = Plan { pins: Pins::default(), ..plan.clone() };
        assert_eq!(without.digest(), plan.digest());
        assert!(without.difference(&plan).is_empty() && plan.difference(&without).is_empty());
        for (written, what) in [
            ("ledger = '22'".to_owned(), "line 1: \"22\" is not a ledger's id of 64 hex digits"),
            ("verifier_key = 'x'".to_owned(), "line 1: "),
            ("witness_quorum = 1".to_owned(), "a quorum is of witnesses, and none is named"),
            (format!("verifier_key = '{w1}'"), "is a witness's key, not a ledger's"),
            (format!("witnesses = ['{w1}']\nwitness_quorum = 2"), "a quorum of 2 of 1"),
            (format!("witnesses = ['{w1}', '{w1}']"), "are witnesses of one key"),
        ] {
            let error = Plan::parse(&written).unwrap_err();
            assert!(error.contains(what), "{written}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_member_is_said() {
        for (written, what) in [
            ("-1", "line 2: invalid value: integer `-1`, expected a weight, or {"),
            ("4294967296", "line 2: invalid value"),
            ("\"four\"", "line 2: invalid type: string \"four\", expected a weight, or {"),
            ("{ wieght = 4 }", "line 2: unknown field `wieght`"),
            ("{ weight = -4 }", "line 2: invalid value"),
            ("{ name = \"\" }", "line 2: R64: a member's name is 1 to 64 printable characters"),
            ("{ name = \" a\" }", "line 2: R64"),
            ("{ name = \"a\\u202Eb\" }", "line 2: R64"),
            ("{ judge = 1 }", "line 2: invalid type"),
        ] {
            let error = with_member(written).unwrap_err();
            assert!(error.contains(what), "{written}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, what) in [
            ("terms = \"22\"", "terms \"22\" is not a digest of 64 hex digits"),
            ("threshold = \"1/2\"\nthreshhold = \"1/2\"", "line 2: unknown field `threshhold`"),
            ("\nballot = \"secret\"", "line 2: \"secret\" is not one of open, sealed"),
            ("threshold = \"3/2\"", "line 1: a threshold is a fraction"),
            ("vote_deadline = \"soon\"", "line 1: "),
            ("min_learners = -1", "line 1: "),
            ("admission = \"invited\"", "list who may join under [members]"),
            ("[members]\nabc = 1", "abc is not a public key of 64 hex digits"),
            ("privacy = { epsilon = 0, delta = 1e-5 }", "epsilon 0 is not a number"),
        ] {
            let error = Plan::parse(text).unwrap_err();
            assert!(error.starts_with(what) || error.contains(what), "{text}: {error}");
        }
    }
}
