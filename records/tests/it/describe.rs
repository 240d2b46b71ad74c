//! What a node says of an experiment and of a member reads back as it was said.

use colearn_contracts::*;
use colearn_proto::v1;
use colearn_records::convert::{
    BadField, ChainState, ExperimentState, MemberState, MotionState, SeatState,
};
use colearn_records::words::Words as _;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::scribe::Scribe;
use crate::strategies::*;

fn tally() -> impl Strategy<Value = Tally> {
    any::<[u32; 5]>().prop_map(|counts| Tally {
        electorate: counts[0],
        approvals: counts[1],
        rejections: counts[2],
        abstentions: counts[3],
        unavailable: counts[4],
    })
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Open),
        any::<u32>().prop_map(|committed| Stage::Commit { committed }),
        any::<u32>().prop_map(|committed| Stage::Reveal { committed }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        Just(Part::Due),
        Just(Part::Passed),
        (digest(), learner()).prop_map(|(commitment, key)| Part::Committed { commitment, key }),
        model().prop_map(Part::Sent),
        (model(), any::<bool>()).prop_map(|(weights, missed)| Part::Dropped { weights, missed }),
    ]
}

/// A count of votes on merges: of some pairs, one of which may lead.
fn merge_tally() -> impl Strategy<Value = MergeTally> {
    let named = |(pair, counts): (Merges, [u32; 6])| {
        let votes = Named {
            number: counts[0],
            weight: counts[1],
            checkers: counts[2],
            bear_open: counts[3],
            bear_guarded: counts[4],
            prefer_guarded: counts[5],
        };
        (pair, votes)
    };
    (any::<[u32; 6]>(), vec((merges(), any::<[u32; 6]>()), 0..4)).prop_map(
        move |(counts, pairs)| {
            // A pair that names nothing is no pair.
            let pairs = pairs.into_iter().filter(|(pair, _)| !pair.is_none());
            let mut tally = MergeTally::of(counts[0], counts[1]).with(pairs.map(named));
            tally.cast = counts[2];
            tally.abstentions = counts[3];
            tally.unavailable = counts[4];
            tally.checkers_cast = counts[5];
            tally
        },
    )
}

fn merged() -> impl Strategy<Value = Phase> {
    let stage = prop_oneof![
        Just(MergeStage::Training),
        Just(MergeStage::Revealing),
        (any::<u32>(), vec(any::<u32>(), 0..5))
            .prop_map(|(said, held)| MergeStage::Gathering { said, held }),
        (merge_tally(), stage()).prop_map(|(tally, stage)| MergeStage::Voting { tally, stage }),
    ];
    let participant = (learner(), part()).prop_map(|(learner, part)| Participant { learner, part });
    (vec(participant, 0..5), vec(learner(), 0..3), stage, any::<u64>()).prop_map(
        |(participants, checkers, stage, deadline_ms)| {
            let round = MergedRound { participants, checkers, stage, deadline_ms };
            Phase::Merged(Box::new(round))
        },
    )
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Waiting),
        pause_reason().prop_map(Phase::Paused),
        (learner(), any::<u64>())
            .prop_map(|(proposer, deadline_ms)| Phase::Proposing { proposer, deadline_ms }),
        merged(),
        (learner(), model(), tally(), stage(), any::<u64>()).prop_map(
            |(proposer, weights, tally, stage, deadline_ms)| Phase::Voting {
                proposer,
                weights,
                tally,
                stage,
                deadline_ms,
            }
        ),
        finish_reason().prop_map(Phase::Finished),
    ]
}

fn open_motion() -> impl Strategy<Value = MotionState> {
    (any::<u64>(), motion(), learner(), any::<[u32; 3]>(), threshold(), any::<u64>()).prop_map(
        |(number, motion, mover, counts, threshold, deadline_ms)| MotionState {
            number,
            motion,
            mover,
            tally: Tally {
                electorate: counts[0],
                approvals: counts[1],
                rejections: counts[2],
                ..Tally::default()
            },
            threshold,
            deadline_ms,
        },
    )
}

