//! The README's theorem: a set of learners that does not reach the governance threshold of the admitted
//! weight changes nothing of who decides, whatever it does, whoever else is absent, and whatever a node
//! withholds. And a set that reaches it can.
//!
//! The rights to a seat and who approved what are counted here once more, from what was asked and what
//! took effect.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Decision, Experiment, FinishReason,
    Invitation, LearnerId, Limits, Model, Moment, Motion, Outcome, Parameters, Phase, Seat,
    SuspendReason, Threshold, Version,
};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::LEDGER;
use super::aim::{Aim, Kind, chance, creation, experiment_name, id, pick};
use super::shadow::{governance, reaches, rights};
use super::world::pass_time;

const WEEK_MS: u64 = 604_800_000;

/// A motion that version 2 judges, as the test counts it.
struct Ballot {
    motion: Motion,
    /// Everybody's weight when it was moved.
    electorate: BTreeMap<LearnerId, u32>,
    threshold: Threshold,
    approved: BTreeSet<LearnerId>,
    /// Whether the set reached the threshold then; if not, it cannot alone.
    could: bool,
}

impl Ballot {
    fn weight_of(&self, learners: &BTreeSet<LearnerId>) -> u32 {
        learners.iter().filter_map(|it| self.electorate.get(it)).sum()
    }

    fn is_enough(&self, learners: &BTreeSet<LearnerId>) -> bool {
        reaches(self.threshold, self.weight_of(learners), self.electorate.values().sum())
    }
}

/// What the set did, over all histories.
#[derive(Default, Debug)]
struct Tried {
    steps: u64,
    /// Motions of the set while it did not reach the threshold, and votes for them.
    motions: u64,
    votes: u64,
    /// Motions that were adopted, always with others.
    adopted: u64,
    /// Steps at which the node withheld what somebody else asked.
    withheld: u64,
}

/// Some learners against the others, in one experiment.
struct Attack {
    contract: Contract,
    at: Moment,
    aim: Aim,
    /// The set.
    set: BTreeSet<LearnerId>,
    /// The others who never come.
    absent: BTreeSet<LearnerId>,
    /// The others whose transactions the node withholds for now.
    withheld: BTreeSet<LearnerId>,
    rights: BTreeMap<LearnerId, u32>,
    ballots: BTreeMap<u64, Ballot>,
    /// What was adopted, and has not taken effect.
    adopted: BTreeMap<u64, Motion>,
    tried: Tried,
}

/// Some learners whose weight does not reach the threshold.
fn too_few(rng: &mut ChaCha8Rng, experiment: &Experiment) -> BTreeSet<LearnerId> {
    let rights = rights(experiment);
    let all = rights.values().sum();
    let mut set = BTreeSet::new();
    let mut learners: Vec<LearnerId> = rights.keys().copied().collect();
    while !learners.is_empty() {
        let learner = learners.swap_remove(rng.random_range(0..learners.len()));
        set.insert(learner);
        let weight = set.iter().map(|it| rights[it]).sum();
        if reaches(governance(experiment), weight, all) {
            set.remove(&learner);
        }
    }
    set
}

/// An experiment by invitation or vote, under version 2 or about to adopt it.
fn begin(rng: &mut ChaCha8Rng, from: Version) -> Contract {
    let mut create = creation(rng, from);
    while create.admission == Admission::Open
        || create.parameters.check(from, &create.model).is_err()
        || create.admission.check(from, &create.parameters).is_err()
    {
        create = creation(rng, from);
    }
    let mut contract = Contract::new(LEDGER, from);
    let action = Action::new(experiment_name(0), Act::Create(create));
    let creator = id(rng.random_range(0..9));
    contract.apply(Moment::without_ledger(0), creator, &action).unwrap();
    if from < Version::V2 {
        contract.upgrade(0, Version::V2, Limits::default()).unwrap();
    }
    contract
}

fn experiment(contract: &Contract) -> &Experiment {
    contract.experiment(&experiment_name(0)).unwrap()
}

