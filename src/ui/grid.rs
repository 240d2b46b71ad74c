//! Who did what in the last rounds, as the page's document has it.

use colearn_contracts::LearnerId;
use colearn_records::history::History;
use serde_json::{Value, json};

use crate::deeds::{Deed, deeds};

/// How many rounds, the last ones, and learners, the first ones, there are at most.
const MAX_ROUNDS: usize = 60;
const MAX_LEARNERS: usize = 100;

/// The last rounds by learner, and what the signs mean.
pub(crate) fn grid(history: &History, waited_for: &[LearnerId]) -> Value {
    let rounds = &history.rounds[history.rounds.len().saturating_sub(MAX_ROUNDS)..];
    let learners = &history.learners[..history.learners.len().min(MAX_LEARNERS)];
    let rows = learners.iter().zip(deeds(history, rounds, learners, waited_for));
    let rows = rows.map(|(learner, deeds)| {
        let deeds: Vec<&str> = deeds.into_iter().map(|deed| deed.told().0).collect();
        json!({ "learner": learner.to_string(), "deeds": deeds })
    });
    let signs = Deed::ALL.map(|deed| {
        let (word, sign, meaning) = deed.told();
        (word.to_owned(), json!({ "sign": sign, "meaning": meaning }))
    });
    json!({
        "rounds": rounds.iter().map(|round| round.number).collect::<Vec<_>>(),
        "rows": rows.collect::<Vec<_>>(),
        "signs": signs.into_iter().collect::<serde_json::Map<String, Value>>(),
    })
}
