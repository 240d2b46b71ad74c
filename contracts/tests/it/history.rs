//! Random histories: whatever is thrown at it, the contract keeps its invariants, and a second
//! contract that reads only what was recorded arrives at the very same bytes.
//!
//! `COLEARN_STEPS=1000000` runs the long form, `COLEARN_SEED=N` one seed.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Close, Commit, Context, Contract, Decision, Digest,
    Experiment, Invitation, LearnerId, Moment, Motion, Outcome, Parameters, Phase, PrivacyCap,
    PrivacySpent, Proposal, Rejection, Reveal, Scores, Sealed, Seat, Selection, Stage, Threshold,
    VERSION, Verdict, Vote,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::script::{create, defaults, model, name, new_contract};

const LEARNERS: u8 = 7;
const STEPS_PER_SEED: u64 = 400;

fn id(number: u8) -> LearnerId {
    LearnerId([number; 32])
}

fn threshold(rng: &mut ChaCha8Rng) -> Threshold {
    let denominator = rng.random_range(1..5);
    Threshold { numerator: rng.random_range(0..=denominator), denominator }
}

fn parameters(rng: &mut ChaCha8Rng) -> Parameters {
    let mut maybe = |most: u64| rng.random_bool(0.5).then(|| rng.random_range(1..=most));
    let (patience, missed, idle) = (maybe(4), maybe(3), maybe(2));
    Parameters {
        threshold: threshold(rng),
        selection: *pick(rng, &[Selection::RoundRobin, Selection::Sortition]),
        close: *pick(rng, &[Close::All, Close::Early]),
        ballot: *pick(rng, &[BallotKind::Open, BallotKind::Sealed]),
        min_learners: rng.random_range(1..4),
        max_rounds: rng.random_bool(0.3).then(|| rng.random_range(1..40)),
        patience: patience.filter(|_| rng.random_bool(0.3)),
        missed_turns: missed.map(|most| most as u32),
        idle_rotations: idle.map(|most| most as u32),
        privacy: rng
            .random_bool(0.3)
            .then_some(PrivacyCap { epsilon_micros: 1000, delta_picos: 10 }),
        governance_threshold: rng.random_bool(0.5).then(|| threshold(rng)),
        creator_may_stop: rng.random_bool(0.5),
        ..defaults()
    }
}

fn pick<'a, T>(rng: &mut ChaCha8Rng, items: &'a [T]) -> &'a T {
    &items[rng.random_range(0..items.len())]
}

/// A vote that only the learner itself, and this test, can tell from others.
fn sealed_vote(voter: LearnerId, experiment: &Experiment, weights: Digest) -> Reveal {
    let approve = (voter.0[0] as u64 + experiment.round()).is_multiple_of(3);
    let scores = Scores { vote: Some(i64::from(voter.0[0])), test: None };
    let vote = Vote { round: experiment.round(), weights, approve, scores };
    Reveal { vote, salt: voter.0 }
}

