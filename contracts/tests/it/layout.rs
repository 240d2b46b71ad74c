//! The bytes of the contract's state, of every kind that there is, as they were when its layout was
//! given a number: whoever reads a state that was written before must find what was written.

use std::collections::BTreeSet;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Contract, CreateExperiment, Digest, Experiment,
    LAYOUT, Parameters, Phase, PrivacyCap, Seat, Selection, Stage, Threshold,
};

use crate::script::{at, by_vote, defaults, invited, learner, model, new_contract, play};

/// One experiment for each thing that its state can be, in order of time.
fn history() -> Contract {
    let mut contract = new_contract();
    let mut run = |name: &str, parameters: Parameters, admission: Admission, script: &str| {
        let plan = name.starts_with('w').then_some(Digest([8; 32]));
        let create = CreateExperiment { parameters, admission, model: model(0), plan };
        let experiment = name.parse().unwrap();
        let action = Action::new(experiment, Act::Create(create));
        contract.apply(at(0), learner("Z"), &action).unwrap();
        play(&mut contract, &action.experiment, script);
    };
    let cap = PrivacyCap { epsilon_micros: 1000, delta_picos: 10 };
    let rules = Parameters {
        selection: Selection::Sortition,
        close: Close::Early,
        max_rounds: Some(300),
        patience: Some(7),
        privacy: Some(cap),
        governance_threshold: Some(Threshold { numerator: 2, denominator: 3 }),
        ..defaults()
    };
    run("waiting", rules, by_vote("A2B3C"), "A joins: ok");
    run(
        "paused",
        Parameters { idle_rotations: Some(1), ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         at 100: expired, round 2 of B
         at 200: expired, paused NobodyProposes",
    );
    run(
        "seats",
        Parameters { missed_turns: Some(1), ..defaults() },
        Admission::Open,
        "at 200: ok
         A joins: ok
         B joins: round 1 of A
         C joins: ok
         at 300: expired, A suspended MissedTurns, round 2 of B
         D joins: ok
         D leaves: ok
         E joins: ok
         B becomes F: ok
         C leaves: ok",
    );
    run(
        "motions",
        defaults(),
        invited("ABCD"),
        "A joins: ok
         B joins: round 1 of A
         C joins: ok
         D joins: ok
         A passes 1: passed, round 2 of B
         A moves 1 expel D: motion 1: 3 vote
         B seconds 1: ok
         C seconds 1: motion 1 adopted 2-0
         B passes 2: passed, D suspended Expelled, motion 1 in effect, round 3 of C
         A moves 2 set threshold 2/3: motion 2: 2 vote
         B seconds 2: motion 2 adopted 1-0
         B moves 3 suspend C: motion 3: 2 vote
         A opposes 3: ok",
    );
    let script = "A joins: ok
         B joins: round 1 of A
         C joins: ok
         A passes 1: passed, round 2 of B
         B proposes 1 in 2 from 0: 2 vote";
    run("voting", defaults(), Admission::Open, &format!("{script}\nA approves 1 in 2: ok"));
    let sealed = Parameters { ballot: BallotKind::Sealed, ..defaults() };
    let script = format!("{script}\nA commits yes on 1 in 2: ok");
    run("committing", sealed.clone(), Admission::Open, &script);
    let script = format!("{script}\nC commits no on 1 in 2: reveal 2\nC reveals no on 1 in 2: ok");
    run("revealing", sealed, Admission::Open, &script);
    run(
        "spent",
        Parameters { privacy: Some(cap), ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 1 from 0 stating 900: 1 vote
         B approves 1 in 1: accepted 1-0, round 2 of B
         B passes 2 exhausted: passed, round 3 of A
         A passes 3 exhausted: passed, paused BudgetsSpent",
    );
    run(
        "over",
        Parameters { max_rounds: Some(1), ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A passes 1: passed, finished MaxRounds",
    );
    run(
        "patience",
        Parameters { patience: Some(1), ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 1 from 0: 1 vote
         B rejects 1 in 1: rejected 0-1, finished Patience",
    );
    run("stopped", defaults(), Admission::Open, "Z stops: finished Stopped");
    contract
}

/// What an experiment's state has in it, by words of this test.
fn kinds(experiment: &Experiment) -> Vec<String> {
    let mut kinds = vec![match experiment.phase() {
        Phase::Waiting => "waiting".to_owned(),
        Phase::Paused(reason) => format!("paused {reason:?}"),
        Phase::Proposing { .. } => "proposing".to_owned(),
        Phase::Voting { stage: Stage::Open, .. } => "voting".to_owned(),
        Phase::Voting { stage: Stage::Commit { .. }, .. } => "committing".to_owned(),
        Phase::Voting { stage: Stage::Reveal { .. }, .. } => "revealing".to_owned(),
        Phase::Finished(reason) => format!("finished {reason:?}"),
    }];
    for (_, member) in experiment.members() {
        kinds.push(match member.seat {
            Seat::Joining => "joining".to_owned(),
            Seat::Seated(_) => "seated".to_owned(),
            Seat::Leaving(_) => "leaving".to_owned(),
            seat @ (Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced) => {
                format!("{seat:?}").to_lowercase()
            }
        });
        let also = [
            ("unrevealed", member.has_unrevealed()),
            ("exhausted", member.exhausted),
            ("privacy", member.privacy.is_some()),
            ("missed", member.missed > 0),
        ];
        kinds.extend(also.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind.to_owned()));
    }
    kinds.extend(experiment.motions().map(|_| "motion".to_owned()));
    kinds
}

#[test]
fn the_state_is_written_as_it_always_was() {
    let contract = history();
    let found: BTreeSet<String> = contract.experiments().flat_map(kinds).collect();
    let every = "committing exhausted expelled finished joining leaving left missed motion paused \
                 privacy proposing replaced revealing seated suspended unrevealed voting waiting";
    let words: BTreeSet<&str> =
        found.iter().filter_map(|kind| kind.split_whitespace().next()).collect();
    assert_eq!(words, every.split_whitespace().collect());

    let bytes = postcard::to_allocvec(&contract).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<&str> =
        (0..hex.len()).step_by(96).map(|at| &hex[at..hex.len().min(at + 96)]).collect();
    let text = lines.join("\n") + "\n";
    let path = format!("{}/tests/golden/state-{LAYOUT}.hex", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("COLEARN_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path)
        .expect("a new LAYOUT has its bytes written with COLEARN_WRITE_GOLDEN=1");
    assert_eq!(text, golden, "states of layout {LAYOUT} look otherwise: give it another number");
    assert_eq!(postcard::from_bytes::<Contract>(&bytes).unwrap(), contract);
}
