//! Scores that leave with noise are counted beside trainings, and stated with none.

use super::*;
use crate::policy::PolicyError;

const KEPT: Scores = Scores { vote: Some(1), test: None };

/// A score with the noise of a step of so much, and a limit for all that this key does.
fn score(noise: u64, max_epsilon_micros: Option<u64>) -> Privacy {
    let segment = PrivacySegment { clip_micros: 0, ..segment(noise, 1) };
    Privacy { segment, delta_picos: DELTA, max_epsilon_micros }
}

#[test]
fn scores_and_trainings_share_the_keys_limit_and_a_restart_forgets_neither() {
    let dir = tempfile::tempdir().unwrap();
    let open = |experiment: &str| Spending::open(dir.path(), &name(experiment)).unwrap();
    let most = Some(epsilon_of(&[segment(20, 6)]));
    let limited = |steps| Privacy { max_epsilon_micros: most, ..takes(20, steps) };
    let mut spending = open("x");
    spending.spend(weights(1), &limited(2), &asked(Version::V2, 1, None)).unwrap();
    // The same score is counted once, and one of other weights or another round is another.
    for (of, round) in [(1, 1), (1, 1), (2, 1), (1, 2)] {
        spending.spend_scores(weights(of), KEPT, round, Some(&score(20, most))).unwrap();
    }
    let mut spending = open("x");
    spending.spend_scores(weights(2), KEPT, 1, Some(&score(20, most))).unwrap();
    // Another draw of the noise is another score.
    let drawn = Scores { vote: Some(2), ..KEPT };
    let mut sixth = open("x");
    sixth.spend_scores(weights(2), drawn, 1, Some(&score(10, most))).unwrap_err();
    assert!(spending.after(&limited(2), &asked(Version::V2, 2, None)).is_err());
    // In another experiment of this key they count, too.
    let mut other = open("y");
    assert!(other.spend_scores(weights(9), KEPT, 1, Some(&score(10, most))).is_err());
    other.spend_scores(weights(9), KEPT, 1, Some(&score(20, most))).unwrap();
    let refused = spending.spend_scores(weights(3), KEPT, 3, Some(&score(20, most))).unwrap_err();
    assert!(matches!(refused, SpendingError::OverOwn { .. }), "{refused}");
    // What has no noise takes nothing that could be counted.
    spending.spend_scores(weights(3), KEPT, 3, None).unwrap();
    for wrong in [score(0, None), Privacy { segment: segment(20, 0), ..score(20, None) }] {
        assert!(spending.spend_scores(weights(4), KEPT, 4, Some(&wrong)).is_err());
    }
}

#[test]
fn a_statement_lists_trainings_and_no_scores() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(Version::V2);
    let mut spending = Spending::open(dir.path(), &name("x")).unwrap();
    for round in 1..100 {
        spending.spend_scores(weights(1000 + round), KEPT, round, Some(&score(20, None))).unwrap();
        let stated = ledger.turn(&mut spending, takes(20, 1));
        assert_eq!(stated.training, PrivateTraining::All(vec![segment(20, round)]));
        if round % 30 == 0 {
            spending = Spending::open(dir.path(), &name("x")).unwrap();
        }
    }
    assert_eq!(spending.scores.len(), 99);
}

#[test]
fn a_policy_may_ask_for_noise_in_scores_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |text: &str| {
        let path = dir.path().join("site.toml");
        std::fs::write(&path, format!("data = 'd'\nunprotected = false\n{text}")).unwrap();
        Policy::read(&path)
    };
    let under = |policy: Policy| {
        let spending = Spending::open(&dir.path().join("key"), &name("x")).unwrap();
        let mut spending = spending.under(policy, ME, &name("x")).unwrap();
        spending.on(LedgerId([7; 32])).unwrap();
        spending
    };
    let least = (colearn_dp::gaussian_of(0.5).unwrap() * 1e6) as u64;
    let of = |noise_micros| {
        let segment = PrivacySegment { noise_micros, ..score(1, None).segment };
        Privacy { segment, ..score(1, None) }
    };
    let most = compose(&[of(least).segment, of(least).segment]).epsilon_micros(DELTA).unwrap();
    let limits = format!(
        "scores = true\nscore_epsilon = 0.5\nmax_epsilon = {:?}\ndelta = 1e-5\n",
        most as f64 / 1e6
    );
    let mut spending = under(policy(&limits).unwrap());
    for refused in [None, Some(of(least - 1))] {
        let error = spending.spend_scores(weights(1), KEPT, 1, refused.as_ref()).unwrap_err();
        assert!(matches!(error, SpendingError::Policy(PolicyError::ScoreNoise { .. })), "{error}");
    }
    // Scores that are kept from before leave only if they were counted.
    let kept = KEPT;
    assert!(spending.release_kept_scores(kept, weights(1), 1).is_err());
    spending.release_kept_scores(Scores::default(), weights(1), 1).unwrap();
    for round in [1, 2] {
        spending.spend_scores(weights(1), KEPT, round, Some(&of(least))).unwrap();
        spending.release_kept_scores(kept, weights(1), round).unwrap();
    }
    let error = spending.spend_scores(weights(1), KEPT, 3, Some(&of(least))).unwrap_err();
    assert!(matches!(error, SpendingError::OverSite { .. }), "{error}");
    let spent = SiteSpent::of(&policy(&limits).unwrap()).unwrap();
    assert_eq!(spent.epsilon_micros, Some(most));
    let none = policy("scores = false\n").unwrap();
    assert!(matches!(none.check_score(Some(&of(least))), Err(PolicyError::Scores)));
    for wrong in ["scores = false\nscore_epsilon = 1.0", "scores = true\nscore_epsilon = 0.0"] {
        assert!(policy(wrong).unwrap_err().to_string().contains("score"), "{wrong}");
    }
}

/// A learner scores with noise, dies, and is started again under a policy.
#[test]
fn what_was_counted_before_there_was_a_policy_counts_under_it_once_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let memory = dir.path().join("key");
    let most = compose(&[score(20, None).segment]).epsilon_micros(DELTA).unwrap();
    let policy = |max_micros: u64| {
        let path = dir.path().join("site.toml");
        let max = max_micros as f64 / 1e6;
        let text = format!("data = 'd'\nscores = true\nmax_epsilon = {max:?}\ndelta = 1e-5\n");
        std::fs::write(&path, text + "unprotected = false\n").unwrap();
        Policy::read(&path).unwrap()
    };
    let under = |max_micros: u64| {
        let spending = Spending::open(&memory, &name("x")).unwrap();
        let mut spending = spending.under(policy(max_micros), ME, &name("x")).unwrap();
        spending.on(LedgerId([7; 32])).unwrap();
        spending
    };
    let mut before = Spending::open(&memory, &name("x")).unwrap();
    before.spend_scores(weights(1), KEPT, 1, Some(&score(20, None))).unwrap();
    let refused = under(most - 1).release_kept_scores(KEPT, weights(1), 1).unwrap_err();
    assert!(matches!(refused, SpendingError::OverSite { .. }), "{refused}");
    let spent = |max_micros| SiteSpent::of(&policy(max_micros)).unwrap().epsilon_micros;
    assert_eq!(spent(most), Some(0));
    for _ in 0..2 {
        under(most).release_kept_scores(KEPT, weights(1), 1).unwrap();
        assert_eq!(spent(most), Some(most));
    }
}