impl Attack {
    fn new(rng: &mut ChaCha8Rng, from: Version) -> Self {
        let contract = begin(rng, from);
        let set = too_few(rng, experiment(&contract));
        let rights = rights(experiment(&contract));
        let others = rights.keys().filter(|it| !set.contains(it));
        let absent = others.copied().filter(|_| rng.random_bool(0.3)).collect();
        Self {
            contract,
            at: Moment { now_ms: 0, head: LEDGER },
            aim: Aim::default(),
            set,
            absent,
            withheld: BTreeSet::new(),
            rights,
            ballots: BTreeMap::new(),
            adopted: BTreeMap::new(),
            tried: Tried::default(),
        }
    }

    fn experiment(&self) -> &Experiment {
        experiment(&self.contract)
    }

    fn goes_on(&self) -> bool {
        !matches!(self.experiment().phase(), Phase::Finished(_))
    }

    /// What somebody asks for next, if the node lets it through.
    fn next(&mut self, rng: &mut ChaCha8Rng) -> Option<(LearnerId, Act)> {
        if rng.random_bool(0.03) {
            // For as long as it likes: also all the others, also for ever.
            let share = *pick(rng, &[0.0, 0.5, 1.0]);
            let others = self.rights.keys().filter(|it| !self.set.contains(it));
            self.withheld = others.copied().filter(|_| rng.random_bool(share)).collect();
        }
        if rng.random_bool(0.5) {
            let set: Vec<LearnerId> = self.set.iter().copied().collect();
            let who = *set.get(rng.random_range(0..set.len().max(1)))?;
            return Some((who, self.evil(rng, who)));
        }
        let contract = &self.contract;
        let (sender, action) = self.aim.attempt(rng, contract, experiment(contract));
        if self.withheld.contains(&sender) {
            self.tried.withheld += 1;
            return None;
        }
        if self.set.contains(&sender) || self.absent.contains(&sender) {
            return None;
        }
        match action.what {
            // An honest member approves nothing that the set moves, and lets the experiment go on.
            Act::MotionVote { number, .. } if self.is_theirs(number) => {
                Some((sender, Act::MotionVote { number, approve: false }))
            }
            Act::Stop => None,
            what => Some((sender, what)),
        }
    }

    fn is_theirs(&self, number: u64) -> bool {
        let mut motions = self.experiment().motions();
        motions.any(|(at, open)| at == number && self.set.contains(&open.mover))
    }

    /// What may help the set to more than its share.
    fn evil(&mut self, rng: &mut ChaCha8Rng, who: LearnerId) -> Act {
        let experiment = experiment(&self.contract);
        let others: Vec<LearnerId> =
            self.rights.keys().filter(|it| !self.set.contains(it)).copied().collect();
        let somebody = |rng: &mut ChaCha8Rng| {
            others.get(rng.random_range(0..others.len().max(1))).copied().unwrap_or(id(0))
        };
        let number = experiment.last_motion() + 1;
        let moved = |motion| Act::Move { number, motion };
        let adopts = experiment.version() < Version::V2;
        match rng.random_range(0..100) {
            0..2 if adopts => moved(Motion::Adopt(Version::V2)),
            0..6 => moved(Motion::SetParameters(Box::new(Parameters {
                governance_threshold: Some(Threshold::HALF),
                threshold: Threshold::at_least(0, 1),
                min_learners: 1,
                ..experiment.parameters().clone()
            }))),
            6..12 => moved(Motion::Expel(somebody(rng))),
            12..16 => {
                moved(Motion::Admit(Invitation::new(id(rng.random_range(200..=255)), 10_000)))
            }
            16..20 => moved(Motion::Admit(Invitation::new(who, 10_000))),
            20..24 => moved(Motion::Admit(Invitation::new(somebody(rng), 1))),
            24..27 => moved(Motion::Suspend(somebody(rng))),
            27..29 => moved(Motion::Stop),
            29..60 => {
                let open: Vec<u64> = experiment.motions().map(|(number, _)| number).collect();
                let number = if open.is_empty() { number } else { *pick(rng, &open) };
                Act::MotionVote { number, approve: true }
            }
            60..66 => {
                let to = id(rng.random_range(20..=255));
                Act::ReplaceKey { to }
            }
            66 => self.aim.build(rng, Kind::Renounce, who, Version::V2, experiment),
            67..70 => self.aim.build(rng, Kind::Leave, who, Version::V2, experiment),
            70..80 => self.aim.build(rng, Kind::Join, who, Version::V2, experiment),
            80 => Act::Stop,
            _ => {
                let kind = match experiment.phase() {
                    Phase::Proposing { .. } => Kind::Propose,
                    Phase::Voting { .. } => *pick(rng, &[Kind::Vote, Kind::Commit, Kind::Reveal]),
                    Phase::Merged(_) => *pick(
                        rng,
                        &[
                            Kind::Update,
                            Kind::CommitUpdate,
                            Kind::RevealUpdate,
                            Kind::Have,
                            Kind::MergeVote,
                            Kind::Commit,
                            Kind::RevealMergeVote,
                        ],
                    ),
                    Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => Kind::Resume,
                };
                self.aim.build(rng, kind, who, Version::V2, experiment)
            }
        }
    }

