//! The local backend: the same contract, the same learners and the same ledger entries, without
//! network or disk, in simulated time.

mod ledger;
mod merged;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::RangeInclusive;

use colearn_contracts::{Decision, Digest, LearnerId, Parameters, Phase, Rejection, Stage};
use colearn_ledger::Hash;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::learner::{self, Learner, LearnerError, Score, Task, Work};
use crate::links::NoLink;
use crate::participant::{Duty, Participant, Remembered};
use crate::spending::Spending;
use crate::turn::{self, Attempt, Trained};
use crate::weights::Weights;
use colearn_records::history::{History, Round};
use ledger::LocalLedger;

/// Why a local run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There are no learners.
    #[error("a run needs at least one learner")]
    NoLearners,
    /// The parameters need an end.
    #[error("a local run needs max_rounds or patience, or it would never end")]
    Endless,
    /// The contract refuses something, such as parameters out of range.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A chain is not the one that a learner's key gives.
    #[error(transparent)]
    Chain(#[from] NoLink),
    /// The updates of a round cannot be merged.
    #[error(transparent)]
    Merge(#[from] colearn_merge::Error),
    /// A learner does not take the model.
    #[error("learner {number} cannot take the model: {source}")]
    Accept {
        /// Counted from 1.
        number: usize,
        /// In its words.
        source: LearnerError,
    },
}

/// What a local run leaves.
#[derive(Clone, Debug)]
pub struct LocalRun {
    /// What happened.
    pub history: History,
    /// How many entries the ledger has in memory.
    pub size: u64,
    /// How many bytes they are.
    pub bytes: u64,
    /// The root of the tree over them. The same learners, parameters and seeds give the same root,
    /// on any number of threads.
    pub root: Hash,
    /// How much simulated time passed.
    pub simulated_ms: u64,
}

/// How a simulated learner takes part, apart from what it proposes and thinks: whether it is there,
/// and how long it takes. The default is there, and takes no time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conduct {
    /// How long it trains for a proposal.
    pub training_ms: u64,
    /// How long it takes to vote.
    pub voting_ms: u64,
    /// The rounds in which it is not there: it crashed, and returns.
    pub away: Vec<RangeInclusive<u64>>,
    /// How it comes to its votes.
    pub voting: Voting,
    /// Whether what its learner approves of decides what it can bear in merged rounds, and not how that
    /// compares with the models before.
    pub own_judge: bool,
    /// Which learners, counted from 0, do not get the bytes of its updates in merged rounds, unless they are
    /// merged: then somebody serves them who has them. Of no effect where members are not asked what they hold.
    pub withheld_from: Vec<usize>,
    /// Whose updates it says not to hold, though it does.
    pub denies: Vec<usize>,
}

/// How a simulated learner comes to its votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Voting {
    /// By its own judgement.
    #[default]
    Own,
    /// It never votes.
    Never,
    /// It waits for the others and votes with their majority, without looking at the proposal. Where
    /// ballots are sealed it sees none, and approves.
    Copied,
}

impl Conduct {
    /// Whether it is not there in a round.
    pub fn is_away(&self, round: u64) -> bool {
        self.away.iter().any(|rounds| rounds.contains(&round))
    }
}

/// Runs learners until `max_rounds` or `patience` ends the experiment, beginning with the first
/// one's weights. All are waited for at the start, whatever `min_learners` says.
///
/// Everything goes through the contract and into a ledger in memory, in simulated time, signed with
/// keys that are made for the run and are no secret. Learners score a proposal in parallel; the
/// result does not depend on the number of threads. `watch` sees every round as it closes.
///
/// # Errors
/// If there are no learners, no end, or a learner does not take the model. A learner that fails to
/// propose, or to score what it would propose, passes its turn; one that fails to score what another
/// proposes votes against. A run in which nobody proposes any more ends with what there is.
pub fn run<L: Learner + Send>(
    learners: &mut [L],
    parameters: Parameters,
    watch: impl FnMut(&History, &Round),
) -> Result<LocalRun, LocalError> {
    let parameters = Parameters { min_learners: learners.len() as u32, ..parameters };
    let conducts = vec![Conduct::default(); learners.len()];
    simulate(learners, &conducts, parameters, watch)
}

