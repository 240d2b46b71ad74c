//! What programs read. Fields are named as in the ledger's messages, keys and digests are
//! hexadecimal, and what is one of several things is a word.

use colearn_audit::explain::{Chosen, ChosenFrom, Explanation, Merged};
use colearn_audit::merges::MergeReport;
use colearn_contracts::{
    Act, Action, Admission, Choice, Commit, CommitUpdate, CreateExperiment, Digest, Evaluation,
    ExperimentName, Invitation, Join, LearnerId, Limits, MergeStage, MergeVote, MergedRound, Model,
    Motion, Parameters, Phase, PrivacyCap, PrivacySegment, PrivacySpent, Proposal, Reveal,
    RevealMergeVote, RevealUpdate, Scores, Update, Vote,
};
use colearn_ledger::Hash;
use colearn_proto::v1;
use colearn_records::convert::{ExperimentState, MotionState};
use colearn_records::history::{History, unit};
use colearn_records::json::{kind, merges, outcome};
use colearn_records::plan::Plan;
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::upgrade;
use colearn_records::words::Word as _;
use colearn_sdk::client::Event;
use serde_json::{Value, json};

use super::text::plan_of;

/// An entry.
pub(crate) fn entry(decoded: &DecodedEntry, bytes: &[u8]) -> Value {
    json!({
        "index": decoded.index,
        "time_ms": decoded.time_ms,
        "leaf_hash": Hash::leaf(bytes).to_string(),
        "bytes": bytes.len(),
        "record": record(&decoded.record),
    })
}

fn record(record: &Record) -> Value {
    match record {
        Record::Genesis(genesis) => json!({ "genesis": {
            "origin": genesis.origin,
            "version": genesis.contract_version,
            "limits": upgrade::limits(genesis.limits.as_ref()).ok().map(limits),
            "validators": genesis.validators.iter().map(validator).collect::<Vec<_>>(),
        } }),
        Record::Transaction(transaction) => {
            let action = &transaction.action;
            json!({ "transaction": {
                "sender": transaction.sender.to_string(),
                "seen_size": transaction.seen.size,
                "action": kind(action.what.word(), &action.experiment, act(&action.what)),
            } })
        }
        Record::KeyRotation(rotation) => json!({ "key_rotation": {
            "from": hex::encode(&rotation.old_public_key),
            "to": hex::encode(&rotation.new_public_key),
        } }),
        Record::Upgrade(upgrade) => json!({ "upgrade": {
            "version": upgrade.contract_version,
            "limits": upgrade::limits(upgrade.limits.as_ref()).ok().map(limits),
        } }),
        Record::Outcome(decided) => json!({ "outcome": outcome(decided) }),
        Record::Block(block) => json!({ "block": {
            "height": block.height,
            "hash": hex::encode(&block.hash),
            "proposer": hex::encode(&block.proposer),
            "misbehavior": block.misbehavior.iter().map(misbehavior).collect::<Vec<_>>(),
        } }),
        Record::ValidatorChange(change) => json!({ "validator_change": {
            "number": change.number,
            "change": validator_change(change),
            "approvals": change.approvals.iter().map(|it| hex::encode(&it.key)).collect::<Vec<_>>(),
        } }),
    }
}

fn misbehavior(caught: &v1::Misbehavior) -> Value {
    json!({
        "kind": caught.kind().word(),
        "validator": hex::encode(&caught.validator),
        "height": caught.height,
        "time_ms": caught.time_ms,
    })
}

fn validator_change(change: &v1::ValidatorChange) -> Value {
    use v1::validator_change::Change;

    match &change.change {
        Some(Change::Admit(new)) => json!({ "admit": validator(new) }),
        Some(Change::Remove(name)) => json!({ "remove": name }),
        Some(Change::Update(new)) => json!({ "update": validator(new) }),
        Some(Change::Found(founding)) => {
            json!({ "found": founding.validators.iter().map(validator).collect::<Vec<_>>() })
        }
        Some(Change::Rules(rules)) => json!({ "rules": {
            "version": rules.contract_version,
            "limits": upgrade::limits(rules.limits.as_ref()).ok().map(limits),
        } }),
        None => Value::Null,
    }
}

