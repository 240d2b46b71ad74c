//! The local backend: the same contract, the same learners and the same ledger entries, without
//! network or disk, in simulated time.

mod book;

use std::ops::RangeInclusive;

use colearn_contracts::{
    Action, Commit, Digest, Parameters, Phase, Proposal, Rejection, Reveal, Scores, Sealed, Seat,
    Stage, Vote,
};
use colearn_ledger::Hash;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::learner::{Learner, LearnerError, Proposed, SAFETENSORS, Weights};
use book::Book;
use colearn_records::history::{History, Round};

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
    pub ballot: Ballot,
}

/// How a simulated learner comes to its votes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ballot {
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
    fn is_away(&self, round: u64) -> bool {
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
/// propose passes its turn; one that fails to score votes against. A run in which nobody proposes
/// any more ends with what there is.
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
    let mut model = learners.first().ok_or(LocalError::NoLearners)?.current();
    accept_all(learners, &model)?;
    let mut run = Run { book: Book::new(learners.len(), parameters, &model)?, conducts };
    let mut seen = 0;
    while let Some((proposer, deadline_ms)) = run.turn()? {
        let round = run.round();
        let ready_ms = run.book.now_ms().saturating_add(conducts[proposer].training_ms);
        if conducts[proposer].is_away(round) || ready_ms >= deadline_ms {
            run.book.wait_until(deadline_ms);
        } else if let Some(accepted) = run.hold(learners, proposer, ready_ms, &model)? {
            accept_all(learners, &accepted)?;
            model = accepted;
        }
        let closed = run.book.history().rounds.iter().rfind(|round| round.result.is_some());
        if let Some(closed) = closed.filter(|closed| closed.number > seen) {
            seen = closed.number;
            watch(run.book.history(), closed);
        }
    }
    let simulated_ms = run.book.now_ms();
    let (history, size, root) = run.book.close();
    Ok(LocalRun { history, size, root, simulated_ms })
}

fn accept_all<L: Learner + Send>(learners: &mut [L], weights: &Weights) -> Result<(), LocalError> {
    learners.par_iter_mut().enumerate().try_for_each(|(at, learner)| {
        learner.accept(weights).map_err(|source| LocalError::Accept { number: at + 1, source })
    })
}

/// A run: the books, and how learners conduct themselves.
struct Run<'a> {
    book: Book,
    conducts: &'a [Conduct],
}

