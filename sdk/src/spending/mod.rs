//! What private training has revealed altogether: counted before anything of it leaves the process, and
//! stated as what it comes to.
//!
//! Whoever drives a learner keeps one [`Spending`] for it. Before a training it says what would be
//! stated ([`Spending::after`]), so that nothing is trained that no cap allows or no accountant can
//! follow. When there is something to propose it is spent ([`Spending::spend`]), durably; what is spent
//! stays spent, whether it is ever recorded or not. The ledger's last statement of the learner is a
//! floor: where the two differ both count.

mod account;
mod error;
mod journal;
mod lines;
mod site;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use colearn_contracts::{Digest, ExperimentName, LearnerId, PrivacySegment, PrivacySpent, Scores};
use colearn_dp::{Composition, DpError, MIN_NOISE};
use colearn_records::transaction::LedgerId;

use self::account::{Done, Training, compose};
pub use self::error::SpendingError;
use self::journal::Journal;
pub(crate) use self::journal::{Settings, experiment_folder};
use self::lines::{Disk, RealDisk};
use self::site::Site;
pub use self::site::{LearnerSpent, SiteSpent};
use crate::learner::Privacy;
use crate::participant::Assignment;
use crate::policy::{Policy, PolicyError};

/// The most figures that are kept.
const MAX_KNOWN: usize = 64;

/// All that one key has spent in an experiment, and, where it has a memory, in its others; and, under a
/// site's policy, all that was spent of the site's data.
#[derive(Debug, Default)]
pub struct Spending {
    trainings: Vec<Training>,
    /// The scores that have left with noise. No statement lists them: those are of trainings.
    scores: Vec<Training>,
    /// Where it is kept, if it is.
    journal: Option<Journal>,
    /// What was read of the key's other experiments.
    others: BTreeMap<ExperimentName, Other>,
    /// The policy, and what was spent of its data.
    site: Option<Site>,
    figures: Figures,
}

#[derive(Debug)]
struct Other {
    journal: Journal,
    /// All that was done.
    all: Vec<PrivacySegment>,
}

impl Spending {
    /// Nothing spent yet, and forgotten when the process ends.
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// What a key has spent in an experiment, kept in the key's folder: `experiments/NAME/spent.jsonl`.
    /// Creates nothing before something is spent.
    ///
    /// # Errors
    /// [`SpendingError::Disk`] and [`SpendingError::Damaged`].
    pub fn open(folder: &Path, experiment: &ExperimentName) -> Result<Self, SpendingError> {
        Self::open_on(folder, experiment, Arc::new(RealDisk))
    }

    /// The same under a site's policy, for a learner in an experiment.
    ///
    /// # Errors
    /// If the policy does not allow the experiment, and if what the site has spent cannot be read.
    pub fn under(
        self,
        policy: Policy,
        me: LearnerId,
        experiment: &ExperimentName,
    ) -> Result<Self, SpendingError> {
        self.under_on(policy, me, experiment, Arc::new(RealDisk))
    }

    fn under_on(
        self,
        policy: Policy,
        me: LearnerId,
        experiment: &ExperimentName,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, SpendingError> {
        let site = Site::open(policy, me, experiment.clone(), disk)?;
        Ok(Self { site: Some(site), ..self })
    }

    /// The experiment is on this ledger, which a policy may not allow. Under one nothing is spent before.
    ///
    /// # Errors
    /// If it does not.
    pub fn on(&mut self, ledger: LedgerId) -> Result<(), SpendingError> {
        self.site.as_mut().map_or(Ok(()), |site| site.on(ledger))
    }

    /// Whether what comes of such a training may leave, under the site's policy.
    ///
    /// # Errors
    /// [`SpendingError::Policy`].
    pub fn check_policy(&self, training: Option<&Privacy>) -> Result<(), SpendingError> {
        let policy = self.site.as_ref().map(Site::policy);
        Ok(policy.map_or(Ok(()), |policy| policy.check_training(training))?)
    }

    /// Whether scores may leave, under the site's policy.
    ///
    /// # Errors
    /// [`SpendingError::Policy`].
    pub fn check_scores(&self, scores: Scores) -> Result<(), SpendingError> {
        let policy = self.site.as_ref().map(Site::policy);
        Ok(policy.map_or(Ok(()), |policy| policy.check_scores(scores))?)
    }

    /// Counts a score of some weights that is to leave in a round: what its noise lets through, if it has some. When it returns
    /// this survives a power failure. The same score is counted once.
    ///
    /// # Errors
    /// If that must not or cannot be. The score must not leave the process then.
    pub fn spend_scores(
        &mut self,
        of: Digest,
        scores: Scores,
        round: u64,
        takes: Option<&Privacy>,
    ) -> Result<(), SpendingError> {
        if let Some(site) = &self.site {
            site.policy().check_score(takes)?;
        }
        let Some(takes) = takes else { return Ok(()) };
        let PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps } = takes.segment;
        if noise_micros == 0 || sampling_nanos != 1_000_000_000 || steps == 0 {
            return Err(SpendingError::Settings {
                noise_micros,
                clip_micros,
                sampling_nanos,
                steps,
            });
        }
        let _lock = self.journal.as_ref().map(Journal::lock).transpose()?;
        self.refresh()?;
        let score = Training::score(round, of, scores, takes.segment);
        let is_known = |it: &Training| (it.round, it.weights) == (round, score.weights);
        if !self.scores.iter().any(is_known) {
            let done = self.trainings.last().map(|last| last.all.clone()).unwrap_or_default();
            self.check_own(takes, &[done, vec![score.took]].concat())?;
        }
        if let Some(site) = &mut self.site {
            site.spend(&score, &mut self.figures)?;
        }
        if !self.scores.iter().any(is_known) {
            if let Some(journal) = &mut self.journal {
                journal.append(&score)?;
            }
            self.scores.push(score);
        }
        Ok(())
    }

