//! What is told of models in files: what is in them, where they come from, what a ledger says of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use colearn::model::{Got, Kind, Shown, Use, Verified};
use colearn_audit::AuditReport;
use colearn_audit::models::{Held, Models, Role, median_vote_score};
use colearn_contracts::{Choice, Digest, LearnerId};
use colearn_learning::data::Target;
use colearn_learning::model::ModelSpec;
use colearn_records::history::{Round, unit};
use colearn_records::words::{Word as _, Words as _};

use super::text::{score, who};

/// Columns, classes, tensors and metadata that are listed; more are counted.
const SHOWN: usize = 40;
/// So much is shown of a name or a text that was written by others.
const SHOWN_CHARS: usize = 200;

/// A number with its thousands apart.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A model's file, several lines.
pub(crate) fn shown(shown: &Shown) -> String {
    let mut text = file(&shown.path, shown.size, shown.digest);
    let contents = match &shown.kind {
        Kind::Safetensors(contents) => contents,
        Kind::XgboostUbj => return text + "format      XGBoost's UBJSON\n",
        Kind::LightgbmText => return text + "format      LightGBM's text\n",
        Kind::Pickle => {
            return text
                + "format      looks like a pickle: whoever loads it executes what its author wants\n";
        }
        Kind::Zip => {
            return text
                + "format      an archive, which may hold a pickle: whoever loads that executes what its author wants\n";
        }
        Kind::Encrypted => {
            return text + "format      encrypted; with its keys: colearn model decrypt\n";
        }
        Kind::Other => return text + "format      none that is known here\n",
    };
    text += "format      safetensors\n";
    match &contents.model {
        Some(Ok(spec)) => text += &built_in(spec),
        Some(Err(error)) => {
            let _ =
                writeln!(text, "model       its header is not to be believed: {}", one_line(error));
        }
        None => text += "model       none that is built in here; its learners know what it is\n",
    }
    let (tensors, parameters) = (contents.tensors.len(), thousands(contents.parameters()));
    let _ = writeln!(text, "parameters  {parameters} in {tensors} tensors");
    for tensor in contents.tensors.iter().take(SHOWN) {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let _ = writeln!(
            text,
            "  {:<28} {} [{}]",
            one_line(&tensor.name),
            tensor.kind,
            one_line(shape.join(", "))
        );
    }
    text += &more(tensors, "tensors");
    for (key, value) in contents.metadata.iter().take(SHOWN) {
        let _ = writeln!(text, "metadata    {}: {}", one_line(key), one_line(value));
    }
    text + &more(contents.metadata.len(), "entries of metadata")
}

fn file(path: &Path, size: u64, digest: Digest) -> String {
    format!("file        {}, {} bytes\nsha-256     {digest}\n", path.display(), thousands(size))
}

/// What was written by others, in one line that says nothing in their name.
fn one_line(text: impl ToString) -> String {
    let text = text.to_string();
    let breaks = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}');
    let mut chars = text.chars().map(|char| if breaks(char) { '\u{fffd}' } else { char });
    let line: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() { line + "..." } else { line }
}

/// How many of so many are not listed.
fn more(count: usize, what: &str) -> String {
    match count.checked_sub(SHOWN) {
        None | Some(0) => String::new(),
        Some(more) => format!("  and {more} more {what}\n"),
    }
}

/// What the header of a built-in model says.
fn built_in(spec: &ModelSpec) -> String {
    let (schema, shape) = (&spec.schema, spec.shape());
    let mut text = match (spec.hidden.is_empty(), spec.is_classifier()) {
        (true, true) => format!("model       softmax regression, {shape}\n"),
        (true, false) => format!("model       linear regression, {shape}\n"),
        (false, _) => format!(
            "model       multilayer perceptron, {shape}, {} between its layers\n",
            spec.activation.word()
        ),
    };
    match &schema.target {
        Target::Class { name, classes } => {
            let few: Vec<String> = classes.iter().take(SHOWN).map(one_line).collect();
            let (count, name, few) = (classes.len(), one_line(name), few.join(", "));
            let _ = writeln!(text, "predicts    {name}, one of {count} classes: {few}");
            text += &more(count, "classes");
        }
        Target::Number { name, mean, scale } => {
            let _ = writeln!(
                text,
                "predicts    {}, a number, as (x - {mean}) / {scale}",
                one_line(name)
            );
        }
    }
    let _ = writeln!(text, "from        {} inputs", schema.width());
    for column in schema.features.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", one_line(column));
    }
    text + &more(schema.features.len(), "columns")
}

