//! Why a round had the proposer it had, drawn again from the ledger alone, and what was done in it.

use std::collections::BTreeMap;

use colearn_contracts::{
    Decision, Digest, Draw, Experiment, ExperimentName, LearnerId, MemberName, Outcome, PROPOSER,
    Seat, Seed, Selection, Version, draw,
};

use colearn_records::follower::{BadGenesis, Depth, Fault, Follower};
use colearn_records::history::History;
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::transaction::LedgerId;

use crate::{Source, SourceError, Trouble, entries};

/// How a round's proposer was chosen, and what was done in the round.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The entry that opened the round.
    pub index: u64,
    /// The version of the rules that the experiment followed.
    pub version: Version,
    /// The rule in force.
    pub selection: Selection,
    /// The ledger's id.
    pub ledger: LedgerId,
    /// What the choice was made from.
    pub from: ChosenFrom,
    /// Who could be chosen, in joining order.
    pub candidates: Vec<LearnerId>,
    /// The place among them that is chosen, counted from 0.
    pub drawn: usize,
    /// Who was chosen, as the ledger has it.
    pub proposer: LearnerId,
    /// What those are called who are called something.
    pub names: BTreeMap<LearnerId, MemberName>,
    /// The experiment's entries from the one that opened the round to the last before the next one opened.
    pub entries: Vec<DecodedEntry>,
}

/// What a proposer is chosen from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChosenFrom {
    /// The seat of who proposed last, if somebody did: the next in joining order has the turn (R24).
    Turns(Option<u64>),
    /// In version 1 a draw among the candidates (R32).
    Head {
        /// The leaf hash of the ledger's last entry when the round was opened.
        head: Digest,
        /// That entry.
        index: u64,
    },
    /// In version 2 the order that a seed gives (R63): the smallest rank is drawn.
    Seed {
        /// The seed.
        seed: Seed,
        /// The candidates' seats.
        seats: Vec<u64>,
        /// The candidates' ranks.
        ranks: Vec<Digest>,
    },
}

impl Explanation {
    /// Whether who was chosen is who had to be.
    pub fn is_as_recorded(&self) -> bool {
        self.candidates.get(self.drawn) == Some(&self.proposer)
    }
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

/// Replays a ledger until the round after this one opens. Signatures are not verified.
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
    let mut draws = Draws::default();
    let mut history = History::new(experiment.clone());
    let mut explained: Option<Explanation> = None;
    for entry in std::iter::once(Ok(first)).chain(entries) {
        let (index, bytes) = entry?;
        let entry = reader.read(bytes);
        draws.before(&follower, experiment);
        follower.follow(&entry).map_err(|fault| Unexplained::Fault(index, fault))?;
        draws.after(&follower, experiment, index);
        let (Some(record), Some(decoded)) = (entry.record(), entry.decoded()) else { continue };
        if record.experiment() != Some(experiment) {
            continue;
        }
        if let Some(opened) = opened(record) {
            if opened.0 == round {
                let chosen = draws.explain(&follower, experiment, opened, index);
                explained = Some(chosen.ok_or_else(no_such_round)?);
            } else if explained.is_some() {
                break;
            }
            draws.opened(&follower, experiment, opened.1);
        }
        history.record(record);
        if let Some(explained) = &mut explained {
            explained.entries.push(decoded.clone());
        }
    }
    let explained = explained.ok_or_else(no_such_round)?;
    Ok(Explanation { names: history.names, ..explained })
}

/// The round that a record opens, and its proposer.
fn opened(record: &Record) -> Option<(u64, LearnerId)> {
    match record {
        Record::Outcome(Outcome {
            what: Decision::RoundOpened { round, proposer, .. }, ..
        }) => Some((*round, *proposer)),
        Record::Genesis(_)
        | Record::Transaction(_)
        | Record::Outcome(_)
        | Record::KeyRotation(_)
        | Record::Upgrade(_) => None,
    }
}

/// What the present round's proposer was chosen from, as far as what came before says it.
#[derive(Default)]
struct Draws {
    /// The entry that what was decided last was decided after.
    head_index: u64,
    /// The head before the present entry.
    head: Option<Digest>,
    /// The last opened round before the present entry, and what the next one was to be drawn from.
    next: Option<(u64, Draw)>,
    /// What the round was drawn from that was opened last.
    drawn: Option<Draw>,
    /// The seat of the last proposer. Its key may be another meanwhile.
    last_seat: Option<u64>,
}

