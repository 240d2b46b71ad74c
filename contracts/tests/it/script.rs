//! A little language for scenarios, one line a step: `who does what: what comes of it`.
//!
//! Learners are `A` to `Z`, models are numbers below 256, the experiment is `x`, its ledger's id is
//! zeros. After the colon stand the outcomes, separated by commas, or the name of the rejection.
//! `at N: ...` advances the clock to N ms. The ledger's head is the number of steps so far.
//!
//! [`check`] plays a scenario under every version of the rules, [`check_v1`] and [`check_v2`] under one.
//! What a version asks for beside what the line says, the script adds: who joins names the terms in
//! force, who votes where proposers are drawn reveals the next link of its chain, and who states what its
//! proposals reveal goes on from its last statement.
//!
//! | who ... | |
//! |---|---|
//! | `joins`, `joins term 1 as NAME`, `joins blindly` | blindly: naming other terms than those in force |
//! | `leaves`, `renounces`, each `term 1` | renouncing: leaves and gives up its right to a seat |
//! | `proposes 1 in 2 from 0`, `spending E` or `spending E as 100x2,50x3` | steps x noise |
//! | `passes 2`, `exhausted`, `because REASON` | |
//! | `approves`, `rejects`, `abstains` `1 in 2`, `because REASON`, `linking nothing` or `linking junk` | |
//! | `commits yes on 1 in 2`, `reveals yes on 1 in 2` | `no`, `neither`; with the words of a vote |
//! | `copies B yes on 1 in 2` | commits to the very bytes that B has committed to |
//! | `trains 1 in 2 from 0` | an update, in a merged round; with the words of a proposal |
//! | `seals 1 in 2 from 0`, `unseals 1 in 2 from 0` | commits to an update, reveals it |
//! | `holds 101 in 2` | which of the updates, the first one first |
//! | `judges 8 9 in 2 +o +g +p` | the open and the guarded merge, `-` for none, and what is said of them: |
//! | | it bears the open one, the guarded one, and prefers that; `because REASON` |
//! | `encloses 8 9 in 2 from 1 +o`, `discloses 8 9 in 2 +o` | the same, sealed |
//! | `resumes 2`, `becomes X`, `stops` | |
//! | `evaluates 1 as 1`, `naming b a` | model 1 in its evaluation number 1; names of measures |
//! | `moves 1 ...`, `seconds 1`, `opposes 1` | `stop`, `suspend B`, `expel B`, `adopt 2`, |
//! | | `admit C2`, `judge`, `as NAME`, `set threshold >1/2` |

use colearn_contracts::{
    Act, Action, Admission, Choice, Commit, CommitUpdate, Contract, CreateExperiment, Decision,
    Digest, Evaluation, ExperimentName, Invitation, Join, LINKS, LearnerId, MERGED_MEDIA_TYPE,
    Measure, Member, Merge, MergeVote, Merges, Merging, Model, Moment, Motion, Outcome, Parameters,
    PrivacySegment, PrivacySpent, PrivateTraining, Proposal, Reason, Reveal, RevealMergeVote,
    RevealUpdate, Scores, Sealed, SealedMergeVote, SealedUpdate, Selection, Update, VERSION,
    Verdict, Version, Vote, link,
};

/// Every version of the rules.
pub(crate) const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

pub(crate) fn learner(letter: &str) -> LearnerId {
    LearnerId([letter.as_bytes()[0]; 32])
}

pub(crate) fn model(number: u8) -> Model {
    Model { digest: Digest([number; 32]), size: 10, media_type: MERGED_MEDIA_TYPE.into() }
}

pub(crate) fn name() -> ExperimentName {
    "x".parse().unwrap()
}

/// Short deadlines, and nothing that a rule's own test does not ask for.
pub(crate) fn defaults() -> Parameters {
    Parameters {
        proposal_deadline_ms: 100,
        vote_deadline_ms: 50,
        reveal_deadline_ms: 20,
        motion_deadline_ms: 1000,
        missed_turns: None,
        idle_rotations: None,
        creator_may_stop: true,
        ..Parameters::default()
    }
}

