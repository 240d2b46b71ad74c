//! The local backend: the same contract, the same learners and the same ledger entries, without
//! network or disk, in simulated time.

use colearn_contracts::{
    Action, Admission, Commit, Contract, CreateExperiment, Digest, Experiment, ExperimentName,
    LearnerId, Moment, Parameters, Phase, PrivacyCap, Proposal, Rejection, Reveal, Scores, Sealed,
    Stage, Vote,
};
use colearn_ledger::{Entry, Hash, Head, TreeBuilder, tree};
use colearn_proto::v1;
use ed25519_dalek::SigningKey;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::history::{History, Round};
use crate::keys::learner_id;
use crate::learner::{Learner, LearnerError, Proposed, SAFETENSORS, Weights};
use crate::record::{self, CONTRACT_VERSION};
use crate::transaction::{LedgerId, Seen, Transaction};

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
}

/// Runs learners until `max_rounds` or `patience` ends the experiment, beginning with the first
/// one's weights.
///
/// Everything goes through the contract and into a ledger in memory, in simulated time that advances
/// by 1 ms a step, signed with keys that are made for the run and are no secret. Learners score a
/// proposal in parallel; the result does not depend on the number of threads. `watch` sees every
/// round as it closes.
///
/// # Errors
/// If there are no learners, no end, or a learner does not take the model. A learner that fails to
/// propose passes its turn; one that fails to score votes against. A run in which nobody proposes
/// any more ends with what there is.
pub fn run<L: Learner + Send>(
    learners: &mut [L],
    parameters: Parameters,
    mut watch: impl FnMut(&History, &Round),
) -> Result<LocalRun, LocalError> {
    if parameters.max_rounds.is_none() && parameters.patience.is_none() {
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
        // What the cap does not allow is not even tried.
        let proposed = proposed.within(run.cap());
        match proposed.weights() {
            Some(weights) => {
                let weights = weights.clone();
                let judgements = judge(learners, &weights);
                run.act(
                    proposer,
                    Action::Propose(Proposal {
                        experiment: run.name(),
                        round,
                        base: model.digest(),
                        weights: weights.model(SAFETENSORS),
                        scores: judgements[proposer].1,
                        privacy: proposed.privacy(),
                    }),
                )?;
                run.vote(proposer, round, weights.digest(), &judgements)?;
                if run.model_is(&weights) {
                    accept_all(learners, &weights)?;
                    model = weights;
                }
            }
            None => {
                let exhausted = proposed == Proposed::Exhausted;
                run.act(proposer, Action::Pass { experiment: run.name(), round, exhausted })?;
            }
        }
        if let Some(round) = run.history.rounds.iter().rfind(|round| round.result.is_some()) {
            watch(&run.history, round);
        }
    }
    let root = tree::root(&run.tree, run.head.size).unwrap_or(Hash::ZERO);
    Ok(LocalRun { history: run.history, size: run.head.size, root })
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

/// A contract with one experiment, a ledger in memory, and simulated time.
struct Run {
    ledger: LedgerId,
    keys: Vec<SigningKey>,
    contract: Contract,
    history: History,
    head: Head,
    tree: TreeBuilder,
    now_ms: u64,
}

impl Run {
    fn new(learners: usize, parameters: Parameters, model: &Weights) -> Result<Self, LocalError> {
        // A name of the contract's own choosing is always valid.
        let name: ExperimentName = "local".parse().map_err(|_| Rejection::UnknownExperiment)?;
        let keys: Vec<SigningKey> = (0..learners).map(local_key).collect();
        let log_key = local_key(usize::MAX);
        let genesis = v1::Genesis {
            origin: "colearn/local".to_owned(),
            log_public_key: log_key.verifying_key().to_bytes().to_vec().into(),
            nonce: vec![0; 32].into(),
            contract_version: CONTRACT_VERSION,
        };
        let ledger = LedgerId::of(&genesis);
        let mut run = Self {
            ledger,
            keys,
            contract: Contract::new(Digest(ledger.0)),
            history: History::new(name.clone()),
            head: Head::EMPTY,
            tree: TreeBuilder::new(),
            now_ms: 0,
        };
        run.append(record::genesis_payload(genesis));
        let parameters = Parameters { min_learners: learners as u32, ..parameters };
        let (admission, model) = (Admission::Open, model.model(SAFETENSORS));
        let create =
            CreateExperiment { name: name.clone(), parameters, admission, model, plan: None };
        run.act(0, Action::Create(create))?;
        for learner in 0..learners {
            run.act(learner, Action::Join { experiment: name.clone(), term: 0 })?;
        }
        Ok(run)
    }

    fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let entry = Entry { index: size, parent: leaf, time_ms: self.now_ms, payload };
        let leaf = Hash::leaf(&entry.encode());
        self.head = Head { size: size + 1, leaf, time_ms: self.now_ms };
        self.tree.push(leaf);
    }

    fn act(&mut self, learner: usize, action: Action) -> Result<(), Rejection> {
        self.now_ms += 1;
        let key = &self.keys[learner];
        let sender = learner_id(key);
        let at = Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) };
        let outcomes = self.contract.apply(at, sender, &action)?;
        // Nobody vouches for a history here that nobody else sees.
        let seen = Seen { size: 0, root: Hash::empty_root() };
        let signed = Transaction::sign(key, &self.ledger, seen, action);
        self.append(record::transaction_payload(&signed));
        self.history.action(sender, signed.action());
        for outcome in &outcomes {
            self.append(record::outcome_payload(outcome));
            self.history.outcome(outcome);
        }
        Ok(())
    }

    /// Casts everybody's votes, or as many as the round takes; sealed ones in two steps.
    fn vote(
        &mut self,
        proposer: usize,
        round: u64,
        weights: Digest,
        judgements: &[(bool, Scores)],
    ) -> Result<(), Rejection> {
        let vote = |(approve, scores): (bool, Scores)| Vote {
            experiment: self.history.experiment.clone(),
            round,
            weights,
            approve,
            scores,
        };
        let votes: Vec<Vote> = judgements.iter().copied().map(vote).collect();
        let voters: Vec<usize> = (0..votes.len()).filter(|voter| *voter != proposer).collect();
        // A salt that is no secret: everybody is in this process.
        let salt = |voter: usize| {
            let hash = Sha256::new().chain_update(b"salt").chain_update(voter.to_be_bytes());
            <[u8; 32]>::from(hash.chain_update(round.to_be_bytes()).finalize())
        };
        for &voter in &voters {
            let action = match self.stage(round) {
                Some(Stage::Open) => Action::Vote(votes[voter].clone()),
                Some(Stage::Commit { .. }) => {
                    let sealed = Sealed {
                        ledger: self.contract.ledger(),
                        voter: learner_id(&self.keys[voter]),
                        vote: &votes[voter],
                        salt: &salt(voter),
                    };
                    let commitment = sealed.commitment();
                    let experiment = self.name();
                    Action::Commit(Commit { experiment, round, weights, commitment })
                }
                Some(Stage::Reveal { .. }) | None => break,
            };
            self.act(voter, action)?;
        }
        for voter in voters {
            if !matches!(self.stage(round), Some(Stage::Reveal { .. })) {
                break;
            }
            let (vote, salt) = (votes[voter].clone(), salt(voter));
            self.act(voter, Action::Reveal(Reveal { vote, salt }))?;
        }
        Ok(())
    }

    fn name(&self) -> ExperimentName {
        self.history.experiment.clone()
    }

    fn experiment(&self) -> Option<&Experiment> {
        self.contract.experiment(&self.history.experiment)
    }

    /// How votes are taken now, if this round takes any.
    fn stage(&self, round: u64) -> Option<Stage> {
        let experiment = self.experiment()?;
        match experiment.phase() {
            Phase::Voting { stage, .. } if experiment.round() == round => Some(*stage),
            _ => None,
        }
    }

    fn round(&self) -> u64 {
        self.experiment().map_or(0, Experiment::round)
    }

    fn model_is(&self, weights: &Weights) -> bool {
        self.experiment().is_some_and(|it| it.model().digest == weights.digest())
    }

    fn cap(&self) -> Option<PrivacyCap> {
        self.experiment()?.parameters().privacy
    }

    /// Whose turn it is; `None` when the experiment has finished, or nobody proposes any more.
    fn proposer(&self) -> Option<usize> {
        match self.experiment()?.phase() {
            Phase::Proposing { proposer, .. } => self.number_of(*proposer),
            Phase::Waiting | Phase::Paused(_) | Phase::Voting { .. } | Phase::Finished(_) => None,
        }
    }

    fn number_of(&self, learner: LearnerId) -> Option<usize> {
        self.keys.iter().position(|key| learner_id(key) == learner)
    }
}

/// The key of a local learner, the same in every run.
fn local_key(number: usize) -> SigningKey {
    let hash = Sha256::new()
        .chain_update(b"colearn/v1/local-key\n")
        .chain_update((number as u64).to_be_bytes());
    SigningKey::from_bytes(&hash.finalize().into())
}
