//! What learners are called for, in which order and with what, and what is recorded of their answers. The
//! transcripts (`transcripts.json`) are run through the Python package too (`python/tests/test_transcripts.py`):
//! a learner in Python is called and understood as one in Rust.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use colearn_contracts::{Choice, Digest, PrivacySegment, Reason};
use colearn_records::history::{History, Round, unit};
use colearn_records::plan::Plan;
use colearn_records::words::{Word as _, Words as _};
use colearn_sdk::learner::{
    Failure, Judgement, Learner, LearnerError, Privacy, Proposed, Result, Score, Weights,
};
use colearn_sdk::local;
use serde_json::{Value, json};

/// A learner that answers as its transcript says.
struct Scripted {
    current: Weights,
    privacy: Option<Privacy>,
    proposes: VecDeque<Value>,
    judges: Value,
    /// What it was called for.
    calls: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn of(told: &Value) -> Self {
        let privacy = told.get("privacy").map(|told| Privacy {
            segment: segment(&told["segment"]),
            delta_picos: told["delta_picos"].as_u64().unwrap(),
            max_epsilon_micros: told["max_epsilon_micros"].as_u64(),
        });
        Self {
            current: weights(&told["begins"]),
            privacy,
            proposes: told["proposes"].as_array().unwrap().iter().cloned().collect(),
            judges: told["judges"].clone(),
            calls: Arc::default(),
        }
    }

    fn called(&self, what: impl Into<String>) {
        self.calls.lock().unwrap().push(what.into());
    }
}

fn weights(text: &Value) -> Weights {
    Weights::new(text.as_str().unwrap().to_owned())
}

fn text_of(weights: &Weights) -> &str {
    std::str::from_utf8(weights.bytes()).unwrap()
}

fn segment(told: &Value) -> PrivacySegment {
    let field = |name: &str| told[name].as_u64().unwrap();
    PrivacySegment {
        noise_micros: field("noise_micros"),
        clip_micros: field("clip_micros"),
        sampling_nanos: field("sampling_nanos"),
        steps: field("steps"),
    }
}

fn reason(told: &Value) -> Option<Reason> {
    told.as_str().map(|word| Reason::parse(word).unwrap())
}

fn number(told: &Value) -> Option<f64> {
    told.as_f64().or_else(|| told.as_str().map(|text| text.parse().unwrap()))
}

/// What a learner cannot do.
fn raised(told: &Value) -> Option<LearnerError> {
    let source: LearnerError = told["raises"].as_str()?.into();
    Some(match reason(&told["reason"]) {
        Some(reason) => Box::new(Failure { reason, source }),
        None => source,
    })
}

impl Learner for Scripted {
    fn propose(&mut self) -> Result<Proposed> {
        self.called("propose");
        let told = self.proposes.pop_front().unwrap();
        if let Some(error) = raised(&told) {
            return Err(error);
        }
        Ok(match (told.get("weights"), told.get("segment")) {
            (Some(made), Some(taken)) => Proposed::Private(weights(made), segment(taken)),
            (Some(made), None) => Proposed::Weights(weights(made)),
            (None, _) if told["exhausted"] == true => Proposed::Exhausted,
            (None, _) => Proposed::Pass(reason(&told["pass"])),
        })
    }

    fn privacy(&self) -> Option<Privacy> {
        // One that does not train privately has no such method in Python.
        self.privacy.inspect(|_| self.called("privacy"))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.called(format!("test {}", text_of(weights)));
        let told = &self.judges[text_of(weights)];
        if let Some(error) = raised(told) {
            return Err(error);
        }
        let judgement = match (told["approve"].as_bool(), reason(&told["reason"])) {
            (Some(true), _) => Judgement::Approve,
            (Some(false), reason) => Judgement::Reject(reason),
            (None, reason) => Judgement::Abstain(reason),
        };
        Ok(Score { vote: number(&told["vote"]).unwrap(), test: number(&told["test"]), judgement })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.called(format!("accept {}", text_of(weights)));
        self.current = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.current.clone()
    }
}

/// What a history tells of a round, in the words of the transcripts.
fn told(history: &History, texts: &BTreeMap<Digest, String>, round: &Round) -> Value {
    let vote = |(voter, cast): (_, &colearn_records::history::CastVote)| {
        let vote = json!({
            "approve": match cast.choice {
                Choice::Approve => Some(true),
                Choice::Reject => Some(false),
                Choice::Abstain => None,
            },
            "reason": cast.reason.map(|reason| reason.word()),
            "scores": [cast.scores.vote.map(unit), cast.scores.test.map(unit)],
        });
        (history.number_of(voter).unwrap().to_string(), vote)
    };
    let (proposed, own) = round.proposal.unzip();
    json!({
        "proposer": round.proposer.and_then(|proposer| history.number_of(proposer)),
        "weights": proposed.map(|digest| &texts[&digest]),
        "scores": own.map(|own| [own.vote.map(unit), own.test.map(unit)]),
        "votes": round.ballots.iter().map(|(voter, cast)| vote((*voter, cast))).collect::<serde_json::Map<_, _>>(),
        "reason": round.passed.map(|reason| reason.word()),
        "verdict": round.result.map(|result| result.verdict.word()),
    })
}

#[test]
fn learners_are_called_and_understood_as_the_transcripts_say() {
    let cases: Value = serde_json::from_str(include_str!("transcripts.json")).unwrap();
    let mut found = cases.clone();
    for case in found.as_array_mut().unwrap() {
        let plan = Plan::parse(case["plan"].as_str().unwrap()).unwrap();
        let mut learners: Vec<Scripted> =
            case["learners"].as_array().unwrap().iter().map(Scripted::of).collect();
        let calls: Vec<_> = learners.iter().map(|it| Arc::clone(&it.calls)).collect();
        let texts = (0..10).map(|at| at.to_string());
        let texts = texts.map(|text| (Weights::new(text.clone()).digest(), text)).collect();
        let ran = local::run(&mut learners, plan.parameters, |_, _| {}).unwrap();
        let rounds = ran.history.rounds.iter().map(|round| told(&ran.history, &texts, round));
        case["rounds"] = rounds.collect();
        case["calls"] = calls.iter().map(|it| json!(*it.lock().unwrap())).collect();
    }
    // What differs is shown as it would have to stand there.
    let written = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(found, cases, "found:\n{}\n", written(&found));
}
