//! Whole ledgers, with what the contract refused on the way, and what came of each round.

use std::collections::BTreeMap;

use colearn_contracts::*;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Hash, Signer};
use colearn_records::follower::Depth;
use colearn_records::record::Record;
use colearn_records::transaction::Transaction;
use colearn_records::words::Word as _;
use prost::Message as _;
use serde::Serialize;

use crate::scribe::{ORIGIN, Scribe, expiring, founders, key, learner, model};

#[derive(Serialize)]
pub(super) struct File {
    histories: Vec<History>,
}

#[derive(Serialize)]
struct History {
    name: &'static str,
    ledger: String,
    entries: Vec<String>,
    /// Signed by the key of their time.
    checkpoints: Vec<String>,
    /// The rounds that were closed, each by the entry after which so many are recorded.
    rounds: Vec<Round>,
    /// What is not recorded.
    refused: Vec<Refused>,
}

#[derive(Serialize)]
struct Round {
    after: u64,
    experiment: String,
    round: u64,
    verdict: &'static str,
    approvals: u32,
    rejections: u32,
    abstentions: u32,
    electorate: u32,
    model: String,
}

#[derive(Serialize)]
struct Refused {
    name: &'static str,
    /// After so many entries.
    after: u64,
    time_ms: u64,
    /// A `SignedTransaction`.
    transaction: String,
    rule: u8,
}

/// A ledger that is written, with what is refused.
pub(super) struct Story {
    pub(super) scribe: Scribe,
    refused: Vec<Refused>,
    checkpoints: Vec<String>,
    /// How many links each has left, where proposers are drawn.
    left: BTreeMap<u8, u32>,
}

impl Story {
    pub(super) fn new(version: Version, limits: Limits) -> Self {
        let scribe = Scribe::empty(version, limits);
        Self { scribe, refused: Vec::new(), checkpoints: Vec::new(), left: BTreeMap::new() }
    }

    /// Done after a second by somebody who has seen all entries; must be accepted.
    pub(super) fn act(&mut self, who: u8, what: Act) {
        self.scribe.wait(1_000);
        let signed = self.scribe.sign(who, self.scribe.head.size, what);
        assert!(self.scribe.transact(&signed), "{signed:?}");
    }

    /// Tried by somebody who has seen all entries, and refused.
    fn refuse(&mut self, name: &'static str, who: u8, what: Act) {
        let signed = self.scribe.sign(who, self.scribe.head.size, what);
        self.refuse_signed(name, &signed);
    }

    /// The same as [`Story::refuse`], but for what was refused under this name before.
    fn refuse_once(&mut self, name: &'static str, who: u8, what: Act) {
        if self.refused.iter().all(|refused| refused.name != name) {
            self.refuse(name, who, what);
        }
    }

    fn refuse_signed(&mut self, name: &'static str, signed: &Transaction) {
        let scribe = &self.scribe;
        self.refused.push(Refused {
            name,
            after: scribe.head.size,
            time_ms: scribe.now_ms,
            transaction: hex::encode(signed.message().encode_to_vec()),
            rule: scribe.rejection(signed).expect(name).rule(),
        });
    }

    pub(super) fn checkpoint(&mut self) {
        self.checkpoints.push(self.scribe.checkpoint(self.scribe.log_key));
    }

    /// Whose turn it is.
    fn proposer(&self) -> u8 {
        let Phase::Proposing { proposer, .. } = self.scribe.experiment().phase() else {
            panic!("{:?}", self.scribe.experiment().phase())
        };
        (1..=9).find(|who| learner(*who) == *proposer).unwrap()
    }

    fn proposal(&self, weights: u8) -> Proposal {
        let experiment = self.scribe.experiment();
        Proposal {
            round: experiment.round(),
            base: experiment.model().digest,
            weights: model(weights),
            scores: Scores { vote: Some(900_000), test: None },
            privacy: None,
        }
    }

    /// Who has the turn proposes these weights. Who that was.
    pub(super) fn propose(&mut self, weights: u8) -> u8 {
        let who = self.proposer();
        let proposal = self.proposal(weights);
        self.scribe.proposed = proposal.weights.digest;
        self.act(who, Act::Propose(proposal));
        who
    }

