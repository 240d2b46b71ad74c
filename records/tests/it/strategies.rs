//! Whatever can be recorded, in random.

use colearn_contracts::*;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn name() -> impl Strategy<Value = ExperimentName> {
    "[a-z0-9][a-z0-9._-]{0,63}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

pub(crate) fn learner() -> impl Strategy<Value = LearnerId> {
    any::<[u8; 32]>().prop_map(LearnerId)
}

pub(crate) fn member_name() -> impl Strategy<Value = MemberName> {
    "[!-~é東](|[ -~é東]{0,62}[!-~é東])".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn model() -> impl Strategy<Value = Model> {
    (digest(), any::<u64>(), "[!-~]{1,100}").prop_map(|(digest, size, media_type)| Model {
        digest,
        size,
        media_type,
    })
}

pub(crate) fn scores() -> impl Strategy<Value = Scores> {
    (any::<Option<i64>>(), any::<Option<i64>>()).prop_map(|(vote, test)| Scores { vote, test })
}

pub(crate) fn threshold() -> impl Strategy<Value = Threshold> {
    any::<(u32, u32, bool)>().prop_map(|(numerator, denominator, strict)| Threshold {
        numerator,
        denominator,
        strict,
    })
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V1), Just(Version::V2)]
}

fn merging() -> impl Strategy<Value = Merging> {
    (any::<[u32; 4]>(), any::<Option<u64>>()).prop_map(|(numbers, gather_deadline_ms)| Merging {
        proposers: numbers[0],
        clip_permille: numbers[1],
        momentum_permille: numbers[2],
        checkers: numbers[3],
        gather_deadline_ms,
    })
}

pub(crate) fn parameters() -> impl Strategy<Value = Parameters> {
    let choices = (
        prop_oneof![Just(Selection::RoundRobin), Just(Selection::Sortition)],
        prop_oneof![Just(Close::All), Just(Close::Early)],
        prop_oneof![Just(BallotKind::Open), Just(BallotKind::Sealed)],
    );
    // Zero stands for the default, or for never.
    let deadlines = (any::<u64>(), any::<u64>(), 1..=u64::MAX, 1..=u64::MAX)
        .prop_map(|(a, b, c, d)| [a, b, c, d]);
    let never = || option::of(1..=u32::MAX);
    let cap = any::<Option<(u64, u64)>>();
    (
        (threshold(), option::of(threshold()), choices, deadlines),
        (any::<u32>(), any::<Option<u64>>(), any::<Option<u64>>(), never(), never()),
        (cap, any::<u64>(), any::<bool>(), option::of(merging())),
    )
        .prop_map(|((threshold, governance_threshold, choices, deadlines), counts, rest)| {
            Parameters {
                threshold,
                selection: choices.0,
                proposal_deadline_ms: deadlines[0],
                vote_deadline_ms: deadlines[1],
                reveal_deadline_ms: deadlines[2],
                close: choices.1,
                ballot: choices.2,
                min_learners: counts.0,
                max_rounds: counts.1,
                patience: counts.2,
                missed_turns: counts.3,
                idle_rotations: counts.4,
                privacy: rest.0.map(|(epsilon_micros, delta_picos)| PrivacyCap {
                    epsilon_micros,
                    delta_picos,
                }),
                max_weights_bytes: rest.1,
                governance_threshold,
                motion_deadline_ms: deadlines[3],
                creator_may_stop: rest.2,
                merging: rest.3,
            }
        })
}

pub(crate) fn invitation() -> impl Strategy<Value = Invitation> {
    (learner(), any::<u32>(), any::<bool>(), option::of(member_name()))
        .prop_map(|(learner, weight, judge, name)| Invitation { learner, weight, judge, name })
}

pub(crate) fn admission() -> impl Strategy<Value = Admission> {
    let plain = || (learner(), any::<u32>()).prop_map(|(who, votes)| Invitation::new(who, votes));
    prop_oneof![
        Just(Admission::Open),
        vec(invitation(), 0..20).prop_map(Admission::Invited),
        vec(invitation(), 0..20).prop_map(Admission::ByVote),
        vec(plain(), 0..20).prop_map(Admission::ByVote),
        vec(learner(), 0..20).prop_map(Admission::invite),
    ]
}

fn segment() -> impl Strategy<Value = PrivacySegment> {
    any::<[u64; 4]>().prop_map(|[noise_micros, clip_micros, sampling_nanos, steps]| {
        PrivacySegment { noise_micros, clip_micros, sampling_nanos, steps }
    })
}

pub(crate) fn privacy() -> impl Strategy<Value = PrivacySpent> {
    let training = prop_oneof![
        segment().prop_map(PrivateTraining::Last),
        vec(segment(), 1..=MAX_SEGMENTS).prop_map(PrivateTraining::All),
    ];
    (any::<[u64; 2]>(), training).prop_map(|([epsilon_micros, delta_picos], training)| {
        PrivacySpent { epsilon_micros, delta_picos, training }
    })
}

pub(crate) fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![Just(Choice::Approve), Just(Choice::Reject), Just(Choice::Abstain)]
}

