//! A merged round that is open, as a node describes it.

use colearn_contracts::{
    LearnerId, MergeStage, MergeTally, MergedRound, Named, Part, Participant, Stage,
};
use colearn_proto::v1;

use super::{BadField, bytes, digest, learner, merges, merges_message, model, model_message};

/// The most pairs of merges that are told of: what only a few name decides nothing.
const MAX_NAMED: usize = 64;

/// Reads a merged round; how votes are taken and when the stage ends stands beside it.
pub(super) fn merged(
    message: &v1::MergedRound,
    stage: Stage,
    deadline_ms: u64,
) -> Result<MergedRound, BadField> {
    let tally = || message.tally.as_ref().ok_or(BadField("tally"));
    Ok(MergedRound {
        participants: message.participants.iter().map(participant).collect::<Result<_, _>>()?,
        checkers: message
            .checkers
            .iter()
            .map(|key| learner(key, "checkers"))
            .collect::<Result<Vec<LearnerId>, BadField>>()?,
        stage: match message.stage() {
            v1::MergeStage::Training => MergeStage::Training,
            v1::MergeStage::Revealing => MergeStage::Revealing,
            v1::MergeStage::Gathering => {
                MergeStage::Gathering { said: message.said, held: message.held.clone() }
            }
            v1::MergeStage::Voting => MergeStage::Voting { tally: read_tally(tally()?)?, stage },
            v1::MergeStage::Unspecified => return Err(BadField("stage")),
        },
        deadline_ms,
    })
}

/// Writes a merged round, but for what stands beside it.
pub(super) fn merged_message(round: &MergedRound) -> v1::MergedRound {
    let mut message = v1::MergedRound {
        participants: round.participants.iter().map(participant_message).collect(),
        checkers: round.checkers.iter().map(|checker| bytes(checker.0)).collect(),
        ..v1::MergedRound::default()
    };
    let stage = match &round.stage {
        MergeStage::Training => v1::MergeStage::Training,
        MergeStage::Revealing => v1::MergeStage::Revealing,
        MergeStage::Gathering { said, held } => {
            (message.said, message.held) = (*said, held.clone());
            v1::MergeStage::Gathering
        }
        MergeStage::Voting { tally, .. } => {
            message.tally = Some(tally_message(tally));
            v1::MergeStage::Voting
        }
    };
    message.set_stage(stage);
    message
}

fn participant(message: &v1::Participant) -> Result<Participant, BadField> {
    let weights = || model(message.weights.clone().ok_or(BadField("weights"))?);
    Ok(Participant {
        learner: learner(&message.learner, "participants")?,
        // Not `message.part()`, which takes what it does not know for nothing.
        part: match v1::Part::try_from(message.part).map_err(|_| BadField("part"))? {
            v1::Part::Due => Part::Due,
            v1::Part::Passed => Part::Passed,
            v1::Part::Committed => Part::Committed {
                commitment: digest(&message.commitment, "commitment")?,
                key: learner(&message.key, "key")?,
            },
            v1::Part::Sent => Part::Sent(weights()?),
            v1::Part::Dropped => Part::Dropped { weights: weights()?, missed: message.missed },
        },
    })
}

fn participant_message(participant: &Participant) -> v1::Participant {
    let mut message =
        v1::Participant { learner: bytes(participant.learner.0), ..v1::Participant::default() };
    let part = match &participant.part {
        Part::Due => v1::Part::Due,
        Part::Passed => v1::Part::Passed,
        Part::Committed { commitment, key } => {
            (message.commitment, message.key) = (bytes(commitment.0), bytes(key.0));
            v1::Part::Committed
        }
        Part::Sent(weights) => {
            message.weights = Some(model_message(weights));
            v1::Part::Sent
        }
        Part::Dropped { weights, missed } => {
            (message.weights, message.missed) = (Some(model_message(weights)), *missed);
            v1::Part::Dropped
        }
    };
    message.set_part(part);
    message
}

fn read_tally(message: &v1::MergeTally) -> Result<MergeTally, BadField> {
    let named = message.named.iter().map(|named| {
        let votes = Named {
            number: named.number,
            weight: named.weight,
            checkers: named.checkers,
            bear_open: named.bear_open,
            bear_guarded: named.bear_guarded,
            prefer_guarded: named.prefer_guarded,
        };
        Ok((merges(named.merges.clone())?, votes))
    });
    let named = named.collect::<Result<Vec<_>, BadField>>()?;
    let mut tally = MergeTally::of(message.electorate, message.checkers).with(named);
    tally.cast = message.cast;
    tally.abstentions = message.abstentions;
    tally.unavailable = message.unavailable;
    tally.checkers_cast = message.checkers_cast;
    Ok(tally)
}

fn tally_message(tally: &MergeTally) -> v1::MergeTally {
    let named = tally.named().take(MAX_NAMED).map(|(pair, votes)| v1::NamedMerges {
        merges: merges_message(pair),
        number: votes.number,
        weight: votes.weight,
        checkers: votes.checkers,
        bear_open: votes.bear_open,
        bear_guarded: votes.bear_guarded,
        prefer_guarded: votes.prefer_guarded,
    });
    v1::MergeTally {
        electorate: tally.electorate,
        cast: tally.cast,
        abstentions: tally.abstentions,
        unavailable: tally.unavailable,
        checkers: tally.checkers,
        checkers_cast: tally.checkers_cast,
        named: named.collect(),
    }
}