    pub(super) fn vote(&mut self, who: u8, choice: Choice, reason: Option<Reason>) {
        let vote = self.scribe.vote(choice, reason, 910_000);
        self.act(who, Act::Vote(vote));
    }

    /// The next link of somebody's chain.
    fn link(&mut self, who: u8) -> Digest {
        let left = self.left.entry(who).and_modify(|left| *left -= 1).or_insert(LINKS);
        link([who; 32], *left)
    }

    fn finish(mut self, name: &'static str) -> History {
        self.checkpoint();
        let Self { scribe, refused, checkpoints, .. } = self;
        let follower = scribe.follow_to(Depth::Full, &scribe.read()).unwrap();
        assert_eq!(follower.contract(), Some(&scribe.contract));
        let mut rounds = Vec::new();
        for (entry, after) in scribe.read().iter().zip(1..) {
            if let Some(Record::Outcome(Outcome { experiment, what })) = entry.record()
                && let Decision::RoundClosed {
                    round,
                    verdict,
                    approvals,
                    rejections,
                    abstentions,
                    electorate,
                    model,
                    unavailable: _,
                } = what
            {
                rounds.push(Round {
                    after,
                    experiment: experiment.to_string(),
                    round: *round,
                    verdict: verdict.word(),
                    approvals: *approvals,
                    rejections: *rejections,
                    abstentions: *abstentions,
                    electorate: *electorate,
                    model: model.to_string(),
                });
            }
        }
        History {
            name,
            ledger: scribe.id.to_string(),
            entries: scribe.entries.iter().map(hex::encode).collect(),
            checkpoints,
            rounds,
            refused,
        }
    }
}

fn create(version: Version, parameters: Parameters, admission: Admission) -> Act {
    let version = version.number();
    Act::Create(CreateExperiment { version, parameters, admission, model: model(0), plan: None })
}

