//! What all learners of a site have spent of its data together.

use colearn_contracts::{Reason, Update};

use super::*;
use crate::learner::{Learner, Proposed, Result as Work, Score, Weights};
use crate::policy::PolicyError;
use crate::turn::Made;

const OTHER: LearnerId = LearnerId([2; 32]);
const HERE: LedgerId = LedgerId([7; 32]);
const THERE: LedgerId = LedgerId([8; 32]);

/// A site's folder, with a policy in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A policy with this limit, in place of the one before.
    fn policy(&self, max_epsilon_micros: u64) -> Policy {
        let max_epsilon = max_epsilon_micros as f64 / 1e6;
        self.policy_of(&format!(
            "scores = true\nunprotected = false\nmax_epsilon = {max_epsilon:?}\n\
             delta = 1e-5\nleast_noise = 5.0\n"
        ))
    }

    /// A policy that says so, in place of the one before.
    fn policy_of(&self, text: &str) -> Policy {
        let path = self.0.path().join("site.toml");
        std::fs::write(&path, format!("data = 'd'\n{text}")).unwrap();
        Policy::read(&path).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("spent/d.jsonl")
    }

    /// A learner with a memory of its own.
    fn learner(
        &self,
        max_epsilon_micros: u64,
        me: LearnerId,
        experiment: &str,
        ledger: LedgerId,
    ) -> Spending {
        self.under(self.policy(max_epsilon_micros), me, experiment, ledger)
    }

    fn under(&self, policy: Policy, me: LearnerId, experiment: &str, ledger: LedgerId) -> Spending {
        let memory = self.memory(me, ledger);
        let spending = Spending::open(&memory, &name(experiment)).unwrap();
        let mut spending = spending.under(policy, me, &name(experiment)).unwrap();
        spending.on(ledger).unwrap();
        spending
    }

    fn memory(&self, me: LearnerId, ledger: LedgerId) -> PathBuf {
        self.0.path().join(format!("{me}-{ledger}"))
    }

    /// How many steps all of them have spent.
    fn steps(&self) -> u64 {
        let spent = SiteSpent::of(&self.policy(1_000_000)).unwrap();
        spent.learners.iter().map(|it| it.steps).sum()
    }
}

fn spend(
    spending: &mut Spending,
    made: u64,
    takes: Privacy,
) -> Result<PrivacySpent, SpendingError> {
    spending.spend(weights(made), &takes, &asked(Version::V2, made, None))
}

#[test]
fn all_keys_experiments_and_ledgers_of_a_site_share_its_budget() {
    let place = Place::new();
    let most = epsilon_of(&[segment(20, 12)]);
    let mut learners = [(ME, "x", HERE), (ME, "y", HERE), (OTHER, "x", HERE), (ME, "x", THERE)]
        .map(|(me, experiment, ledger)| place.learner(most, me, experiment, ledger));
    for learner in &mut learners {
        // Each sees what the others have spent since it was started.
        spend(learner, 1, takes(20, 3)).unwrap();
    }
    assert_eq!(place.steps(), 12);
    for learner in &mut learners {
        let refused = learner.after(&takes(20, 1), &asked(Version::V2, 2, None)).unwrap_err();
        assert!(matches!(refused, SpendingError::OverSite { .. }), "{refused}");
        assert!(refused.is_exhausted());
        assert!(spend(learner, 2, takes(20, 1)).is_err());
        // What was counted may be sent again.
        spend(learner, 1, takes(20, 3)).unwrap();
    }
    assert_eq!(place.steps(), 12, "what is refused is not spent");
    let spent = SiteSpent::of(&place.policy(most)).unwrap();
    assert_eq!((spent.epsilon_micros, spent.learners.len()), (Some(most), 4));
    assert_eq!(spent.learners.iter().map(|it| it.trainings).sum::<u64>(), 4);
}

#[test]
fn another_policy_brings_nothing_back() {
    let place = Place::new();
    let most = |steps| epsilon_of(&[segment(20, steps)]);
    spend(&mut place.learner(most(10), ME, "x", HERE), 1, takes(20, 8)).unwrap();
    // Stricter: not even what was counted leaves.
    let mut stricter = place.learner(most(7), ME, "x", HERE);
    assert!(matches!(spend(&mut stricter, 1, takes(20, 8)), Err(SpendingError::OverSite { .. })));
    // Looser: what was spent counts on.
    let mut looser = place.learner(most(9), OTHER, "z", HERE);
    assert!(spend(&mut looser, 1, takes(20, 2)).is_err());
    spend(&mut looser, 1, takes(20, 1)).unwrap();
    assert_eq!(place.steps(), 9);
}

