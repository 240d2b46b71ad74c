//! Why a round had those who trained in it, drawn again from the ledger alone, what was done in it, and what
//! the votes on its merges come to.

use std::collections::BTreeMap;

use colearn_contracts::{
    Act, CHECKER, Decision, Digest, Draw, Experiment, ExperimentName, LearnerId, MemberName,
    MergeTally, MergeVerdict, Outcome, PROPOSER, RevealMergeVote, Seat, Seed, Selection, Threshold,
    Version, draw,
};

use colearn_records::follower::{BadGenesis, Depth, Fault, Follower};
use colearn_records::history::{History, MergedRound};
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::transaction::LedgerId;

use crate::merges::{MergedRounds, RecordedMerge};
use crate::{Source, SourceError, Trouble, entries};

/// How those were chosen who trained in a round, and what was done in the round.
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
    /// The public chain's id, and the address of the contract there that keeps the ledger, if one does.
    pub chain: Option<(String, String)>,
    /// Who was to train: the proposer, or all participants of a merged round.
    pub trains: Chosen,
    /// Of a merged round who had to compute the merges, and what came of it.
    pub merged: Option<Merged>,
    /// What those are called who are called something.
    pub names: BTreeMap<LearnerId, MemberName>,
    /// The experiment's entries from the one that opened the round to the last before the next one opened.
    pub entries: Vec<DecodedEntry>,
}

/// Who was chosen for something, and from what.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// What the choice was made from.
    pub from: ChosenFrom,
    /// Who could be chosen, in joining order.
    pub candidates: Vec<LearnerId>,
    /// The places among them that are chosen, counted from 0, in ascending order.
    pub drawn: Vec<usize>,
    /// Who was chosen, as the ledger has it, in joining order.
    pub recorded: Vec<LearnerId>,
}

/// What somebody is chosen from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChosenFrom {
    /// All are chosen: there are no more than may be (R73).
    All,
    /// The seat of who proposed last, if somebody did: the next in joining order have the turn (R24).
    Turns(Option<u64>),
    /// In version 1 a draw among the candidates (R32).
    Head {
        /// The leaf hash of the ledger's last entry when the round was opened.
        head: Digest,
        /// That entry.
        index: u64,
    },
    /// In version 2 the order that a seed gives (R63): the smallest ranks are drawn.
    Seed {
        /// What is drawn for.
        purpose: &'static str,
        /// The seed.
        seed: Seed,
        /// The candidates' seats.
        seats: Vec<u64>,
        /// The candidates' ranks.
        ranks: Vec<Digest>,
        /// Which of the candidates the draw is not for, so that they come after all others.
        after: Vec<bool>,
    },
}

/// What there is to say of a merged round.
#[derive(Clone, Debug)]
pub struct Merged {
    /// Who had to compute the merges; `None` where everybody had to (R86).
    pub checks: Option<Chosen>,
    /// What was sent and said.
    pub round: MergedRound,
    /// The share of the electorate's votes that must be able to bear a merge (R84).
    pub threshold: Threshold,
    /// What the votes of those weigh who took part in the round.
    pub weights: BTreeMap<LearnerId, u32>,
    /// The votes, counted again; `None` where nothing came to a vote.
    pub tally: Option<MergeTally>,
    /// What whoever has the weights can compute again; `None` until the vote is over.
    pub recorded: Option<RecordedMerge>,
}

impl Explanation {
    /// Whether who was chosen is who had to be.
    pub fn is_as_recorded(&self) -> bool {
        let checks = self.merged.as_ref().and_then(|merged| merged.checks.as_ref());
        self.trains.is_as_recorded() && checks.is_none_or(Chosen::is_as_recorded)
    }
}

impl Chosen {
    /// Whether who was chosen is who had to be.
    pub fn is_as_recorded(&self) -> bool {
        let drawn = self.drawn.iter().filter_map(|at| self.candidates.get(*at));
        drawn.eq(&self.recorded)
    }
}

impl Merged {
    /// What the votes come to, counted again (R82 to R84); `None` where there were none to count.
    pub fn verdict(&self) -> Option<MergeVerdict> {
        self.tally.as_ref().map(|tally| tally.verdict(self.threshold))
    }

    /// Whether the recorded decision is what the votes come to. An open round has none yet.
    pub fn is_as_recorded(&self) -> bool {
        let (Some(decided), Some(tally)) = (&self.round.decided, &self.tally) else {
            return self.round.decided.is_none();
        };
        let accepted = match tally.verdict(self.threshold) {
            MergeVerdict::Accepted(which) => Some(which),
            MergeVerdict::Rejected | MergeVerdict::NoAgreement => None,
        };
        decided.accepted == accepted && decided.agreed == tally.agreed().map(|(pair, _)| *pair)
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
    let mut merges = MergedRounds::default();
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
        let opened = Opened::of(record);
        if explained.is_some() && opened.is_some() {
            break;
        }
        history.record(decoded);
        let recorded = follower.contract().and_then(|it| merges.take(index, record, it));
        if let Some(opened) = &opened {
            if opened.round == round {
                let chosen = draws.explain(&follower, &history, opened, index);
                explained = Some(chosen.ok_or_else(no_such_round)?);
            }
            draws.opened(&follower, experiment, opened);
        }
        if let Some(explained) = &mut explained {
            if let Some(merged) = &mut explained.merged {
                merged.record(record);
                merged.recorded = recorded.or(merged.recorded.take());
            }
            explained.entries.push(decoded.clone());
        }
    }
    let mut explained = explained.ok_or_else(no_such_round)?;
    let told = history.rounds.pop().and_then(|round| round.merged);
    if let (Some(merged), Some(told)) = (&mut explained.merged, told) {
        merged.round = told;
    }
    Ok(Explanation { names: history.names, ..explained })
}