    /// Has scores leave that are kept from before a restart: under a policy that asks for noise only those that were
    /// counted, which had some. What is counted here counts for the site, too, whose policy may be newer.
    ///
    /// # Errors
    /// If that must not or cannot be. The scores must not leave the process then.
    pub(crate) fn release_kept_scores(
        &mut self,
        scores: Scores,
        of: Digest,
        round: u64,
    ) -> Result<(), SpendingError> {
        self.check_scores(scores)?;
        let Some(site) = self.site.as_mut().filter(|_| scores != Scores::default()) else {
            return Ok(());
        };
        let name = Training::score_name(of, scores);
        let counted = self.scores.iter().find(|it| (it.round, it.weights) == (round, name));
        match (counted, site.policy().score_epsilon_micros) {
            (None, None) => Ok(()),
            (None, Some(largest_micros)) => Err(PolicyError::ScoreNoise { largest_micros }.into()),
            (Some(counted), _) => {
                // With less noise than is asked for now it stays here, too.
                let segment = counted.took;
                let takes = Privacy { segment, delta_picos: 0, max_epsilon_micros: None };
                site.policy().check_score(Some(&takes))?;
                site.spend(counted, &mut self.figures)
            }
        }
    }

    /// How many trainings on the site's data have left without differential privacy, as far as was read.
    pub fn unprotected(&self) -> u64 {
        self.site.as_ref().map_or(0, Site::unprotected)
    }

    fn open_on(
        folder: &Path,
        experiment: &ExperimentName,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, SpendingError> {
        let journal = Journal::new(folder, experiment.clone(), disk);
        let mut spending = Self { journal: Some(journal), ..Self::default() };
        spending.refresh()?;
        Ok(spending)
    }

    /// What is stated if so much is taken next: the composition of all that was done, in the form that
    /// the experiment's version has.
    ///
    /// # Errors
    /// If that must not or cannot be. It is not trained then.
    pub fn after(
        &mut self,
        next: &Privacy,
        asked: &Assignment,
    ) -> Result<PrivacySpent, SpendingError> {
        self.check_policy(Some(next))?;
        self.refresh()?;
        let training = self.next(Digest([0; 32]), next, asked)?;
        if let Some(site) = &mut self.site {
            site.check(&training, &mut self.figures)?;
        }
        Ok(training.statement(asked.version))
    }

    /// Spends what a training took, of which these weights came, and gives what is stated with them.
    /// When it returns this survives a power failure. The same weights for the same round are spent
    /// once: what was kept is sent again after a restart.
    ///
    /// # Errors
    /// If that must not or cannot be. The weights must not leave the process then.
    pub fn spend(
        &mut self,
        weights: Digest,
        taken: &Privacy,
        asked: &Assignment,
    ) -> Result<PrivacySpent, SpendingError> {
        self.check_policy(Some(taken))?;
        // Until it is written: of two processes the second sees what the first has spent.
        let _lock = self.journal.as_ref().map(Journal::lock).transpose()?;
        self.refresh()?;
        let before =
            self.trainings.iter().rfind(|it| (it.round, it.weights) == (asked.round, weights));
        let before = before.cloned();
        let training = match &before {
            Some(before) => before.clone(),
            None => self.next(weights, taken, asked)?,
        };
        // The site's first, and whenever it is asked: what a crash has left between the two counts there.
        if let Some(site) = &mut self.site {
            site.spend(&training, &mut self.figures)?;
        }
        let statement = training.statement(asked.version);
        if before.is_none() {
            if let Some(journal) = &mut self.journal {
                journal.append(&training)?;
            }
            self.trainings.push(training);
        }
        Ok(statement)
    }

    /// Counts a training without differential privacy, of which these weights came, where a policy lets them
    /// leave: under a later one no budget is left for the data. When it returns this survives a power failure.
    ///
    /// # Errors
    /// If that must not or cannot be. The weights must not leave the process then.
    pub fn spend_unprotected(
        &mut self,
        weights: Digest,
        asked: &Assignment,
    ) -> Result<(), SpendingError> {
        self.check_policy(None)?;
        let Some(site) = &mut self.site else { return Ok(()) };
        site.spend(&Training::unprotected(asked.round, weights), &mut self.figures)
    }

    /// Reads what other processes, or the others of this key's learners, have written since.
    fn refresh(&mut self) -> Result<(), SpendingError> {
        if let Some(all) = self.journal.as_mut().map(Journal::news).transpose()?.flatten() {
            (self.scores, self.trainings) = all.into_iter().partition(Training::is_score);
        }
        Ok(())
    }

    fn refresh_others(&mut self) -> Result<(), SpendingError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        for journal in journal.others()? {
            let name = journal.experiment().clone();
            let other = self.others.entry(name).or_insert(Other { journal, all: Vec::new() });
            if let Some(all) = other.journal.news()? {
                let (scores, mut trainings): (Vec<_>, Vec<_>) =
                    all.into_iter().partition(Training::is_score);
                other.all = trainings.pop().map(|last| last.all).unwrap_or_default();
                other.all.extend(scores.iter().map(|score| score.took));
            }
        }
        Ok(())
    }

