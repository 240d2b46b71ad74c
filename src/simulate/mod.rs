//! Simulations: learners, some of them faulty or hostile, on the local backend, beside plain averaging of their
//! updates. What is not built in is handed in: learners, an attack, a rule ([`Own`]).

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod acceptance;
mod attack;
mod baseline;
mod costs;
mod faults;
mod numbers;
mod own;
mod scenario;
mod subject;
mod sweep;
mod table;
mod timing;
mod words;

use std::sync::Arc;

use colearn_contracts::{LearnerId, Parameters, Verdict};
use serde::Serialize;

pub use attack::Attack;
pub use baseline::Aggregation;
pub use costs::Costs;
pub use faults::{Fault, VoteFault};
pub use own::{Layout, Own, OwnAttack, OwnLearner, OwnRule, Seen, Sent};
pub use scenario::{FaultTable, Scenario, ScenarioError};
pub use sweep::{MAX_SETTINGS, Setting, Varied, settings, shown};
pub use table::{AttackTable, Cell, Grid, RULES, Rule, attack_table};
pub use timing::{Churn, Network, Timing};

use attack::Gang;
use baseline::Server;
use colearn_learning::data::Share;
use colearn_learning::{BuiltinError, BuiltinLearner, learner_seed};
use colearn_records::history::{History, Round, unit};
use colearn_sdk::learner::{
    Learner, LearnerError, Privacy, Proposed, Result, Score, Scored, Task, Weights,
};
use colearn_sdk::local::{self, Conduct, LocalError, LocalRun};
use faults::Saboteur;
use numbers::Numbers;
use own::Cast;
use subject::{Subject, mean};
use timing::Transfers;

/// An accepted update is harmful if the honest learners' mean test score falls by more than this.
const HARM: f64 = 0.01;

