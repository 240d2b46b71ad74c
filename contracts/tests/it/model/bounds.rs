//! What a thing may be, all else aside: the bounds of R2, what later versions brought (R51), and
//! whether a threshold is reached.

use colearn_contracts::{
    Act, Admission, BallotKind, Choice, CreateExperiment, Evaluation, Invitation, Merging, Model,
    Motion, Parameters, PrivacySegment, PrivacySpent, PrivateTraining, Reason, Selection,
    Threshold, Version, Vote,
};

const WHOLE_PICOS: u64 = 1_000_000_000_000;
const WHOLE_NANOS: u64 = 1_000_000_000;

/// R21. Whether so many of so many reach a threshold.
pub(super) fn reached(threshold: Threshold, votes: u32, of: u32) -> bool {
    let Threshold { numerator, denominator, strict } = threshold;
    let (votes, of) = (u64::from(votes), u64::from(of));
    let (have, need) = (votes * u64::from(denominator), of * u64::from(numerator));
    // Of no votes nothing could be exceeded: nobody is there to object.
    if strict && of != 0 { have > need } else { have >= need }
}

/// R57. The threshold of motions in version 2: what is less than half is left out (R69).
pub(super) fn governance(rules: &Parameters) -> Threshold {
    let given = rules.governance_threshold.filter(|it| half_at_least(*it));
    given.unwrap_or(Threshold { numerator: 1, denominator: 2, strict: true })
}

pub(super) fn half_at_least(threshold: Threshold) -> bool {
    2 * u64::from(threshold.numerator) >= u64::from(threshold.denominator)
}

/// R2, R57. Whether the rules keep the bounds of a version, with this model.
pub(super) fn rules_fit(rules: &Parameters, version: Version, model: &Model) -> bool {
    let fraction = |it: &Threshold| {
        let most = if it.strict { it.denominator.saturating_sub(1) } else { it.denominator };
        it.denominator > 0 && it.numerator <= most
    };
    let mut deadlines = vec![
        rules.proposal_deadline_ms,
        rules.vote_deadline_ms,
        rules.reveal_deadline_ms,
        rules.motion_deadline_ms,
    ];
    deadlines.extend(rules.merging.and_then(|it| it.gather_deadline_ms));
    let merging = |it: Merging| {
        (1..=64).contains(&it.proposers)
            && (1_000..=10_000).contains(&it.clip_permille)
            && it.momentum_permille <= 900
            && it.checkers <= 64
            && (it.checkers == 0
                || (rules.selection == Selection::Sortition && rules.ballot == BallotKind::Open))
            && model.media_type == "application/x-safetensors"
    };
    let governs = |it: &Threshold| fraction(it) && (version == Version::V1 || half_at_least(*it));
    fraction(&rules.threshold)
        && rules.governance_threshold.as_ref().is_none_or(governs)
        && deadlines.iter().all(|it| (10..=2_592_000_000).contains(it))
        && (1..=100_000).contains(&rules.min_learners)
        && rules.max_rounds != Some(0)
        && rules.patience != Some(0)
        && rules.missed_turns != Some(0)
        && rules.idle_rotations != Some(0)
        && rules.privacy.is_none_or(|cap| {
            cap.epsilon_micros > 0 && (1..=WHOLE_PICOS).contains(&cap.delta_picos)
        })
        && rules.max_weights_bytes <= 64 << 30
        && (1..=rules.max_weights_bytes).contains(&model.size)
        && (1..=100).contains(&model.media_type.len())
        && model.media_type.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
        && rules.merging.is_none_or(merging)
}

/// R2, R64, R65. Whether an invitation keeps its bounds.
fn invitations_fit(create: &CreateExperiment, version: Version) -> bool {
    let (invitations, counts) = match &create.admission {
        Admission::Open => return true,
        Admission::Invited(invitations) => (invitations, true),
        Admission::ByVote(founders) => (founders, version > Version::V1),
    };
    let learners: Vec<_> = invitations.iter().map(|it| it.learner).collect();
    let names: Vec<_> = invitations.iter().filter_map(|it| it.name.as_ref()).collect();
    (1..=1_500).contains(&invitations.len())
        && learners.is_sorted_by(|one, other| one < other)
        && invitations.iter().all(|it| (1..=10_000).contains(&it.weight))
        && (!counts || create.parameters.min_learners as usize <= invitations.len())
        && (0..names.len()).all(|i| !names[..i].contains(&names[i]))
        && !invitations.iter().all(|it| it.judge)
}

pub(super) fn creation_fits(create: &CreateExperiment, version: Version) -> bool {
    rules_fit(&create.parameters, version, &create.model) && invitations_fit(create, version)
}

/// R62. The steps of a statement.
fn steps(spent: &PrivacySpent) -> u128 {
    let of = |segment: &PrivacySegment| u128::from(segment.steps);
    match &spent.training {
        PrivateTraining::Last(segment) => of(segment),
        PrivateTraining::All(segments) => segments.iter().map(of).sum(),
    }
}