/// These learners, each with the weight behind its letter, or 1; a `j` behind that makes a judge.
fn invitations(text: &str) -> Vec<Invitation> {
    let mut invitations: Vec<Invitation> = Vec::new();
    let mut digits = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' => {
                digits.push(c);
                invitations.last_mut().unwrap().weight = digits.parse().unwrap();
            }
            'j' => invitations.last_mut().unwrap().judge = true,
            _ => {
                digits.clear();
                invitations.push(Invitation::new(learner(&c.to_string()), 1));
            }
        }
    }
    invitations
}

pub(crate) fn invited(text: &str) -> Admission {
    Admission::Invited(invitations(text))
}

pub(crate) fn by_vote(text: &str) -> Admission {
    Admission::ByVote(invitations(text))
}

/// Creates `x`, with model 0, under the latest version.
pub(crate) fn create(parameters: Parameters, admission: Admission) -> Action {
    create_under(VERSION, parameters, admission)
}

/// Creates `x`, with model 0, under this version.
pub(crate) fn create_under(
    version: Version,
    parameters: Parameters,
    admission: Admission,
) -> Action {
    let (version, model) = (version.number(), model(0));
    let create = CreateExperiment { version, parameters, admission, model, plan: None };
    Action::new(name(), Act::Create(create))
}

/// Joins `x` under the terms in force.
pub(crate) fn join(contract: &Contract, term: u32) -> Action {
    Action::new(name(), Act::Join(Join::new(term, terms(contract, &name()))))
}

/// The terms that who joins this experiment has to name.
fn terms(contract: &Contract, experiment: &ExperimentName) -> Option<Digest> {
    let experiment = contract.experiment(experiment)?;
    (experiment.version() > Version::V1).then(|| experiment.terms())
}

/// A vote on these weights, without anything more.
pub(crate) fn vote(round: u64, weights: Digest, choice: Choice) -> Vote {
    Vote { round, weights, choice, reason: None, scores: Scores::default(), link: None }
}

/// A proposal without anything more.
pub(crate) fn proposal(round: u64, base: Digest, weights: Model) -> Proposal {
    Proposal { round, base, weights, scores: Scores::default(), privacy: None }
}

pub(crate) fn at(now_ms: u64) -> Moment {
    Moment::without_ledger(now_ms)
}

/// An empty contract under the latest version.
pub(crate) fn new_contract() -> Contract {
    Contract::new(Digest([0; 32]), VERSION)
}

/// A contract in which Z has created `x`.
pub(crate) fn created(version: Version, parameters: Parameters, admission: Admission) -> Contract {
    let mut contract = Contract::new(Digest([0; 32]), version);
    let create = create_under(version, parameters, admission);
    contract.apply(at(0), learner("Z"), &create).expect("valid parameters");
    contract
}

/// The steps by which these learners join; the last of them opens round 1.
pub(crate) fn joined(letters: &str) -> String {
    let last = letters.len() - 1;
    let line = |(i, who): (usize, char)| match i {
        i if i < last => format!("{who} joins: ok\n"),
        _ => format!("{who} joins: round 1 of {}\n", &letters[..1]),
    };
    letters.chars().enumerate().map(line).collect()
}

/// Creates `x`, open to all, by learner Z with these parameters and model 0, then runs the script: under
/// each version of the rules. Gives the contract of the last.
pub(crate) fn check(parameters: Parameters, script: &str) -> Contract {
    check_with(parameters, Admission::Open, script)
}

/// The same with this admission.
pub(crate) fn check_with(parameters: Parameters, admission: Admission, script: &str) -> Contract {
    let under = |version| check_under(version, parameters.clone(), admission.clone(), script);
    VERSIONS.map(under).into_iter().last().unwrap()
}

/// The same under version 1 only, for what is otherwise since.
pub(crate) fn check_v1(parameters: Parameters, admission: Admission, script: &str) -> Contract {
    check_under(Version::V1, parameters, admission, script)
}

/// The same under version 2 only.
pub(crate) fn check_v2(parameters: Parameters, admission: Admission, script: &str) -> Contract {
    check_under(Version::V2, parameters, admission, script)
}

/// The same under this version.
pub(crate) fn check_under(
    version: Version,
    parameters: Parameters,
    admission: Admission,
    script: &str,
) -> Contract {
    let mut contract = created(version, parameters, admission);
    play(&mut contract, &name(), script);
    contract
}