impl Run<'_> {
    /// Whose turn it is, and until when; `None` when the experiment has finished, or nobody proposes
    /// any more. Whoever lost its seat and is there takes it again.
    fn turn(&mut self) -> Result<Option<(usize, u64)>, LocalError> {
        self.rejoin()?;
        let Some(experiment) = self.book.experiment() else { return Ok(None) };
        match experiment.phase() {
            Phase::Proposing { proposer, deadline_ms } => {
                let deadline_ms = *deadline_ms;
                Ok(self.book.number_of(*proposer).map(|number| (number, deadline_ms)))
            }
            Phase::Waiting | Phase::Paused(_) | Phase::Voting { .. } | Phase::Finished(_) => {
                Ok(None)
            }
        }
    }

    fn rejoin(&mut self) -> Result<(), LocalError> {
        let round = self.round();
        let suspended: Vec<(usize, u32)> = {
            let Some(experiment) = self.book.experiment() else { return Ok(()) };
            if matches!(experiment.phase(), Phase::Finished(_)) {
                return Ok(());
            }
            let lost = experiment.members().filter(|(_, member)| member.seat == Seat::Suspended);
            lost.filter_map(|(id, member)| Some((self.book.number_of(id)?, member.term)))
                .filter(|(number, _)| !self.conducts[*number].is_away(round))
                .collect()
        };
        for (number, term) in suspended {
            let action = Action::Join { experiment: self.book.name(), term: term + 1 };
            self.book.act(0, number, action)?;
        }
        Ok(())
    }

    fn round(&self) -> u64 {
        self.book.experiment().map_or(0, |experiment| experiment.round())
    }

    /// One turn: a proposal and its votes, or a pass. Gives the weights if they were accepted.
    fn hold<L: Learner + Send>(
        &mut self,
        learners: &mut [L],
        proposer: usize,
        ready_ms: u64,
        model: &Weights,
    ) -> Result<Option<Weights>, LocalError> {
        let round = self.round();
        let proposed = learners[proposer].propose().unwrap_or_else(|error| {
            tracing::warn!(learner = proposer + 1, %error, "passing the turn");
            Proposed::Pass
        });
        // What the cap does not allow is not even tried.
        let cap = self.book.experiment().and_then(|it| it.parameters().privacy);
        let proposed = proposed.within(cap);
        let Some(weights) = proposed.weights().cloned() else {
            let exhausted = proposed == Proposed::Exhausted;
            let pass = Action::Pass { experiment: self.book.name(), round, exhausted };
            self.book.act(ready_ms, proposer, pass)?;
            return Ok(None);
        };
        let voters = self.voters(round, proposer);
        let mut judges = vec![false; learners.len()];
        judges[proposer] = true;
        for &voter in &voters {
            judges[voter] = self.conducts[voter].ballot == Ballot::Own;
        }
        let judgements = judge(learners, &weights, &judges);
        let proposal = Proposal {
            experiment: self.book.name(),
            round,
            base: model.digest(),
            weights: weights.model(SAFETENSORS),
            scores: judgements[proposer].1,
            privacy: proposed.privacy(),
        };
        self.book.act(ready_ms, proposer, Action::Propose(proposal))?;
        self.vote(&voters, round, weights.digest(), &judgements)?;
        let model = self.book.experiment().map(|it| it.model().digest);
        Ok((model == Some(weights.digest())).then_some(weights))
    }

    /// Who will vote in a round, in the order of their votes' arrival.
    fn voters(&self, round: u64, proposer: usize) -> Vec<usize> {
        let Some(experiment) = self.book.experiment() else { return Vec::new() };
        let seated = |at: usize| {
            experiment.member(self.book.id(at)).is_some_and(|member| match member.seat {
                Seat::Seated(_) | Seat::Leaving(_) => true,
                Seat::Joining | Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced => {
                    false
                }
            })
        };
        let mut voters: Vec<usize> = (0..self.conducts.len())
            .filter(|at| *at != proposer && seated(*at) && !self.conducts[*at].is_away(round))
            .filter(|at| self.conducts[*at].ballot != Ballot::Never)
            .collect();
        voters.sort_by_key(|at| {
            let conduct = &self.conducts[*at];
            (conduct.ballot == Ballot::Copied, conduct.voting_ms, *at)
        });
        voters
    }

    /// How votes are taken now and until when, if this round takes any.
    fn stage(&self, round: u64) -> Option<(Stage, u64)> {
        let experiment = self.book.experiment()?;
        match experiment.phase() {
            Phase::Voting { stage, deadline_ms, .. } if experiment.round() == round => {
                Some((*stage, *deadline_ms))
            }
            Phase::Voting { .. }
            | Phase::Waiting
            | Phase::Paused(_)
            | Phase::Proposing { .. }
            | Phase::Finished(_) => None,
        }
    }

    /// Casts the votes, or as many as the round takes; sealed ones in two steps. Then waits for the
    /// deadlines that are left.
    fn vote(
        &mut self,
        voters: &[usize],
        round: u64,
        weights: Digest,
        judgements: &[(bool, Scores)],
    ) -> Result<(), LocalError> {
        let opened_ms = self.book.now_ms();
        let mut cast: Vec<Option<Vote>> = vec![None; self.conducts.len()];
        let mut last_ms = opened_ms;
        for &voter in voters {
            let Some((stage, deadline_ms)) = self.stage(round) else { break };
            let conduct = &self.conducts[voter];
            let copies = conduct.ballot == Ballot::Copied;
            let at_ms = match copies {
                true => last_ms,
                false => opened_ms.saturating_add(conduct.voting_ms),
            };
            // Each entry takes at least a millisecond.
            if at_ms.max(self.book.now_ms() + 1) >= deadline_ms {
                continue;
            }
            last_ms = last_ms.max(at_ms);
            let (approve, scores) = match copies {
                true => (self.majority_approves(), Scores::default()),
                false => judgements[voter],
            };
            let experiment = self.book.name();
            let vote = Vote { experiment: experiment.clone(), round, weights, approve, scores };
            let action = match stage {
                Stage::Open => Action::Vote(vote),
                Stage::Commit { .. } => {
                    let sealed = Sealed {
                        ledger: self.book.ledger(),
                        voter: self.book.id(voter),
                        vote: &vote,
                        salt: &salt(voter, round),
                    };
                    let commitment = sealed.commitment();
                    cast[voter] = Some(vote);
                    Action::Commit(Commit { experiment, round, weights, commitment })
                }
                Stage::Reveal { .. } => break,
            };
            self.book.act(at_ms, voter, action)?;
        }
        if let Some((Stage::Open | Stage::Commit { .. }, deadline_ms)) = self.stage(round) {
            self.book.wait_until(deadline_ms);
        }
        for &voter in voters {
            let Some(vote) = cast[voter].take() else { continue };
            if let Some((Stage::Reveal { .. }, _)) = self.stage(round) {
                let salt = salt(voter, round);
                self.book.act(0, voter, Action::Reveal(Reveal { vote, salt }))?;
            }
        }
        if let Some((_, deadline_ms)) = self.stage(round) {
            self.book.wait_until(deadline_ms);
        }
        Ok(())
    }

    /// What the votes so far say; approval where none can be seen.
    fn majority_approves(&self) -> bool {
        match self.book.experiment().map(|it| it.phase()) {
            Some(Phase::Voting { tally, stage: Stage::Open, .. }) => {
                tally.approvals >= tally.rejections
            }
            _ => true,
        }
    }
}

/// A salt that is no secret: everybody is in this process.
fn salt(voter: usize, round: u64) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"salt").chain_update(voter.to_be_bytes());
    hash.chain_update(round.to_be_bytes()).finalize().into()
}

/// The approval and scores of some weights by those who judge.
fn judge<L: Learner + Send>(
    learners: &mut [L],
    weights: &Weights,
    judges: &[bool],
) -> Vec<(bool, Scores)> {
    learners
        .par_iter_mut()
        .enumerate()
        .map(|(at, learner)| {
            if !judges[at] {
                return (false, Scores::default());
            }
            match learner.test(weights) {
                Ok(score) => (score.approve, score.scores()),
                Err(error) => {
                    tracing::debug!(learner = at + 1, %error, "voting against");
                    (false, Scores::default())
                }
            }
        })
        .collect()
}