/// Something that somebody may try: mostly what fits the present state, sometimes not.
fn attempt(rng: &mut ChaCha8Rng, experiment: &Experiment) -> (LearnerId, Action) {
    let who = id(rng.random_range(0..LEARNERS));
    let member = experiment.member(who);
    let weights = match experiment.phase() {
        Phase::Voting { weights, .. } if rng.random_bool(0.95) => weights.digest,
        _ => Digest([rng.random_range(0..4); 32]),
    };
    let round = match rng.random_range(0..20) {
        0 => rng.random_range(0..9),
        _ => experiment.round(),
    };
    let term = match member {
        _ if rng.random_bool(0.1) => rng.random_range(0..3),
        None => 0,
        Some(member) if matches!(member.seat, Seat::Left | Seat::Suspended) => member.term + 1,
        Some(member) => member.term,
    };
    let proposer = match experiment.phase() {
        Phase::Proposing { proposer, .. } if rng.random_bool(0.9) => *proposer,
        _ => who,
    };
    let experiment_name = name();
    match rng.random_range(0..100) {
        0..12 => (who, Action::new(experiment_name, Act::Join { term })),
        12..16 => (who, Action::new(experiment_name, Act::Leave { term })),
        16..36 => {
            let base = match rng.random_range(0..20) {
                0 => Digest([9; 32]),
                _ => experiment.model().digest,
            };
            let before = experiment.member(proposer).and_then(|member| member.privacy);
            let privacy = rng.random_bool(0.8).then(|| PrivacySpent {
                epsilon_micros: before.map_or(0, |spent| spent.epsilon_micros)
                    + rng.random_range(0..300),
                delta_picos: 10,
                noise_micros: 1,
                clip_micros: 1,
                sampling_nanos: 1,
                steps: before.map_or(1, |spent| spent.steps),
            });
            let weights = model(rng.random_range(0..4));
            let scores = Scores::default();
            let proposal = Proposal { round, base, weights, scores, privacy };
            (proposer, Action::new(experiment_name, Act::Propose(proposal)))
        }
        36..39 => {
            let exhausted = rng.random_bool(0.2);
            (proposer, Action::new(experiment_name, Act::Pass { round, exhausted }))
        }
        39..55 => {
            let approve = rng.random_bool(0.6);
            let scores = Scores::default();
            let vote = Vote { round, weights, approve, scores };
            (who, Action::new(experiment_name, Act::Vote(vote)))
        }
        55..68 => {
            let Reveal { vote, salt } = sealed_vote(who, experiment, weights);
            let voter = if rng.random_bool(0.1) { id(1) } else { who };
            let ledger = Digest([0; 32]);
            let experiment = &experiment_name;
            let sealed = Sealed { ledger, experiment, voter, vote: &vote, salt: &salt };
            let commitment = sealed.commitment();
            let commit = Commit { round, weights, commitment };
            (who, Action::new(experiment_name, Act::Commit(commit)))
        }
        68..82 => {
            let mut reveal = sealed_vote(who, experiment, weights);
            reveal.vote.approve ^= rng.random_bool(0.1);
            (who, Action::new(experiment_name, Act::Reveal(reveal)))
        }
        82..85 => (who, Action::new(experiment_name, Act::Resume { round })),
        85..87 => {
            let to = id(rng.random_range(0..LEARNERS + 30));
            (who, Action::new(experiment_name, Act::ReplaceKey { to }))
        }
        87..91 => {
            let about = id(rng.random_range(0..LEARNERS));
            let motion = match rng.random_range(0..8) {
                0..3 => Motion::SetParameters(Box::new(parameters(rng))),
                3..5 => {
                    Motion::Admit(Invitation { learner: about, weight: rng.random_range(0..4) })
                }
                5 => Motion::Suspend(about),
                6 => Motion::Expel(about),
                _ if rng.random_bool(0.1) => Motion::Stop,
                _ => Motion::Suspend(about),
            };
            let number = experiment.last_motion() + u64::from(!rng.random_bool(0.1));
            (who, Action::new(experiment_name, Act::Move { number, motion }))
        }
        91..99 => {
            let number = experiment.last_motion().saturating_sub(rng.random_range(0..3));
            let approve = rng.random_bool(0.7);
            (who, Action::new(experiment_name, Act::MotionVote { number, approve }))
        }
        _ if rng.random_bool(0.05) => (who, Action::new(experiment_name, Act::Stop)),
        _ => (who, Action::new("nowhere".parse().unwrap(), Act::Stop)),
    }
}

/// What is recorded: an action with its moment, or the passing of time.
struct Entry {
    at: Moment,
    action: Option<(LearnerId, Action)>,
    outcomes: Vec<u8>,
}

fn encode(outcomes: &[Outcome]) -> Vec<u8> {
    postcard::to_allocvec(outcomes).unwrap()
}