/// Why a simulation cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The scenario says what cannot be.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A learner cannot be made.
    #[error(transparent)]
    Learner(#[from] BuiltinError),
    /// The run ended early.
    #[error(transparent)]
    Run(#[from] LocalError),
    /// A learner failed.
    #[error("a learner failed: {0}")]
    Failed(LearnerError),
}

/// What a simulation gives.
#[derive(Clone, Default, Debug, Serialize)]
pub struct SimulationReport {
    /// The mean score of the final model over the honest learners' test rows.
    pub final_score: f64,
    /// What the score is.
    pub metric: &'static str,
    /// Rounds that were held.
    pub rounds: u64,
    /// Proposals that were accepted.
    pub accepted: u64,
    /// Accepted proposals of faulty learners.
    pub accepted_from_faulty: u64,
    /// Accepted proposals after which the honest learners' test score was lower by more than a
    /// hundredth.
    pub accepted_harmful: u64,
    /// The share of rows with a backdoor's trigger that the final model takes for the attackers'
    /// class; absent if nobody planted one.
    pub backdoor: Option<f64>,
    /// The root of the ledger's tree, in hexadecimal; absent where there was no ledger.
    pub root: Option<String>,
    /// The ledger's entries.
    pub entries: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// What was sent and fetched.
    pub costs: Costs,
    /// The score of the global model after each round.
    pub scores: Vec<f64>,
}

/// A learner of a simulation: honest, or not.
enum Player {
    Honest(Honest),
    Faulty(Saboteur),
}

/// An honest learner, which others may watch.
struct Honest {
    inner: Subject,
    number: usize,
    watched_by: Option<Arc<Gang>>,
}

impl Player {
    /// The most that [`Self::haste`] is.
    const SLOWEST: u64 = Saboteur::SLOWEST;

    fn is_honest(&self) -> bool {
        matches!(self, Self::Honest(_))
    }

    /// How many kinds of learners have trained before it does.
    fn haste(&self) -> u64 {
        match self {
            Self::Honest(_) => 0,
            Self::Faulty(saboteur) => saboteur.haste(),
        }
    }

    fn inner(&self) -> &Subject {
        match self {
            Self::Honest(learner) => &learner.inner,
            Self::Faulty(saboteur) => saboteur.inner(),
        }
    }
}

impl Learner for Player {
    fn begin(&mut self, task: &Task) -> bool {
        match self {
            Self::Honest(learner) => learner.inner.begin(task),
            Self::Faulty(saboteur) => saboteur.begin(task),
        }
    }

    fn propose(&mut self) -> Result<Proposed> {
        match self {
            Self::Honest(learner) => {
                let proposed = learner.inner.propose()?;
                if let (Some(gang), Some(weights)) = (&learner.watched_by, proposed.weights()) {
                    gang.see(learner.number, weights);
                }
                Ok(proposed)
            }
            Self::Faulty(saboteur) => saboteur.propose(),
        }
    }

    fn privacy(&self) -> Option<Privacy> {
        self.inner().privacy()
    }

    fn score_privacy(&self) -> Option<Privacy> {
        self.inner().score_privacy()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        match self {
            Self::Honest(learner) => learner.inner.test(weights),
            Self::Faulty(saboteur) => saboteur.test(weights),
        }
    }

    fn measure(&mut self, scored: Scored<'_>) -> Result<f64> {
        match self {
            Self::Honest(learner) => learner.inner.measure(scored),
            Self::Faulty(saboteur) => saboteur.measure(scored),
        }
    }

    fn prefer(&mut self, guarded: Scored<'_>, open: Scored<'_>) -> Result<bool> {
        match self {
            Self::Honest(learner) => learner.inner.prefer(guarded, open),
            Self::Faulty(saboteur) => saboteur.prefer(guarded, open),
        }
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        match self {
            Self::Honest(learner) => learner.inner.accept(weights),
            Self::Faulty(saboteur) => saboteur.accept(weights),
        }
    }

    fn current(&self) -> Weights {
        self.inner().current()
    }
}

/// A scenario, ready to run.
pub struct Simulation {
    players: Vec<Player>,
    conducts: Vec<Conduct>,
    parameters: Parameters,
    server: Option<Server>,
    rounds: u64,
    transfers: Transfers,
}

impl Simulation {
    /// Makes the learners, one for each share of the scenario's data.
    ///
    /// # Errors
    /// If the scenario says what cannot be.
    pub fn new(
        scenario: &Scenario,
        shares: &[Share],
    ) -> std::result::Result<Self, SimulationError> {
        Self::with(scenario, shares, Own::default())
    }

    /// The same with what is handed in. Where all learners are, there may be no shares.
    ///
    /// # Errors
    /// If the scenario says what cannot be, or what has no meaning for learners of one's own.
    pub fn with(
        scenario: &Scenario,
        shares: &[Share],
        own: Own,
    ) -> std::result::Result<Self, SimulationError> {
        let Own { mut learners, attack, rule } = own;
        if learners.is_empty() {
            learners.resize_with(shares.len(), || None);
        }
        if !shares.is_empty() && shares.len() != learners.len() {
            let (learners, shares) = (learners.len(), shares.len());
            let why = format!("there are {learners} learners for {shares} shares of the data");
            return Err(ScenarioError::Malformed(why).into());
        }
        let faults = scenario.faults(learners.len())?;
        let is_own: Vec<bool> = learners.iter().map(Option::is_some).collect();
        let cast = Cast {
            rule: scenario.rule_of_rounds()?,
            faults: &faults,
            own: &is_own,
            has_shares: !shares.is_empty(),
            has_attack: attack.is_some(),
            has_rule: rule.is_some(),
        };
        cast.check()?;
        let subjects = subjects(scenario, shares, learners)?;
        let first = subjects.first().ok_or(LocalError::NoLearners)?;
        let initial = first.current();
        let numbers = cast.computes().then(|| Numbers::of(first).map(Arc::new)).transpose();
        let numbers = numbers.map_err(|error| SimulationError::Failed(error.into()))?;
        let numbered = |faulty: bool| -> Vec<usize> {
            let all = faults.iter().enumerate();
            all.filter(|(_, fault)| fault.is_some() == faulty).map(|(at, _)| at).collect()
        };
        let (honest, faulty) = (numbered(false), numbered(true));
        let transfers = scenario.transfers(initial.bytes().len(), subjects.len())?;
        let judges = match cast.knows_the_honest() {
            true => honest.iter().filter_map(|at| subjects[*at].builtin().cloned()).collect(),
            false => Vec::new(),
        };
        let waits = |fault: &Fault| fault.attack.is_some_and(Attack::waits);
        let watches = faults.iter().flatten().any(waits);
        let own_attack = attack.zip(numbers.as_ref()).map(|(attack, numbers)| attack::Own {
            attack,
            layout: Arc::new(numbers.layout()),
            seed: scenario.seed,
        });
        let gang = Gang::new(cast.rule, faulty.len(), numbers.clone(), own_attack, judges);
        let gang = Arc::new(gang);
        let mut players = Vec::new();
        let mut conducts = Vec::new();
        for (number, (inner, fault)) in subjects.into_iter().zip(&faults).enumerate() {
            let seed = learner_seed(scenario.seed, number + 1);
            let mut conduct = scenario.timing.conduct(seed);
            conduct.training_ms = conduct.training_ms.saturating_add(transfers.send_ms);
            conduct.voting_ms = conduct.voting_ms.saturating_add(transfers.fetch_ms);
            conduct.away = scenario.churn.away(seed, scenario.rounds);
            let gang = gang.clone();
            players.push(match fault {
                None => {
                    let watched_by = watches.then_some(gang);
                    Player::Honest(Honest { inner, number, watched_by })
                }
                Some(fault) => {
                    let member = faulty.iter().take_while(|other| **other < number).count();
                    let saboteur = Saboteur::new(inner, number, fault.clone(), gang, member, seed);
                    fault.conduct(&mut conduct, saboteur.haste(), &honest);
                    Player::Faulty(saboteur)
                }
            });
            conducts.push(conduct);
        }
        let parameters = scenario.parameters(players.len(), &conducts)?;
        let rows = shares.iter().map(|share| share.train.len()).collect();
        let server = scenario.rule.zip(numbers).map(|(aggregation, numbers)| Server {
            aggregation,
            own: rule,
            numbers,
            rows,
            seed: scenario.seed,
        });
        Ok(Self { players, conducts, parameters, server, rounds: scenario.rounds, transfers })
    }

    /// How many rounds there will be.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Runs it. `watch` sees every round of a vote as it closes; averaging has none.
    ///
    /// # Errors
    /// If a learner fails in a way that ends the run.
    pub fn run(
        mut self,
        watch: impl FnMut(&History, &Round),
        averaged: impl FnMut(u64, f64),
    ) -> std::result::Result<(SimulationReport, Option<LocalRun>), SimulationError> {
        let Some(server) = &self.server else {
            return self.vote(watch);
        };
        let (conducts, rounds) = (&self.conducts, self.rounds);
        let scores = server
            .run(&mut self.players, conducts, rounds, averaged)
            .map_err(SimulationError::Failed)?;
        let there = |it: &Conduct| (1..=rounds).filter(|round| !it.is_away(*round)).count() as u64;
        let there: Vec<u64> = conducts.iter().map(there).collect();
        // A server waits for the slowest who is there; then all fetch what it has come to.
        let round_ms = |round: u64| {
            let here = conducts.iter().filter(|it| !it.is_away(round));
            let slowest = here.map(|it| it.training_ms).max().unwrap_or(0);
            slowest.saturating_add(self.transfers.fetch_ms)
        };
        let simulated_ms = (1..=rounds).map(round_ms).fold(0, u64::saturating_add);
        let costs = Costs::served(&there, self.model_bytes());
        let report = SimulationReport { rounds, simulated_ms, scores, costs, ..self.judge()? };
        Ok((report, None))
    }

    fn vote(
        mut self,
        watch: impl FnMut(&History, &Round),
    ) -> std::result::Result<(SimulationReport, Option<LocalRun>), SimulationError> {
        let run =
            local::simulate(&mut self.players, &self.conducts, self.parameters.clone(), watch)?;
        let honest: Vec<LearnerId> = self.numbered(&run.history, true);
        let faulty: Vec<LearnerId> = self.numbered(&run.history, false);
        let mut report = SimulationReport {
            rounds: run.history.rounds.iter().filter(|round| round.result.is_some()).count() as u64,
            root: Some(run.root.to_string()),
            entries: run.size,
            simulated_ms: run.simulated_ms,
            costs: Costs::of(&run.history, self.model_bytes(), run.bytes),
            ..self.judge()?
        };
        // Before anything is accepted there is no score to fall from.
        let mut score = f64::NAN;
        for round in &run.history.rounds {
            let accepted = round.result.is_some_and(|result| result.verdict == Verdict::Accepted);
            if accepted {
                report.accepted += 1;
                report.accepted_from_faulty +=
                    u64::from(round.proposer.is_some_and(|it| faulty.contains(&it)));
                let now = test_score(round, &honest);
                report.accepted_harmful += u64::from(now < score - HARM);
                score = now;
            }
            if round.result.is_some() {
                report.scores.push(score);
            }
        }
        Ok((report, Some(run)))
    }

    fn model_bytes(&self) -> u64 {
        self.players.first().map_or(0, |player| player.current().bytes().len() as u64)
    }

    /// The identities of the honest or of the faulty learners: they joined in order.
    fn numbered(&self, history: &History, honest: bool) -> Vec<LearnerId> {
        let players = history.learners.iter().zip(&self.players);
        players.filter(|(_, player)| player.is_honest() == honest).map(|(id, _)| *id).collect()
    }

    /// What the learners' present model is worth.
    fn judge(&mut self) -> std::result::Result<SimulationReport, SimulationError> {
        let final_score = honest_score(&mut self.players).map_err(SimulationError::Failed)?;
        let honest = self.players.iter().filter(|player| player.is_honest());
        let judges: Vec<&BuiltinLearner> =
            honest.filter_map(|player| player.inner().builtin()).collect();
        let planted = self.players.iter().any(|player| match player {
            Player::Faulty(saboteur) => saboteur.plants(),
            Player::Honest(_) => false,
        });
        let backdoor = match judges.first().filter(|_| planted) {
            Some(judge) => {
                let network = judge.spec().read(&judge.current());
                let network = network.map_err(|error| SimulationError::Failed(error.into()))?;
                Some(attack::opens(&network, judges.iter().copied()))
            }
            None => None,
        };
        Ok(SimulationReport {
            final_score,
            metric: judges.first().map_or("score", |judge| judge.test_metric().name()),
            backdoor,
            ..SimulationReport::default()
        })
    }
}

/// The learners: those of one's own, and on the other shares built-in ones.
fn subjects(
    scenario: &Scenario,
    shares: &[Share],
    learners: Vec<Option<OwnLearner>>,
) -> std::result::Result<Vec<Subject>, SimulationError> {
    let poisoned = match shares.first() {
        Some(_) => scenario.poisoned(shares)?,
        None => Vec::new(),
    };
    let initial = shares.first().map(|first| scenario.initial(&first.data.schema));
    let initial = initial.transpose().map_err(BuiltinError::from)?;
    let mut subjects = Vec::new();
    for (at, own) in learners.into_iter().enumerate() {
        if let Some(own) = own {
            subjects.push(Subject::Own(own));
            continue;
        }
        let (Some(share), Some(initial)) = (poisoned.get(at), &initial) else {
            return Err(LocalError::NoLearners.into());
        };
        let seed = learner_seed(scenario.seed, at + 1);
        let training = scenario.training().with_noise_seed(seed);
        let learner = BuiltinLearner::new(share.clone(), training, initial.clone(), seed)?;
        subjects.push(Subject::Builtin(Box::new(learner)));
    }
    let builtin = subjects.iter_mut().filter_map(Subject::builtin_mut);
    BuiltinLearner::read_together(&mut builtin.collect::<Vec<_>>());
    Ok(subjects)
}

/// The mean test score of the honest learners' present model.
fn honest_score(players: &mut [Player]) -> Result<f64> {
    let mut scores = Vec::new();
    for player in players {
        if let Player::Honest(learner) = player {
            scores.push(learner.inner.test_score()?);
        }
    }
    Ok(mean(scores))
}

/// The mean test score that some learners recorded of a round's proposal; of those that keep no data for that, the
/// score that they vote on.
fn test_score(round: &Round, learners: &[LearnerId]) -> f64 {
    mean(learners.iter().filter_map(|learner| {
        let scores = round.scores_of(*learner)?;
        scores.test.or(scores.vote).map(unit)
    }))
}