/// As [`run`], with learners that are slow, absent or lazy: `conducts` has one for each. The
/// experiment begins when `min_learners` have joined.
///
/// # Errors
/// As [`run`].
pub fn simulate<L: Learner + Send>(
    learners: &mut [L],
    conducts: &[Conduct],
    parameters: Parameters,
    mut watch: impl FnMut(&History, &Round),
) -> Result<LocalRun, LocalError> {
    if parameters.max_rounds.is_none() && parameters.patience.is_none() {
        return Err(LocalError::Endless);
    }
    if conducts.len() != learners.len() {
        return Err(LocalError::NoLearners);
    }
    let model = learners.first().ok_or(LocalError::NoLearners)?.current();
    accept_all(learners, &model)?;
    let mut run = Run::new(conducts, parameters, &model)?;
    let mut seen = 0;
    while let Some(turn) = run.turn()? {
        match turn {
            Turn::Single { proposer, deadline_ms } => {
                let ready_ms = run.ledger.now_ms().saturating_add(conducts[proposer].training_ms);
                if conducts[proposer].is_away(run.round()) || ready_ms >= deadline_ms {
                    run.wait_until(deadline_ms);
                } else {
                    run.hold(learners, proposer, ready_ms)?;
                }
            }
            Turn::Merged => run.hold_merged(learners)?,
        }
        let closed = run.ledger.history().rounds.iter().rfind(|round| round.result.is_some());
        if let Some(closed) = closed.filter(|closed| closed.number > seen) {
            seen = closed.number;
            watch(run.ledger.history(), closed);
        }
    }
    let simulated_ms = run.ledger.now_ms();
    let (history, size, bytes, root) = run.ledger.close();
    Ok(LocalRun { history, size, bytes, root, simulated_ms })
}

fn accept_all<L: Learner + Send>(learners: &mut [L], weights: &Weights) -> Result<(), LocalError> {
    learners.par_iter_mut().enumerate().try_for_each(|(at, learner)| {
        learner.accept(weights).map_err(|source| LocalError::Accept { number: at + 1, source })
    })
}

/// What the open round waits for.
enum Turn {
    /// One learner's proposal.
    Single { proposer: usize, deadline_ms: u64 },
    /// Everybody's updates.
    Merged,
}

/// How many of the last models are kept: the global one, and the one before.
const KEPT_MODELS: usize = 2;

/// A run: the ledger, what each learner owes, and how learners conduct themselves.
struct Run<'a> {
    ledger: LocalLedger,
    participants: Vec<Participant>,
    /// What each has spent of its privacy in this run.
    spending: Vec<Spending>,
    conducts: &'a [Conduct],
    /// The last models, the global one last.
    models: VecDeque<Weights>,
}

impl<'a> Run<'a> {
    /// An experiment that all learners have joined, in order.
    fn new(
        conducts: &'a [Conduct],
        parameters: Parameters,
        model: &Weights,
    ) -> Result<Self, LocalError> {
        let (ledger, create) = LocalLedger::new(conducts.len(), parameters, model)?;
        let participant = |at: usize| {
            let held = Some(model.digest());
            let name = ledger.name();
            Participant::new(ledger.id(at), ledger.ledger_id(), name, held, Remembered::default())
                .judging_itself(conducts[at].own_judge)
        };
        let participants = (0..conducts.len()).map(participant).collect();
        let spending = conducts.iter().map(|_| Spending::in_memory()).collect();
        let models = VecDeque::from([model.clone()]);
        let mut run = Self { ledger, participants, spending, conducts, models };
        let creator = run.ledger.id(0);
        run.participants.iter_mut().for_each(|it| it.observe_act(creator, &create));
        for at in 0..conducts.len() {
            run.submit_owed(0, at)?;
        }
        Ok(run)
    }

    /// Submits what a learner owes, if it owes anything to be submitted, and shows everybody what
    /// came of it.
    fn submit_owed(&mut self, at_ms: u64, learner: usize) -> Result<(), LocalError> {
        let Duty::Submit(statement) = self.participants[learner].duty() else {
            return Ok(());
        };
        let sender = self.participants[learner].me();
        let (act, decided) = self.ledger.say(at_ms, learner, &statement)?;
        self.participants[learner].submitted();
        if self.participants[learner].concerns_others(&act) {
            self.participants.iter_mut().for_each(|it| it.observe_act(sender, &act));
        } else {
            self.participants[learner].observe_act(sender, &act);
        }
        self.show(&decided);
        Ok(())
    }

    /// Submits what a learner owes now that it has its salt, which it always has.
    fn submit_sealed(
        &mut self,
        at_ms: u64,
        learner: usize,
        sealed: Result<(), Infallible>,
    ) -> Result<(), LocalError> {
        match sealed {
            Ok(()) => self.submit_owed(at_ms, learner),
            Err(never) => match never {},
        }
    }