    /// A training that would be spent next, if nothing speaks against it.
    fn next(
        &mut self,
        weights: Digest,
        next: &Privacy,
        asked: &Assignment,
    ) -> Result<Training, SpendingError> {
        let took = next.segment;
        let PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps: count } = took;
        let is_sampling = (1..=1_000_000_000).contains(&sampling_nanos);
        if noise_micros == 0 || clip_micros == 0 || !is_sampling || count == 0 {
            let steps = count;
            return Err(SpendingError::Settings {
                noise_micros,
                clip_micros,
                sampling_nanos,
                steps,
            });
        }
        let stated = asked.stated.as_ref();
        let figures = &mut self.figures;
        let done = Done::of(&self.trainings, stated, |spent, last| figures.explaining(spent, last));
        let all = done.and(took).ok_or(SpendingError::TooManySettings)?;
        let (floor_micros, floor_picos) =
            stated.map_or((0, 0), |stated| (stated.epsilon_micros, stated.delta_picos));
        let delta_picos = next.delta_picos.max(floor_picos);
        let computed = self.figures.epsilon_micros(compose(&all), delta_picos)?;
        // Never less than was stated before, even where another accountant had found more (R42).
        let epsilon_micros = computed.max(floor_micros);
        let unrecorded = done.unrecorded + 1;
        let round = asked.round;
        let training =
            Training { round, weights, took, unrecorded, epsilon_micros, delta_picos, all };
        if let Some(cap) = asked.cap
            && !training.statement(asked.version).is_within(&cap)
        {
            return Err(SpendingError::OverCap { epsilon_micros, delta_picos, cap });
        }
        self.check_own(next, &training.all)?;
        Ok(training)
    }

    /// The learner's own cap is for its data, whatever that was used for.
    fn check_own(&mut self, next: &Privacy, all: &[PrivacySegment]) -> Result<(), SpendingError> {
        let Some(max_epsilon_micros) = next.max_epsilon_micros else { return Ok(()) };
        self.refresh_others()?;
        let others = self.others.values().flat_map(|other| &other.all);
        let scores = self.scores.iter().map(|score| &score.took);
        let composition = compose(all.iter().chain(scores).chain(others));
        let delta_picos = next.delta_picos;
        let epsilon_micros = self.figures.epsilon_micros(composition, delta_picos)?;
        if epsilon_micros > max_epsilon_micros {
            return Err(SpendingError::OverOwn { epsilon_micros, delta_picos, max_epsilon_micros });
        }
        Ok(())
    }
}

/// The figures that the accountant has found: each is asked for before a training and after it.
#[derive(Debug, Default)]
struct Figures {
    known: HashMap<(Composition, u64), u64>,
    /// A statement of which the history is not known, and what explains it.
    explained: Option<(PrivacySpent, PrivacySegment)>,
}

impl Figures {
    fn epsilon_micros(&mut self, done: Composition, delta_picos: u64) -> Result<u64, DpError> {
        let key = (done, delta_picos);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let figure = key.0.epsilon_micros(delta_picos)?;
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, figure);
        Ok(figure)
    }

    /// Steps that reveal as much as was stated. Version 1 says the last settings and all steps: where
    /// they alone would reveal less, there were others before, and it counts as if there had been less
    /// noise all along.
    fn explaining(&mut self, stated: &PrivacySpent, last: PrivacySegment) -> PrivacySegment {
        if let Some((known, explained)) = &self.explained
            && known == stated
        {
            return *explained;
        }
        let reveals_less = |noise_micros| {
            let segment = PrivacySegment { noise_micros, ..last };
            let figure = compose([&segment]).epsilon_micros(stated.delta_picos);
            figure.is_ok_and(|figure| figure < stated.epsilon_micros)
        };
        let mut noise_micros = last.noise_micros;
        if reveals_less(noise_micros) {
            // Halving the gap: ε falls as the noise rises.
            let (mut low, mut high) = ((MIN_NOISE * 1e6) as u64, noise_micros);
            while low < high && high - low > low / 1000 {
                let middle = u64::midpoint(low, high);
                if reveals_less(middle) { high = middle } else { low = middle }
            }
            noise_micros = low;
        }
        let explained = PrivacySegment { noise_micros, ..last };
        self.explained = Some((stated.clone(), explained));
        explained
    }
}
