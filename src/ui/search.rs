//! Finding things in a ledger by what somebody has at hand: a number, the beginning of a digest or key, a name.

use colearn_contracts::{Digest, LearnerId, Merge};
use colearn_records::record::Record;
use serde_json::{Value, json};

use super::view::{Tale, View};
use crate::cli::tell::{json, text};

/// What is given at most.
const MAX_FOUND: usize = 50;
/// The longest question that is looked at, in bytes: longer than any digest or name.
const MAX_ASKED_BYTES: usize = 256;
/// The shortest beginning of a digest that is looked for, in hexadecimal digits.
const MIN_DIGITS: usize = 4;

/// What there is of this, best first.
pub(crate) fn search(view: &View, asked: &str) -> Value {
    let asked = asked.trim();
    let mut found = Found(Vec::new());
    if !asked.is_empty() && asked.len() <= MAX_ASKED_BYTES {
        if let Ok(index) = asked.parse::<u64>()
            && index < view.book.size()
        {
            found.add(json!({ "kind": "entry", "text": format!("entry {index}"), "entry": index }));
        }
        named(view, &asked.to_lowercase(), &mut found);
        let digits = asked.to_ascii_lowercase();
        if digits.len() >= MIN_DIGITS && digits.chars().all(|it| it.is_ascii_hexdigit()) {
            digests(view, &digits, &mut found);
        }
    }
    json!({ "asked": asked, "found": found.0, "more": found.0.len() >= MAX_FOUND })
}

/// An entry, in full; `None` if there are not as many.
pub(crate) fn entry(view: &View, index: u64) -> std::io::Result<Option<Value>> {
    let Some(bytes) = view.book.entry(index)? else { return Ok(None) };
    // It was followed, so it can be read.
    let decoded = Record::decode(&bytes).map_err(std::io::Error::other)?;
    let mut told = json::entry(&decoded, &bytes);
    told["text"] = text::entry(&decoded).into();
    Ok(Some(told))
}

struct Found(Vec<Value>);

impl Found {
    fn add(&mut self, value: Value) {
        if self.0.len() < MAX_FOUND && !self.0.contains(&value) {
            self.0.push(value);
        }
    }
}

fn named(view: &View, asked: &str, found: &mut Found) {
    for (name, tale) in &view.tales {
        if name.as_str().contains(asked) {
            let text = format!("experiment {name}");
            found.add(json!({ "kind": "experiment", "text": text, "experiment": name.as_str() }));
        }
        for (learner, called) in &tale.history.names {
            if called.as_str().to_lowercase().contains(asked) {
                found.add(member(tale, *learner));
            }
        }
    }
    for node in view.keys().and_then(|keys| keys.validators()).into_iter().flat_map(|it| it.iter())
    {
        if node.name().to_lowercase().contains(asked) {
            found.add(json!({ "kind": "node", "text": format!("the node {}", node.name()) }));
        }
    }
}

fn member(tale: &Tale, learner: LearnerId) -> Value {
    let history = &tale.history;
    let number = history.number_of(learner);
    let called = history.names.get(&learner).map(|name| format!("{name}, ")).unwrap_or_default();
    let who = number.map_or_else(|| "invited".to_owned(), |number| format!("learner {number}"));
    json!({
        "kind": "member",
        "text": format!("{called}{who} in {}: {learner}", history.experiment),
        "experiment": history.experiment.as_str(),
        "learner": learner.to_string(),
    })
}

fn digests(view: &View, digits: &str, found: &mut Found) {
    if view.keys().is_some_and(|keys| keys.ledger().to_string().starts_with(digits)) {
        found.add(json!({ "kind": "ledger", "text": "the id of this ledger" }));
    }
    for (name, tale) in &view.tales {
        let history = &tale.history;
        let admission = view.experiment(name).map(|(experiment, _)| experiment.admission());
        let invited = admission.iter().flat_map(|it| it.invitations()).map(|it| it.learner);
        for learner in history.learners.iter().copied().chain(invited) {
            if learner.to_string().starts_with(digits) {
                found.add(member(tale, learner));
            }
        }
        let mut model = |digest: Digest, round: u64, what: &str| {
            let digest = digest.to_string();
            if digest.starts_with(digits) {
                let text = format!("{digest}: {what} round {round} of {name}");
                found.add(json!({
                    "kind": "model", "text": text, "experiment": name.as_str(), "round": round,
                }));
            }
        };
        for round in &history.rounds {
            let number = round.number;
            model(round.base, number, "the model at the beginning of");
            if let Some((digest, _)) = round.proposal {
                model(digest, number, "the proposal in");
            }
            if let Some(merged) = &round.merged {
                merged
                    .updates
                    .values()
                    .for_each(|(digest, _)| model(*digest, number, "an update in"));
                let agreed = merged.decided.and_then(|decided| decided.agreed).unwrap_or_default();
                for (which, what) in
                    [(Merge::Open, "the open merge of"), (Merge::Guarded, "the guarded merge of")]
                {
                    agreed.of(which).into_iter().for_each(|it| model(it, number, what));
                }
            }
            if let Some(result) = round.result {
                model(result.model, number, "the model after");
            }
        }
    }
    for (index, leaf) in view.book.leaves().iter().enumerate() {
        // Written out only where the first byte fits: there can be millions.
        let begins = digits.get(..2).is_some_and(|two| format!("{:02x}", leaf.0[0]) == two);
        if begins && leaf.to_string().starts_with(digits) {
            let text = format!("{leaf}: the hash of entry {index}");
            found.add(json!({ "kind": "entry", "text": text, "entry": index }));
        }
    }
}