/// Runs the script in this experiment. What happens in others meanwhile is not looked at.
pub(crate) fn play(contract: &mut Contract, experiment: &ExperimentName, script: &str) {
    let mut now = 0;
    let mut steps = 0;
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once(':').expect("a colon");
        let mut words = Words(step.split_whitespace().collect());
        let here = |mut outcomes: Vec<Outcome>| {
            outcomes.retain(|outcome| outcome.experiment == *experiment);
            describe(&outcomes)
        };
        let who = words.word();
        steps += 1;
        let got = if who == "at" {
            now = words.word().parse().unwrap();
            here(contract.advance(Moment { now_ms: now, head: Digest([steps; 32]) }))
        } else {
            let at = Moment { now_ms: now, head: Digest([steps; 32]) };
            let before = contract.clone();
            let action = action(contract, experiment, who, &mut words);
            match contract.apply(at, learner(who), &action) {
                Ok(outcomes) => here(outcomes),
                Err(rejection) => {
                    assert_eq!(before, *contract, "a rejection changed the state: {line}");
                    let debug = format!("{rejection:?}");
                    debug.split([' ', '(']).next().unwrap().to_owned()
                }
            }
        };
        assert!(words.0.is_empty(), "what is {:?} in the line: {line}", words.0);
        let version = contract.experiment(experiment).map(|it| it.version());
        assert_eq!(got, expected.trim(), "at the line: {line} (version {version:?})");
    }
}

/// The words of a step, each of which is to be understood.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    /// The next one.
    fn word(&mut self) -> &'a str {
        self.0.remove(0)
    }

    fn number(&mut self) -> u64 {
        self.word().parse().unwrap()
    }

    /// Whether this one is among them.
    fn has(&mut self, flag: &str) -> bool {
        let place = self.0.iter().position(|word| *word == flag);
        place.map(|place| self.0.remove(place)).is_some()
    }

    /// The one behind this one.
    fn after(&mut self, key: &str) -> Option<&'a str> {
        let place = self.0.iter().position(|word| *word == key)?;
        self.0.remove(place);
        Some(self.0.remove(place))
    }

    fn number_after(&mut self, key: &str) -> u64 {
        self.after(key).unwrap_or_else(|| panic!("no {key}")).parse().unwrap()
    }

    fn reason(&mut self) -> Option<Reason> {
        self.after("because").map(|word| match word {
            "worse" => Reason::Worse,
            "not_finite" => Reason::NotFinite,
            "too_little_data" => Reason::TooLittleData,
            "cap_reached" => Reason::CapReached,
            "policy" => Reason::Policy,
            "failed" => Reason::Failed,
            "unavailable" => Reason::Unavailable,
            _ => panic!("no such reason: {word}"),
        })
    }
}

/// The secret of a learner's chain that it states in this round.
pub(crate) fn secret(learner: LearnerId, anchored: u64) -> [u8; 32] {
    let mut secret = learner.0;
    secret[..8].copy_from_slice(&anchored.to_be_bytes());
    secret
}

/// The link that a learner's next vote reveals, in this round: of the chain that it has, or the anchor of
/// the next.
pub(crate) fn next_link(learner: LearnerId, member: Option<&Member>, round: u64) -> Digest {
    match member.and_then(|member| member.chain.as_deref()) {
        Some(chain) if chain.left > 0 => link(secret(learner, chain.anchored), chain.left - 1),
        Some(_) | None => link(secret(learner, round), LINKS),
    }
}

/// One line's learner, and what it sees.
struct Actor<'a> {
    contract: &'a Contract,
    experiment: &'a ExperimentName,
    who: LearnerId,
}

fn action(
    contract: &Contract,
    experiment: &ExperimentName,
    who: &str,
    words: &mut Words<'_>,
) -> Action {
    let actor = Actor { contract, experiment, who: learner(who) };
    let nowhere = words.has("nowhere").then(|| "nowhere".parse().unwrap());
    Action::new(nowhere.unwrap_or_else(|| experiment.clone()), actor.act(words))
}

