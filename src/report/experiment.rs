//! One experiment in an audit's report.

use std::collections::BTreeMap;

use colearn_audit::models::Models;
use colearn_contracts::{CreateExperiment, ExperimentName, LearnerId};
use colearn_records::convert::ExperimentState;
use colearn_records::history::{History, Moved, Round, Stay, unit};
use colearn_records::plan::{Plan, Stands};
use colearn_records::words::Word as _;
use serde::Serialize as _;
use serde_json::{Value, json};

use crate::cli::tell::{json, text};

/// What is told in full of a ledger at most, so that the page opens: the last of each.
const MAX_ROUNDS: usize = 20_000;
const MAX_VOTES: usize = 400_000;
const MAX_MEMBERS: usize = 5000;
/// After so many bytes of the document no other experiment is begun: any stranger may be able to begin many.
const MAX_BYTES: usize = 32 << 20;
/// Of each experiment.
const MAX_EXPERIMENT_MEMBERS: usize = 1000;
const MAX_MOTIONS: usize = 500;
const MAX_EVALUATIONS: usize = 500;
/// Of each motion, on each side.
const MAX_VOTERS: usize = 100;

/// How much room there is left.
pub(crate) struct Budget {
    rounds: usize,
    votes: usize,
    members: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { rounds: MAX_ROUNDS, votes: MAX_VOTES, members: MAX_MEMBERS, bytes: MAX_BYTES }
    }
}

impl Budget {
    /// Whether another experiment has room.
    pub(crate) fn has_room(&self) -> bool {
        self.rounds > 0 && self.votes > 0 && self.members > 0 && self.bytes > 0
    }

    /// Takes the room of what was told.
    pub(crate) fn take(&mut self, told: &Value) {
        self.bytes = self.bytes.saturating_sub(told.to_string().len());
    }
}

/// Members by their numbers in joining order, which are what rounds call them.
struct Numbers(BTreeMap<LearnerId, usize>);

impl Numbers {
    fn of(history: &History) -> Self {
        let learners = history.learners.iter().enumerate();
        Self(learners.map(|(at, learner)| (*learner, at + 1)).collect())
    }

    fn get(&self, learner: LearnerId) -> Option<usize> {
        self.0.get(&learner).copied()
    }

    fn all<'a>(&self, learners: impl IntoIterator<Item = &'a LearnerId>) -> Vec<usize> {
        learners.into_iter().filter_map(|learner| self.get(*learner)).collect()
    }
}

/// An experiment, as far as there is room.
pub(crate) fn experiment(
    name: &ExperimentName,
    models: &Models,
    state: Option<ExperimentState>,
    plans: &[Plan],
    budget: &mut Budget,
) -> Value {
    let history = models.history();
    let numbers = Numbers::of(history);
    let listed = history.learners.len().min(MAX_EXPERIMENT_MEMBERS).min(budget.members);
    budget.members -= listed;
    let listed = &history.learners[..listed];
    let shown = shown(&history.rounds, listed.len(), budget);
    let rounds = shown.iter().map(|round| self::round(models, &numbers, listed, round));
    let rounds: Vec<Value> = rounds.collect();
    let initial = models.initial();
    let current = models.current();
    let motions = &history.motions[history.motions.len().saturating_sub(MAX_MOTIONS)..];
    let rules = state.as_ref().map(|state| text::plan_of(state).to_text());
    let creation = models.creation();
    let initial_rules = Plan::of_creation(name, creation).to_text();
    let cap = state.as_ref().and_then(|state| state.parameters.privacy);
    json!({
        "name": name.as_str(),
        "version": state.as_ref().map(|state| state.version.number()),
        "phase": state.as_ref().map(|state| text::phase(&state.phase)),
        "finish_reason": history.finished.map(|reason| reason.word()),
        "creator": person(history, &numbers, models.creator()),
        "created_in_entry": initial.entry,
        "terms": state.as_ref().map(|state| state.terms.to_string()),
        "plan": creation.plan.map(|plan| plan.to_string()),
        "agreements": agreements(name, creation, plans),
        "initial_model": {
            "digest": initial.model.digest.to_string(),
            "size": initial.model.size,
            "media_type": initial.model.media_type,
        },
        "model": {
            "digest": current.model.digest.to_string(),
            "size": current.model.size,
            "media_type": current.model.media_type,
            "round": current.round.map_or(0, |round| round.number),
            "entry": current.entry,
        },
        "initial_rules": initial_rules,
        "rules": rules,
        "motions": motions.iter().map(|it| motion(history, &numbers, it)).collect::<Vec<_>>(),
        "motion_count": history.motions.len(),
        "members": listed.iter().map(|it| member(history, state.as_ref(), *it)).collect::<Vec<_>>(),
        "member_count": history.learners.len(),
        "invited": invited(history, &numbers, state.as_ref()),
        "round_counts": counts(&history.rounds),
        "round_count": history.rounds.len(),
        "first_round": shown.first().map(|round| round.number),
        "rounds": rounds,
        "privacy": privacy(history, cap, listed.len()),
        "evaluations": evaluations(history, &numbers),
        "evaluation_count": history.evaluations.len(),
    })
}

