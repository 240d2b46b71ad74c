//! Why a round had the proposer it had: drawn again from the ledger alone.

use colearn_contracts::{Decision, Digest, ExperimentName, LearnerId, Outcome, Selection, draw};

use colearn_records::follower::{BadGenesis, Depth, Fault, Follower};
use colearn_records::record::Record;
use colearn_records::transaction::LedgerId;

use crate::{Source, SourceError, Trouble, entries};

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
    /// The first entry does not begin a ledger.
    #[error("entry 0: {0}; run: colearn audit")]
    Genesis(#[from] BadGenesis),
    /// An entry is not what the ledger must go on with.
    #[error("entry {0}: {1}; run: colearn audit")]
    Fault(u64, Fault),
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

/// Replays a ledger until a round opens. Signatures are not verified.
///
/// # Errors
/// If the ledger cannot be read or followed that far, or there is no such round.
pub fn explain(
    source: &mut dyn Source,
    experiment: &ExperimentName,
    round: u64,
) -> Result<Explanation, Unexplained> {
    let no_such_round = || Unexplained::NoSuchRound(experiment.clone(), round);
    let mut entries = entries(source, u64::MAX);
    let first = entries.next().ok_or_else(no_such_round)??;
    let mut follower = Follower::new(Depth::Replay, &first.1)?;
    let reader = follower.reader();
    // The entry that what is decided now was decided after.
    let mut head_index = 0;
    let mut last_proposer = None;
    for entry in std::iter::once(Ok(first)).chain(entries) {
        let (index, bytes) = entry?;
        let entry = reader.read(bytes);
        let head = Digest(follower.head().leaf.0);
        follower.follow(&entry).map_err(|fault| Unexplained::Fault(index, fault))?;
        if follower.replay().is_some_and(|replay| replay.decided().head == head) {
            head_index = index.saturating_sub(1);
        }
        if let Some(Record::Outcome(Outcome {
            experiment: of,
            what: Decision::RoundOpened { round: opened, proposer, .. },
        })) = entry.record()
            && of == experiment
        {
            if *opened == round {
                let opened = (experiment, round, *proposer);
                let explained = explanation(&follower, opened, last_proposer);
                let explained = explained.ok_or_else(no_such_round)?;
                return Ok(Explanation { index, head_index, ..explained });
            }
            last_proposer = Some(*proposer);
        }
    }
    Err(no_such_round())
}

/// The explanation of a round that has just been opened, but for the entries it names.
fn explanation(
    follower: &Follower,
    (name, round, proposer): (&ExperimentName, u64, LearnerId),
    last_proposer: Option<LearnerId>,
) -> Option<Explanation> {
    let replay = follower.replay()?;
    let (ledger, head) = (follower.keys().ledger(), replay.decided().head);
    let experiment = replay.contract().experiment(name)?;
    let selection = experiment.parameters().selection;
    // Seats do not change while a round is open, so these are those it was drawn from.
    let mut candidates: Vec<LearnerId> = experiment.proposers().map(|(_, it)| it).collect();
    // R32. Nobody is drawn twice in a row, unless alone.
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
    Some(Explanation { index, selection, ledger, head, head_index, candidates, drawn, proposer })
}