impl Actor<'_> {
    fn version(&self) -> Version {
        let experiment = self.contract.experiment(self.experiment);
        experiment.map_or(self.contract.version(), |it| it.version())
    }

    fn member(&self) -> Option<&Member> {
        self.contract.experiment(self.experiment)?.member(self.who)
    }

    fn act(&self, words: &mut Words<'_>) -> Act {
        let verb = words.word();
        match verb {
            "joins" => Act::Join(Join {
                term: self.term(words),
                terms: match words.has("blindly") {
                    true => Some(Digest([255; 32])),
                    false => terms(self.contract, self.experiment),
                },
                name: words.after("as").map(|name| name.parse().unwrap()),
            }),
            "leaves" => Act::Leave { term: self.term(words), renounce: false },
            "renounces" => Act::Leave { term: self.term(words), renounce: true },
            "proposes" => Act::Propose(self.proposal(words)),
            "passes" => Act::Pass {
                round: words.number(),
                exhausted: words.has("exhausted"),
                reason: words.reason(),
            },
            "approves" | "rejects" | "abstains" => {
                let choice = match verb {
                    "approves" => Choice::Approve,
                    "rejects" => Choice::Reject,
                    _ => Choice::Abstain,
                };
                let judged = Digest([words.number() as u8; 32]);
                let round = words.number_after("in");
                let (reason, link) = (words.reason(), self.link(words, round));
                Act::Vote(Vote { reason, link, ..vote(round, judged, choice) })
            }
            "commits" => self.commit(words, self.who),
            "copies" => {
                let other = learner(words.word());
                self.commit(words, other)
            }
            "reveals" => Act::Reveal(self.sealed(words)),
            "trains" => Act::Update(self.update(words)),
            "seals" => {
                let (update, salt) = (self.update(words), self.who.0);
                Act::CommitUpdate(CommitUpdate {
                    round: update.round,
                    base: update.base,
                    commitment: SealedUpdate {
                        ledger: Digest([0; 32]),
                        experiment: self.experiment,
                        sender: self.who,
                        update: &update,
                        salt: &salt,
                    }
                    .commitment(),
                })
            }
            "unseals" => {
                Act::RevealUpdate(RevealUpdate { update: self.update(words), salt: self.who.0 })
            }
            "holds" => {
                let bits = words.word().bytes().rev();
                let held = bits.fold(0, |held, bit| held << 1 | u64::from(bit == b'1'));
                Act::Have { round: words.number_after("in"), held }
            }
            "judges" => Act::MergeVote(self.judgement(words)),
            "encloses" => {
                let base = Digest([words.number_after("from") as u8; 32]);
                let mut vote = self.judgement(words);
                let (link, salt) = (vote.link.take(), self.who.0);
                let commitment = SealedMergeVote {
                    ledger: Digest([0; 32]),
                    experiment: self.experiment,
                    voter: self.who,
                    vote: &vote,
                    salt: &salt,
                }
                .commitment();
                Act::Commit(Commit { round: vote.round, weights: base, commitment, link })
            }
            "discloses" => {
                let vote = MergeVote { link: None, ..self.judgement(words) };
                Act::RevealMergeVote(RevealMergeVote { vote, salt: self.who.0 })
            }
            "resumes" => Act::Resume { round: words.number() },
            "becomes" => Act::ReplaceKey { to: learner(words.word()) },
            "stops" => Act::Stop,
            "evaluates" => Act::Evaluate(evaluation(words)),
            "moves" => Act::Move { number: words.number(), motion: motion(words) },
            "seconds" => Act::MotionVote { number: words.number(), approve: true },
            "opposes" => Act::MotionVote { number: words.number(), approve: false },
            _ => panic!("no such step: {verb}"),
        }
    }

    fn term(&self, words: &mut Words<'_>) -> u32 {
        words.after("term").map_or(0, |term| term.parse().unwrap())
    }

    fn update(&self, words: &mut Words<'_>) -> Update {
        let Proposal { round, base, weights, scores, privacy } = self.proposal(words);
        Update { round, base, weights, scores, privacy }
    }

    fn judgement(&self, words: &mut Words<'_>) -> MergeVote {
        let merge = |word: &str| word.parse().ok().map(|number| Digest([number; 32]));
        let merges = Merges { open: merge(words.word()), guarded: merge(words.word()) };
        let round = words.number_after("in");
        MergeVote {
            round,
            merges,
            bear_open: words.has("+o"),
            bear_guarded: words.has("+g"),
            prefer_guarded: words.has("+p"),
            reason: words.reason(),
            scores_open: Scores { vote: Some(-5), test: None },
            scores_guarded: Scores::default(),
            link: self.link(words, round),
        }
    }

    fn proposal(&self, words: &mut Words<'_>) -> Proposal {
        let weights = model(words.number() as u8);
        let (round, base) = (words.number_after("in"), words.number_after("from") as u8);
        let spent = words.after("spending").or_else(|| words.after("stating"));
        let segments = words.after("as").map(segments);
        let privacy = spent.map(|epsilon| PrivacySpent {
            epsilon_micros: epsilon.parse().unwrap(),
            delta_picos: 10,
            training: match (segments, self.version()) {
                (Some(segments), _) => PrivateTraining::All(segments),
                (None, Version::V1) => PrivateTraining::Last(segment(100, 1)),
                (None, Version::V2) => {
                    let before = self.member().and_then(|member| member.privacy.as_deref());
                    let steps = before.map_or(0, PrivacySpent::steps) + 100;
                    PrivateTraining::All(vec![segment(steps, 1)])
                }
            },
        });
        Proposal { privacy, ..proposal(round, Digest([base; 32]), weights) }
    }

    /// The link that goes with a vote, where one does.
    fn link(&self, words: &mut Words<'_>, round: u64) -> Option<Digest> {
        match words.after("linking") {
            Some("nothing") => return None,
            Some("junk") => return Some(Digest([254; 32])),
            Some(word) => panic!("no such link: {word}"),
            None => {}
        }
        let experiment = self.contract.experiment(self.experiment)?;
        let drawn = experiment.parameters().selection == Selection::Sortition;
        (drawn && experiment.version() > Version::V1)
            .then(|| next_link(self.who, self.member(), round))
    }

    /// The vote of a sealed ballot, and its salt.
    fn sealed(&self, words: &mut Words<'_>) -> Reveal {
        let choice = match words.word() {
            "yes" => Choice::Approve,
            "no" => Choice::Reject,
            "neither" => Choice::Abstain,
            word => panic!("no such choice: {word}"),
        };
        let weights = Digest([words.number_after("on") as u8; 32]);
        let round = words.number_after("in");
        let scores = Scores { vote: Some(-5), test: None };
        let vote = Vote { reason: words.reason(), scores, ..vote(round, weights, choice) };
        Reveal { vote, salt: self.who.0 }
    }

    fn commit(&self, words: &mut Words<'_>, voter: LearnerId) -> Act {
        let Reveal { vote, salt } = self.sealed(words);
        let sealed = Sealed {
            version: self.version(),
            ledger: Digest([0; 32]),
            experiment: self.experiment,
            voter,
            vote: &vote,
            salt: &salt,
        };
        let commitment = sealed.commitment();
        let (round, weights) = (vote.round, vote.weights);
        let link = self.link(words, round);
        Act::Commit(Commit { round, weights, commitment, link })
    }
}