    /// One step: time, then what somebody asks for.
    fn step(&mut self, rng: &mut ChaCha8Rng) {
        self.tried.steps += 1;
        let mut now_ms = self.at.now_ms;
        pass_time(rng, &self.contract, &mut now_ms);
        self.at.now_ms = now_ms;
        self.at.head.0[..8].copy_from_slice(&self.tried.steps.to_be_bytes());
        let before = self.experiment().clone();
        let outcomes = self.contract.advance(self.at);
        self.judge(&before, None, &outcomes);

        let Some((sender, act)) = self.next(rng) else { return };
        let before = self.experiment().clone();
        let action = Action::new(experiment_name(0), act);
        let Ok(outcomes) = self.contract.apply(self.at, sender, &action) else { return };
        self.aim.accepted(sender, &action);
        self.accepted(&before, sender, &action.what);
        self.judge(&before, Some((sender, &action.what)), &outcomes);
    }

    /// Takes note of who asked for what.
    fn accepted(&mut self, before: &Experiment, sender: LearnerId, act: &Act) {
        match act {
            Act::Move { number, motion } => {
                // Before version 2 only its own adoption is counted by its rules.
                if before.version() < Version::V2 && !matches!(motion, Motion::Adopt(_)) {
                    return;
                }
                let mut ballot = Ballot {
                    motion: motion.clone(),
                    electorate: self.rights.clone(),
                    threshold: governance(before),
                    approved: BTreeSet::from([sender]),
                    could: false,
                };
                ballot.could = ballot.is_enough(&self.set);
                self.tried.motions += u64::from(self.set.contains(&sender) && !ballot.could);
                self.ballots.insert(*number, ballot);
            }
            Act::MotionVote { number, approve: true } => {
                if let Some(ballot) = self.ballots.get_mut(number) {
                    assert!(ballot.approved.insert(sender), "approved twice");
                    self.tried.votes += u64::from(self.set.contains(&sender) && !ballot.could);
                }
            }
            Act::Leave { renounce: true, .. } => {
                self.rights.remove(&sender);
            }
            Act::ReplaceKey { to } => self.replace_key(sender, *to),
            _ => {}
        }
    }

    fn replace_key(&mut self, from: LearnerId, to: LearnerId) {
        for set in [&mut self.set, &mut self.absent, &mut self.withheld] {
            if set.remove(&from) {
                set.insert(to);
            }
        }
        let rename = |rights: &mut BTreeMap<LearnerId, u32>| {
            if let Some(weight) = rights.remove(&from) {
                rights.insert(to, weight);
            }
        };
        rename(&mut self.rights);
        let rename_in = |motion: &mut Motion| match motion {
            Motion::Suspend(learner) | Motion::Expel(learner) if *learner == from => *learner = to,
            Motion::Admit(invitation) if invitation.learner == from => invitation.learner = to,
            _ => {}
        };
        for ballot in self.ballots.values_mut() {
            rename(&mut ballot.electorate);
            if ballot.approved.remove(&from) {
                ballot.approved.insert(to);
            }
            rename_in(&mut ballot.motion);
        }
        self.adopted.values_mut().for_each(rename_in);
    }