/// What its members have agreed on besides its rules. The ledger has the digest of the plan only, so the plan has to be
/// shown.
fn agreements(name: &ExperimentName, creation: &CreateExperiment, plans: &[Plan]) -> Value {
    let alone = Plan::of_creation(name, creation);
    let with = |plan: &&Plan| Stands::of(name, creation, &plan.agreements) == Stands::On;
    let of_it = |plan: &&Plan| plan.name.as_ref().is_none_or(|planned| planned == name);
    let shown = plans.iter().filter(of_it).filter(|plan| !plan.agreements.is_empty());
    let held = shown.clone().find(with);
    let state = match (creation.plan, held) {
        (_, Some(_)) => "held",
        (None, None) => "none",
        (Some(digest), None) if digest == alone.digest() => "none",
        (Some(_), None) if shown.clone().next().is_some() => "other",
        (Some(_), None) => "not_shown",
    };
    let list = held.into_iter().flat_map(|plan| &plan.agreements);
    let list = list.map(|it| json!({ "title": it.title(), "sha256": it.digest().to_string() }));
    json!({ "state": state, "list": list.collect::<Vec<_>>() })
}

/// The last rounds for which there is room, with a vote or an absence of each of so many members.
fn shown<'a>(rounds: &'a [Round], members: usize, budget: &mut Budget) -> &'a [Round] {
    let votes = |round: &Round| round.ballots.len().max(members);
    let mut begin = rounds.len();
    while let Some(before) = begin.checked_sub(1)
        && let Some(round) = rounds.get(before)
        && budget.rounds > 0
        && budget.votes >= votes(round)
    {
        (begin, budget.rounds) = (before, budget.rounds - 1);
        budget.votes -= votes(round);
    }
    &rounds[begin..]
}

/// How many rounds ended how.
fn counts(rounds: &[Round]) -> Value {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for round in rounds {
        let verdict = round.result.map_or("open", |result| result.verdict.word());
        *counts.entry(verdict).or_default() += 1;
    }
    json!(counts)
}

fn round(models: &Models, numbers: &Numbers, members: &[LearnerId], round: &Round) -> Value {
    let history = models.history();
    let entries = models.entries_of(round.number).cloned().unwrap_or_default();
    let votes = round.ballots.iter().map(|(voter, cast)| {
        json!({
            "member": numbers.get(*voter),
            "choice": cast.choice.word(),
            "reason": cast.reason.map(|reason| reason.word()),
            "entry": entries.votes.get(voter),
        })
    });
    let missing = |missed: fn(&History, &Round, LearnerId) -> bool| {
        numbers.all(members.iter().filter(|learner| missed(history, round, **learner)))
    };
    let (vote_score, test_score) = round.mean_scores();
    let merged = round.merged.as_ref().map(|merged| {
        let agreed = merged.decided.and_then(|decided| decided.agreed);
        json!({
            "sent": numbers.all(merged.updates.keys()),
            "merged": numbers.all(merged.merging.iter().flatten().map(|sent| &sent.learner)),
            "passed": numbers.all(merged.passed.keys()),
            "checkers": numbers.all(&merged.checkers),
            "agreed": agreed.as_ref().map(colearn_records::json::merges),
            "accepted": merged.decided.and_then(|it| it.accepted).map(|it| it.word()),
        })
    });
    json!({
        "round": round.number,
        "opened_ms": round.opened_ms,
        "closed_ms": round.closed_ms,
        "closed_in_entry": entries.closed,
        "proposer": round.proposer.and_then(|it| numbers.get(it)),
        "proposed": round.proposal.map(|(digest, _)| digest.to_string()),
        "proposed_in_entry": entries.proposed,
        "pass_reason": round.passed.map(|reason| reason.word()),
        "merged": merged,
        "votes": votes.collect::<Vec<_>>(),
        "missed_votes": missing(History::missed_vote),
        "missed_turns": missing(History::missed_turn),
        "verdict": round.result.map(|it| it.verdict.word()),
        "approvals": round.result.map(|it| it.approvals),
        "rejections": round.result.map(|it| it.rejections),
        "abstentions": round.result.map(|it| it.abstentions),
        "electorate": round.result.map(|it| it.electorate),
        "model": round.result.map(|it| it.model.to_string()),
        "mean_vote_score": vote_score,
        "mean_test_score": test_score,
    })
}

/// Somebody who need not have joined.
fn person(history: &History, numbers: &Numbers, learner: LearnerId) -> Value {
    json!({
        "key": learner.to_string(),
        "number": numbers.get(learner),
        "name": history.names.get(&learner).map(|name| name.as_str()),
    })
}