/// What an experiment that is kept alone decides of an entry.
fn replay_alone(alone: &mut Option<Experiment>, context: Context, entry: &Entry) -> Vec<Outcome> {
    let decisions = match (&mut *alone, &entry.action) {
        (None, Some((sender, Action { experiment, what: Act::Create(create) }))) => {
            let created = Experiment::create(VERSION, experiment.clone(), *sender, create);
            *alone = Some(created.unwrap());
            Vec::new()
        }
        (None, _) => panic!("the first entry creates"),
        (Some(experiment), Some((sender, action))) => {
            assert_eq!(experiment.advance(context), []);
            experiment.apply(context, *sender, &action.what).expect("what was accepted replays")
        }
        (Some(experiment), None) => experiment.advance(context),
    };
    decisions.into_iter().map(|what| Outcome::new(name(), what)).collect()
}

/// The round's votes as the test itself counts them.
#[derive(Default)]
struct Shadow {
    rounds: u64,
    verdicts: BTreeMap<u64, Verdict>,
    /// Who voted in this round, committed and revealed.
    voted: BTreeSet<LearnerId>,
    approvals: u32,
    rejections: u32,
    electorate: u32,
    proposer: Option<LearnerId>,
    proposed: Option<Digest>,
    /// The model in force.
    model: Option<Digest>,
    /// The open motions: approvals, rejections, electorate, threshold.
    motions: BTreeMap<u64, (u32, u32, u32)>,
}

impl Shadow {
    /// Takes an accepted action, in the state before it.
    fn action(&mut self, before: &Experiment, sender: LearnerId, action: &Action) {
        let weight = before.member(sender).map_or(0, |member| member.weight);
        match &action.what {
            Act::Propose(proposal) => {
                assert!(
                    matches!(before.phase(), Phase::Proposing { proposer, .. } if *proposer == sender)
                );
                let seats = before.seated().map(|seated| before.member(seated).unwrap().weight);
                self.electorate = seats.sum::<u32>() - weight;
                self.proposer = Some(sender);
                self.proposed = Some(proposal.weights.digest);
                if let Some(cap) = before.parameters().privacy {
                    assert!(proposal.privacy.unwrap().epsilon_micros <= cap.epsilon_micros);
                }
            }
            Act::Vote(vote) => {
                assert!(self.voted.insert(sender), "voted twice");
                assert_ne!(Some(sender), self.proposer, "voted on its own proposal");
                self.count(vote.approve, weight);
            }
            Act::Commit(_) => {
                assert!(self.voted.insert(sender), "committed twice");
                assert_ne!(Some(sender), self.proposer, "committed on its own proposal");
            }
            Act::Reveal(reveal) => {
                assert!(self.voted.contains(&sender), "revealed what it had not committed to");
                self.count(reveal.vote.approve, weight);
            }
            Act::ReplaceKey { to } => {
                if self.voted.remove(&sender) {
                    self.voted.insert(*to);
                }
                if self.proposer == Some(sender) {
                    self.proposer = Some(*to);
                }
            }
            Act::MotionVote { number, approve } => {
                let motion = self.motions.get_mut(number).expect("an open motion");
                *if *approve { &mut motion.0 } else { &mut motion.1 } += weight;
            }
            _ => {}
        }
    }

    fn count(&mut self, approve: bool, weight: u32) {
        *if approve { &mut self.approvals } else { &mut self.rejections } += weight;
    }

