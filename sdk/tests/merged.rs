//! Merged rounds on one machine: with learners that know nothing of them, in every form that the rules allow.
#![allow(clippy::unwrap_used)]

use colearn_contracts::{BallotKind, Merging, Parameters, Selection, Verdict};
use colearn_sdk::local::{self, Conduct, LocalRun, Voting};
use colearn_sdk::records::history::Round;
use colearn_testkit::Near;

const PRIVATE: [f32; 5] = [1.0, 2.0, 3.0, 4.0, 5.0];

fn learners() -> Vec<Near> {
    PRIVATE.map(Near::new).into()
}

fn rules(merging: Merging) -> Parameters {
    Parameters {
        merging: Some(merging),
        max_rounds: Some(12),
        min_learners: 5,
        proposal_deadline_ms: 60_000,
        missed_turns: None,
        idle_rotations: None,
        ..Parameters::default()
    }
}

fn run(learners: &mut [Near], conducts: &[Conduct], parameters: Parameters) -> LocalRun {
    local::simulate(learners, conducts, parameters, |_, _| {}).unwrap()
}

fn accepted(run: &LocalRun) -> usize {
    let rounds = run.history.rounds.iter().filter_map(|round| round.result);
    rounds.filter(|result| result.verdict == Verdict::Accepted).count()
}

#[test]
fn learners_that_know_nothing_of_merges_find_what_suits_them_all() {
    let plain = rules(Merging::default());
    let sealed = Parameters { ballot: BallotKind::Sealed, ..plain.clone() };
    let gathered = rules(Merging { gather_deadline_ms: Some(10_000), ..Merging::default() });
    let drawn = Parameters { selection: Selection::Sortition, ..plain.clone() };
    let checked = Parameters {
        selection: Selection::Sortition,
        ..rules(Merging { checkers: 3, ..Merging::default() })
    };
    let few = rules(Merging { proposers: 3, ..Merging::default() });
    for parameters in [plain, sealed, gathered, drawn, checked, few] {
        let mut learners = learners();
        let conducts = vec![Conduct::default(); 5];
        let run = run(&mut learners, &conducts, parameters.clone());
        assert!(accepted(&run) >= 9, "{parameters:?}: {}", accepted(&run));
        for learner in &learners {
            assert!((learner.current - 3.0).abs() < 1.0, "{parameters:?}: {}", learner.current);
        }
    }
}

#[test]
fn who_is_late_away_or_hostile_is_not_in_the_merge_and_stops_nobody() {
    let mut learners = learners();
    learners[0].hostile = true;
    let mut conducts = vec![Conduct::default(); 5];
    // As slow as the turn is long, away for a while, and never voting.
    conducts[1].training_ms = 60_000;
    conducts[2].away = vec![2..=4];
    conducts[3].voting = Voting::Never;
    conducts[4].voting = Voting::Copied;
    let run = run(&mut learners, &conducts, rules(Merging::default()));
    assert!(accepted(&run) >= 8, "{}", accepted(&run));
    let merged = |round: usize| {
        let merged = run.history.rounds[round - 1].merged.as_ref().unwrap();
        merged.merging.as_ref().unwrap().len()
    };
    // It cannot be seen before it is merged that what somebody sends is nonsense.
    assert_eq!((merged(1), merged(2), merged(5)), (4, 3, 4));
    assert!((learners[4].current - 4.0).abs() < 1.0, "{}", learners[4].current);
    // The turn of who is late is waited for in each round.
    assert!(run.simulated_ms >= 12 * 60_000);
}

/// Two checkers of five are no majority: the others have to hear of what these name.
#[test]
fn who_need_not_merge_hears_what_the_checkers_name() {
    let checked = Parameters {
        selection: Selection::Sortition,
        ..rules(Merging { checkers: 2, ..Merging::default() })
    };
    let run = run(&mut learners(), &vec![Conduct::default(); 5], checked);
    assert!(accepted(&run) >= 9, "{}", accepted(&run));
    let votes = |round: &Round| round.merged.as_ref().map_or(0, |merged| merged.votes.len());
    assert!(run.history.rounds.iter().all(|round| votes(round) == 5), "all have voted");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let root = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let sealed = Parameters { ballot: BallotKind::Sealed, ..rules(Merging::default()) };
        pool.install(|| run(&mut learners(), &vec![Conduct::default(); 5], sealed)).root
    };
    assert_eq!(root(1), root(7));
}

#[test]
fn a_learner_alone_goes_on_by_itself() {
    let mut alone = vec![Near::new(4.0)];
    let parameters =
        Parameters { min_learners: 1, max_rounds: Some(2), ..rules(Merging::default()) };
    let run = run(&mut alone, &[Conduct::default()], parameters);
    assert_eq!(accepted(&run), 2);
    // Half of the way, half of what was left, and half of the last movement.
    assert_eq!(alone[0].current, 2.0 + 1.0 + 1.0);
}