#[test]
fn neither_a_lost_memory_nor_a_lost_file_brings_back_what_the_other_has() {
    let place = Place::new();
    let most = epsilon_of(&[segment(20, 10)]);
    spend(&mut place.learner(most, ME, "x", HERE), 1, takes(20, 8)).unwrap();
    std::fs::remove_dir_all(place.memory(ME, HERE)).unwrap();
    let mut forgetful = place.learner(most, ME, "x", HERE);
    assert!(spend(&mut forgetful, 2, takes(20, 3)).is_err());
    spend(&mut forgetful, 2, takes(20, 1)).unwrap();
    assert_eq!(place.steps(), 9);
    // The memory has one step, and the ledger what was stated.
    std::fs::remove_file(place.file()).unwrap();
    let mut learner = place.learner(most, ME, "x", HERE);
    let stated = PrivacySpent {
        epsilon_micros: epsilon_of(&[segment(20, 9)]),
        delta_picos: DELTA,
        training: PrivateTraining::All(vec![segment(20, 9)]),
    };
    let asked = asked(Version::V2, 3, Some(stated));
    assert!(learner.spend(weights(3), &takes(20, 2), &asked).is_err());
    // What it had spent in another life is not known to be in that statement, and counts besides.
    assert!(learner.after(&takes(20, 1), &asked).is_err());
}

#[test]
fn what_was_done_in_an_experiment_before_there_was_a_policy_counts() {
    let place = Place::new();
    let mut before = Spending::open(&place.memory(ME, HERE), &name("x")).unwrap();
    spend(&mut before, 1, takes(20, 6)).unwrap();
    let most = epsilon_of(&[segment(20, 10)]);
    let mut learner = place.learner(most, ME, "x", HERE);
    assert!(spend(&mut learner, 2, takes(20, 5)).is_err());
    spend(&mut learner, 2, takes(20, 4)).unwrap();
    assert_eq!(place.steps(), 10);
}

#[test]
fn whatever_has_left_is_counted_whichever_step_of_writing_was_the_last() {
    // Six steps for each of two files, and the end.
    for steps in 0..13 {
        for (share, power) in [(0, None), (90, None), (90, Some(0)), (255, Some(200))] {
            let place = Place::new();
            let most = epsilon_of(&[segment(20, 5)]);
            let disk = Dying::after(steps, share, place.0.path());
            let memory = place.memory(ME, HERE);
            let dying = Spending::open_on(&memory, &name("x"), disk.clone()).unwrap();
            let mut dying =
                dying.under_on(place.policy(most), ME, &name("x"), disk.clone()).unwrap();
            dying.on(HERE).unwrap();
            let spent = spend(&mut dying, 1, takes(20, 3));
            if let Some(power) = power {
                disk.lose_power(place.0.path(), power);
            }
            // Before it returns nothing leaves, and when it has returned it counts.
            let counted = place.steps();
            assert!(counted == 3 || (spent.is_err() && counted == 0), "{steps} {counted}");
            // Started again, what was kept is counted once; something else counts besides.
            let mut again = place.learner(most, ME, "x", HERE);
            spend(&mut again, 1, takes(20, 3)).unwrap();
            assert_eq!(place.steps(), 3);
            spend(&mut again, 2, takes(20, 2)).unwrap();
            assert!(spend(&mut again, 3, takes(20, 1)).is_err());
        }
    }
}

#[test]
fn what_is_damaged_stops_the_learner() {
    let place = Place::new();
    let most = epsilon_of(&[segment(20, 50)]);
    let mut running = place.learner(most, ME, "x", HERE);
    spend(&mut running, 1, takes(20, 3)).unwrap();
    spend(&mut running, 2, takes(20, 4)).unwrap();
    let whole = std::fs::read_to_string(place.file()).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for damaged in [
        whole.replacen("\"steps\":3", "\"steps\":1", 1),
        whole.replacen("\"experiment\":\"x\"", "\"experiment\":\"y\"", 1),
        lines[1].to_owned(),
        "{}\n".to_owned(),
        format!("{whole}\n"),
    ] {
        std::fs::write(place.file(), &damaged).unwrap();
        let opened = Spending::in_memory().under(place.policy(most), ME, &name("x"));
        assert!(matches!(opened, Err(SpendingError::Damaged { .. })), "{damaged}");
        if damaged.len() != whole.len() {
            let refused = spend(&mut running, 3, takes(20, 1)).unwrap_err();
            assert_eq!(refused.reason(), Reason::Failed);
        }
    }
    std::fs::write(place.file(), whole).unwrap();
    spend(&mut running, 3, takes(20, 1)).unwrap();
}