impl Draws {
    /// Looks at the experiment before an entry is followed: a round that opens there takes its seed.
    fn before(&mut self, follower: &Follower, name: &ExperimentName) {
        self.head = Some(Digest(follower.head().leaf.0));
        self.next = follower
            .contract()
            .and_then(|it| it.experiment(name))
            .map(|experiment| (experiment.round(), experiment.next_draw()));
    }

    /// Looks at it after the entry was followed. The contract opens a round with what causes it; that it
    /// did is recorded some entries later.
    fn after(&mut self, follower: &Follower, name: &ExperimentName, index: u64) {
        if follower.replay().map(|replay| replay.decided().head) == self.head {
            self.head_index = index.saturating_sub(1);
        }
        let experiment = follower.contract().and_then(|contract| contract.experiment(name));
        if let (Some(experiment), Some((round, next))) = (experiment, self.next)
            && experiment.round() > round
        {
            self.drawn = Some(next);
        }
    }

    /// Remembers whose turn a round was.
    fn opened(&mut self, follower: &Follower, name: &ExperimentName, proposer: LearnerId) {
        let experiment = follower.contract().and_then(|contract| contract.experiment(name));
        self.last_seat = experiment.and_then(|it| seat_of(it, proposer));
    }

    /// The explanation of a round that this entry opens.
    fn explain(
        &self,
        follower: &Follower,
        name: &ExperimentName,
        (round, proposer): (u64, LearnerId),
        index: u64,
    ) -> Option<Explanation> {
        let replay = follower.replay()?;
        let experiment = replay.contract().experiment(name)?;
        let ledger = follower.keys().ledger();
        let (version, selection) = (experiment.version(), experiment.parameters().selection);
        let candidates = self.candidates(experiment);
        let (drawn, from) = match (selection, version) {
            (Selection::RoundRobin, Version::V1 | Version::V2) => {
                let is_next =
                    |(seat, _): &(u64, LearnerId)| self.last_seat.is_none_or(|last| *seat > last);
                // After the last comes the first.
                let drawn = candidates.iter().position(is_next).unwrap_or(0);
                (drawn, ChosenFrom::Turns(self.last_seat))
            }
            (Selection::Sortition, Version::V1) => {
                let (head, index) = (replay.decided().head, self.head_index);
                let drawn = draw(&Digest(ledger.0), &head, name, round, candidates.len());
                (drawn, ChosenFrom::Head { head, index })
            }
            (Selection::Sortition, Version::V2) => {
                let seed = self.drawn?.seed;
                let seats: Vec<u64> = candidates.iter().map(|(seat, _)| *seat).collect();
                let ranks: Vec<Digest> =
                    seats.iter().map(|seat| seed.rank(PROPOSER, *seat)).collect();
                let smallest = ranks.iter().enumerate().min_by_key(|(_, rank)| **rank);
                (smallest.map_or(0, |(at, _)| at), ChosenFrom::Seed { seed, seats, ranks })
            }
        };
        Some(Explanation {
            index,
            version,
            selection,
            ledger,
            from,
            candidates: candidates.into_iter().map(|(_, learner)| learner).collect(),
            drawn,
            proposer,
            names: BTreeMap::new(),
            entries: Vec::new(),
        })
    }

    /// Who could be chosen, with their seats, in joining order. Seats do not change while a round is open,
    /// so these are those that it was opened with.
    fn candidates(&self, experiment: &Experiment) -> Vec<(u64, LearnerId)> {
        let all: Vec<(u64, LearnerId)> = experiment.proposers().collect();
        let draw = match (experiment.parameters().selection, experiment.version()) {
            (Selection::RoundRobin, _) => return all,
            (Selection::Sortition, Version::V1) => None,
            (Selection::Sortition, Version::V2) => self.drawn,
        };
        // R32. Nobody is drawn twice in a row, unless alone. R63. And nobody for whom the draw is not,
        // unless there is nobody else.
        let not_last = |(seat, _): &(u64, LearnerId)| Some(*seat) != self.last_seat;
        let silent = |learner| experiment.member(learner).map_or(0, |member| member.silent);
        let was_there = |(seat, learner): &(u64, LearnerId)| {
            draw.is_none_or(|draw| draw.is_for(*seat, silent(*learner)))
        };
        let others: Vec<(u64, LearnerId)> = all.iter().copied().filter(not_last).collect();
        let there: Vec<(u64, LearnerId)> = others.iter().copied().filter(was_there).collect();
        [there, others, all].into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
    }
}

fn seat_of(experiment: &Experiment, learner: LearnerId) -> Option<u64> {
    match experiment.member(learner)?.seat {
        Seat::Seated(seat) | Seat::Leaving(seat) => Some(seat),
        Seat::Joining | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => None,
    }
}