    fn wait_until(&mut self, then_ms: u64) {
        let decided = self.ledger.wait_until(then_ms);
        self.show(&decided);
    }

    fn show(&mut self, decided: &[Decision]) {
        for participant in &mut self.participants {
            for decision in decided {
                participant.observe_decision(decision);
            }
        }
    }

    /// Whose turn it is, and until when; `None` when the experiment has finished, or nobody proposes
    /// any more. Whoever lost its seat and is there takes it again.
    fn turn(&mut self) -> Result<Option<Turn>, LocalError> {
        self.rejoin()?;
        let Some(experiment) = self.ledger.experiment() else { return Ok(None) };
        match experiment.phase() {
            Phase::Proposing { proposer, deadline_ms } => {
                let deadline_ms = *deadline_ms;
                let proposer = self.ledger.number_of(*proposer);
                Ok(proposer.map(|proposer| Turn::Single { proposer, deadline_ms }))
            }
            Phase::Merged(_) => Ok(Some(Turn::Merged)),
            Phase::Waiting | Phase::Paused(_) | Phase::Voting { .. } | Phase::Finished(_) => {
                Ok(None)
            }
        }
    }

    fn rejoin(&mut self) -> Result<(), LocalError> {
        let round = self.round();
        let mut back: Vec<(LearnerId, usize)> = (0..self.participants.len())
            .filter(|at| !self.conducts[*at].is_away(round))
            .filter(|at| self.participants[*at].owes_join())
            .map(|at| (self.participants[at].me(), at))
            .collect();
        back.sort_unstable();
        back.into_iter().try_for_each(|(_, at)| self.submit_owed(0, at))
    }

    fn round(&self) -> u64 {
        self.ledger.experiment().map_or(0, |experiment| experiment.round())
    }