/// Version 1, open to all, votes in the open; then another key, and version 2.
pub(super) fn open() -> Story {
    let mut story = Story::new(Version::V1, Limits::default());
    story.checkpoint();
    let rules = Parameters { min_learners: 3, creator_may_stop: true, ..Parameters::default() };
    let strict = Parameters { threshold: Threshold::MORE_THAN_HALF, ..rules.clone() };
    story.refuse("strict_in_version_1", 1, create(Version::V1, strict, Admission::Open));
    story.refuse("joins_nothing", 1, Act::Join(Join::new(0, None)));
    story.refuse("of_version_2_too_early", 1, create(Version::V2, rules.clone(), Admission::Open));
    story.act(1, create(Version::V1, rules.clone(), Admission::Open));
    story.refuse("created_twice", 2, create(Version::V1, rules, Admission::Open));
    story.act(1, Act::Join(Join::new(0, None)));
    story.refuse("joins_twice", 1, Act::Join(Join::new(0, None)));
    story.refuse("joins_under_terms_in_version_1", 2, {
        Act::Join(Join::new(0, Some(story.scribe.experiment().terms())))
    });
    story.refuse("joins_for_a_later_term", 2, Act::Join(Join::new(1, None)));
    story.act(2, Act::Join(Join::new(0, None)));
    story.refuse("proposes_while_waiting", 1, Act::Propose(story.proposal(1)));
    story.act(3, Act::Join(Join::new(0, None)));
    story.checkpoint();

    // Accepted.
    let other = story.proposer() % 3 + 1;
    story.refuse("proposes_out_of_turn", other, Act::Propose(story.proposal(1)));
    story.refuse("stranger_proposes", 4, Act::Propose(story.proposal(1)));
    let proposal = story.proposal(1);
    let who = story.proposer();
    let stale = Proposal { round: 2, ..proposal.clone() };
    story.refuse("proposes_in_another_round", who, Act::Propose(stale));
    let astray = Proposal { base: Digest([99; 32]), ..proposal.clone() };
    story.refuse("proposes_from_another_base", who, Act::Propose(astray));
    let large = Model { size: 1 << 40, ..model(1) };
    story.refuse("proposes_too_much", who, Act::Propose(Proposal { weights: large, ..proposal }));
    story.refuse("votes_on_nothing", other, Act::Vote(story.scribe.vote(Choice::Approve, None, 1)));
    story.propose(1);
    story.refuse("proposes_twice", who, Act::Propose(story.proposal(2)));
    let approval = story.scribe.vote(Choice::Approve, None, 1);
    story.refuse("votes_on_its_own", who, Act::Vote(approval.clone()));
    let elsewhere = Vote { weights: Digest([99; 32]), ..approval.clone() };
    story.refuse("votes_on_another_proposal", other, Act::Vote(elsewhere));
    let wordy = Vote { choice: Choice::Abstain, ..approval.clone() };
    story.refuse("abstains_in_version_1", other, Act::Vote(wordy));
    story.act(4, Act::Join(Join::new(0, None)));
    story.refuse("votes_before_its_first_round", 4, Act::Vote(approval.clone()));
    story.vote(other, Choice::Approve, None);
    story.refuse("votes_twice", other, Act::Vote(approval.clone()));
    let third = (1..=3).find(|it| ![who, other].contains(it)).unwrap();
    story.vote(third, Choice::Reject, None);
    story.refuse("votes_in_a_closed_round", third, Act::Vote(approval));

    // Rejected, passed, and out of time.
    let who = story.propose(2);
    let voters: Vec<u8> = (1..=4).filter(|it| *it != who).collect();
    story.vote(voters[0], Choice::Approve, None);
    story.vote(voters[1], Choice::Reject, None);
    story.vote(voters[2], Choice::Reject, None);
    let (who, round) = (story.proposer(), story.scribe.experiment().round());
    story.act(who, Act::Pass { round, exhausted: false, reason: None });
    story.scribe.wait(600_000);
    let who = story.propose(3);
    let voter = who % 4 + 1;
    story.vote(voter, Choice::Approve, None);
    story.scribe.now_ms += 600_000;
    story.refuse(
        "votes_too_late",
        voter % 4 + 1,
        Act::Vote(story.scribe.vote(Choice::Approve, None, 1)),
    );
    story.scribe.wait(0);

    // Another key, other rules for new experiments, and for this one.
    story.act(4, Act::Leave { term: 0, renounce: false });
    let number = story.scribe.experiment().last_motion() + 1;
    let adopt = Motion::Adopt(Version::V2);
    story.refuse("adopts_too_early", 1, Act::Move { number, motion: adopt.clone() });
    story.scribe.change_key();
    story.checkpoint();
    story.scribe.upgrade();
    story.checkpoint();
    story.refuse("motion_of_another_number", 1, Act::Move { number: 9, motion: adopt.clone() });
    story.act(1, Act::Move { number, motion: adopt });
    story.act(2, Act::MotionVote { number, approve: true });
    story.act(3, Act::MotionVote { number, approve: true });
    story
}

/// Ends what [`open`] began.
fn open_to_the_end() -> Story {
    let mut story = open();
    let (who, round) = (story.proposer(), story.scribe.experiment().round());
    story.act(who, Act::Pass { round, exhausted: false, reason: None });
    assert_eq!(story.scribe.experiment().version(), Version::V2);
    let who = story.propose(4);
    let voters: Vec<u8> = (1..=3).filter(|it| *it != who).collect();
    story.vote(voters[0], Choice::Abstain, Some(Reason::TooLittleData));
    story.refuse("reason_with_a_vote_for", voters[1], {
        Act::Vote(story.scribe.vote(Choice::Approve, Some(Reason::Policy), 1))
    });
    story.vote(voters[1], Choice::Approve, None);
    story.refuse("proposes_an_old_model", story.proposer(), Act::Propose(story.proposal(1)));
    story.refuse("stranger_stops", 9, Act::Stop);
    story.act(1, Act::Stop);
    story.refuse("joins_what_has_finished", 9, Act::Join(Join::new(0, None)));
    story
}