    /// Takes an outcome, with the rules in force when it was decided.
    fn outcome(&mut self, rules: &Parameters, outcome: &Outcome) {
        let met = |threshold: Threshold, approvals: u32, electorate: u32| {
            u64::from(approvals) * u64::from(threshold.denominator)
                >= u64::from(electorate) * u64::from(threshold.numerator)
        };
        match &outcome.what {
            Decision::RoundOpened { round, .. } => {
                assert_eq!(*round, self.rounds + 1, "rounds are counted");
                *self = Self {
                    rounds: *round,
                    verdicts: std::mem::take(&mut self.verdicts),
                    motions: std::mem::take(&mut self.motions),
                    model: self.model,
                    ..Self::default()
                };
            }
            Decision::RoundClosed {
                round,
                verdict,
                approvals,
                rejections,
                electorate,
                model,
                ..
            } => {
                assert_eq!(self.verdicts.insert(*round, *verdict), None, "one verdict a round");
                assert_eq!(
                    (*approvals, *rejections, *electorate),
                    (self.approvals, self.rejections, self.electorate),
                    "the tally is that of the votes"
                );
                match verdict {
                    Verdict::Accepted => {
                        assert!(met(rules.threshold, *approvals, *electorate));
                        self.model = self.proposed;
                    }
                    Verdict::Rejected => assert!(!met(rules.threshold, *approvals, *electorate)),
                    Verdict::Expired | Verdict::Passed => assert_eq!(*electorate, 0),
                }
                assert_eq!(Some(*model), self.model, "the model changes only by acceptance");
            }
            Decision::MotionOpened { number, electorate, .. } => {
                self.motions.insert(*number, (0, 0, *electorate));
            }
            Decision::MotionDecided { number, adopted, approvals, rejections, .. } => {
                let (for_it, against, electorate) = self.motions.remove(number).unwrap();
                assert_eq!((*approvals, *rejections), (for_it, against));
                let threshold = rules.governance_threshold.unwrap_or(rules.threshold);
                assert_eq!(*adopted, met(threshold, for_it, electorate));
            }
            _ => {}
        }
    }
}

/// What holds in every state.
fn check_state(contract: &Contract, now_ms: u64) {
    let experiment = contract.experiment(&name()).unwrap();
    let seated: Vec<LearnerId> = experiment.seated().collect();
    let weight: u32 = seated.iter().map(|who| experiment.member(*who).unwrap().weight).sum();
    assert_eq!(weight, experiment.weight());
    let seats = experiment
        .members()
        .filter(|(_, member)| matches!(member.seat, Seat::Seated(_) | Seat::Leaving(_)))
        .count();
    assert_eq!(seats, seated.len());
    if let Some(deadline_ms) = contract.next_deadline_ms() {
        assert!(deadline_ms > now_ms, "a phase outlives its deadline");
    }
    match experiment.phase() {
        Phase::Voting { proposer, tally, stage, .. } => {
            assert!(tally.cast() <= tally.electorate);
            if let Stage::Reveal { committed } | Stage::Commit { committed } = stage {
                assert!(tally.cast() <= *committed && *committed <= tally.electorate);
            }
            assert!(seated.contains(proposer));
        }
        Phase::Proposing { proposer, .. } => {
            assert!(seated.contains(proposer) && !experiment.member(*proposer).unwrap().exhausted);
        }
        Phase::Waiting | Phase::Paused(_) => {
            assert!(
                seated
                    .iter()
                    .all(|who| matches!(experiment.member(*who).unwrap().seat, Seat::Seated(_)))
            );
        }
        Phase::Finished(_) => assert_eq!(contract.next_deadline_ms(), None),
    }
}