    /// Whether all that has changed was decided by enough.
    fn judge(&mut self, before: &Experiment, act: Option<(LearnerId, &Act)>, outcomes: &[Outcome]) {
        let mut in_effect = 0;
        for Outcome { what, .. } in outcomes {
            match what {
                Decision::MotionDecided { number, adopted, .. } => self.decided(*number, *adopted),
                Decision::MotionTookEffect { number } => {
                    in_effect += 1;
                    if let Some(motion) = self.adopted.remove(number) {
                        self.take_effect(&motion);
                    }
                }
                Decision::Finished { reason, .. } => self.finished(before, *reason, act, in_effect),
                _ => {}
            }
        }
        let after = experiment(&self.contract);
        if before.version() < Version::V2 {
            if after.version() == Version::V2 {
                let adopted =
                    outcomes.iter().any(|it| matches!(it.what, Decision::MotionTookEffect { .. }));
                assert!(adopted, "another version, and nobody adopted it");
            }
            // By the first version's rules a few could do what they liked.
            self.rights = rights(after);
            return;
        }
        assert_eq!(self.rights, rights(after), "rights changed by themselves");
        if in_effect == 0 {
            assert_eq!(before.parameters(), after.parameters());
            assert_eq!(before.version(), after.version());
            let decided = outcomes.iter().any(|it| {
                let Decision::Suspended { reason, .. } = it.what else { return false };
                reason != SuspendReason::MissedTurns
            });
            assert!(!decided, "somebody lost its seat, and nobody decided it");
            self.check_others(before, act);
        }
    }

    /// Nobody's seat weighs anything else, and nobody is expelled, but by what took effect.
    fn check_others(&self, before: &Experiment, act: Option<(LearnerId, &Act)>) {
        let after = self.experiment();
        for (learner, member) in before.members() {
            let now = match act {
                Some((sender, Act::ReplaceKey { to })) if sender == learner => *to,
                Some((sender, Act::Join(_))) if sender == learner => continue,
                _ => learner,
            };
            let now = after.member(now).unwrap();
            assert_eq!((now.weight, now.judge), (member.weight, member.judge));
            assert_eq!(now.seat == Seat::Expelled, member.seat == Seat::Expelled);
        }
    }

    fn decided(&mut self, number: u64, adopted: bool) {
        let Some(ballot) = self.ballots.remove(&number) else { return };
        assert_eq!(adopted, ballot.is_enough(&ballot.approved), "counted otherwise");
        if adopted {
            self.tried.adopted += 1;
            let alone = ballot.approved.is_subset(&self.set);
            assert!(!alone || ballot.could, "too few have decided: {:?}", ballot.motion);
            self.adopted.insert(number, ballot.motion);
        }
    }

    fn take_effect(&mut self, motion: &Motion) {
        match motion {
            Motion::Admit(invitation) => {
                self.rights.insert(invitation.learner, invitation.weight);
            }
            // The last one is never expelled.
            Motion::Expel(learner) if self.rights.len() > 1 => {
                self.rights.remove(learner);
            }
            Motion::Expel(_)
            | Motion::SetParameters(_)
            | Motion::Suspend(_)
            | Motion::Stop
            | Motion::Adopt(_) => {}
        }
    }

    fn finished(
        &self,
        before: &Experiment,
        reason: FinishReason,
        act: Option<(LearnerId, &Act)>,
        in_effect: u32,
    ) {
        match (reason, act) {
            (FinishReason::Stopped, Some((sender, Act::Stop))) => {
                let creators = sender == before.creator()
                    && (before.parameters().creator_may_stop || before.round() == 0);
                assert!(creators || self.at.now_ms >= WEEK_MS, "stopped alone");
            }
            (FinishReason::Stopped, _) => assert!(in_effect > 0, "stopped by nobody"),
            (FinishReason::Abandoned, _) => assert!(self.rights.is_empty()),
            (FinishReason::MaxRounds | FinishReason::Patience, _) => {}
        }
    }
}

#[test]
fn too_few_decide_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (one_seed, most) = (number("COLEARN_SEED"), number("COLEARN_STEPS").unwrap_or(60_000));
    let mut total = Tried::default();
    let mut seed = one_seed.unwrap_or(0);
    while total.steps < most {
        let run = std::panic::catch_unwind(|| {
            let mut rng = chance(seed);
            let from = if seed.is_multiple_of(4) { Version::V1 } else { Version::V2 };
            let mut attack = Attack::new(&mut rng, from);
            while attack.tried.steps < 400 && attack.goes_on() {
                attack.step(&mut rng);
            }
            attack.tried
        });
        let more = run.unwrap_or_else(|_| panic!("again with COLEARN_SEED={seed}"));
        total.steps += more.steps;
        total.motions += more.motions;
        total.votes += more.votes;
        total.adopted += more.adopted;
        total.withheld += more.withheld;
        seed += 1;
        if one_seed.is_some() {
            return;
        }
    }
    println!("{seed} histories: {total:?}");
    assert!(total.motions > total.steps / 100 && total.votes > total.steps / 100, "hardly tried");
    assert!(total.adopted > 0 && total.withheld > 0);
}