pub(crate) fn reason() -> impl Strategy<Value = Option<Reason>> {
    prop_oneof![
        Just(None),
        Just(Some(Reason::Worse)),
        Just(Some(Reason::NotFinite)),
        Just(Some(Reason::TooLittleData)),
        Just(Some(Reason::CapReached)),
        Just(Some(Reason::Policy)),
        Just(Some(Reason::Failed)),
        Just(Some(Reason::Unavailable)),
    ]
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), digest(), choice(), reason(), scores(), option::of(digest())).prop_map(
        |(round, weights, choice, reason, scores, link)| Vote {
            round,
            weights,
            choice,
            reason,
            scores,
            link,
        },
    )
}

fn update() -> impl Strategy<Value = Update> {
    (any::<u64>(), digest(), model(), scores(), option::of(privacy())).prop_map(
        |(round, base, weights, scores, privacy)| Update { round, base, weights, scores, privacy },
    )
}

pub(crate) fn merges() -> impl Strategy<Value = Merges> {
    (option::of(digest()), option::of(digest()))
        .prop_map(|(open, guarded)| Merges { open, guarded })
}

fn merge_vote() -> impl Strategy<Value = MergeVote> {
    let says = (any::<[bool; 3]>(), reason(), scores(), scores(), option::of(digest()));
    (any::<u64>(), merges(), says).prop_map(|(round, merges, says)| MergeVote {
        round,
        merges,
        bear_open: says.0[0],
        bear_guarded: says.0[1],
        prefer_guarded: says.0[2],
        reason: says.1,
        scores_open: says.2,
        scores_guarded: says.3,
        link: says.4,
    })
}

pub(crate) fn motion() -> impl Strategy<Value = Motion> {
    prop_oneof![
        parameters().prop_map(|parameters| Motion::SetParameters(Box::new(parameters))),
        invitation().prop_map(Motion::Admit),
        learner().prop_map(Motion::Suspend),
        learner().prop_map(Motion::Expel),
        Just(Motion::Stop),
        version().prop_map(Motion::Adopt),
    ]
}

fn evaluation() -> impl Strategy<Value = Evaluation> {
    let measure = ("[a-z][a-z0-9._-]{0,31}", any::<i64>())
        .prop_map(|(name, value_micros)| Measure { name: name.parse().unwrap(), value_micros });
    (any::<u64>(), digest(), vec(measure, 0..20)).prop_map(|(number, model, measures)| Evaluation {
        number,
        model,
        measures,
    })
}

fn create() -> impl Strategy<Value = CreateExperiment> {
    (1..=u32::MAX, parameters(), admission(), model(), option::of(digest())).prop_map(
        |(version, parameters, admission, model, plan)| CreateExperiment {
            version,
            parameters,
            admission,
            model,
            plan,
        },
    )
}

/// Whatever can be asked, but for a change of keys, which two sign.
pub(crate) fn act() -> impl Strategy<Value = Act> {
    let proposal = (any::<u64>(), digest(), model(), scores(), option::of(privacy()));
    let commit = (any::<u64>(), digest(), digest(), option::of(digest()));
    let join = (any::<u32>(), option::of(digest()), option::of(member_name()));
    prop_oneof![
        create().prop_map(Act::Create),
        join.prop_map(|(term, terms, name)| Act::Join(Join { term, terms, name })),
        any::<(u32, bool)>().prop_map(|(term, renounce)| Act::Leave { term, renounce }),
        proposal.prop_map(|(round, base, weights, scores, privacy)| {
            Act::Propose(Proposal { round, base, weights, scores, privacy })
        }),
        (any::<u64>(), any::<bool>(), reason()).prop_map(|(round, exhausted, reason)| Act::Pass {
            round,
            exhausted,
            reason
        }),
        vote().prop_map(Act::Vote),
        commit.prop_map(|(round, weights, commitment, link)| {
            Act::Commit(Commit { round, weights, commitment, link })
        }),
        (vote(), any::<[u8; 32]>()).prop_map(|(vote, salt)| Act::Reveal(Reveal { vote, salt })),
        any::<u64>().prop_map(|round| Act::Resume { round }),
        (any::<u64>(), motion()).prop_map(|(number, motion)| Act::Move { number, motion }),
        any::<(u64, bool)>().prop_map(|(number, approve)| Act::MotionVote { number, approve }),
        Just(Act::Stop),
        evaluation().prop_map(Act::Evaluate),
        merged_act(),
    ]
}

fn merged_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        update().prop_map(Act::Update),
        (any::<u64>(), digest(), digest()).prop_map(|(round, base, commitment)| {
            Act::CommitUpdate(CommitUpdate { round, base, commitment })
        }),
        (update(), any::<[u8; 32]>())
            .prop_map(|(update, salt)| Act::RevealUpdate(RevealUpdate { update, salt })),
        any::<(u64, u64)>().prop_map(|(round, held)| Act::Have { round, held }),
        merge_vote().prop_map(Act::MergeVote),
        (merge_vote(), any::<[u8; 32]>())
            .prop_map(|(vote, salt)| Act::RevealMergeVote(RevealMergeVote { vote, salt })),
    ]
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    (name(), act()).prop_map(|(name, what)| Action::new(name, what))
}