/// So many steps with this much noise.
fn segment(steps: u64, noise: u64) -> PrivacySegment {
    PrivacySegment {
        noise_micros: noise * 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 10_000_000,
        steps,
    }
}

/// Segments such as `100x1,50x2`.
pub(crate) fn segments(text: &str) -> Vec<PrivacySegment> {
    let one = |text: &str| {
        let (steps, noise) = text.split_once('x').expect("steps x noise");
        segment(steps.parse().unwrap(), noise.parse().unwrap())
    };
    text.split(',').map(one).collect()
}

fn evaluation(words: &mut Words<'_>) -> Evaluation {
    let model = Digest([words.number() as u8; 32]);
    let number = words.number_after("as");
    let measure = |name: &str| Measure { name: name.parse().unwrap(), value_micros: -1 };
    let measures = match words.has("naming") {
        true => words.0.drain(..).map(measure).collect(),
        false => vec![measure("accuracy")],
    };
    Evaluation { number, model, measures }
}

fn motion(words: &mut Words<'_>) -> Motion {
    match words.word() {
        "stop" => Motion::Stop,
        "admit" => Motion::Admit(Invitation {
            judge: words.has("judge"),
            name: words.after("as").map(|name| name.parse().unwrap()),
            ..invitations(words.word())[0].clone()
        }),
        "suspend" => Motion::Suspend(learner(words.word())),
        "expel" => Motion::Expel(learner(words.word())),
        "adopt" => Motion::Adopt(Version::try_from(words.number() as u32).unwrap()),
        "set" => {
            let mut parameters = defaults();
            let (field, value) = (words.word(), words.word());
            match field {
                "threshold" => parameters.threshold = value.parse().unwrap(),
                "governance_threshold" => {
                    parameters.governance_threshold = Some(value.parse().unwrap());
                }
                "merging" => parameters.merging = Some(Merging::default()),
                "min_learners" => parameters.min_learners = value.parse().unwrap(),
                "max_rounds" => parameters.max_rounds = value.parse().ok(),
                _ => panic!("no such field: {field}"),
            }
            Motion::SetParameters(Box::new(parameters))
        }
        word => panic!("no such motion: {word}"),
    }
}