/// A model that was got, several lines.
pub(crate) fn got(got: &Got, held: &Held<'_>, is_pinned: bool) -> String {
    let (models, report) = (&got.models, &got.report);
    let experiment = &models.history().experiment;
    let of = match held.round {
        None => format!("what {experiment} began with (entry {})\n", held.entry),
        Some(round) => format!("{experiment} {}\n", accepted(round, held.entry)),
    };
    let now = if got.is_current(held) { ", the model of now" } else { "" };
    file(&got.path, held.model.size, held.model.digest)
        + &format!("model       {}{now}\n", of.trim_end())
        + &held.round.map(|round| proposer(models, round)).unwrap_or_default()
        + &audited(report, is_pinned)
}

/// What an accepted round came to.
fn accepted(round: &Round, entry: u64) -> String {
    let (vote, test) = (median_vote_score(round), round.mean_scores().1);
    let counts = round.result.map_or_else(String::new, |result| {
        format!("accepted with {} of {} votes", result.approvals, result.electorate)
    });
    let (number, vote, test) = (round.number, score(vote), score(test));
    format!("round {number}, {counts} (entry {entry}), median vote score {vote}, test score {test}")
}

/// Who has made what a round came to.
fn proposer(models: &Models, round: &Round) -> String {
    let who = |learner: LearnerId| who(&models.history().names, learner);
    match (&round.merged, round.proposer) {
        (Some(merged), _) => {
            let from: Vec<String> =
                merged.merging.iter().flatten().map(|sent| who(sent.learner)).collect();
            let which = merged.decided.and_then(|decided| decided.accepted);
            let which = which.map_or("", |which| which.word());
            format!("merged      {which}, of what these have sent: {}\n", from.join("; "))
        }
        (None, Some(proposer)) => {
            let entry = models.entries_of(round.number).and_then(|it| it.proposed);
            let entry = entry.map_or_else(String::new, |entry| format!(" (entry {entry})"));
            format!("proposed    by {}{entry}\n", who(proposer))
        }
        (None, None) => String::new(),
    }
}

/// What was verified of the ledger; and that it may be anybody's, where it was not insisted on.
fn audited(report: &AuditReport, is_pinned: bool) -> String {
    let AuditReport { ledger_id, size, signatures, root, .. } = report;
    let pinned = if is_pinned { "" } else { ", which was not insisted on (--ledger)" };
    format!(
        "ledger      {ledger_id}{pinned}\nverified    {size} entries, {signatures} signatures and every decision, up to the \
         checkpoint with root {root:.16}\n"
    )
}

/// What a ledger says of a file, several lines; the last is for whoever reads only that.
pub(crate) fn verified(verified: &Verified, place: &str, is_pinned: bool) -> String {
    let mut text = file(&verified.path, verified.size, verified.digest);
    if !verified.report.is_sound() {
        for finding in &verified.report.findings {
            let _ = writeln!(text, "{finding}");
        }
        return text + &format!("{}\n", verified.report.verdict_line());
    }
    text += &audited(&verified.report, is_pinned);
    if verified.report.promises > 0 {
        let honoured = verified.report.promises;
        let _ =
            writeln!(text, "promised    {honoured} receipts and older checkpoints are honoured");
    }
    for it in &verified.uses {
        for role in &it.roles {
            text += &use_told(&it.models, *role, it.is_current, &verified.receipts);
        }
    }
    let digest = verified.digest;
    if verified.is_accepted() {
        let _ = writeln!(
            text,
            "any of these entries by itself: colearn ledger proof ENTRY --from {place}"
        );
        let models: Vec<String> =
            verified.uses.iter().filter(|it| it.is_accepted()).map(ok).collect();
        return text + &format!("MODEL OK digest={digest} {}\n", models.join(" "));
    }
    if verified.uses.is_empty() {
        return text + &format!("MODEL FAIL digest={digest} reason=unknown\n");
    }
    let roles = verified.roles().join(",");
    text + &format!("MODEL FAIL digest={digest} reason=not_accepted as={roles}\n")
}