fn motion(history: &History, numbers: &Numbers, moved: &Moved) -> Value {
    let voters = |approve: bool| -> Vec<Value> {
        let voters = moved.votes.iter().filter(|(_, approved)| **approved == approve);
        let voters = voters.take(MAX_VOTERS);
        voters.map(|(voter, _)| person(history, numbers, *voter)).collect()
    };
    json!({
        "number": moved.number,
        "mover": person(history, numbers, moved.mover),
        "motion": moved.motion.word(),
        "text": text::motion_against(moved.rules.as_deref(), &moved.motion),
        "votes_for": voters(true),
        "votes_against": voters(false),
        "vote_count": moved.votes.len(),
        "adopted": moved.decided.map(|it| it.adopted),
        "approvals": moved.decided.map(|it| it.approvals),
        "rejections": moved.decided.map(|it| it.rejections),
        "electorate": moved.decided.map(|it| it.electorate),
        "in_effect": moved.in_effect,
    })
}

fn member(history: &History, state: Option<&ExperimentState>, learner: LearnerId) -> Value {
    let stay = |stay: &Stay| {
        json!({
            "joined_ms": stay.joined_ms,
            "left_ms": stay.left_ms,
            "first_round": stay.first,
            "last_round": stay.last,
            "suspended": stay.suspended.map(|reason| reason.word()),
        })
    };
    let rounds = |missed: fn(&History, &Round, LearnerId) -> bool| {
        let rounds = history.rounds.iter().filter(|round| missed(history, round, learner));
        ranges(rounds.map(|round| round.number))
    };
    json!({
        "key": learner.to_string(),
        "number": history.number_of(learner),
        "name": history.names.get(&learner).map(|name| name.as_str()),
        "takes_part": state.map(|state| state.members.contains(&learner)),
        "stays": history.stays_of(learner).iter().map(stay).collect::<Vec<_>>(),
        "totals": history.totals_of(learner).serialize(serde_json::value::Serializer).ok(),
        "missed_votes": rounds(History::missed_vote),
        "missed_turns": rounds(History::missed_turn),
    })
}

/// Numbers in ascending order, as the ends of those that follow each other.
fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<[u64; 2]> {
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some([_, last]) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push([number, number]),
        }
    }
    ranges
}

/// Who may join and never has.
fn invited(history: &History, numbers: &Numbers, state: Option<&ExperimentState>) -> Value {
    let all = state.map(|state| state.admission.invitations()).unwrap_or_default();
    let absent = all.iter().filter(|it| numbers.get(it.learner).is_none());
    let one = |it: &colearn_contracts::Invitation| {
        let name = it.name.as_ref().or_else(|| history.names.get(&it.learner));
        json!({
            "key": it.learner.to_string(),
            "name": name.map(|name| name.as_str()),
            "weight": it.weight,
            "judge": it.judge,
        })
    };
    absent.take(MAX_EXPERIMENT_MEMBERS).map(one).collect()
}

/// What each has stated of its privacy, of so many members.
fn privacy(history: &History, cap: Option<colearn_contracts::PrivacyCap>, listed: usize) -> Value {
    let mut told = json::privacy(history, cap);
    if let Some(learners) = told["learners"].as_array_mut() {
        learners.truncate(listed);
        for (at, learner) in learners.iter_mut().enumerate() {
            learner["number"] = (at + 1).into();
        }
        learners.retain(|it| !it["spent"].is_null() || it["exhausted"] == true);
    }
    told
}

fn evaluations(history: &History, numbers: &Numbers) -> Value {
    let all = &history.evaluations;
    let last = &all[all.len().saturating_sub(MAX_EVALUATIONS)..];
    let one = |it: &colearn_records::history::Evaluated| {
        let measures = it.evaluation.measures.iter();
        let measures: BTreeMap<&str, f64> =
            measures.map(|it| (it.name.as_str(), unit(it.value_micros))).collect();
        json!({
            "member": person(history, numbers, it.learner),
            "round": it.round,
            "model": it.evaluation.model.to_string(),
            "measures": measures,
        })
    };
    last.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_told_by_their_ends() {
        assert_eq!(ranges([1, 2, 3, 5, 8, 9].into_iter()), [[1, 3], [5, 5], [8, 9]]);
        assert_eq!(ranges([].into_iter()), [[0_u64; 2]; 0]);
        assert_eq!(ranges([u64::MAX].into_iter()), [[u64::MAX, u64::MAX]]);
    }

    #[test]
    fn the_last_rounds_are_told_where_there_is_no_room_for_all() {
        let mut history = History::new("x".parse().unwrap_or_else(|_| unreachable!()));
        for number in 1..=5 {
            history.outcome(&colearn_contracts::Outcome::new(
                history.experiment.clone(),
                colearn_contracts::Decision::RoundOpened {
                    round: number,
                    proposer: LearnerId([1; 32]),
                    base: colearn_contracts::Digest([0; 32]),
                    deadline_ms: 1,
                },
            ));
        }
        let mut budget = Budget { rounds: 7, votes: 1, members: 1, bytes: 1 };
        assert_eq!(shown(&history.rounds, 0, &mut budget).len(), 5);
        let last: Vec<u64> =
            shown(&history.rounds, 0, &mut budget).iter().map(|round| round.number).collect();
        assert_eq!(last, [4, 5]);
        assert!(!budget.has_room());
        let mut budget = Budget::default();
        budget.take(&Value::String("x".repeat(MAX_BYTES)));
        assert!(!budget.has_room());
    }
}
