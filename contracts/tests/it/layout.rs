//! The bytes of the contract's state, of every kind that there is, as they were when its layout was
//! given a number: whoever reads a state that was written before must find what was written.

use std::collections::BTreeSet;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Contract, CreateExperiment, Digest, Experiment,
    Invitation, LAYOUT, LINKS, Limits, MergeStage, Merging, Parameters, Part, Phase, PrivacyCap,
    PrivateTraining, Seat, Selection, Stage, Threshold, Version,
};

use crate::script::{at, by_vote, defaults, invited, learner, model, play};

/// Creates an experiment of this name under the version that the contract is at, and runs the script.
fn run(
    contract: &mut Contract,
    name: &str,
    parameters: Parameters,
    admission: Admission,
    script: &str,
) {
    let version = contract.version().number();
    let plan = name.starts_with('w').then_some(Digest([8; 32]));
    let create = CreateExperiment { version, parameters, admission, model: model(0), plan };
    let action = Action::new(name.parse().unwrap(), Act::Create(create));
    contract.apply(at(0), learner("Z"), &action).unwrap();
    play(contract, &action.experiment, script);
}

/// One experiment for each thing that its state can be, in order of time: first those of version 1, then,
/// after an upgrade, what version 2 has beside.
fn history() -> Contract {
    let mut contract = Contract::new(Digest([0; 32]), Version::V1);
    of_version_1(&mut contract);
    let limits = Limits { per_creator: 31, experiments: 9_999, expiry_ms: 86_400_000 };
    contract.upgrade(0, Version::V2, limits).unwrap();
    of_version_2(&mut contract);
    contract
}

