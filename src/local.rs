//! The local backend: the same contract and the same learners, without network or disk.

use colearn_contracts::{
    Action, Contract, CreateExperiment, ExperimentName, LearnerId, Outcome, Parameters, Phase,
    Proposal, Rejection, Scores, Vote,
};
use rayon::prelude::*;

use crate::history::{History, Round};
use crate::learner::{Learner, LearnerError, Proposed, SAFETENSORS, Weights};

/// Why a local run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There are no learners.
    #[error("a run needs at least one learner")]
    NoLearners,
    /// The parameters need an end.
    #[error("a local run needs max_rounds, or it would never end")]
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

/// Runs learners through `max_rounds` rounds, beginning with the first one's weights.
///
/// Everything goes through the contract, in simulated time that advances by 1 ms a step. Learners
/// score a proposal in parallel; the result does not depend on the number of threads. `watch` sees
/// every round as it closes.
///
/// # Errors
/// If there are no learners, no end, or a learner does not take the model. A learner that fails to
/// propose passes its turn; one that fails to score votes against.
pub fn run<L: Learner + Send>(
    learners: &mut [L],
    parameters: Parameters,
    mut watch: impl FnMut(&History, &Round),
) -> Result<History, LocalError> {
    if parameters.max_rounds.is_none() {
        return Err(LocalError::Endless);
    }
    let mut model = learners.first().ok_or(LocalError::NoLearners)?.current();
    accept_all(learners, &model)?;
    let mut run = Run::new(learners.len(), parameters, &model)?;
    while let Some(proposer) = run.proposer() {
        let round = run.round();
        let proposed = match learners[proposer].propose() {
            Ok(proposed) => proposed,
            Err(error) => {
                tracing::warn!(learner = proposer + 1, %error, "passing the turn");
                Proposed::Pass
            }
        };
        match proposed {
            Proposed::Pass => {
                run.act(proposer, Action::Pass { experiment: run.name(), round })?;
            }
            Proposed::Weights(weights) => {
                let judgements = judge(learners, &weights);
                run.act(
                    proposer,
                    Action::Propose(Proposal {
                        experiment: run.name(),
                        round,
                        base: model.digest(),
                        weights: weights.model(SAFETENSORS),
                        scores: judgements[proposer].1,
                    }),
                )?;
                for (voter, (approve, scores)) in judgements.into_iter().enumerate() {
                    if voter != proposer {
                        let vote = Vote {
                            experiment: run.name(),
                            round,
                            weights: weights.digest(),
                            approve,
                            scores,
                        };
                        run.act(voter, Action::Vote(vote))?;
                    }
                }
                if run.model_is(&weights) {
                    accept_all(learners, &weights)?;
                    model = weights;
                }
            }
        }
        if let Some(round) = run.history.rounds.iter().rfind(|round| round.result.is_some()) {
            watch(&run.history, round);
        }
    }
    Ok(run.history)
}

/// Every learner's approval and scores of some weights.
fn judge<L: Learner + Send>(learners: &mut [L], weights: &Weights) -> Vec<(bool, Scores)> {
    learners
        .par_iter_mut()
        .map(|learner| match learner.test(weights) {
            Ok(score) => (score.approve, score.scores()),
            Err(error) => {
                tracing::warn!(%error, "voting against weights that cannot be scored");
                (false, Scores::default())
            }
        })
        .collect()
}

fn accept_all<L: Learner>(learners: &mut [L], weights: &Weights) -> Result<(), LocalError> {
    for (at, learner) in learners.iter_mut().enumerate() {
        learner.accept(weights).map_err(|source| LocalError::Accept { number: at + 1, source })?;
    }
    Ok(())
}

/// A contract with one experiment and simulated time.
struct Run {
    contract: Contract,
    history: History,
    now_ms: u64,
}

impl Run {
    fn new(learners: usize, parameters: Parameters, model: &Weights) -> Result<Self, LocalError> {
        // A name of the contract's own choosing is always valid.
        let name: ExperimentName = "local".parse().map_err(|_| Rejection::UnknownExperiment)?;
        let mut run =
            Self { contract: Contract::new(), history: History::new(name.clone()), now_ms: 0 };
        let parameters = Parameters { min_learners: learners as u32, ..parameters };
        let model = model.model(SAFETENSORS);
        let create = CreateExperiment { name: name.clone(), parameters, model };
        run.act(0, Action::Create(create))?;
        for learner in 0..learners {
            run.act(learner, Action::Join { experiment: name.clone(), term: 0 })?;
        }
        Ok(run)
    }

    fn act(&mut self, learner: usize, action: Action) -> Result<Vec<Outcome>, Rejection> {
        self.now_ms += 1;
        let sender = learner_id(learner);
        let outcomes = self.contract.apply(self.now_ms, sender, &action)?;
        self.history.action(sender, &action);
        for outcome in &outcomes {
            self.history.outcome(outcome);
        }
        Ok(outcomes)
    }

    fn name(&self) -> ExperimentName {
        self.history.experiment.clone()
    }

    fn round(&self) -> u64 {
        self.contract.experiment(&self.history.experiment).map_or(0, |e| e.round())
    }

    fn model_is(&self, weights: &Weights) -> bool {
        let experiment = self.contract.experiment(&self.history.experiment);
        experiment.is_some_and(|experiment| experiment.model().digest == weights.digest())
    }

    /// Whose turn it is; `None` when the experiment has finished.
    fn proposer(&self) -> Option<usize> {
        match self.contract.experiment(&self.history.experiment)?.phase() {
            Phase::Proposing { proposer, .. } => learner_number(*proposer),
            Phase::Waiting | Phase::Voting { .. } | Phase::Finished(_) => None,
        }
    }
}

/// Local learners are numbered from 1; nobody signs here.
fn learner_id(at: usize) -> LearnerId {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&(at as u32 + 1).to_be_bytes());
    LearnerId(id)
}

fn learner_number(id: LearnerId) -> Option<usize> {
    id.0.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize - 1)
}