fn ok(it: &Use) -> String {
    let (experiment, current) = (&it.models.history().experiment, it.is_current);
    let rounds = it.roles.iter().filter_map(|role| match role {
        Role::Initial => Some("0".to_owned()),
        Role::Accepted(round) => Some(round.to_string()),
        Role::Proposed(_) | Role::Update(..) | Role::Merge(..) => None,
    });
    let rounds: Vec<String> = rounds.collect();
    format!("experiment={experiment} round={} current={current}", rounds.join(","))
}

/// What a file is to an experiment.
fn use_told(models: &Models, role: Role, is_current: bool, receipts: &BTreeSet<u64>) -> String {
    let (history, name) = (models.history(), &models.history().experiment);
    let find = |number| history.rounds.iter().find(|round| round.number == number);
    let now = if is_current { ", the model of now" } else { "" };
    match role {
        Role::Initial => {
            let (entry, creator) = (models.initial().entry, models.creator());
            let creator = who(&history.names, creator);
            format!(
                "model       what {name} began with, created by {creator} (entry {entry}){now}\n"
            )
        }
        Role::Accepted(number) => {
            let Some(round) = find(number) else { return String::new() };
            let entry = models.entries_of(number).and_then(|it| it.closed).unwrap_or_default();
            format!("model       {name} {}{now}\n", accepted(round, entry))
                + &proposer(models, round)
                + &votes(models, round, receipts)
        }
        Role::Proposed(number) => {
            let Some(round) = find(number) else { return String::new() };
            let verdict = round.result.map_or("still open", |result| result.verdict.word());
            format!("proposal    {name} round {number}: {verdict}\n")
                + &proposer(models, round)
                + &votes(models, round, receipts)
        }
        Role::Update(number, learner) => {
            format!("update      {name} round {number}, sent by {}\n", who(&history.names, learner))
        }
        Role::Merge(number, which) => {
            format!("merge       {name} round {number}, the {} one, not accepted\n", which.word())
        }
    }
}

/// How each has voted in a round, and in which entry.
fn votes(models: &Models, round: &Round, receipts: &BTreeSet<u64>) -> String {
    let mut text = String::new();
    let entries = models.entries_of(round.number);
    for (voter, cast) in &round.ballots {
        let choice = match cast.choice {
            Choice::Approve => "for",
            Choice::Reject => "against",
            Choice::Abstain => "for neither",
        };
        let who = who(&models.history().names, *voter);
        let entry = entries.and_then(|entries| entries.votes.get(voter));
        let entry = entry.map_or_else(String::new, |entry| match receipts.contains(entry) {
            true => format!(" (entry {entry}, as its receipt promises)"),
            false => format!(" (entry {entry})"),
        });
        let (vote, test) = (cast.scores.vote.map(unit), cast.scores.test.map(unit));
        let (vote, test) = (score(vote), score(test));
        let reason = cast.reason.map_or_else(String::new, |it| format!(", {}", it.meaning()));
        let _ = writeln!(
            text,
            "  {choice:<11} {who}{reason}, vote score {vote}, test score {test}{entry}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use colearn_learning::{Contents, Tensor};

    use super::*;

    #[test]
    fn what_others_wrote_is_one_line_each_and_not_without_end() {
        let evil = format!("a\nMODEL OK\u{1b}[2J{}", "x".repeat(1000));
        let tensor =
            |name: &str| Tensor { name: name.to_owned(), kind: "F32".into(), shape: vec![1] };
        let mut tensors = vec![tensor(&evil)];
        tensors.extend((0..100).map(|_| tensor("b")));
        let metadata = (0..100).map(|at| (format!("{at}{evil}"), evil.clone())).collect();
        let contents = Contents { tensors, metadata, model: None };
        let (path, digest) = (Path::new("file").to_owned(), Digest([0; 32]));
        let file = Shown { path, size: 1, digest, kind: Kind::Safetensors(contents) };
        let told = shown(&file);
        assert!(!told.lines().any(|line| line.starts_with("MODEL OK")), "{told}");
        assert!(told.lines().all(|line| line.chars().count() < 500), "{told}");
        assert!(told.contains("  and 61 more tensors\n"), "{told}");
        assert!(told.contains("  and 60 more entries of metadata\n"), "{told}");
        assert!(told.lines().count() < 2 * SHOWN + 10);
    }

    #[test]
    fn long_numbers_are_read_by_their_thousands() {
        let told = [0, 12, 999, 1_000, 65_536, 1_234_567].map(thousands);
        assert_eq!(told, ["0", "12", "999", "1,000", "65,536", "1,234,567"]);
    }
}