/// Several learners, by their letters.
fn letters<'a>(learners: impl Iterator<Item = &'a LearnerId>) -> String {
    learners.map(|it| it.0[0] as char).collect()
}

/// The count of a round: for-against, and with a second dash the abstentions, if there are any.
fn count(approvals: u32, rejections: u32, abstentions: u32) -> String {
    match abstentions {
        0 => format!("{approvals}-{rejections}"),
        _ => format!("{approvals}-{rejections}-{abstentions}"),
    }
}

pub(crate) fn describe(outcomes: &[Outcome]) -> String {
    let texts: Vec<String> = outcomes
        .iter()
        .map(|outcome| match &outcome.what {
            Decision::RoundOpened { round, proposer, .. } => {
                format!("round {round} of {}", proposer.0[0] as char)
            }
            Decision::VotingOpened { electorate, .. } => format!("{electorate} vote"),
            Decision::RoundClosed { verdict, approvals, rejections, abstentions, .. } => {
                let count = count(*approvals, *rejections, *abstentions);
                match verdict {
                    Verdict::Accepted => format!("accepted {count}"),
                    Verdict::Rejected => format!("rejected {count}"),
                    Verdict::Expired if *abstentions > 0 => format!("expired {count}"),
                    Verdict::Expired => "expired".into(),
                    Verdict::Passed => "passed".into(),
                    Verdict::NoAgreement => format!("no agreement {count}"),
                }
            }
            Decision::RevealOpened { committed, .. } => format!("reveal {committed}"),
            Decision::Paused { reason, .. } => format!("paused {reason:?}"),
            Decision::Suspended { learner, reason, .. } => {
                format!("{} suspended {reason:?}", learner.0[0] as char)
            }
            Decision::MotionOpened { number, electorate, .. } => {
                format!("motion {number}: {electorate} vote")
            }
            Decision::MotionDecided { number, adopted, approvals, rejections, .. } => {
                let word = if *adopted { "adopted" } else { "rejected" };
                format!("motion {number} {word} {approvals}-{rejections}")
            }
            Decision::MotionTookEffect { number, .. } => format!("motion {number} in effect"),
            Decision::Waiting { members, .. } => format!("waiting with {members}"),
            Decision::Finished { reason, .. } => format!("finished {reason:?}"),
            Decision::TrainingOpened { round, participants, checkers, .. } => {
                let checkers = match checkers.is_empty() {
                    true => String::new(),
                    false => format!(" checked by {}", letters(checkers.iter())),
                };
                format!("round {round} trains {}{checkers}", letters(participants.iter()))
            }
            Decision::GatheringOpened { updates, .. } => {
                format!("who holds {}", letters(updates.iter().map(|it| &it.learner)))
            }
            Decision::MergeVotingOpened { updates, electorate, .. } => {
                let merged = letters(updates.iter().map(|it| &it.learner));
                format!("{electorate} judge {merged}")
            }
            Decision::MergeDecided {
                agreed,
                named,
                bear_open,
                bear_guarded,
                prefer_guarded,
                accepted,
                ..
            } => match (agreed, accepted) {
                (None, _) => format!("none of {named}"),
                (Some(_), accepted) => {
                    let word = match accepted {
                        None => "neither",
                        Some(Merge::Open) => "open",
                        Some(Merge::Guarded) => "guarded",
                    };
                    format!("{word} of {named}: {bear_open} {bear_guarded} {prefer_guarded}")
                }
            },
        })
        .collect();
    if texts.is_empty() { "ok".into() } else { texts.join(", ") }
}