/// A round that a record opens.
struct Opened<'a> {
    round: u64,
    /// Its proposer, or its participants.
    trains: &'a [LearnerId],
    /// Its checkers; of a round with one proposer `None`.
    checks: Option<&'a [LearnerId]>,
}

impl<'a> Opened<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        match record {
            Record::Outcome(Outcome {
                what: Decision::RoundOpened { round, proposer, .. },
                ..
            }) => {
                Some(Self { round: *round, trains: std::slice::from_ref(proposer), checks: None })
            }
            Record::Outcome(Outcome {
                what: Decision::TrainingOpened { round, participants, checkers, .. },
                ..
            }) => Some(Self { round: *round, trains: participants, checks: Some(checkers) }),
            Record::Genesis(_)
            | Record::Transaction(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => None,
        }
    }
}

impl Merged {
    /// Counts what a record says in votes on merges, as the contract does.
    fn record(&mut self, record: &Record) {
        if let Record::Outcome(outcome) = record
            && let Decision::MergeVotingOpened { electorate, .. } = &outcome.what
        {
            // At most 64.
            let checkers = self.round.checkers.len() as u32;
            self.tally = Some(MergeTally::of(*electorate, checkers));
        }
        let Record::Transaction(transaction) = record else { return };
        let (sender, act) = (transaction.sender, &transaction.action.what);
        if let Act::MergeVote(vote) | Act::RevealMergeVote(RevealMergeVote { vote, .. }) = act
            && let (Some(tally), Some(weight)) = (&mut self.tally, self.weights.get(&sender))
        {
            tally.add(vote, *weight, self.round.checkers.contains(&sender));
        }
        if let Act::ReplaceKey { to } = act {
            let weight = self.weights.remove(&sender);
            self.weights.extend(weight.map(|weight| (*to, weight)));
            let checkers = self.round.checkers.iter_mut();
            checkers.filter(|checker| **checker == sender).for_each(|checker| *checker = *to);
        }
    }
}

