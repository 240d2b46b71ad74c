//! What a site has spent of one data set: with any key, in any experiment, on any ledger. Learners'
//! processes share one file; each writes what a training takes before anything of it leaves, one after
//! the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use colearn_contracts::{ExperimentName, LearnerId, PrivacySegment};
use colearn_dp::Composition;
use colearn_files::Lock;
use colearn_records::transaction::LedgerId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::account::Training;
use super::journal::Written;
use super::lines::{Disk, Entry, Hex, Lines, RealDisk};
use super::{Figures, SpendingError};
use crate::policy::{Budget, Policy};

/// The δ that ε is told for where the policy names none, in millionths of a millionth.
const TOLD_DELTA_PICOS: u64 = 10_000_000;

/// A site's policy, kept to by one learner.
#[derive(Debug)]
pub(super) struct Site {
    policy: Policy,
    me: LearnerId,
    experiment: ExperimentName,
    /// Known from the first contact on.
    ledger: Option<LedgerId>,
    lines: Lines<Spent>,
    total: Total,
}

/// A training that was spent, and whose it was.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spent {
    ledger: Hex,
    experiment: ExperimentName,
    learner: Hex,
    training: Written,
}

impl Entry for Spent {
    fn add_to(&self, check: &mut Sha256) {
        let name = self.experiment.as_str();
        check.update(self.ledger.0);
        check.update((name.len() as u64).to_be_bytes());
        check.update(name);
        check.update(self.learner.0);
        self.training.add_to(check);
    }
}

/// Who has spent, and in what.
type Who = (Hex, ExperimentName, Hex);

/// All that was spent.
#[derive(Debug, Default)]
struct Total(BTreeMap<Who, Account>);

/// What one learner has spent in one experiment.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Each training counts once, however often it is sent.
    trainings: BTreeSet<(u64, [u8; 32])>,
    /// How many of them were not private, and
    unprotected: u64,
    /// what the others took.
    taken: Steps,
    /// What was done besides, such as before there was a policy: the most by which what one of them was said to
    /// come to altogether was more than what all up to it took.
    besides: Steps,
}

/// How many steps, by noise and sampling rate.
type Steps = BTreeMap<(u64, u64), u64>;

impl Account {
    fn add(&mut self, training: &Training) {
        if !self.trainings.insert((training.round, training.weights.0)) {
            return;
        }
        if training.is_unprotected() {
            self.unprotected += 1;
            return;
        }
        let step = |it: &PrivacySegment| ((it.noise_micros, it.sampling_nanos), it.steps);
        let (settings, steps) = step(&training.took);
        let sum = self.taken.entry(settings).or_insert(0);
        *sum = sum.saturating_add(steps);
        let mut stated = Steps::new();
        for (settings, steps) in training.all.iter().map(step) {
            let sum = stated.entry(settings).or_insert(0);
            *sum = sum.saturating_add(steps);
        }
        for (settings, steps) in stated {
            let taken = self.taken.get(&settings).copied().unwrap_or(0);
            let most = self.besides.entry(settings).or_insert(0);
            *most = steps.saturating_sub(taken).max(*most);
        }
    }

    /// Both, of each of the settings: neither a lost memory nor a lost file brings back what the other has.
    fn add_to(&self, composition: &mut Composition) {
        for ((noise_micros, sampling_nanos), steps) in self.taken.iter().chain(&self.besides) {
            composition.add(*noise_micros, *sampling_nanos, *steps);
        }
    }

    fn composition(&self) -> Composition {
        let mut composition = Composition::default();
        self.add_to(&mut composition);
        composition
    }
}

impl Total {
    fn add(&mut self, spent: &Spent) {
        let who = (spent.ledger, spent.experiment.clone(), spent.learner);
        self.0.entry(who).or_default().add(&spent.training.training());
    }

    /// How many trainings of anybody's were not private.
    fn unprotected(&self) -> u64 {
        self.0.values().fold(0, |sum, account| sum.saturating_add(account.unprotected))
    }

    /// What everybody has spent, if one of them spends this besides.
    fn with(&self, who: &Who, training: &Training) -> Composition {
        let mut composition = Composition::default();
        for (other, account) in &self.0 {
            if other != who {
                account.add_to(&mut composition);
            }
        }
        let mut own = self.0.get(who).cloned().unwrap_or_default();
        own.add(training);
        own.add_to(&mut composition);
        composition
    }
}

fn file(policy: &Policy, disk: Arc<dyn Disk>) -> Lines<Spent> {
    let data = policy.data.as_str();
    let begins = Sha256::new()
        .chain_update(b"colearn/v1/site-spent\n")
        .chain_update((data.len() as u64).to_be_bytes())
        .chain_update(data);
    Lines::new(path(policy), &policy.spent, begins, disk)
}

fn path(policy: &Policy) -> PathBuf {
    policy.spent.join(format!("{}.jsonl", policy.data))
}