fn of_version_1(contract: &mut Contract) {
    let mut run = |name: &str, parameters: Parameters, admission: Admission, script: &str| {
        run(contract, name, parameters, admission, script);
    };
    let cap = PrivacyCap { epsilon_micros: 1000, delta_picos: 10 };
    let rules = Parameters {
        selection: Selection::Sortition,
        close: Close::Early,
        max_rounds: Some(300),
        patience: Some(7),
        privacy: Some(cap),
        governance_threshold: Some(Threshold::at_least(2, 3)),
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
}

const DRAWN: &str = "A joins: ok
    B joins as Beta: round 1 of A
    C joins: ok
    A proposes 1 in 1 from 0: 1 vote
    B approves 1 in 1: accepted 1-0, round 2 of B
    B proposes 2 in 2 from 1: 5 vote
    A approves 2 in 2: ok
    C abstains 2 in 2 because too_little_data: rejected 2-0-3, round 3 of A
    A proposes 2 in 3 from 1: 4 vote
    B approves 2 in 3: ok
    C becomes D: ok
    D evaluates 2 as 1: ok
    A moves 1 admit E judge as Clinic-E: motion 1: 6 vote
    D seconds 1: motion 1 adopted 5-0
    B moves 2 suspend A: motion 2: 6 vote";
const DRAWN_AND_SEALED: &str = "A joins: ok
    B joins: round 1 of B
    C joins: ok
    B passes 1 because failed: passed, round 2 of A
    A proposes 1 in 2 from 0: 4 vote
    B commits yes on 1 in 2: ok
    C commits neither on 1 in 2 because worse: reveal 4
    B reveals yes on 1 in 2: ok
    C reveals neither on 1 in 2 because worse: rejected 1-0-3, round 3 of B
    B proposes 1 in 3 from 0: 5 vote
    A commits yes on 1 in 3: ok
    C commits no on 1 in 3: reveal 5
    C reveals no on 1 in 3: ok";
const LACKING: &str = "A joins: ok
    B joins: round 1 of A
    A proposes 1 in 1 from 0: 1 vote
    B abstains 1 in 1 because unavailable: expired 0-0-1, round 2 of B
    A evaluates 0 as 1 naming a b: ok";
const ADOPTS: &str = "F moves 1 adopt 2: motion 1: 2 vote
    C seconds 1: motion 1 adopted 2-0
    F passes 2: passed, motion 1 in effect, round 3 of E
    G joins: ok
    F leaves: ok";

fn of_version_2(contract: &mut Contract) {
    let mut run = |name: &str, parameters: Parameters, admission: Admission, script: &str| {
        run(contract, name, parameters, admission, script);
    };
    let named = |letter: &str, weight: u32, judge: bool| Invitation {
        judge,
        name: Some(format!("Clinic {letter}").parse().unwrap()),
        ..Invitation::new(learner(letter), weight)
    };
    let listed = vec![named("A", 2, false), Invitation::new(learner("B"), 1), named("C", 3, true)];
    let rules = Parameters {
        selection: Selection::Sortition,
        threshold: Threshold::MORE_THAN_HALF,
        proposal_deadline_ms: 5000,
        ..defaults()
    };
    run("drawn", rules.clone(), Admission::ByVote(listed.clone()), DRAWN);
    let sealed = Parameters { ballot: BallotKind::Sealed, ..rules };
    run("drawn-and-sealed", sealed, Admission::Invited(listed), DRAWN_AND_SEALED);
    run("lacking", defaults(), Admission::Open, LACKING);
    let cap = PrivacyCap { epsilon_micros: 1000, delta_picos: 10 };
    run(
        "segments",
        Parameters { privacy: Some(cap), ..defaults() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of A
         A proposes 1 in 1 from 0 spending 900 as 100x1,50x2: 1 vote",
    );
    run(
        "judges",
        Parameters { min_learners: 1, ..defaults() },
        invited("AjB"),
        "A joins: paused OnlyJudges",
    );
    run(
        "abandoned",
        Parameters { min_learners: 1, ..defaults() },
        invited("A"),
        "A renounces: finished Abandoned",
    );
    merged_rounds(&mut run);
    // One of version 1 goes over, another is about to.
    play(contract, &"seats".parse().unwrap(), ADOPTS);
    play(contract, &"paused".parse().unwrap(), "A moves 1 adopt 2: motion 1: 2 vote");
}

const SEALED_TRAINING: &str = "A joins: ok
    B joins: round 1 trains AB
    C joins: ok
    A seals 1 in 1 from 0: ok";
const OPEN_JUDGING: &str = "A joins: ok
    B joins: round 1 trains AB checked by B
    A trains 1 in 1 from 0: ok
    B trains 2 in 1 from 0: who holds AB
    A holds 10 in 1: ok
    B holds 11 in 1: 2 judge A
    A judges 8 9 in 1 +o +p: ok
    B judges 8 9 in 1 +o: open of 2: 2 0 1, accepted 2-0, round 2 trains AB checked by B
    A trains 3 in 2 from 8: ok
    B trains 4 in 2 from 8: who holds AB
    A holds 10 in 2: ok
    B holds 11 in 2: 2 judge A
    B judges 6 7 in 2 +g: ok";

fn merged_rounds(run: &mut impl FnMut(&str, Parameters, Admission, &str)) {
    let merging = Merging { gather_deadline_ms: Some(5000), ..Merging::default() };
    let open = Parameters {
        merging: Some(Merging { proposers: 2, ..merging }),
        proposal_deadline_ms: 200,
        ..defaults()
    };
    let sealed = Parameters { ballot: BallotKind::Sealed, ..open.clone() };
    run("merged-training", sealed.clone(), Admission::Open, SEALED_TRAINING);
    let script = format!("{SEALED_TRAINING}\nB passes 1 because failed: reveal 1");
    run("merged-revealing", sealed.clone(), Admission::Open, &script);
    let script = format!("{script}\nA unseals 1 in 1 from 0: who holds A\nA holds 1 in 1: ok");
    run("merged-gathering", sealed.clone(), Admission::Open, &script);
    let script = format!("{script}\nB holds 1 in 1: 2 judge A\nB encloses 8 - in 1 from 0 +o: ok");
    run("merged-committing", sealed, Admission::Open, &script);
    let checked = Parameters {
        selection: Selection::Sortition,
        merging: Some(Merging { checkers: 1, ..merging }),
        ..open
    };
    run("merged-judging", checked, Admission::Open, OPEN_JUDGING);
}

/// What an experiment's state has in it, by words of this test.
fn kinds(experiment: &Experiment) -> Vec<String> {
    let mut kinds = vec![match experiment.phase() {
        Phase::Waiting => "waiting".to_owned(),
        Phase::Paused(reason) => format!("paused-{reason:?}"),
        Phase::Proposing { .. } => "proposing".to_owned(),
        Phase::Voting { stage: Stage::Open, .. } => "voting".to_owned(),
        Phase::Voting { stage: Stage::Commit { .. }, .. } => "committing".to_owned(),
        Phase::Voting { stage: Stage::Reveal { .. }, .. } => "revealing".to_owned(),
        Phase::Merged(open) => match &open.stage {
            MergeStage::Training => "training".to_owned(),
            MergeStage::Revealing => "revealing-updates".to_owned(),
            MergeStage::Gathering { .. } => "gathering".to_owned(),
            MergeStage::Voting { stage: Stage::Open, .. } => "judging".to_owned(),
            MergeStage::Voting { .. } => "judging-sealed".to_owned(),
        },
        Phase::Finished(reason) => format!("finished-{reason:?}"),
    }];
    if let Phase::Merged(open) = experiment.phase() {
        kinds.extend(open.participants.iter().map(|it| match it.part {
            Part::Due => "part-due".to_owned(),
            Part::Passed => "part-passed".to_owned(),
            Part::Committed { .. } => "part-committed".to_owned(),
            Part::Sent(_) => "part-sent".to_owned(),
            Part::Dropped { .. } => "part-dropped".to_owned(),
        }));
        kinds.extend((!open.checkers.is_empty()).then(|| "checkers".to_owned()));
    }
    if experiment.previous() != experiment.model() {
        kinds.push("previous".to_owned());
    }
    for (_, member) in experiment.members() {
        kinds.push(match member.seat {
            Seat::Joining => "joining".to_owned(),
            Seat::Seated(_) => "seated".to_owned(),
            Seat::Leaving(_) => "leaving".to_owned(),
            seat @ (Seat::Left | Seat::Suspended | Seat::Expelled | Seat::Replaced) => {
                format!("{seat:?}").to_lowercase()
            }
        });
        let training = member.privacy.as_deref().map(|spent| &spent.training);
        let also = [
            ("unrevealed", member.has_unrevealed()),
            ("exhausted", member.exhausted),
            ("last", matches!(training, Some(PrivateTraining::Last(_)))),
            ("segments", matches!(training, Some(PrivateTraining::All(_)))),
            ("missed", member.missed > 0),
            ("judge", member.judge),
            ("name", member.name.is_some()),
            ("chain", member.chain.as_deref().is_some_and(|chain| chain.left < LINKS)),
            ("unavailable", member.unavailable > 0),
            ("another-key", member.keys_replaced > 0),
            ("evaluated", member.evaluations > 0),
            ("has", member.last_have > 0),
        ];
        kinds.extend(also.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind.to_owned()));
    }
    let motion = |version: Version| format!("motion-{version}");
    kinds.extend(experiment.motions().map(|(_, open)| motion(open.version)));
    let named = experiment.admission().invitations().iter().any(|it| it.name.is_some());
    kinds.extend(named.then(|| "named".to_owned()));
    kinds.push(format!("version-{}", experiment.version()));
    kinds
}

#[test]
fn the_state_is_written_as_it_always_was() {
    let contract = history();
    let found: BTreeSet<String> = contract.experiments().flat_map(kinds).collect();
    let every = "another-key chain checkers committing evaluated exhausted expelled \
        finished-Abandoned finished-MaxRounds finished-Patience finished-Stopped gathering has joining \
        judge judging judging-sealed last leaving left missed motion-1 motion-2 name named \
        part-committed part-dropped part-due part-passed part-sent paused-BudgetsSpent \
        paused-NobodyProposes paused-OnlyJudges previous proposing replaced revealing \
        revealing-updates seated segments suspended training unavailable unrevealed version-1 \
        version-2 voting waiting";
    let words: BTreeSet<&str> = found.iter().map(String::as_str).collect();
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
    assert!(text == golden, "states of layout {LAYOUT} look otherwise: give it another number");
    assert_eq!(postcard::from_bytes::<Contract>(&bytes).unwrap(), contract);
}