/// What those who train in the present round were chosen from, as far as what came before says it.
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
    /// The seat that had the last turn. Its key may be another meanwhile.
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

    /// Remembers whose turn a round was. Turns go on after the participants of a merged round where these had
    /// them by turns, not where they were drawn.
    fn opened(&mut self, follower: &Follower, name: &ExperimentName, opened: &Opened<'_>) {
        let experiment = follower.contract().and_then(|contract| contract.experiment(name));
        let Some(experiment) = experiment else { return };
        let by_turns = experiment.parameters().selection == Selection::RoundRobin;
        if opened.checks.is_none() || by_turns {
            let seats = opened.trains.iter().filter_map(|learner| seat_of(experiment, *learner));
            self.last_seat = seats.max_by_key(|seat| self.turn(*seat));
        }
    }

    /// The place of a seat in the order of turns: after the last comes the first.
    fn turn(&self, seat: u64) -> (bool, u64) {
        (self.last_seat.is_some_and(|last| seat <= last), seat)
    }

    /// The explanation of a round that this entry opens.
    fn explain(
        &self,
        follower: &Follower,
        history: &History,
        opened: &Opened<'_>,
        index: u64,
    ) -> Option<Explanation> {
        let replay = follower.replay()?;
        let name = &history.experiment;
        let experiment = replay.contract().experiment(name)?;
        let ledger = follower.keys().ledger();
        let (version, selection) = (experiment.version(), experiment.parameters().selection);
        let recorded = opened.trains.to_vec();
        let (trains, merged) = match experiment.parameters().merging {
            Some(merging) if opened.checks.is_some() => {
                let among: Vec<(u64, LearnerId)> = experiment.proposers().collect();
                let most = merging.proposers as usize;
                let trains = self.several(experiment, PROPOSER, among, most, recorded)?;
                let seated = experiment.seated();
                let seated: Vec<(u64, LearnerId)> =
                    seated.filter_map(|it| Some((seat_of(experiment, it)?, it))).collect();
                let weights = seated.iter().filter_map(|(_, learner)| {
                    Some((*learner, experiment.member(*learner)?.weight))
                });
                let weights = weights.collect();
                let checks = match (merging.checkers as usize, opened.checks) {
                    (0, _) | (_, None) => None,
                    (most, Some(checks)) => {
                        Some(self.several(experiment, CHECKER, seated, most, checks.to_vec())?)
                    }
                };
                let threshold = experiment.parameters().threshold;
                let round = history.rounds.last()?.merged.clone()?;
                (
                    trains,
                    Some(Merged { checks, round, threshold, weights, tally: None, recorded: None }),
                )
            }
            _ => {
                let head = (replay.decided().head, self.head_index);
                let draws = (name, &Digest(ledger.0), opened.round);
                (self.one(experiment, draws, head, recorded)?, None)
            }
        };
        let chain = follower.keys().public_chain();
        Some(Explanation {
            chain: chain.map(|(id, contract)| (id.to_owned(), contract.to_owned())),
            index,
            version,
            selection,
            ledger,
            trains,
            merged,
            names: BTreeMap::new(),
            entries: Vec::new(),
        })
    }

    /// How the proposer of a round was chosen.
    fn one(
        &self,
        experiment: &Experiment,
        (name, ledger, round): (&ExperimentName, &Digest, u64),
        (head, head_index): (Digest, u64),
        recorded: Vec<LearnerId>,
    ) -> Option<Chosen> {
        let candidates = self.candidates(experiment);
        let (drawn, from) = match (experiment.parameters().selection, experiment.version()) {
            (Selection::RoundRobin, Version::V1 | Version::V2) => {
                let turns = candidates.iter().enumerate();
                let next = turns.min_by_key(|(_, (seat, _))| self.turn(*seat));
                (next.map_or(0, |(at, _)| at), ChosenFrom::Turns(self.last_seat))
            }
            (Selection::Sortition, Version::V1) => {
                let drawn = draw(ledger, &head, name, round, candidates.len());
                (drawn, ChosenFrom::Head { head, index: head_index })
            }
            (Selection::Sortition, Version::V2) => {
                let seed = self.drawn?.seed;
                let seats: Vec<u64> = candidates.iter().map(|(seat, _)| *seat).collect();
                let ranks: Vec<Digest> =
                    seats.iter().map(|seat| seed.rank(PROPOSER, *seat)).collect();
                let smallest = ranks.iter().enumerate().min_by_key(|(_, rank)| **rank);
                let (drawn, after) = (smallest.map_or(0, |(at, _)| at), vec![false; seats.len()]);
                (drawn, ChosenFrom::Seed { purpose: PROPOSER, seed, seats, ranks, after })
            }
        };
        let candidates = candidates.into_iter().map(|(_, learner)| learner).collect();
        Some(Chosen { from, candidates, drawn: vec![drawn], recorded })
    }

    /// How several were chosen for a merged round (R73, R86).
    fn several(
        &self,
        experiment: &Experiment,
        purpose: &'static str,
        among: Vec<(u64, LearnerId)>,
        most: usize,
        recorded: Vec<LearnerId>,
    ) -> Option<Chosen> {
        let (seats, candidates): (Vec<u64>, Vec<LearnerId>) = among.into_iter().unzip();
        let mut drawn: Vec<usize> = (0..seats.len()).collect();
        let from = match experiment.parameters().selection {
            _ if seats.len() <= most => ChosenFrom::All,
            Selection::RoundRobin => {
                drawn.sort_by_key(|at| self.turn(seats[*at]));
                ChosenFrom::Turns(self.last_seat)
            }
            Selection::Sortition => {
                let draw = self.drawn?;
                let ranks: Vec<Digest> =
                    seats.iter().map(|seat| draw.seed.rank(purpose, *seat)).collect();
                let after: Vec<bool> = seats
                    .iter()
                    .zip(&candidates)
                    .map(|(seat, learner)| !draw.is_for(*seat, silent(experiment, *learner)))
                    .collect();
                drawn.sort_by_key(|at| (after[*at], ranks[*at]));
                ChosenFrom::Seed { purpose, seed: draw.seed, seats, ranks, after }
            }
        };
        drawn.truncate(most);
        drawn.sort_unstable();
        Some(Chosen { from, candidates, drawn, recorded })
    }

    /// Who could be chosen to propose, with their seats, in joining order. Seats do not change while a round is
    /// open, so these are those that it was opened with.
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
        let was_there = |(seat, learner): &(u64, LearnerId)| {
            draw.is_none_or(|draw| draw.is_for(*seat, silent(experiment, *learner)))
        };
        let others: Vec<(u64, LearnerId)> = all.iter().copied().filter(not_last).collect();
        let there: Vec<(u64, LearnerId)> = others.iter().copied().filter(was_there).collect();
        [there, others, all].into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
    }
}

/// The round in which a learner kept a link back last; 0 for never (R63).
fn silent(experiment: &Experiment, learner: LearnerId) -> u64 {
    experiment.member(learner).map_or(0, |member| member.silent)
}

fn seat_of(experiment: &Experiment, learner: LearnerId) -> Option<u64> {
    match experiment.member(learner)?.seat {
        Seat::Seated(seat) | Seat::Leaving(seat) => Some(seat),
        Seat::Joining | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => None,
    }
}