pub(crate) fn finish_reason() -> impl Strategy<Value = FinishReason> {
    prop_oneof![
        Just(FinishReason::MaxRounds),
        Just(FinishReason::Stopped),
        Just(FinishReason::Patience),
        Just(FinishReason::Abandoned),
    ]
}

pub(crate) fn pause_reason() -> impl Strategy<Value = PauseReason> {
    prop_oneof![
        Just(PauseReason::NobodyProposes),
        Just(PauseReason::BudgetsSpent),
        Just(PauseReason::OnlyJudges),
    ]
}

fn decision() -> impl Strategy<Value = Decision> {
    let verdict = prop_oneof![
        Just(Verdict::Accepted),
        Just(Verdict::Rejected),
        Just(Verdict::Expired),
        Just(Verdict::Passed),
        Just(Verdict::NoAgreement),
    ];
    let suspended = prop_oneof![
        Just(SuspendReason::MissedTurns),
        Just(SuspendReason::Decided),
        Just(SuspendReason::Expelled)
    ];
    prop_oneof![
        (any::<u64>(), learner(), digest(), any::<u64>()).prop_map(
            |(round, proposer, base, deadline_ms)| Decision::RoundOpened {
                round,
                proposer,
                base,
                deadline_ms
            }
        ),
        (any::<u64>(), digest(), any::<u32>(), any::<u64>()).prop_map(
            |(round, weights, electorate, deadline_ms)| Decision::VotingOpened {
                round,
                weights,
                electorate,
                deadline_ms
            }
        ),
        (any::<u64>(), verdict, any::<[u32; 5]>(), digest()).prop_map(
            |(round, verdict, counts, model)| Decision::RoundClosed {
                round,
                verdict,
                approvals: counts[0],
                rejections: counts[1],
                abstentions: counts[2],
                unavailable: counts[3],
                electorate: counts[4],
                model,
            }
        ),
        any::<(u32, u32)>()
            .prop_map(|(members, min_learners)| Decision::Waiting { members, min_learners }),
        any::<(u64, u32, u64)>().prop_map(|(round, committed, deadline_ms)| {
            Decision::RevealOpened { round, committed, deadline_ms }
        }),
        pause_reason().prop_map(|reason| Decision::Paused { reason }),
        (learner(), suspended)
            .prop_map(|(learner, reason)| Decision::Suspended { learner, reason }),
        any::<(u64, u32, u64)>().prop_map(|(number, electorate, deadline_ms)| {
            Decision::MotionOpened { number, electorate, deadline_ms }
        }),
        any::<(u64, bool, [u32; 3])>().prop_map(|(number, adopted, counts)| {
            Decision::MotionDecided {
                number,
                adopted,
                approvals: counts[0],
                rejections: counts[1],
                electorate: counts[2],
            }
        }),
        any::<u64>().prop_map(|number| Decision::MotionTookEffect { number }),
        (finish_reason(), any::<u64>(), digest())
            .prop_map(|(reason, rounds, model)| Decision::Finished { reason, rounds, model }),
        merged_decision(),
    ]
}

fn merged_decision() -> impl Strategy<Value = Decision> {
    let sent = || {
        vec((learner(), digest()).prop_map(|(learner, weights)| Sent { learner, weights }), 0..4)
    };
    let learners = || vec(learner(), 0..4);
    let opened = (any::<u64>(), learners(), learners(), digest(), digest(), any::<u64>());
    // One that names nothing is never agreed on.
    let agreed = merges().prop_map(|pair| Some(pair).filter(|pair| !pair.is_none()));
    let accepted = prop_oneof![Just(None), Just(Some(Merge::Open)), Just(Some(Merge::Guarded))];
    prop_oneof![
        opened.prop_map(|(round, participants, checkers, base, previous, deadline_ms)| {
            Decision::TrainingOpened { round, participants, checkers, base, previous, deadline_ms }
        }),
        (any::<u64>(), sent(), any::<u64>()).prop_map(|(round, updates, deadline_ms)| {
            Decision::GatheringOpened { round, updates, deadline_ms }
        }),
        (any::<u64>(), sent(), any::<u32>(), any::<u64>()).prop_map(
            |(round, updates, electorate, deadline_ms)| Decision::MergeVotingOpened {
                round,
                updates,
                electorate,
                deadline_ms
            }
        ),
        (any::<u64>(), agreed, any::<[u32; 4]>(), accepted).prop_map(
            |(round, agreed, counts, accepted)| Decision::MergeDecided {
                round,
                agreed,
                named: counts[0],
                bear_open: counts[1],
                bear_guarded: counts[2],
                prefer_guarded: counts[3],
                accepted,
            }
        ),
    ]
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    (name(), decision()).prop_map(|(name, what)| Outcome::new(name, what))
}

pub(crate) fn names() -> impl Strategy<Value = std::collections::BTreeMap<LearnerId, MemberName>> {
    btree_map(learner(), member_name(), 0..5)
}