/// One history of some hundred steps, until the experiment finishes; how many steps, how many of
/// them accepted, and how many rounds.
fn history(seed: u64) -> [u64; 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut contract = new_contract();
    let invited = rng.random_range(4..=LEARNERS);
    let shares = (0..invited)
        .map(|i| Invitation { learner: id(i), weight: rng.random_range(1..4) })
        .collect();
    let admission = match rng.random_range(0..3) {
        0 => Admission::Open,
        1 => Admission::Invited(shares),
        _ => Admission::ByVote(shares),
    };
    let first = create(parameters(&mut rng), admission);
    let mut at = Moment::without_ledger(0);
    contract.apply(at, id(0), &first).unwrap();
    let mut entries = vec![Entry { at, action: Some((id(0), first)), outcomes: encode(&[]) }];
    let mut shadow = Shadow { model: Some(Digest([0; 32])), ..Shadow::default() };
    let (mut accepted, mut steps) = (0, 0);
    for step in 0..STEPS_PER_SEED {
        if rng.random_bool(0.002) {
            at.now_ms += 2000;
        }
        at.now_ms +=
            *pick(&mut rng, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 5, 5, 30, 60, 110]);
        // The clock may also be set back; the contract must not care.
        let told = Moment {
            now_ms: at.now_ms.saturating_sub(*pick(&mut rng, &[0, 0, 0, 500])),
            head: Digest([(step % 251) as u8; 32]),
        };
        let before = contract.experiment(&name()).unwrap().clone();
        if matches!(before.phase(), Phase::Finished(_)) && rng.random_bool(0.1) {
            break;
        }
        steps += 1;
        let outcomes = contract.advance(told);
        let mut rules = before.parameters().clone();
        for outcome in &outcomes {
            shadow.outcome(&rules, outcome);
            if let Decision::MotionTookEffect { .. } = outcome.what {
                rules = contract.experiment(&name()).unwrap().parameters().clone();
            }
        }
        if !outcomes.is_empty() {
            entries.push(Entry { at: told, action: None, outcomes: encode(&outcomes) });
        }
        check_state(&contract, told.now_ms);

        let before = contract.experiment(&name()).unwrap().clone();
        let (sender, action) = attempt(&mut rng, &before);
        let state = contract.clone();
        match contract.apply(told, sender, &action) {
            Err(rejection) => {
                assert_eq!(state, contract, "a rejection changed the state");
                let rule = format!("R{}: ", rejection.rule());
                assert!(rejection.to_string().starts_with(&rule));
                assert_ne!(rejection, Rejection::TooManyMembers);
            }
            Ok(outcomes) => {
                accepted += 1;
                shadow.action(&before, sender, &action);
                let mut rules = before.parameters().clone();
                for outcome in &outcomes {
                    shadow.outcome(&rules, outcome);
                    if let Decision::MotionTookEffect { .. } = outcome.what {
                        rules = contract.experiment(&name()).unwrap().parameters().clone();
                    }
                }
                // What was accepted is refused when it comes again.
                let mut again = contract.clone();
                assert!(again.apply(told, sender, &action).is_err(), "counted twice: {action:?}");
                let action = Some((sender, action));
                entries.push(Entry { at: told, action, outcomes: encode(&outcomes) });
            }
        }
        check_state(&contract, told.now_ms);
    }
    // A second contract reads what was recorded, and an experiment alone.
    let mut replayer = new_contract();
    let (mut alone, mut now_ms): (Option<Experiment>, u64) = (None, 0);
    for entry in entries {
        // R30, which is the caller's to see to where there is no contract.
        now_ms = now_ms.max(entry.at.now_ms);
        let at = Moment { now_ms, ..entry.at };
        let outcomes = replay_alone(&mut alone, Context { ledger: Digest([0; 32]), at }, &entry);
        assert_eq!(encode(&outcomes), entry.outcomes);

        let outcomes = match &entry.action {
            Some((sender, action)) => {
                assert_eq!(replayer.advance(entry.at), []);
                replayer.apply(entry.at, *sender, action).expect("what was accepted replays")
            }
            None => replayer.advance(entry.at),
        };
        assert_eq!(encode(&outcomes), entry.outcomes);
    }
    let bytes = |contract: &Contract| {
        let experiments: Vec<&Experiment> = contract.experiments().collect();
        postcard::to_allocvec(&experiments).unwrap()
    };
    assert_eq!(bytes(&replayer), bytes(&contract));
    assert_eq!(alone.as_ref(), contract.experiment(&name()));
    [steps, accepted, shadow.verdicts.len() as u64]
}

#[test]
fn invariants_hold_and_replay_agrees() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (one_seed, most) = (number("COLEARN_SEED"), number("COLEARN_STEPS").unwrap_or(80_000));
    let mut seed = one_seed.unwrap_or(0);
    let (mut steps, mut accepted, mut rounds) = (0, 0, 0);
    while steps < most {
        let run = std::panic::catch_unwind(|| history(seed));
        let [more, taken, closed] =
            run.unwrap_or_else(|_| panic!("replay it with COLEARN_SEED={seed}"));
        (steps, accepted, rounds) = (steps + more, accepted + taken, rounds + closed);
        seed += 1;
        if one_seed.is_some() {
            return;
        }
    }
    println!("{seed} histories, {steps} steps, {accepted} accepted, {rounds} rounds");
    assert!(accepted > steps / 10 && rounds > steps / 50, "mostly refused");
}