/// A node of several that keep a ledger.
pub(crate) fn validator(validator: &v1::Validator) -> Value {
    json!({
        "name": validator.name,
        "log_public_key": hex::encode(&validator.log_public_key),
        "consensus_public_key": hex::encode(&validator.consensus_public_key),
        "p2p": validator.p2p,
        "url": validator.url,
    })
}

fn limits(limits: Limits) -> Value {
    json!({
        "experiments_per_creator": limits.per_creator,
        "experiments": limits.experiments,
        "expiry_ms": limits.expiry_ms,
    })
}

fn act(act: &Act) -> Value {
    match act {
        Act::Create(CreateExperiment {
            version,
            parameters: rules,
            admission,
            model: initial,
            plan,
        }) => {
            json!({
                "version": version,
                "parameters": parameters(rules),
                "admission": admission.word(),
                "members": members(admission),
                "model": model(initial),
                "plan": plan.map(|plan| plan.to_string()),
            })
        }
        Act::Join(Join { term, terms, name }) => json!({
            "term": term,
            "terms": terms.map(|terms| terms.to_string()),
            "name": name,
        }),
        Act::Leave { term, renounce } => json!({ "term": term, "renounce": renounce }),
        Act::Propose(Proposal { round, base, weights, scores, privacy }) => json!({
            "round": round,
            "base": base.to_string(),
            "weights": model(weights),
            "scores": scores,
            "privacy": privacy.as_ref().map(spent),
        }),
        Act::Pass { round, exhausted, reason } => json!({
            "round": round,
            "exhausted": exhausted,
            "reason": reason.map(|reason| reason.word()),
        }),
        Act::Vote(cast) => vote(cast),
        Act::Commit(Commit { round, weights, commitment, link }) => json!({
            "round": round,
            "weights": weights.to_string(),
            "commitment": commitment.to_string(),
            "link": link.map(|link| link.to_string()),
        }),
        Act::Reveal(Reveal { vote: cast, salt }) => {
            json!({ "vote": vote(cast), "salt": hex::encode(salt) })
        }
        Act::Resume { round } => json!({ "round": round }),
        Act::ReplaceKey { to } => json!({ "to": to.to_string() }),
        Act::Move { number, motion } => {
            json!({ "number": number, "motion": { motion.word(): moved(motion) } })
        }
        Act::MotionVote { number, approve } => json!({ "number": number, "approve": approve }),
        Act::Stop => json!({}),
        Act::Evaluate(Evaluation { number, model, measures }) => {
            let measures =
                measures.iter().map(|it| (it.name.to_string(), unit(it.value_micros).into()));
            json!({
                "number": number,
                "model": model.to_string(),
                "measures": measures.collect::<serde_json::Map<String, Value>>(),
            })
        }
        Act::Update(sent) => update(sent),
        Act::CommitUpdate(CommitUpdate { round, base, commitment }) => json!({
            "round": round,
            "base": base.to_string(),
            "commitment": commitment.to_string(),
        }),
        Act::RevealUpdate(RevealUpdate { update: sent, salt }) => {
            json!({ "update": update(sent), "salt": hex::encode(salt) })
        }
        Act::Have { round, held } => json!({ "round": round, "held": held }),
        Act::MergeVote(cast) => merge_vote(cast),
        Act::RevealMergeVote(RevealMergeVote { vote: cast, salt }) => {
            json!({ "vote": merge_vote(cast), "salt": hex::encode(salt) })
        }
    }
}

fn update(update: &Update) -> Value {
    let Update { round, base, weights, scores, privacy } = update;
    json!({
        "round": round,
        "base": base.to_string(),
        "weights": model(weights),
        "scores": scores,
        "privacy": privacy.as_ref().map(spent),
    })
}