#[test]
fn what_the_policy_does_not_allow_is_refused_before_it_is_counted() {
    let place = Place::new();
    let policy = place.policy(1_000_000_000);
    let mut learner = place.learner(1_000_000_000, ME, "x", HERE);
    let noisy = |noise| takes(noise, 1);
    let refused = spend(&mut learner, 1, noisy(4)).unwrap_err();
    assert!(matches!(refused, SpendingError::Policy(PolicyError::Noise { .. })), "{refused}");
    assert_eq!(refused.reason(), Reason::Policy);
    assert!(learner.check_policy(None).is_err());
    assert!(!place.file().exists());
    spend(&mut learner, 1, noisy(5)).unwrap();
    // Nothing is counted before it is known on which ledger.
    let mut lost = Spending::in_memory().under(policy.clone(), OTHER, &name("x")).unwrap();
    assert!(matches!(spend(&mut lost, 1, noisy(5)), Err(SpendingError::NoLedger)));
    let only = Policy { experiments: Some(vec![name("y")]), ..policy.clone() };
    assert!(Spending::in_memory().under(only, ME, &name("x")).is_err());
    let only = Policy { ledgers: Some(vec![HERE]), ..policy };
    let mut elsewhere = Spending::in_memory().under(only, ME, &name("x")).unwrap();
    assert!(elsewhere.on(THERE).is_err());
    elsewhere.on(HERE).unwrap();
}

/// Before there was a policy ten steps were stated; then the memory is lost.
#[test]
fn what_was_done_before_a_lost_memory_counts_besides_what_is_done_after_it() {
    let place = Place::new();
    let most = epsilon_of(&[segment(20, 22)]);
    let stated = |steps| {
        let training = PrivateTraining::All(vec![segment(20, steps)]);
        let epsilon_micros = epsilon_of(&[segment(20, steps)]);
        Some(PrivacySpent { epsilon_micros, delta_picos: DELTA, training })
    };
    let spend = |made, steps, stated| {
        let mut learner = place.learner(most, ME, "x", HERE);
        let asked = asked(Version::V2, made, stated);
        learner.spend(weights(made), &takes(20, steps), &asked)
    };
    // It leaves, and is never recorded.
    assert_eq!(spend(1, 5, stated(10)).unwrap().steps(), 15);
    assert_eq!(place.steps(), 15);
    std::fs::remove_dir_all(place.memory(ME, HERE)).unwrap();
    // The ledger has ten, and the site knows of five more.
    assert_eq!(spend(2, 5, stated(10)).unwrap().steps(), 15);
    assert_eq!(place.steps(), 20);
    assert!(matches!(spend(3, 3, stated(15)), Err(SpendingError::OverSite { .. })));
    spend(3, 2, stated(15)).unwrap();
    assert_eq!(place.steps(), 22);
}

const UNPROTECTED: &str = "scores = true\nunprotected = true\n";

#[test]
fn of_data_that_was_trained_on_without_noise_no_budget_is_left() {
    let place = Place::new();
    let mut open = place.under(place.policy_of(UNPROTECTED), ME, "x", HERE);
    let first = asked(Version::V2, 1, None);
    open.spend_unprotected(weights(1), &first).unwrap();
    // What is sent again counts once.
    open.spend_unprotected(weights(1), &first).unwrap();
    assert_eq!(open.unprotected(), 1);
    // Without a budget it goes on, privately too.
    spend(&mut open, 2, takes(20, 3)).unwrap();
    open.spend_unprotected(weights(3), &asked(Version::V2, 3, None)).unwrap();
    let mut learner = place.learner(1_000_000_000, OTHER, "y", THERE);
    assert_eq!(learner.unprotected(), 2);
    let refused = learner.after(&takes(20, 1), &first).unwrap_err();
    assert!(matches!(refused, SpendingError::Unprotected { unprotected: 2, .. }), "{refused}");
    assert!(refused.is_exhausted());
    assert!(spend(&mut learner, 1, takes(20, 1)).is_err());
    let refused = learner.spend_unprotected(weights(4), &first).unwrap_err();
    assert!(matches!(refused, SpendingError::Policy(PolicyError::Unprotected)), "{refused}");
    let spent = SiteSpent::of(&place.policy(1_000_000_000)).unwrap();
    assert_eq!((spent.epsilon_micros, spent.unprotected, spent.learners.len()), (None, 2, 1));
    let learner = &spent.learners[0];
    assert_eq!((learner.trainings, learner.unprotected, learner.steps), (3, 2, 3));
    assert_eq!(learner.epsilon_micros, None);
    // Nothing leaves before it is counted.
    let mut lost = Spending::in_memory();
    lost = lost.under(place.policy_of(UNPROTECTED), OTHER, &name("x")).unwrap();
    assert!(matches!(lost.spend_unprotected(weights(5), &first), Err(SpendingError::NoLedger)));
}

