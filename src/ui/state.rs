//! The one document that the page is drawn from (docs/page.md has its schema).

use colearn_audit::ChainReport;
use colearn_contracts::{Experiment, ExperimentName, LearnerId, Verdict};
use colearn_ledger::SignedNote;
use colearn_records::convert::{ExperimentState, MemberState};
use colearn_records::history::Round;
use colearn_records::words::Word as _;
use colearn_sdk::client::ProvenEnd;
use serde::Serialize as _;
use serde_json::{Value, json};

use super::claims::claims;
use super::grid::grid;
use super::pace::owed;
use super::view::{Connection, Place, Tale, View, now_ms};
use crate::cli::tell::{json, text};
use crate::curve::{self, Point, verdict};

/// The number of the document's schema. It grows when a field changes its meaning or goes.
pub(crate) const SCHEMA: u32 = 1;
/// How many experiments and members there are at most; how many rounds in full.
const MAX_LISTED: usize = 200;
const MAX_MEMBERS: usize = 1000;
pub(crate) const MAX_ROUNDS: u64 = 500;

/// What of it somebody wants.
#[derive(Default)]
pub(crate) struct Asked {
    /// The experiment that is shown in full.
    pub(crate) experiment: Option<ExperimentName>,
    /// So many of its last rounds in full; at most [`MAX_ROUNDS`].
    pub(crate) rounds: u64,
}

/// The document.
pub(crate) fn document(view: &View, asked: &Asked, revision: u64) -> Value {
    let shown = asked.experiment.as_ref().and_then(|name| view.experiment(name));
    let (kind, place) = match &view.told.place {
        Place::Node(url) => ("node", url),
        Place::Folder(path) => ("folder", path),
        Place::Own(name) => ("says", name),
    };
    json!({
        "schema": SCHEMA,
        "program": concat!("colearn ", env!("CARGO_PKG_VERSION")),
        "revision": revision,
        "now_ms": now_ms(),
        "source": { "kind": kind, "place": place },
        "connection": connection(&view.told.connection),
        "alarm": view.told.alarm.as_ref().map(|alarm| json!({
            "kind": alarm.kind,
            "title": alarm.title(),
            "since_ms": alarm.since_ms,
            "what": alarm.what,
            "remedy": alarm.remedy,
            "withdraws": alarm.withdraws,
        })),
        "claims": claims(view),
        "ledger": ledger(view),
        "experiments": experiments(view),
        "experiment_count": view.tales.len(),
        "shown": shown.map(|(experiment, tale)| self::shown(experiment, tale, asked.rounds)),
    })
}

fn connection(connection: &Connection) -> Value {
    match connection {
        Connection::Live => json!({ "state": "live" }),
        Connection::Away { since_ms, reason } => {
            json!({ "state": "away", "since_ms": since_ms, "reason": reason })
        }
        Connection::Ended { since_ms } => json!({ "state": "ended", "since_ms": since_ms }),
        Connection::Reading { size } => json!({ "state": "reading", "size": size }),
        Connection::Read { at_ms } => json!({ "state": "read", "since_ms": at_ms }),
    }
}

fn ledger(view: &View) -> Value {
    let keys = view.keys();
    let signers = keys.map(|keys| keys.current());
    let names = SignedNote::parse(&view.told.checkpoint).ok().and_then(|note| {
        let signed = signers?.signed(&note).ok()?;
        Some(signed.iter().map(|key| key.name().to_owned()).collect::<Vec<_>>())
    });
    let nodes = keys.and_then(|keys| keys.validators()).into_iter().flat_map(|it| it.iter());
    let witnesses = view.told.witnesses.iter();
    json!({
        "id": keys.map(|keys| keys.ledger().to_string()),
        "origin": signers.map(|keys| keys.name().to_owned()),
        "verifier_key": signers.map(ToString::to_string),
        "chain": chain(view),
        "entries": view.book.size(),
        "root": view.book.root().to_string(),
        "last_ms": view.last_ms,
        "checkpoint": view.told.checkpoint,
        "signed_by": names,
        "witnesses": witnesses
            .map(|(name, size)| json!({ "name": name, "entries": size }))
            .collect::<Vec<_>>(),
        "witness_quorum": view.told.pins.quorum(),
        "nodes": nodes.map(|node| json::validator(node.message())).collect::<Vec<_>>(),
    })
}

/// The public chain that keeps the ledger, if one does, and what it was found to prove here.
pub(super) fn chain(view: &View) -> Option<ChainReport> {
    let (id, contract) = view.keys()?.public_chain()?;
    let audited = view.told.audit.as_ref().and_then(|report| report.chain.clone());
    let unproven = || {
        let (id, contract) = (id.to_owned(), contract.to_owned());
        ChainReport { id, contract, ..ChainReport::default() }
    };
    let report = audited.unwrap_or_else(unproven);
    Some(match &view.told.proven {
        None => report,
        Some(ProvenEnd { height, time_ms, seen, .. }) => ChainReport {
            proven: seen.size,
            total: seen.size,
            height: *height,
            time_ms: *time_ms,
            ..report
        },
    })
}