/// Version 2: by invitation, sealed ballots, drawn proposers, a privacy cap, evaluations.
fn sealed() -> Story {
    let mut story = Story::new(Version::V2, expiring(3_600_000));
    let cap = PrivacyCap { epsilon_micros: 3_000_000, delta_picos: 10_000_000 };
    let rules = Parameters {
        min_learners: 3,
        ballot: BallotKind::Sealed,
        selection: Selection::Sortition,
        privacy: Some(cap),
        threshold: Threshold::MORE_THAN_HALF,
        ..Parameters::default()
    };
    let admission = founders(Version::V2);
    story.refuse("of_version_1_too_late", 1, create(Version::V1, rules.clone(), admission.clone()));
    let unfair = Threshold { numerator: 3, denominator: 2, strict: false };
    let unfair = Parameters { threshold: unfair, ..rules.clone() };
    story.refuse("threshold_above_all", 1, create(Version::V2, unfair, admission.clone()));
    story.act(1, create(Version::V2, rules, admission));
    story.refuse("stranger_joins", 9, story.scribe.join(9));
    story.refuse("joins_under_no_terms", 1, Act::Join(Join::new(0, None)));
    story.refuse("joins_under_other_terms", 1, Act::Join(Join::new(0, Some(Digest([99; 32])))));
    for who in [1, 2, 4] {
        story.act(who, story.scribe.join(who));
    }

    for weights in 1..=2 {
        let who = story.proposer();
        let spent = |epsilon_micros| PrivacySpent {
            epsilon_micros,
            delta_picos: 1_000_000,
            training: PrivateTraining::All(vec![PrivacySegment {
                noise_micros: 1_100_000,
                clip_micros: 1_000_000,
                sampling_nanos: 10_000_000,
                steps: 100 * u64::from(weights),
            }]),
        };
        let proposal = story.proposal(weights);
        story.refuse_once("proposes_without_privacy", who, Act::Propose(proposal.clone()));
        let over = Proposal { privacy: Some(spent(3_000_001)), ..proposal.clone() };
        story.refuse_once("proposes_over_the_cap", who, Act::Propose(over));
        let stated = Some(spent(1_000_000 + u64::from(weights)));
        story.scribe.proposed = proposal.weights.digest;
        story.act(who, Act::Propose(Proposal { privacy: stated, ..proposal }));

        let voters: Vec<u8> = [1, 2, 4].into_iter().filter(|it| *it != who).collect();
        let votes: Vec<Vote> = [(Choice::Approve, None), (Choice::Reject, Some(Reason::Worse))]
            .into_iter()
            .map(|(choice, reason)| {
                // In the second round both are for it.
                match weights {
                    2 => story.scribe.vote(Choice::Approve, None, 5),
                    _ => story.scribe.vote(choice, reason, -5),
                }
            })
            .collect();
        story.refuse_once("votes_unsealed", voters[0], Act::Vote(votes[0].clone()));
        for (voter, vote) in voters.iter().zip(&votes) {
            let salt = [*voter; 32];
            let experiment = story.scribe.name.clone();
            let sealed = Sealed {
                version: Version::V2,
                ledger: Digest(story.scribe.id.0),
                experiment: &experiment,
                voter: learner(*voter),
                vote,
                salt: &salt,
            };
            let link = story.link(*voter);
            let commit = Commit {
                round: vote.round,
                weights: vote.weights,
                commitment: sealed.commitment(),
                link: Some(link),
            };
            let unlinked = Commit { link: None, ..commit.clone() };
            story.refuse_once("commits_without_link", *voter, Act::Commit(unlinked));
            // An anchor may be any.
            if story.left[voter] < LINKS {
                let astray = Commit { link: Some(Digest([99; 32])), ..commit.clone() };
                story.refuse_once("commits_with_another_link", *voter, Act::Commit(astray));
            }
            let reveal = Reveal { vote: vote.clone(), salt };
            story.refuse_once("reveals_too_early", *voter, Act::Reveal(reveal));
            story.act(*voter, Act::Commit(commit));
        }
        for (voter, vote) in voters.iter().zip(&votes) {
            let other_salt = Reveal { vote: vote.clone(), salt: [99; 32] };
            story.refuse_once("reveals_with_another_salt", *voter, Act::Reveal(other_salt));
            let reveal = Act::Reveal(Reveal { vote: vote.clone(), salt: [*voter; 32] });
            story.act(*voter, reveal.clone());
            if voter == &voters[0] {
                story.refuse_once("reveals_twice", *voter, reveal);
            }
        }
    }

    let measure = |name: &str| Measure { name: name.parse().unwrap(), value_micros: 913_000 };
    let evaluate =
        |number, measures| Act::Evaluate(Evaluation { number, model: Digest([2; 32]), measures });
    story.refuse("evaluates_out_of_order", 1, evaluate(1, vec![measure("b"), measure("a")]));
    story.refuse("evaluation_of_another_number", 1, evaluate(2, vec![measure("accuracy")]));
    story.act(1, evaluate(1, vec![measure("accuracy"), measure("loss")]));
    let admit = |name| Motion::Admit(crate::scribe::named(5, name));
    story.act(1, Act::Move { number: 1, motion: admit("Hospital 5") });
    story.refuse("votes_on_its_own_motion", 1, Act::MotionVote { number: 1, approve: true });
    story.refuse("votes_on_no_motion", 2, Act::MotionVote { number: 2, approve: true });
    story.act(2, Act::MotionVote { number: 1, approve: true });
    story.act(4, Act::MotionVote { number: 1, approve: true });

    // Signed, and sent when others have gone on for too long.
    let early = story.scribe.sign(3, story.scribe.head.size, story.scribe.join(3));
    story.act(2, evaluate(1, vec![measure("accuracy")]));
    story.scribe.wait(3_600_001);
    story.refuse_signed("sent_too_late", &early);
    story.act(3, story.scribe.join(3));
    let replaced = Transaction::replace_key(
        &key(2),
        &key(6),
        &story.scribe.id,
        story.scribe.seen(story.scribe.head.size),
        story.scribe.name.clone(),
    );
    story.scribe.wait(1_000);
    assert!(story.scribe.transact(&replaced));
    story.refuse("old_key_goes_on", 2, evaluate(2, vec![measure("accuracy")]));
    story
}