fn merge_vote(vote: &MergeVote) -> Value {
    let MergeVote {
        round,
        merges: about,
        bear_open,
        bear_guarded,
        prefer_guarded,
        reason,
        scores_open,
        scores_guarded,
        link,
    } = vote;
    json!({
        "round": round,
        "merges": (!vote.is_abstention()).then(|| merges(about)),
        "bear_open": bear_open,
        "bear_guarded": bear_guarded,
        "prefer_guarded": prefer_guarded,
        "reason": reason.map(|reason| reason.word()),
        "scores_open": scores_open,
        "scores_guarded": scores_guarded,
        "link": link.map(|link| link.to_string()),
    })
}

fn vote(vote: &Vote) -> Value {
    let Vote { round, weights, choice, reason, scores, link } = vote;
    json!({
        "round": round,
        "weights": weights.to_string(),
        "choice": choice.word(),
        "approve": *choice == Choice::Approve,
        "reason": reason.map(|reason| reason.word()),
        "scores": scores,
        "link": link.map(|link| link.to_string()),
    })
}

/// What a learner has stated, in the units of the ledger.
fn spent(spent: &PrivacySpent) -> Value {
    let segment = |segment: &PrivacySegment| {
        json!({
            "noise_micros": segment.noise_micros,
            "clip_micros": segment.clip_micros,
            "sampling_nanos": segment.sampling_nanos,
            "steps": segment.steps,
        })
    };
    json!({
        "epsilon_micros": spent.epsilon_micros,
        "delta_picos": spent.delta_picos,
        "steps": spent.steps(),
        "segments": spent.segments().iter().map(segment).collect::<Vec<_>>(),
    })
}

/// What is to be decided, without the word for it.
fn moved(motion: &Motion) -> Value {
    match motion {
        Motion::SetParameters(rules) => parameters(rules),
        Motion::Admit(share) => invitation(share),
        Motion::Suspend(learner) | Motion::Expel(learner) => {
            json!({ "learner": learner.to_string() })
        }
        Motion::Stop => json!({}),
        Motion::Adopt(version) => json!({ "version": version.number() }),
    }
}

fn invitation(invitation: &Invitation) -> Value {
    let Invitation { learner, weight, judge, name } = invitation;
    json!({ "learner": learner.to_string(), "weight": weight, "judge": judge, "name": name })
}

fn members(admission: &Admission) -> Value {
    admission.invitations().iter().map(invitation).collect()
}

fn model(model: &Model) -> Value {
    json!({
        "digest": model.digest.to_string(),
        "size": model.size,
        "media_type": model.media_type,
    })
}

fn parameters(parameters: &Parameters) -> Value {
    json!({
        "threshold": parameters.threshold.to_string(),
        "selection": parameters.selection.word(),
        "proposal_deadline_ms": parameters.proposal_deadline_ms,
        "vote_deadline_ms": parameters.vote_deadline_ms,
        "reveal_deadline_ms": parameters.reveal_deadline_ms,
        "close": parameters.close.word(),
        "ballot": parameters.ballot.word(),
        "min_learners": parameters.min_learners,
        "max_rounds": parameters.max_rounds,
        "patience": parameters.patience,
        "missed_turns": parameters.missed_turns,
        "idle_rotations": parameters.idle_rotations,
        "privacy": parameters.privacy,
        "max_weights_bytes": parameters.max_weights_bytes,
        "governance_threshold": parameters.governance_threshold.map(|it| it.to_string()),
        "motion_deadline_ms": parameters.motion_deadline_ms,
        "creator_may_stop": parameters.creator_may_stop,
        "merging": parameters.merging,
    })
}