/// The experiments, those that go on first, and of these those in which something happened last.
fn experiments(view: &View) -> Value {
    let all = view.tales.keys().filter_map(|name| view.experiment(name));
    let mut all: Vec<(&Experiment, &Tale)> = all.collect();
    all.sort_by_key(|(_, tale)| (tale.history.finished.is_some(), std::cmp::Reverse(tale.last_ms)));
    let one = |(experiment, tale): &(&Experiment, &Tale)| {
        let history = &tale.history;
        let accepted = |round: &&Round| verdict(round) == Some(Verdict::Accepted);
        let last = history.rounds.iter().rev().find(accepted);
        let scores = last.map(Round::mean_scores).unwrap_or_default();
        json!({
            "name": experiment.name().as_str(),
            "phase": experiment.phase().word(),
            "phase_text": text::phase(experiment.phase()),
            "finished": history.finished.is_some(),
            "round": experiment.round(),
            "max_rounds": experiment.parameters().max_rounds,
            "member_count": experiment.seated().len(),
            "accepted": history.rounds.iter().filter(accepted).count(),
            "model_vote_score": scores.0,
            "model_test_score": scores.1,
            "last_ms": tale.last_ms,
            "deadline_ms": experiment.deadline_ms(),
            "waits_for": owed(experiment).len(),
            "motions": experiment.motions().len(),
        })
    };
    all.iter().take(MAX_LISTED).map(one).collect()
}

/// An experiment in full.
fn shown(experiment: &Experiment, tale: &Tale, rounds: u64) -> Value {
    let history = &tale.history;
    let last = history.rounds.last().map_or(0, |round| round.number);
    let first = (last + 1).saturating_sub(rounds.clamp(1, MAX_ROUNDS)).max(1);
    let state = ExperimentState::of(experiment, MAX_MEMBERS);
    let motions = state.motions.iter().filter_map(|open| {
        let moved = history.motions.iter().rev().find(|moved| moved.number == open.number)?;
        let told = text::moved(moved, Some(open), &history.names);
        Some((open.number.to_string(), told.into()))
    });
    let cap = experiment.parameters().privacy;
    let owed = owed(experiment);
    let waited_for: Vec<LearnerId> = owed.iter().map(|(learner, _)| *learner).collect();
    let waits_for = owed.into_iter().map(|(learner, owed)| {
        let usual_ms = tale.pace.usual_ms(learner, owed);
        json!({
            "learner": learner.to_string(),
            "owes": owed.word(),
            "owes_text": owed.text(),
            "usual_ms": usual_ms,
            "late_from_ms": usual_ms.map(|usual_ms| tale.pace.since_ms.saturating_add(usual_ms)),
        })
    });
    let points = curve::points(&history.rounds);
    let recent = points.iter().filter(|point| point.round >= first).cloned().collect::<Vec<_>>();
    json!({
        "experiment": json::experiment(&state, None),
        "history": history.to_json_since(first),
        "first_round": first,
        "last_round": last,
        "created": tale.created,
        "phase": {
            "text": text::phase(experiment.phase()),
            "since_ms": tale.pace.since_ms,
            "deadline_ms": experiment.deadline_ms(),
            "waits_for": waits_for.collect::<Vec<_>>(),
        },
        "motions": motions.collect::<serde_json::Map<String, Value>>(),
        "people": people(experiment, tale),
        "privacy": json::privacy(history, cap),
        "grid": grid(history, &waited_for),
        "curve": rows(&curve::thinned(&points), points.len()),
        "recent": rows(&recent, recent.len()),
    })
}

/// Everybody who ever joined, as they stand now.
fn people(experiment: &Experiment, tale: &Tale) -> Value {
    let history = &tale.history;
    let one = |(at, learner): (usize, &colearn_contracts::LearnerId)| {
        let member = experiment.member(*learner).map(MemberState::of);
        let name = experiment.name_of(*learner).or_else(|| history.names.get(learner));
        json!({
            "learner": learner.to_string(),
            "number": at + 1,
            "name": name.map(|name| name.as_str()),
            "seat": member.as_ref().map(|it| it.seat.word()),
            "weight": member.as_ref().map(|it| it.weight),
            "judge": member.as_ref().map(|it| it.judge),
            "missed_in_a_row": member.as_ref().map(|it| it.missed),
            "exhausted": member.as_ref().map(|it| it.exhausted),
            "totals": history.totals_of(*learner).serialize(serde_json::value::Serializer).ok(),
        })
    };
    history.learners.iter().enumerate().take(MAX_MEMBERS).map(one).collect()
}

/// Points as a table, and how many there are where not all of them are in it.
fn rows(points: &[Point], all: usize) -> Value {
    let rows = points.iter().map(|it| {
        json!([
            it.round,
            it.mean.0,
            it.mean.1,
            it.model.0,
            it.model.1,
            it.range.map(|range| range.0),
            it.range.map(|range| range.1),
            it.verdict.map(|it| it.word()),
        ])
    });
    json!({
        "columns": ["round", "mean_vote_score", "mean_test_score", "model_vote_score", "model_test_score",
            "lowest_score", "highest_score", "verdict"],
        "rows": rows.collect::<Vec<_>>(),
        "rounds": all,
    })
}