#[test]
fn a_file_that_becomes_shorter_or_another_while_a_learner_runs_is_damaged() {
    let place = Place::new();
    let most = epsilon_of(&[segment(20, 50)]);
    let mut running = place.learner(most, ME, "x", HERE);
    spend(&mut running, 1, takes(20, 3)).unwrap();
    let shorter = std::fs::read(place.file()).unwrap();
    spend(&mut running, 2, takes(20, 4)).unwrap();
    let whole = std::fs::read(place.file()).unwrap();
    // Whole lines of the same data, with which another learner would start.
    let elsewhere = Place::new();
    for made in 3..7 {
        spend(&mut elsewhere.learner(most, ME, "x", HERE), made, takes(20, 1)).unwrap();
    }
    let another = std::fs::read(elsewhere.file()).unwrap();
    assert!(another.len() > whole.len());
    for bytes in [&shorter[..], &another[..], &[]] {
        std::fs::write(place.file(), bytes).unwrap();
        place.learner(most, OTHER, "x", HERE);
        let refused = spend(&mut running, 7, takes(20, 1)).unwrap_err();
        assert!(matches!(refused, SpendingError::Damaged { .. }), "{refused}");
    }
    std::fs::remove_file(place.file()).unwrap();
    assert!(matches!(spend(&mut running, 7, takes(20, 1)), Err(SpendingError::Damaged { .. })));
    std::fs::write(place.file(), whole).unwrap();
    spend(&mut running, 7, takes(20, 1)).unwrap();
    assert_eq!(place.steps(), 8);
}

/// Has trained before, and only says what it would train next.
struct Asked;

impl Learner for Asked {
    fn propose(&mut self) -> Work<Proposed> {
        Err("it is not asked".into())
    }

    fn test(&mut self, _: &Weights) -> Work<Score> {
        Err("it is not asked".into())
    }

    fn accept(&mut self, _: &Weights) -> Work<()> {
        Ok(())
    }

    fn current(&self) -> Weights {
        Weights::new(Vec::new())
    }
}

#[test]
fn an_update_that_was_sealed_under_another_policy_leaves_only_as_this_one_allows() {
    let trained = Weights::new(b"trained".to_vec());
    let scores = Scores { vote: Some(3), test: None };
    let asked = asked(Version::V2, 1, None);
    // What was sealed without a policy, and what a policy that came after it says: whether it leaves, and how many
    // steps are counted then.
    let private = "unprotected = false\n";
    for (noise, scores, policy, leaves) in [
        (None, Scores::default(), format!("{private}scores = true"), false),
        (None, Scores::default(), UNPROTECTED.to_owned(), true),
        (Some(4), Scores::default(), format!("{private}scores = true\nleast_noise = 5.0"), false),
        (Some(5), Scores::default(), format!("{private}scores = true\nleast_noise = 5.0"), true),
        (Some(5), scores, format!("{private}scores = false"), false),
        (Some(5), scores, format!("{private}scores = true"), true),
        (
            Some(5),
            Scores::default(),
            format!("{private}scores = true\nmax_epsilon = 0.001\ndelta = 1e-5"),
            false,
        ),
    ] {
        let place = Place::new();
        let taken = noise.map(|noise| (segment(noise, 3), DELTA));
        let made = Made { weights: trained.clone(), scores, taken };
        let mut before = Spending::open(&place.memory(ME, HERE), &name("x")).unwrap();
        let privacy =
            noise.map(|noise| before.spend(trained.digest(), &takes(noise, 3), &asked).unwrap());
        let (round, base, weights) = (1, asked.base, trained.model("m"));
        let update = Update { round, base, weights, scores, privacy };
        // Without a policy it leaves as it was.
        made.clone().release(&update, &Asked, &mut before, &asked).unwrap();
        let mut spending = place.under(place.policy_of(&policy), ME, "x", HERE);
        let mut release =
            |update: &Update| made.clone().release(update, &Asked, &mut spending, &asked);
        assert!(release(&Update { round: 2, ..update.clone() }).is_err());
        assert_eq!(release(&update).is_ok(), leaves, "{policy}");
        assert_eq!(release(&update).is_ok(), leaves, "{policy}");
        let spent = SiteSpent::of(&Policy::read(&place.0.path().join("site.toml")).unwrap());
        let counted: u64 = spent.unwrap().learners.iter().map(|it| it.trainings).sum();
        assert_eq!(counted, u64::from(leaves), "counted once, before it leaves: {policy}");
    }
}