/// An experiment as its node describes it.
pub fn experiment(experiment: &ExperimentState, history: Option<&History>) -> Value {
    let rules = &experiment.parameters;
    let (pause_reason, finish_reason) = match &experiment.phase {
        Phase::Paused(reason) => (Some(reason.word()), None),
        Phase::Finished(reason) => (None, Some(reason.word())),
        Phase::Waiting | Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Merged(_) => {
            (None, None)
        }
    };
    let merged = match &experiment.phase {
        Phase::Merged(round) => Some(merged_round(round)),
        Phase::Waiting
        | Phase::Paused(_)
        | Phase::Proposing { .. }
        | Phase::Voting { .. }
        | Phase::Finished(_) => None,
    };
    let admission = &experiment.admission;
    let known = experiment.members.iter().copied();
    let known = known.chain(admission.invitations().iter().map(|it| it.learner));
    let names: std::collections::BTreeMap<String, &str> =
        known.filter_map(|it| Some((it.to_string(), experiment.name_of(it)?.as_str()))).collect();
    json!({
        "name": experiment.name.as_str(),
        "version": experiment.version.number(),
        "terms": experiment.terms.to_string(),
        "creator": experiment.creator.to_string(),
        "phase": experiment.phase.word(),
        "pause_reason": pause_reason,
        "finish_reason": finish_reason,
        "round": experiment.round,
        "members": experiment.members.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "member_count": experiment.member_count,
        "names": names,
        "governing_weight": experiment.governing_weight,
        "governance_threshold": rules.governance(experiment.version).to_string(),
        "threshold": rules.threshold.to_string(),
        "proposal_deadline_ms": rules.proposal_deadline_ms,
        "vote_deadline_ms": rules.vote_deadline_ms,
        "min_learners": rules.min_learners,
        "max_rounds": rules.max_rounds,
        "max_weights_bytes": rules.max_weights_bytes,
        "merging": rules.merging,
        "merged_round": merged,
        "rules": plan_of(experiment).to_text(),
        "plan": experiment.plan.map_or_else(String::new, |plan| plan.to_string()),
        "motions": experiment.motions.iter().map(open_motion).collect::<Vec<_>>(),
        "model": model(&experiment.model),
        "previous": experiment.previous.as_ref().map(model),
        "history": history.map(History::to_json),
    })
}

/// An experiment as one of a list: without its members, of whom a node lists none there, and what happened in it.
pub(crate) fn listed(experiment: &ExperimentState) -> Value {
    let mut told = self::experiment(experiment, None);
    if let Some(told) = told.as_object_mut() {
        for key in ["members", "names", "history"] {
            told.remove(key);
        }
    }
    told
}