    /// One turn: a proposal and its votes, or a pass.
    fn hold<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
        proposer: usize,
        ready_ms: u64,
    ) -> Result<(), LocalError> {
        let Duty::Train(asked) = self.participants[proposer].duty() else { return Ok(()) };
        let round = asked.round;
        learners[proposer].begin(&Task::new(round, Work::Propose, asked.base, None));
        let attempt = turn::train(&mut learners[proposer], &mut self.spending[proposer], &asked);
        let mut judgements: Vec<Option<learner::Result<Score>>> = Vec::new();
        let work = match attempt {
            Ok(Attempt::Made(mut made)) => {
                // All who will judge it do so at once; in which order they say it comes later.
                judgements = self.judge(learners, proposer, &made.weights);
                let score = judgements[proposer].take().transpose();
                score.map(|score| {
                    made.scores = score.map(|score| score.scores()).unwrap_or_default();
                    made.spend(&learners[proposer], &mut self.spending[proposer], &asked)
                })
            }
            Ok(Attempt::Not(trained)) => Ok(trained),
            Err(error) => Err(error),
        };
        if let Err(error) = &work {
            tracing::warn!(learner = proposer + 1, %error, "passing the turn");
        }
        let weights = match &work {
            Ok(Trained::Proposal { weights, .. }) => Some(weights.clone()),
            Ok(Trained::Pass { .. } | Trained::Exhausted { .. }) | Err(_) => None,
        };
        let sealed = self.participants[proposer].trained(round, work, no_secret(proposer, round));
        self.submit_sealed(ready_ms, proposer, sealed)?;
        if let Some(weights) = weights {
            self.vote(round, weights.digest(), judgements)?;
            self.take_accepted(learners, &weights)?;
        }
        Ok(())
    }

    /// Gives all learners the proposed weights if they were accepted.
    fn take_accepted<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
        weights: &Weights,
    ) -> Result<(), LocalError> {
        let model = self.ledger.experiment().map(|it| it.model().digest);
        if model != Some(weights.digest()) {
            return Ok(());
        }
        accept_all(learners, weights)?;
        self.participants.iter_mut().for_each(|it| it.accepted(weights.digest()));
        self.models.push_back(weights.clone());
        if self.models.len() > KEPT_MODELS {
            self.models.pop_front();
        }
        Ok(())
    }

    /// What those who will judge some weights by themselves think of them, in parallel.
    fn judge<L: Learner + Send>(
        &self,
        learners: &mut [L],
        proposer: usize,
        weights: &Weights,
    ) -> Vec<Option<learner::Result<Score>>> {
        let round = self.round();
        let judges = |at: usize| {
            let conduct = &self.conducts[at];
            let votes = self.participants[at].may_vote()
                && conduct.voting == Voting::Own
                && !conduct.is_away(round);
            at == proposer || votes
        };
        let base = self.models.back().map_or(weights.digest(), Weights::digest);
        let judged = learners.par_iter_mut().enumerate();
        judged
            .map(|(at, learner)| {
                let asked = judges(at);
                // Its own proposal it scores as part of its turn.
                if asked && at != proposer {
                    learner.begin(&Task::new(round, Work::Vote, base, None));
                }
                asked.then(|| learner.test(weights))
            })
            .collect()
    }

    /// Who will vote, in the order of their votes' arrival.
    fn voters(&self) -> Vec<usize> {
        let round = self.round();
        let mut voters: Vec<usize> = (0..self.conducts.len())
            .filter(|at| matches!(self.participants[*at].duty(), Duty::Score { .. }))
            .filter(|at| !self.conducts[*at].is_away(round))
            .filter(|at| self.conducts[*at].voting != Voting::Never)
            .collect();
        voters.sort_by_key(|at| {
            let conduct = &self.conducts[*at];
            (conduct.voting == Voting::Copied, conduct.voting_ms, *at)
        });
        voters
    }

    /// How votes are taken now and until when, if this round takes any.
    fn stage(&self, round: u64) -> Option<(Stage, u64)> {
        let experiment = self.ledger.experiment()?;
        match experiment.phase() {
            Phase::Voting { stage, deadline_ms, .. } if experiment.round() == round => {
                Some((*stage, *deadline_ms))
            }
            Phase::Voting { .. }
            | Phase::Waiting
            | Phase::Paused(_)
            | Phase::Merged(_)
            | Phase::Proposing { .. }
            | Phase::Finished(_) => None,
        }
    }

    /// Casts the votes, or as many as the round takes; sealed ones in two steps. Then waits for the
    /// deadlines that are left.
    fn vote(
        &mut self,
        round: u64,
        weights: Digest,
        mut judgements: Vec<Option<learner::Result<Score>>>,
    ) -> Result<(), LocalError> {
        let voters = self.voters();
        let opened_ms = self.ledger.now_ms();
        let mut last_ms = opened_ms;
        for &voter in &voters {
            let Some((Stage::Open | Stage::Commit { .. }, deadline_ms)) = self.stage(round) else {
                break;
            };
            let conduct = &self.conducts[voter];
            let copies = conduct.voting == Voting::Copied;
            let at_ms = match copies {
                true => last_ms,
                false => opened_ms.saturating_add(conduct.voting_ms),
            };
            // Each entry takes at least a millisecond.
            if at_ms.max(self.ledger.now_ms() + 1) >= deadline_ms {
                continue;
            }
            last_ms = last_ms.max(at_ms);
            let score = match judgements[voter].take() {
                Some(score) if !copies => {
                    if let Err(error) = &score {
                        tracing::debug!(learner = voter + 1, %error, "voting against");
                    }
                    score
                }
                // It has not looked at the proposal, so it has no score.
                _ => Ok(Score::none(self.majority_approves())),
            };
            let salt = no_secret(voter, round);
            let sealed = self.participants[voter].scored(round, weights, score, salt);
            self.submit_sealed(at_ms, voter, sealed)?;
        }
        if let Some((Stage::Open | Stage::Commit { .. }, deadline_ms)) = self.stage(round) {
            self.wait_until(deadline_ms);
        }
        for &voter in &voters {
            if let Some((Stage::Reveal { .. }, _)) = self.stage(round) {
                self.submit_owed(0, voter)?;
            }
        }
        if let Some((_, deadline_ms)) = self.stage(round) {
            self.wait_until(deadline_ms);
        }
        Ok(())
    }

    /// What the votes so far say; approval where none can be seen.
    fn majority_approves(&self) -> bool {
        match self.ledger.experiment().map(|it| it.phase()) {
            Some(Phase::Voting { tally, stage: Stage::Open, .. }) => {
                tally.approvals >= tally.rejections
            }
            _ => true,
        }
    }
}

/// A salt that is no secret: everybody is in this process.
fn no_secret(learner: usize, round: u64) -> impl FnOnce() -> Result<[u8; 32], Infallible> {
    move || {
        let hash = Sha256::new().chain_update(b"salt").chain_update(learner.to_be_bytes());
        Ok(hash.chain_update(round.to_be_bytes()).finalize().into())
    }
}