/// An experiment of these weights, in which so many have joined.
fn consortium(weights: &[u32], threshold: Option<Threshold>, joined: u8) -> Contract {
    let invitations = (0..).zip(weights).map(|(i, weight)| Invitation::new(id(i), *weight));
    let create = CreateExperiment {
        version: 2,
        parameters: Parameters { governance_threshold: threshold, ..Parameters::default() },
        admission: Admission::Invited(invitations.collect()),
        model: Model { digest: LEDGER, size: 1, media_type: "m".into() },
        plan: None,
    };
    let mut contract = Contract::new(LEDGER, Version::V2);
    let mut ask = |sender, act| {
        let action = Action::new(experiment_name(0), act);
        contract.apply(Moment::without_ledger(0), sender, &action).unwrap();
        experiment(&contract).terms()
    };
    let terms = ask(id(0), Act::Create(create));
    for i in 0..joined {
        ask(id(i), Act::Join(colearn_contracts::Join::new(0, Some(terms))));
    }
    contract
}

/// Whether something is so in an experiment.
type IsSo = fn(&Experiment) -> bool;

/// Each with what is so when it has taken effect.
fn what_many_can(absent: LearnerId) -> Vec<(Motion, IsSo)> {
    let parameters = Parameters { min_learners: 1, ..Parameters::default() };
    vec![
        (Motion::SetParameters(Box::new(parameters)), |it| it.parameters().min_learners == 1),
        (Motion::Admit(Invitation::new(id(99), 7)), |it| rights(it).get(&id(99)) == Some(&7)),
        (Motion::Expel(absent), |it| rights(it).len() == 4),
        (Motion::Stop, |it| *it.phase() == Phase::Finished(FinishReason::Stopped)),
    ]
}

/// Whether these, with nobody else there, bring about what they move.
fn can(contract: &Contract, set: &[LearnerId], motion: &Motion, is_so: IsSo) -> bool {
    let mut contract = contract.clone();
    let mut ask = |now_ms, sender, act| {
        contract.advance(Moment::without_ledger(now_ms));
        let action = Action::new(experiment_name(0), act);
        let result = contract.apply(Moment::without_ledger(now_ms), sender, &action);
        // Who is not needed any more comes too late.
        assert!(result.is_ok() || now_ms > 1, "refused");
    };
    ask(1, set[0], Act::Move { number: 1, motion: motion.clone() });
    for who in &set[1..] {
        ask(2, *who, Act::MotionVote { number: 1, approve: true });
    }
    // A round that is open runs out.
    contract.advance(Moment::without_ledger(WEEK_MS - 1));
    is_so(experiment(&contract))
}

#[test]
fn a_set_that_reaches_the_threshold_decides_and_one_vote_less_does_not() {
    let mut rng = chance(0);
    let thresholds = [None, Some("1/2"), Some("2/3"), Some(">2/3"), Some("1/1")];
    for threshold in thresholds.map(|it| it.map(|text| text.parse().unwrap())) {
        for joined in 0..=5 {
            let weights: Vec<u32> = (0..5).map(|_| rng.random_range(1..6)).collect();
            let contract = consortium(&weights, threshold, joined);
            let governs = threshold.unwrap_or(Threshold::MORE_THAN_HALF);
            for members in 1_u32..31 {
                let set: Vec<LearnerId> =
                    (0..5).filter(|i| members & (1 << i) != 0).map(id).collect();
                let absent = (0..5).map(id).find(|it| !set.contains(it)).unwrap();
                let weight = set.iter().map(|it| weights[usize::from(it.0[0])]).sum();
                let enough = reaches(governs, weight, weights.iter().sum());
                for (motion, is_so) in what_many_can(absent) {
                    assert_eq!(can(&contract, &set, &motion, is_so), enough, "{set:?} {motion:?}");
                }
            }
        }
    }
}