/// Weights that can be merged, as far as the contract can tell.
fn tensors(byte: u8) -> Model {
    Model { media_type: "application/x-safetensors".to_owned(), ..model(byte) }
}

/// Somebody sends what it has trained in a merged round.
fn update(story: &Story, weights: u8) -> Update {
    let Proposal { round, base, scores, privacy, .. } = story.proposal(weights);
    Update { round, base, weights: tensors(weights), scores, privacy }
}

/// Somebody names these merges; can bear the open one, the guarded one; and prefers the guarded one.
fn judgement(
    story: &Story,
    [open, guarded]: [Option<u8>; 2],
    [bear_open, bear_guarded, prefer_guarded]: [bool; 3],
) -> MergeVote {
    let [open, guarded] = [open, guarded].map(|merge| merge.map(|merge| model(merge).digest));
    let scores = |merge: Option<Digest>| Scores { vote: merge.map(|_| 920_000), test: None };
    MergeVote {
        round: story.scribe.experiment().round(),
        merges: Merges { open, guarded },
        bear_open,
        bear_guarded,
        prefer_guarded,
        reason: None,
        scores_open: scores(open),
        scores_guarded: scores(guarded),
        link: None,
    }
}

/// Version 2: merged rounds, in which members say what they hold.
fn merged() -> Story {
    let mut story = Story::new(Version::V2, Limits::default());
    let merging = Merging { gather_deadline_ms: Some(60_000), ..Merging::default() };
    let rules = Parameters { min_learners: 3, merging: Some(merging), ..Parameters::default() };
    let create = |parameters, model| {
        let (version, admission) = (Version::V2.number(), Admission::Open);
        Act::Create(CreateExperiment { version, parameters, admission, model, plan: None })
    };
    let loud = Merging { momentum_permille: 901, ..merging };
    let loud = Parameters { merging: Some(loud), ..rules.clone() };
    story.refuse("momentum_above_all", 1, create(loud, tensors(0)));
    story.refuse("merges_anything", 1, create(rules.clone(), model(0)));
    story.act(1, create(rules, tensors(0)));
    for who in 1..=3 {
        story.act(who, story.scribe.join(who));
    }

    // The guarded merge is better for most.
    story.refuse(
        "proposes_in_a_merged_round",
        1,
        Act::Propose(Proposal { weights: tensors(11), ..story.proposal(11) }),
    );
    story.refuse("stranger_sends", 9, Act::Update(update(&story, 11)));
    story.refuse("has_something_too_early", 1, Act::Have { round: 1, held: 0 });
    for who in 1..=3 {
        let sent = update(&story, 10 + who);
        story.act(who, Act::Update(sent.clone()));
        story.refuse_once("sends_twice", who, Act::Update(sent));
    }
    story.refuse("has_what_is_not_there", 1, Act::Have { round: 1, held: 0b1000 });
    let pair = [Some(21), Some(22)];
    let early = judgement(&story, pair, [true; 3]);
    story.refuse("judges_too_early", 1, Act::MergeVote(early));
    for who in 1..=3 {
        story.act(who, Act::Have { round: 1, held: 0b111 });
        story.refuse_once("tells_twice", who, Act::Have { round: 1, held: 0b111 });
    }
    let none = judgement(&story, [Some(21), None], [true; 3]);
    story.refuse("bears_no_merge", 1, Act::MergeVote(none));
    for (who, says) in [(1, [true; 3]), (2, [false, true, true]), (3, [true, false, false])] {
        let vote = judgement(&story, pair, says);
        story.act(who, Act::MergeVote(vote));
    }

    // What too few hold is left out; then no pair is named by most.
    for who in 1..=3 {
        let sent = update(&story, 30 + who);
        story.act(who, Act::Update(sent));
    }
    for (who, held) in [(1, 0b011), (2, 0b011), (3, 0b111)] {
        story.act(who, Act::Have { round: 2, held });
    }
    let one = judgement(&story, [Some(41), Some(42)], [true, true, false]);
    story.act(1, Act::MergeVote(one.clone()));
    story.refuse("judges_twice", 1, Act::MergeVote(one));
    let another = judgement(&story, [Some(41), Some(43)], [true, true, false]);
    story.act(2, Act::MergeVote(another));
    let abstains = judgement(&story, [None; 2], [false; 3]);
    let abstains = MergeVote { reason: Some(Reason::Unavailable), ..abstains };
    story.act(3, Act::MergeVote(abstains));

    // The open merge, the only one; one has passed.
    story.act(1, Act::Pass { round: 3, exhausted: false, reason: Some(Reason::TooLittleData) });
    for who in 2..=3 {
        let sent = update(&story, 50 + who);
        story.act(who, Act::Update(sent));
    }
    for who in 1..=3 {
        story.act(who, Act::Have { round: 3, held: 0b11 });
    }
    for (who, bears) in [(1, true), (2, true), (3, false)] {
        let vote = judgement(&story, [Some(61), None], [bears, false, false]);
        story.act(who, Act::MergeVote(vote));
    }

    // Nobody can bear either; nobody sends anything.
    for who in 1..=3 {
        let sent = update(&story, 70 + who);
        story.act(who, Act::Update(sent));
    }
    for who in 1..=3 {
        story.act(who, Act::Have { round: 4, held: 0b111 });
    }
    for who in 1..=3 {
        let vote = judgement(&story, [Some(81), Some(82)], [false; 3]);
        story.act(who, Act::MergeVote(vote));
    }
    story.scribe.wait(600_000);
    story
}

pub(super) fn file() -> File {
    let histories = vec![
        open_to_the_end().finish("open"),
        sealed().finish("sealed"),
        merged().finish("merged"),
    ];
    File { histories }
}

/// A checkpoint over other entries than the ledger's.
pub(super) fn checkpoint_of(size: u64, root: Hash, log_key: u8) -> String {
    let signer = Signer::new(ORIGIN, KeyKind::Log, key(log_key)).unwrap();
    Checkpoint { origin: ORIGIN.to_owned(), size, root }.sign(&signer)
}