impl Site {
    /// What was spent so far is read at once: a learner whose site's file is damaged does not start.
    pub(super) fn open(
        policy: Policy,
        me: LearnerId,
        experiment: ExperimentName,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, SpendingError> {
        policy.check_experiment(&experiment)?;
        let lines = file(&policy, disk);
        let mut site =
            Self { policy, me, experiment, ledger: None, lines, total: Total::default() };
        site.refresh()?;
        Ok(site)
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn unprotected(&self) -> u64 {
        self.total.unprotected()
    }

    /// It takes part on this ledger.
    pub(super) fn on(&mut self, ledger: LedgerId) -> Result<(), SpendingError> {
        self.policy.check_ledger(ledger)?;
        self.ledger = Some(ledger);
        Ok(())
    }

    /// Whether a training may be spent.
    pub(super) fn check(
        &mut self,
        training: &Training,
        figures: &mut Figures,
    ) -> Result<(), SpendingError> {
        self.refresh()?;
        self.check_read(training, figures)
    }

    /// Spends a training: when this returns, all other learners of the site count it.
    pub(super) fn spend(
        &mut self,
        training: &Training,
        figures: &mut Figures,
    ) -> Result<(), SpendingError> {
        let who = self.who()?;
        let _lock = self.lock()?;
        self.refresh()?;
        self.check_read(training, figures)?;
        let account = self.total.0.get(&who);
        let trained = (training.round, training.weights.0);
        if account.is_some_and(|account| account.trainings.contains(&trained)) {
            return Ok(());
        }
        let (ledger, experiment, learner) = who.clone();
        let written = Written::of(training);
        self.lines.append(Spent { ledger, experiment, learner, training: written })?;
        self.total.0.entry(who).or_default().add(training);
        Ok(())
    }

    fn check_read(&self, training: &Training, figures: &mut Figures) -> Result<(), SpendingError> {
        let who = self.who()?;
        let Some(Budget { max_epsilon_micros, delta_picos }) = self.policy.budget else {
            return Ok(());
        };
        let unprotected = self.total.unprotected();
        if unprotected > 0 {
            let data = self.policy.data.clone();
            return Err(SpendingError::Unprotected { data, unprotected, max_epsilon_micros });
        }
        let composition = self.total.with(&who, training);
        let epsilon_micros = figures.epsilon_micros(composition, delta_picos)?;
        if epsilon_micros > max_epsilon_micros {
            let data = self.policy.data.clone();
            return Err(SpendingError::OverSite {
                data,
                epsilon_micros,
                delta_picos,
                max_epsilon_micros,
            });
        }
        Ok(())
    }

    fn who(&self) -> Result<Who, SpendingError> {
        let ledger = self.ledger.ok_or(SpendingError::NoLedger)?;
        Ok((Hex(ledger.0), self.experiment.clone(), Hex(self.me.0)))
    }

    fn refresh(&mut self) -> Result<(), SpendingError> {
        if let Some(all) = self.lines.news()? {
            self.total = Total::default();
            all.iter().for_each(|spent| self.total.add(spent));
        }
        Ok(())
    }

    fn lock(&self) -> Result<Lock, SpendingError> {
        let folder = &self.policy.spent;
        let path = folder.join(format!("{}.lock", self.policy.data));
        let failed = |source| SpendingError::disk(&path, source);
        colearn_files::create_folder(folder).map_err(|error| failed(error.into()))?;
        Lock::wait(&path).map_err(failed)
    }
}

/// What a site has spent of its data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SiteSpent {
    /// The file that says so.
    pub path: PathBuf,
    /// ε of all of it, in millionths; 0 where nothing was trained, and `None` where no ε bounds it, since
    /// something was trained without differential privacy.
    pub epsilon_micros: Option<u64>,
    /// How many trainings that were.
    pub unprotected: u64,
    /// The δ that it is for: the policy's, or else 1e-5.
    pub delta_picos: u64,
    /// By who has spent it, and in what.
    pub learners: Vec<LearnerSpent>,
}

/// What one learner has spent in one experiment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LearnerSpent {
    /// The ledger.
    pub ledger: LedgerId,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The learner.
    pub learner: LearnerId,
    /// How many trainings were spent under a policy.
    pub trainings: u64,
    /// How many of them had no differential privacy.
    pub unprotected: u64,
    /// How many steps of the others count.
    pub steps: u64,
    /// ε of all of its own alone, in millionths; `None` where no ε bounds it.
    pub epsilon_micros: Option<u64>,
}

impl SiteSpent {
    /// Reads what was spent of a policy's data.
    ///
    /// # Errors
    /// [`SpendingError::Disk`], [`SpendingError::Damaged`] and [`SpendingError::Accountant`].
    pub fn of(policy: &Policy) -> Result<Self, SpendingError> {
        let mut total = Total::default();
        let spent = file(policy, Arc::new(RealDisk)).news()?.unwrap_or_default();
        spent.iter().for_each(|spent| total.add(spent));
        let delta_picos = policy.budget.map_or(TOLD_DELTA_PICOS, |budget| budget.delta_picos);
        let epsilon =
            |composition: Composition, unprotected| match (unprotected, composition.steps()) {
                (0, 0) => Ok(Some(0)),
                (0, _) => composition.epsilon_micros(delta_picos).map(Some),
                (_, _) => Ok(None),
            };
        let unprotected = total.unprotected();
        let mut all = Composition::default();
        let mut learners = Vec::new();
        for ((ledger, experiment, learner), account) in total.0 {
            account.add_to(&mut all);
            let composition = account.composition();
            learners.push(LearnerSpent {
                ledger: LedgerId(ledger.0),
                experiment,
                learner: LearnerId(learner.0),
                trainings: account.trainings.len() as u64,
                unprotected: account.unprotected,
                steps: composition.steps(),
                epsilon_micros: epsilon(composition, account.unprotected)?,
            });
        }
        let epsilon_micros = epsilon(all, unprotected)?;
        Ok(Self { path: path(policy), epsilon_micros, unprotected, delta_picos, learners })
    }
}