fn experiment() -> impl Strategy<Value = ExperimentState> {
    let what = (name(), version(), digest(), learner(), parameters(), admission());
    let models = (model(), option::of(model()));
    let stands = (option::of(digest()), models, any::<u64>(), phase(), vec(learner(), 0..5));
    let counts = (any::<u32>(), vec(open_motion(), 0..3), any::<u64>(), any::<u32>(), names());
    (what, stands, counts).prop_map(|(what, stands, counts)| ExperimentState {
        name: what.0,
        version: what.1,
        terms: what.2,
        creator: what.3,
        parameters: what.4,
        admission: what.5,
        plan: stands.0,
        model: stands.1.0,
        previous: stands.1.1,
        round: stands.2,
        phase: stands.3,
        members: stands.4,
        member_count: counts.0,
        motions: counts.1,
        last_motion: counts.2,
        governing_weight: counts.3,
        names: counts.4,
    })
}

fn member() -> impl Strategy<Value = MemberState> {
    let seats: Vec<SeatState> = SeatState::WORDS.iter().map(|(_, seat, _)| *seat).collect();
    let chain = (digest(), any::<u32>(), any::<u64>())
        .prop_map(|(link, left, anchored)| ChainState { link, left, anchored });
    let stands = (any::<u32>(), prop::sample::select(seats), any::<u64>(), any::<[u32; 3]>());
    let may = (option::of(privacy()), option::of(chain), option::of(member_name()));
    (stands, any::<[bool; 3]>(), may, any::<[u64; 2]>()).prop_map(
        |((term, seat, last_vote, counts), is, (privacy, chain, name), more)| MemberState {
            term,
            seat,
            last_vote,
            weight: counts[0],
            missed: counts[1],
            unavailable: counts[2],
            exhausted: is[0],
            unrevealed: is[1],
            judge: is[2],
            privacy,
            chain,
            evaluations: more[0],
            name,
            last_have: more[1],
        },
    )
}

proptest! {
    /// A node of version 1 does not say what judges a motion: the rules in force do.
    #[test]
    fn a_motion_that_says_no_threshold_has_its_rules(
        motion in open_motion(),
        mut experiment in experiment(),
    ) {
        experiment.version = Version::V1;
        experiment.motions = vec![motion];
        let mut earlier = experiment.message();
        earlier.motions[0].threshold = None;
        let read = ExperimentState::read(earlier).unwrap();
        prop_assert_eq!(read.motions[0].threshold, experiment.parameters.governance(Version::V1));
    }

    #[test]
    fn descriptions_read_back(experiment in experiment(), member in member()) {
        prop_assert_eq!(&ExperimentState::read(experiment.message()).unwrap(), &experiment);
        prop_assert_eq!(&MemberState::read(member.message()).unwrap(), &member);
    }
}

#[test]
fn what_a_description_cannot_mean_is_named() {
    let scribe = Scribe::new();
    let experiment = scribe.contract.experiment(&scribe.name).unwrap();
    let said = ExperimentState::of(experiment, 10);
    let refused = |change: fn(&mut v1::Experiment)| {
        let mut message = said.message();
        change(&mut message);
        ExperimentState::read(message).unwrap_err()
    };
    assert_eq!(refused(|it| it.phase = 77), BadField("phase"));
    assert_eq!(refused(|it| it.terms = vec![0; 31].into()), BadField("terms"));
    assert!(refused(|it| it.contract_version = 77).to_string().contains("a later colearn"));
    let voting = |it: &mut v1::Experiment| {
        it.set_phase(v1::Phase::Voting);
        it.proposer = vec![0; 32].into();
        it.weights.clone_from(&it.model);
        it.stage = 77;
    };
    assert_eq!(refused(voting), BadField("stage"));
    let paused = |it: &mut v1::Experiment| {
        it.set_phase(v1::Phase::Paused);
        it.pause_reason = 77;
    };
    assert_eq!(refused(paused), BadField("reason"));
    let nameless = |it: &mut v1::Experiment| {
        it.named = vec![v1::NamedMember { learner: vec![0; 32].into(), name: String::new() }];
    };
    assert_eq!(refused(nameless), BadField("named"));
    // A node of version 1 says neither version nor terms.
    let mut earlier = said.message();
    (earlier.contract_version, earlier.terms) = (0, Vec::new().into());
    let read = ExperimentState::read(earlier).unwrap();
    assert_eq!((read.version, read.terms), (Version::V1, Digest([0; 32])));

    let seated = v1::Member { seat: v1::Seat::Seated.into(), ..v1::Member::default() };
    let refused = |member: v1::Member| MemberState::read(member).unwrap_err();
    assert_eq!(refused(v1::Member { seat: 77, ..seated.clone() }), BadField("seat"));
    let chain = v1::Chain { link: vec![0; 31].into(), left: 1, anchored: 1 };
    assert_eq!(refused(v1::Member { chain: Some(chain), ..seated }), BadField("link"));
}