/// A merged round that is open: what it waits for, and how far it has come.
fn merged_round(round: &MergedRound) -> Value {
    let participants = round
        .participants
        .iter()
        .map(|it| json!({ "learner": it.learner.to_string(), "part": it.part.word() }));
    let mut told = json!({
        "stage": round.stage.word(),
        "deadline_ms": round.deadline_ms,
        "participants": participants.collect::<Vec<_>>(),
        "checkers": round.checkers.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    match &round.stage {
        MergeStage::Training | MergeStage::Revealing => {}
        MergeStage::Gathering { said, held } => {
            (told["said"], told["held"]) = (json!(said), json!(held));
        }
        MergeStage::Voting { tally, stage } => {
            told["ballots"] = stage.word().into();
            (told["electorate"], told["cast"]) = (json!(tally.electorate), json!(tally.cast));
            told["abstentions"] = json!(tally.abstentions);
        }
    }
    told
}

fn open_motion(open: &MotionState) -> Value {
    json!({
        "number": open.number,
        "motion": { open.motion.word(): moved(&open.motion) },
        "mover": open.mover.to_string(),
        "approvals": open.tally.approvals,
        "rejections": open.tally.rejections,
        "electorate": open.tally.electorate,
        "threshold": open.threshold.to_string(),
        "deadline_ms": open.deadline_ms,
    })
}

/// The rules that members agreed to.
pub(crate) fn plan(plan: &Plan) -> Value {
    json!({
        "name": plan.name.as_ref().map(ExperimentName::as_str),
        "digest": plan.digest().to_string(),
        "terms": plan.terms.map(|terms| terms.to_string()),
        "ledger": plan.pins.ledger().map(|ledger| ledger.to_string()),
        "verifier_key": plan.pins.verifier_key().map(ToString::to_string),
        "parameters": parameters(&plan.parameters),
        "admission": plan.admission.as_ref().map(|admission| admission.word()),
        "members": plan.admission.as_ref().map(members),
        "toml": plan.to_text(),
    })
}

/// What happened, with its entry.
pub(crate) fn happened(entry: &DecodedEntry) -> Value {
    let mut told = record(&entry.record);
    (told["index"], told["time_ms"]) = (entry.index.into(), entry.time_ms.into());
    told
}

/// What somebody has done, and the entry that says so.
pub(crate) fn acted(action: &Action, index: u64) -> Value {
    let mut told = kind(action.what.word(), &action.experiment, act(&action.what));
    told["index"] = index.into();
    told
}

/// What each learner has stated of its privacy budget, in the units of the ledger.
pub(crate) fn privacy(history: &History, cap: Option<PrivacyCap>) -> Value {
    let learners = history.learners.iter().map(|learner| {
        let privacy = history.privacy.get(learner).cloned().unwrap_or_default();
        json!({
            "learner": learner.to_string(),
            "proposals": privacy.proposals,
            "spent": privacy.spent.as_ref().map(spent),
            "exhausted": privacy.exhausted,
        })
    });
    json!({ "cap": cap, "learners": learners.collect::<Vec<_>>() })
}

/// How those who trained in a round were chosen, what was done in it, and what came of a merged one.
pub(crate) fn explanation(
    experiment: &ExperimentName,
    round: u64,
    explained: &Explanation,
    computed: Option<&MergeReport>,
) -> Value {
    let names =
        explained.names.iter().map(|(learner, name)| (learner.to_string(), name.as_str().into()));
    let entries = explained.entries.iter().map(|entry| {
        json!({ "index": entry.index, "time_ms": entry.time_ms, "record": record(&entry.record) })
    });
    let mut told = chosen(&explained.trains);
    told["experiment"] = experiment.as_str().into();
    told["round"] = round.into();
    told["version"] = explained.version.number().into();
    told["index"] = explained.index.into();
    told["selection"] = explained.selection.word().into();
    told["ledger"] = explained.ledger.to_string().into();
    if let Some((id, contract)) = &explained.chain {
        told["chain"] = json!({ "id": id, "contract": contract });
    }
    told["as_recorded"] = explained.is_as_recorded().into();
    told["names"] = names.collect::<serde_json::Map<String, Value>>().into();
    told["entries"] = entries.collect::<Vec<_>>().into();
    match &explained.merged {
        // One proposer is drawn.
        None => {
            told["drawn"] = explained.trains.drawn.first().copied().into();
            told["proposer"] = explained.trains.recorded.first().map(ToString::to_string).into();
        }
        Some(merged) => {
            told["participants"] = learners(&explained.trains.recorded);
            told["merged"] = merged_explanation(merged);
            // Like the reports of `audit --merges`.
            told["merged"]["computed"] = json!(computed);
        }
    }
    told
}

/// Who could be chosen, from what, and who was.
fn chosen(chosen: &Chosen) -> Value {
    let texts = |digests: &[Digest]| digests.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut told = json!({ "candidates": learners(&chosen.candidates), "drawn": chosen.drawn });
    match &chosen.from {
        ChosenFrom::All => {}
        ChosenFrom::Turns(last_seat) => told["last_seat"] = json!(last_seat),
        ChosenFrom::Head { head, index } => {
            (told["head"], told["head_index"]) = (json!(head.to_string()), json!(index));
        }
        ChosenFrom::Seed { purpose, seed, seats, ranks, after } => {
            (told["purpose"], told["seed"]) = (json!(purpose), json!(seed.0.to_string()));
            (told["seats"], told["ranks"]) = (json!(seats), json!(texts(ranks)));
            told["after_all_others"] = json!(after);
        }
    }
    told
}

fn learners(learners: &[LearnerId]) -> Value {
    learners.iter().map(ToString::to_string).collect()
}

/// What came of a merged round: all that was sent and said, and the votes counted again.
fn merged_explanation(explained: &Merged) -> Value {
    let mut told = explained.round.to_json();
    let weights =
        explained.weights.iter().map(|(learner, weight)| (learner.to_string(), (*weight).into()));
    told["weights"] = weights.collect::<serde_json::Map<String, Value>>().into();
    told["threshold"] = explained.threshold.to_string().into();
    told["drawn_checkers"] = explained.checks.as_ref().map(chosen).into();
    let pairs = explained.tally.iter().flat_map(|tally| tally.named()).map(|(pair, votes)| {
        json!({
            "merges": merges(pair),
            "votes": votes.weight,
            "checkers": votes.checkers,
            "bear_open": votes.bear_open,
            "bear_guarded": votes.bear_guarded,
            "prefer_guarded": votes.prefer_guarded,
        })
    });
    told["pairs"] = pairs.collect::<Vec<_>>().into();
    told["verdict"] = explained.verdict().map(|verdict| verdict.of_round().word()).into();
    told["as_recorded"] = explained.is_as_recorded().into();
    told
}

/// What happens to a running learner.
pub(crate) fn event(event: &Event) -> Value {
    let scored = |round: &u64, scores: &Scores| {
        json!({
            "round": round,
            "vote_score": scores.vote.map(unit),
            "test_score": scores.test.map(unit),
        })
    };
    let mut told = match event {
        Event::Policy { digest, data, unprotected } => {
            let (digest, data) = (digest.to_string(), data.as_str());
            json!({ "digest": digest, "data": data, "unprotected": unprotected })
        }
        Event::Connected { url } => json!({ "url": url }),
        Event::Trusting { size } => json!({ "size": size }),
        Event::Following { followed, size } => json!({ "followed": followed, "size": size }),
        Event::Joined | Event::Left | Event::Resumed => json!({}),
        Event::MyTurn { round } | Event::Committed { round } | Event::UpdateCommitted { round } => {
            json!({ "round": round })
        }
        Event::Proposed { round, scores } | Event::Updated { round, scores } => {
            scored(round, scores)
        }
        Event::Judged { vote, .. } => merge_vote(vote),
        Event::Merged { round, accepted } => {
            json!({ "round": round, "accepted": accepted.map(|merge| merge.word()) })
        }
        // What went wrong is in the learner's words.
        Event::Passed { round, reason } => json!({ "round": round, "reason": reason }),
        Event::Voted { round, choice, reason, scores } => {
            let mut voted = scored(round, scores);
            voted["choice"] = choice.word().into();
            voted["approve"] = (*choice == Choice::Approve).into();
            voted["reason"] = reason.map(|reason| reason.word()).into();
            voted
        }
        Event::RoundClosed {
            round,
            verdict,
            approvals,
            rejections,
            abstentions,
            unavailable,
            electorate,
        } => json!({
            "round": round,
            "verdict": verdict.word(),
            "approvals": approvals,
            "rejections": rejections,
            "abstentions": abstentions,
            "unavailable": unavailable,
            "electorate": electorate,
        }),
        Event::Waiting { members, min_learners } => {
            json!({ "members": members, "min_learners": min_learners })
        }
        Event::Paused { reason } => json!({ "reason": reason.word() }),
        Event::Suspended { reason } => json!({ "reason": reason.word() }),
        Event::MotionOpened { number } => json!({ "number": number }),
        Event::TooLate { reason } => json!({ "reason": reason }),
        Event::Reconnecting { reason, pause } | Event::Distrusted { reason, pause } => json!({
            "reason": reason,
            "pause_ms": u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        }),
        Event::Moved { from, to, reason } => {
            json!({ "from": from, "to": to, "reason": reason })
        }
        Event::Finished { reason } => json!({ "reason": reason.word() }),
    };
    told["event"] = event.word().into();
    told
}