fn settings(segment: &PrivacySegment) -> [u64; 3] {
    [segment.noise_micros, segment.clip_micros, segment.sampling_nanos]
}

/// R42, R62. Whether a statement can be, after the one before.
pub(super) fn statement_fits(
    spent: &PrivacySpent,
    before: Option<&PrivacySpent>,
    version: Version,
) -> bool {
    let grows = |least: u128| {
        before.is_none_or(|it| {
            spent.epsilon_micros >= it.epsilon_micros && steps(spent) >= steps(it) + least
        })
    };
    match &spent.training {
        PrivateTraining::Last(segment) => {
            version == Version::V1
                && spent.delta_picos <= WHOLE_PICOS
                && (1..=WHOLE_NANOS).contains(&segment.sampling_nanos)
                && segment.steps > 0
                && grows(0)
        }
        PrivateTraining::All(segments) => {
            let above_0 = |it: &PrivacySegment| {
                settings(it).iter().all(|it| *it > 0)
                    && it.sampling_nanos <= WHOLE_NANOS
                    && it.steps > 0
            };
            let goes_on = match before.map(|it| &it.training) {
                None | Some(PrivateTraining::Last(_)) => true,
                Some(PrivateTraining::All(old)) => {
                    old.len() <= segments.len()
                        && old.iter().zip(segments).enumerate().all(|(i, (old, now))| {
                            let last = i + 1 == old_len(before);
                            settings(old) == settings(now)
                                && (old.steps == now.steps || (last && old.steps < now.steps))
                        })
                }
            };
            version > Version::V1
                && spent.epsilon_micros > 0
                && (1..=WHOLE_PICOS).contains(&spent.delta_picos)
                && before.is_none_or(|it| spent.delta_picos >= it.delta_picos)
                && (1..=64).contains(&segments.len())
                && segments.iter().all(above_0)
                && segments.windows(2).all(|pair| settings(&pair[0]) != settings(&pair[1]))
                && goes_on
                && grows(1)
        }
    }
}

fn old_len(before: Option<&PrivacySpent>) -> usize {
    match before.map(|it| &it.training) {
        Some(PrivateTraining::All(segments)) => segments.len(),
        Some(PrivateTraining::Last(_)) => 1,
        None => 0,
    }
}

/// R66.
pub(super) fn evaluation_fits(evaluation: &Evaluation) -> bool {
    let names: Vec<&str> = evaluation.measures.iter().map(|it| it.name.as_str()).collect();
    (1..=16).contains(&names.len()) && names.is_sorted_by(|one, other| one < other)
}

/// R67. Whether a vote gives a reason that it may give.
pub(super) fn reason_fits(vote: &Vote) -> bool {
    match vote.choice {
        Choice::Approve => vote.reason.is_none(),
        Choice::Reject => vote.reason != Some(Reason::Unavailable),
        Choice::Abstain => true,
    }
}

/// R51. Whether something of this came with version 2.
pub(super) fn is_of_version_2(act: &Act) -> bool {
    let strict = |rules: &Parameters| {
        rules.threshold.strict
            || rules.governance_threshold.is_some_and(|it| it.strict)
            || rules.merging.is_some()
    };
    let more = |it: &Invitation| it.judge || it.name.is_some();
    let says_more = |vote: &Vote| {
        vote.choice == Choice::Abstain || vote.reason.is_some() || vote.link.is_some()
    };
    match act {
        Act::Create(create) => {
            strict(&create.parameters) || create.admission.invitations().iter().any(more)
        }
        Act::Join(join) => join.terms.is_some() || join.name.is_some(),
        Act::Leave { renounce, .. } => *renounce,
        Act::Propose(proposal) => {
            let lists = |it: &PrivacySpent| matches!(it.training, PrivateTraining::All(_));
            proposal.privacy.as_ref().is_some_and(lists)
        }
        Act::Pass { reason, .. } => reason.is_some(),
        Act::Vote(vote) => says_more(vote),
        Act::Commit(commit) => commit.link.is_some(),
        Act::Reveal(reveal) => says_more(&reveal.vote),
        Act::Move { motion: Motion::SetParameters(rules), .. } => strict(rules),
        Act::Move { motion: Motion::Admit(invitation), .. } => more(invitation),
        Act::Evaluate(_)
        | Act::Update(_)
        | Act::CommitUpdate(_)
        | Act::RevealUpdate(_)
        | Act::Have { .. }
        | Act::MergeVote(_)
        | Act::RevealMergeVote(_) => true,
        // Adopting a version is how one comes to it.
        Act::Move { .. }
        | Act::Resume { .. }
        | Act::ReplaceKey { .. }
        | Act::MotionVote { .. }
        | Act::Stop => false,
    }
}
