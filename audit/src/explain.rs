//! Why a round had the proposer it had: drawn again from the ledger alone.

use colearn_contracts::{
    Decision, Digest, Experiment, ExperimentName, LearnerId, Moment, Outcome, Selection, draw,
};
use colearn_ledger::Hash;

use crate::{Source, SourceError, Trouble};
use colearn_records::record::{NotARecord, Record};
use colearn_records::replay::{Departure, Replay};
use colearn_records::transaction::LedgerId;

/// How a round's proposer was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// The entry that opened the round.
    pub index: u64,
    /// The rule in force.
    pub selection: Selection,
    /// The ledger's id.
    pub ledger: LedgerId,
    /// The leaf hash of the ledger's last entry when the round was opened.
    pub head: Digest,
    /// That entry.
    pub head_index: u64,
    /// Who could be chosen, in joining order.
    pub candidates: Vec<LearnerId>,
    /// The place among them that is drawn, counted from 0; by turns, that of the proposer.
    pub drawn: usize,
    /// Who was chosen.
    pub proposer: LearnerId,
}

/// Why a round cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Unexplained {
    /// The ledger cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The ledger is damaged.
    #[error("entry {index} is damaged: {what}; run: colearn audit")]
    Damaged {
        /// The entry.
        index: u64,
        /// How.
        what: String,
    },
    /// An entry cannot be read.
    #[error("entry {0}: {1}; run: colearn audit")]
    Record(u64, NotARecord),
    /// An entry breaks the rules.
    #[error("entry {0}: {1}; run: colearn audit")]
    Departure(u64, Departure),
    /// There is no such round.
    #[error("the ledger has no round {1} of {0}")]
    NoSuchRound(ExperimentName, u64),
}

impl From<Trouble> for Unexplained {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged { index, what } => Self::Damaged { index, what },
            Trouble::Unreadable(error) => error.into(),
        }
    }
}

/// Replays a ledger until a round opens.
///
/// # Errors
/// If the ledger cannot be read or followed that far, or there is no such round.
pub fn explain(
    source: &mut dyn Source,
    experiment: &ExperimentName,
    round: u64,
) -> Result<Explanation, Unexplained> {
    let mut ledger = LedgerId([0; 32]);
    let mut replay = Replay::new(ledger);
    let (mut index, mut head) = (0, Digest([0; 32]));
    // The entry that what is decided now was decided after.
    let mut head_index = 0;
    let mut last_proposer = None;
    loop {
        let entries = source.next_entries(u64::MAX)?;
        if entries.is_empty() {
            return Err(Unexplained::NoSuchRound(experiment.clone(), round));
        }
        for bytes in entries {
            let placed =
                Record::decode(&bytes).map_err(|error| Unexplained::Record(index, error))?;
            if let Record::Genesis(genesis) = &placed.record {
                ledger = LedgerId::of(genesis);
                replay = Replay::new(ledger);
            }
            replay
                .record(Moment { now_ms: placed.time_ms, head }, &placed.record)
                .map_err(|error| Unexplained::Departure(index, error))?;
            if replay.decided().head == head {
                head_index = index.saturating_sub(1);
            }
            if let Record::Outcome(Outcome {
                experiment: of,
                what: Decision::RoundOpened { round: opened, proposer, .. },
            }) = placed.record
                && of == *experiment
            {
                if opened == round {
                    let opened = (experiment, round, proposer);
                    let told = explanation(&replay, ledger, opened, last_proposer);
                    return Ok(Explanation { index, head_index, ..told });
                }
                last_proposer = Some(proposer);
            }
            head = Digest(Hash::leaf(&bytes).0);
            index += 1;
        }
    }
}

/// The explanation of a round that has just been opened, but for the entries it names.
fn explanation(
    replay: &Replay,
    ledger: LedgerId,
    (name, round, proposer): (&ExperimentName, u64, LearnerId),
    last_proposer: Option<LearnerId>,
) -> Explanation {
    let head = replay.decided().head;
    let experiment = replay.contract().experiment(name);
    let selection = experiment.map_or(Selection::RoundRobin, |it| it.parameters().selection);
    // Seats do not change while a round is open, so these are those it was drawn from.
    let mut candidates: Vec<LearnerId> =
        experiment.into_iter().flat_map(Experiment::proposers).map(|(_, it)| it).collect();
    if selection == Selection::Sortition
        && candidates.len() > 1
        && let Some(last) = last_proposer
    {
        candidates.retain(|learner| *learner != last);
    }
    let drawn = match selection {
        Selection::Sortition => draw(&Digest(ledger.0), &head, name, round, candidates.len()),
        Selection::RoundRobin => {
            candidates.iter().position(|learner| *learner == proposer).unwrap_or(0)
        }
    };
    let (index, head_index) = (0, 0);
    Explanation { index, selection, ledger, head, head_index, candidates, drawn, proposer }
}
