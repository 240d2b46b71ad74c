//! What people read of rounds: a line for each, and why one went as it did.

use std::fmt::Write as _;

use colearn_audit::explain::{Chosen, ChosenFrom, Explanation, Merged};
use colearn_audit::merges::{MergeReport, RecordedMerge, UpdateReport};
use colearn_contracts::{
    Digest, ExperimentName, LearnerId, Merge, MergeTally, MergeVerdict, Merges, Named,
};
use colearn_records::history::{History, MergedRound, Round};
use colearn_records::record::Record;
use colearn_records::words::{Word as _, Words as _};

use super::merges;
use super::text::{because, entry, judged, judges, score, scores, short};

const SINGLE_HEADER: &str =
    "round  proposer            for  against  absent  verdict       vote score  test score";
const MERGED_HEADER: &str = "round  merged    named     open  guarded  prefer  verdict           vote score  \
    test score  open/guarded merge";

/// A table of rounds, line by line.
#[derive(Default)]
pub(crate) struct RoundTable {
    header: Option<&'static str>,
}

impl RoundTable {
    /// The header for rounds of this kind, for who waits for the first of them.
    pub(crate) fn begin(&mut self, merged: bool) -> &'static str {
        self.header.insert(if merged { MERGED_HEADER } else { SINGLE_HEADER })
    }

    /// The line of a round that is closed, or open; below a header that says what it means, unless the line
    /// before it had the same.
    pub(crate) fn line(&mut self, history: &History, round: &Round) -> String {
        let (header, line) = match &round.merged {
            None => (SINGLE_HEADER, single_line(history, round)),
            Some(merged) => (MERGED_HEADER, merged_line(history, round, merged)),
        };
        if self.header.replace(header) == Some(header) { line } else { format!("{header}\n{line}") }
    }
}

/// A round with one proposer.
fn single_line(history: &History, round: &Round) -> String {
    let proposer = round.proposer.map_or_else(
        || "?".to_owned(),
        |proposer| format!("{} ({})", numbered(history, proposer), short(proposer)),
    );
    let (vote, test) = round.mean_scores();
    let (approvals, rejections, absent, verdict) = match round.result {
        Some(result) => (
            result.approvals.to_string(),
            result.rejections.to_string(),
            result.absent().to_string(),
            result.verdict.word(),
        ),
        None => ("-".into(), "-".into(), "-".into(), "open"),
    };
    let name = round.proposer.and_then(|proposer| history.names.get(&proposer));
    let name = name.map_or_else(String::new, |name| format!("  {name}"));
    format!(
        "{:>5}  {proposer:<20}{approvals:>3}  {rejections:>7}  {absent:>6}  {verdict:<12}  {:>10}  {:>10}{name}",
        round.number,
        score(vote),
        score(test)
    )
}

/// A merged round: how many updates were merged, the votes that name the pair that the most name, and of those
/// the ones that can bear each merge, and prefer the guarded one.
fn merged_line(history: &History, round: &Round, merged: &MergedRound) -> String {
    let count = merged.merging.as_ref().map_or(merged.updates.len(), Vec::len);
    let updates = format!("{count} of {}", merged.participants.len());
    let verdict = match (round.result, merged.decided.and_then(|decided| decided.accepted)) {
        (None, _) => "open".to_owned(),
        (Some(result), None) => result.verdict.word().to_owned(),
        (Some(result), Some(which)) => format!("{} {}", result.verdict.word(), which.word()),
    };
    let none = || "-".to_owned();
    let there = |digest: Option<Digest>, votes: u32| match digest {
        Some(_) => votes.to_string(),
        None => none(),
    };
    let (named, [open, guarded, prefer], pair) = match (merged.decided, round.result) {
        (Some(decided), Some(result)) => {
            let agreed = decided.agreed.unwrap_or_default();
            let counts = [
                there(agreed.open, decided.bear_open),
                there(agreed.guarded, decided.bear_guarded),
                there(agreed.guarded, decided.prefer_guarded),
            ];
            let pair = decided.agreed.map_or_else(none, |agreed| pair(&agreed));
            (format!("{} of {}", decided.named, result.electorate), counts, pair)
        }
        (_, None) | (None, _) => (none(), [none(), none(), none()], none()),
    };
    let others: Vec<String> =
        merged.named_another().into_iter().map(|learner| numbered(history, learner)).collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(", another named by {}", others.join(", ")),
    };
    let (vote, test) = round.mean_scores();
    format!(
        "{:>5}  {updates:<8}  {named:<8}  {open:>4}  {guarded:>7}  {prefer:>6}  {verdict:<16}  {:>10}  {:>10}  \
        {pair}{others}",
        round.number,
        score(vote),
        score(test)
    )
}

/// A learner by its number, which is what people know it by.
fn numbered(history: &History, learner: LearnerId) -> String {
    history.number_of(learner).map_or_else(|| short(learner), |number| format!("learner {number}"))
}

/// Two merges, shortened.
fn pair(merges: &Merges) -> String {
    let digest = |digest: Option<Digest>| {
        digest.map_or_else(|| "-".to_owned(), |digest| digest.to_string()[..8].to_owned())
    };
    format!("{}/{}", digest(merges.open), digest(merges.guarded))
}

/// How those who trained in a round were chosen, what came of it, and what was done in it, several lines.
pub(crate) fn explanation(
    experiment: &ExperimentName,
    round: u64,
    explained: &Explanation,
    computed: Option<&MergeReport>,
) -> String {
    let mut text = format!("round {round} of {experiment}, opened by entry {}\n", explained.index);
    if let Some((chain, contract)) = &explained.chain {
        let _ = writeln!(text, "ledger      kept by the contract {contract} on the chain {chain}");
        let _ = writeln!(
            text,
            "            shown as this copy has it; what the chain proves: colearn audit"
        );
    }
    text += &chosen(experiment, round, explained, &explained.trains);
    match &explained.merged {
        None => {
            let recorded = as_recorded(explained.trains.is_as_recorded());
            for proposer in &explained.trains.recorded {
                let name = named(explained, *proposer);
                let _ = writeln!(text, "proposer    {proposer}{name} ({recorded})");
            }
        }
        Some(merged) => text += &{ merged_round(experiment, round, explained, merged, computed) },
    }
    text.push('\n');
    for told in &explained.entries {
        let name = match &told.record {
            Record::Transaction(transaction) => named(explained, transaction.sender),
            Record::Genesis(_)
            | Record::Outcome(_)
            | Record::KeyRotation(_)
            | Record::Upgrade(_)
            | Record::Block(_)
            | Record::ValidatorChange(_) => String::new(),
        };
        let _ = writeln!(text, "{}{name}", entry(told));
    }
    text
}

fn as_recorded(is: bool) -> &'static str {
    if is { "as recorded" } else { "NOT as recorded" }
}

/// Who could be chosen, from what, and who was.
fn chosen(
    experiment: &ExperimentName,
    round: u64,
    explained: &Explanation,
    chosen: &Chosen,
) -> String {
    let mut text = chosen_from(experiment, round, explained, chosen);
    for (at, candidate) in chosen.candidates.iter().enumerate() {
        let mark = if chosen.drawn.contains(&at) { "*" } else { " " };
        let rank = match &chosen.from {
            ChosenFrom::Seed { ranks, after, .. } => {
                let after = after.get(at).is_some_and(|after| *after);
                let after = if after { ", after all others (R63)" } else { "" };
                ranks.get(at).map(|rank| format!("  rank {:.16}{after}", rank.to_string()))
            }
            ChosenFrom::All | ChosenFrom::Turns(_) | ChosenFrom::Head { .. } => None,
        };
        let (rank, name) = (rank.unwrap_or_default(), named(explained, *candidate));
        let _ = writeln!(text, "{mark} {at:>4}  {candidate}{rank}{name}");
    }
    text
}

/// What somebody was chosen from, so that it can be done again by hand.
fn chosen_from(
    experiment: &ExperimentName,
    round: u64,
    explained: &Explanation,
    chosen: &Chosen,
) -> String {
    match &chosen.from {
        ChosenFrom::All => "selection   all: there are no more than may be chosen\n".to_owned(),
        ChosenFrom::Turns(None) => "selection   by turns, in joining order\n".to_owned(),
        ChosenFrom::Turns(Some(seat)) => {
            format!("selection   by turns, in joining order, after seat {seat}\n")
        }
        ChosenFrom::Head { head, index } => format!(
            "selection   sortition: the first 16 bytes of SHA-256 over\n\
             \x20             \"colearn/v1/sortition\\n\"\n\
             \x20             ledger  {}\n\
             \x20             head    {head} (leaf hash of entry {index})\n\
             \x20             name    {} bytes, {experiment}\n\
             \x20             round   {round}\n\
             \x20           modulo {} candidates gives {}\n",
            explained.ledger,
            experiment.as_str().len(),
            chosen.candidates.len(),
            chosen.drawn.first().copied().unwrap_or_default()
        ),
        ChosenFrom::Seed { purpose, seed, seats, .. } => {
            let seats: Vec<String> = seats.iter().map(ToString::to_string).collect();
            let smallest = match chosen.drawn.len() {
                1 => "smallest".to_owned(),
                count => format!("{count} smallest"),
            };
            format!(
                "selection   sortition: the {smallest} of the ranks, SHA-256 over\n\
                 \x20             \"colearn/v2/draw\\n\"\n\
                 \x20             purpose {} bytes, {purpose}\n\
                 \x20             seed    {}\n\
                 \x20             seat    {}\n",
                purpose.len(),
                seed.0,
                seats.join(", ")
            )
        }
    }
}

/// What a learner is called, in brackets behind what it is.
fn named(explained: &Explanation, learner: LearnerId) -> String {
    explained.names.get(&learner).map_or_else(String::new, |name| format!("  [{name}]"))
}

/// What there is to tell of a merged round: who trained, what was sent and said, and what the votes come to.
fn merged_round(
    experiment: &ExperimentName,
    round: u64,
    explained: &Explanation,
    merged: &Merged,
    computed: Option<&MergeReport>,
) -> String {
    let recorded = as_recorded(explained.trains.is_as_recorded());
    let count = explained.trains.recorded.len();
    let mut text = format!("participants {count} ({recorded})\n");
    if let Some(checks) = &merged.checks {
        text += &chosen(experiment, round, explained, checks);
        let (count, recorded) = (checks.recorded.len(), as_recorded(checks.is_as_recorded()));
        let _ = writeln!(text, "checkers    {count} ({recorded})");
    }
    let who = |learner: LearnerId| format!("{}{}", short(learner), named(explained, learner));
    text += &trained(merged, &who);
    text += &gathered(merged, &who);
    if let Some(recorded) = &merged.recorded {
        text += &computed_again(recorded, computed, &who);
    }
    text += &voted(merged, &who);
    text += &why(merged, &who);
    text
}

/// What the participants have sent.
fn trained(merged: &Merged, who: &dyn Fn(LearnerId) -> String) -> String {
    let told = &merged.round;
    let mut text = "\ntrained\n".to_owned();
    for learner in &told.participants {
        let what = match (told.updates.get(learner), told.passed.get(learner)) {
            (Some((weights, measured)), _) => {
                let fate = match &told.merging {
                    Some(_) if told.merges(*learner) => "merged",
                    Some(_) => "left out: too few hold it (R80)",
                    None => "not merged",
                };
                format!("sent {:.16}{}, {fate}", weights.to_string(), scores(*measured))
            }
            (None, Some(reason)) => format!("passed{}", because(*reason)),
            (None, None) => "sent nothing".to_owned(),
        };
        let _ = writeln!(text, "  {}  {what}", who(*learner));
    }
    text
}

/// Which updates the members said that they hold, where they were asked.
fn gathered(merged: &Merged, who: &dyn Fn(LearnerId) -> String) -> String {
    let Some(asked) = &merged.round.gathering else { return String::new() };
    let weight = |learner: &LearnerId| merged.weights.get(learner).copied().unwrap_or_default();
    let said: u32 = merged.round.held.keys().map(weight).sum();
    let all: u32 = merged.weights.values().sum();
    let mut text = format!("\ngathered: {said} of {all} votes say what they hold\n");
    for (at, sent) in asked.iter().enumerate() {
        let holders = merged.round.held.iter().filter(|(_, bits)| **bits >> at & 1 == 1);
        let held: u32 = holders.map(|(learner, _)| weight(learner)).sum();
        let enough = if held * 2 > said { "more than half of them" } else { "too few" };
        let _ = writeln!(text, "  {}  {held} of {said} hold it: {enough}", who(sent.learner));
    }
    text
}

/// What became of each update in the merges: what was clipped, and who was near whom, only the weights say.
fn computed_again(
    recorded: &RecordedMerge,
    computed: Option<&MergeReport>,
    who: &dyn Fn(LearnerId) -> String,
) -> String {
    let mut text = "\nmerged\n".to_owned();
    let Some(report) = computed else {
        text += "  what became of each update follows from the weights: --merges DIR|URL\n";
        return text;
    };
    if !report.missing.is_empty() {
        let _ = writeln!(text, "  not computed: {}", report.missing.join("; "));
        return text;
    }
    for ((sender, _), update) in recorded.updates.iter().zip(&report.updates) {
        let what = match &update.void {
            Some(void) => format!("left out: {void}"),
            None => {
                let length = update.length.map_or_else(|| "-".to_owned(), |it| format!("{it:.3}"));
                let clipped = if update.clipped { ", clipped in the open merge" } else { "" };
                let cosine = update.cosine.map(|cosine| format!(", cosine {cosine:.2}"));
                let near = near(update, recorded, who);
                let cosine = cosine.unwrap_or_default();
                format!("length {length}{clipped}, near to {near}{cosine}")
            }
        };
        let _ = writeln!(text, "  {}  {what}", who(*sender));
    }
    let (open, guarded) = (merges::computed(&report.open), merges::computed(&report.guarded));
    let _ = writeln!(text, "  open {open}, guarded {guarded}: {}", merges::agreed(report));
    text
}

/// Among whose nearest an update was.
fn near(
    update: &UpdateReport,
    recorded: &RecordedMerge,
    who: &dyn Fn(LearnerId) -> String,
) -> String {
    let senders = recorded.updates.iter().map(|(sender, _)| *sender);
    let near: Vec<String> = senders
        .filter(|sender| update.neighbour_of.contains(&sender.to_string()))
        .map(who)
        .collect();
    if near.is_empty() { "nobody".to_owned() } else { near.join(", ") }
}

/// How each who could has voted.
fn voted(merged: &Merged, who: &dyn Fn(LearnerId) -> String) -> String {
    if merged.tally.is_none() {
        return String::new();
    }
    let mut text = "\nvoted\n".to_owned();
    for (learner, weight) in &merged.weights {
        let checks = merged.round.checkers.contains(learner);
        let role = if checks { ", a checker" } else { "" };
        let weight = if *weight == 1 { String::new() } else { format!(", {weight} votes") };
        let said = match merged.round.votes.get(learner) {
            None => "no vote".to_owned(),
            Some(vote) if vote.is_abstention() => format!("{}{}", judges(vote), judged(vote)),
            Some(vote) => {
                format!("names {}, {}{}", pair(&vote.merges), judges(vote), judged(vote))
            }
        };
        let _ = writeln!(text, "  {}{weight}{role}  {said}", who(*learner));
    }
    text
}

/// Why the round has the verdict that it has.
fn why(merged: &Merged, who: &dyn Fn(LearnerId) -> String) -> String {
    let mut text = "\nwhy\n".to_owned();
    let Some(tally) = &merged.tally else {
        text += "  nothing came to a vote: the model stays\n";
        return text;
    };
    text += &agreement(tally);
    if let Some((pair, votes)) = tally.agreed() {
        for learner in merged.round.named_another() {
            let learner = who(learner);
            let _ = writeln!(text, "  R83  {learner} names another pair, and counts as silent");
        }
        text += &bearing(merged, tally, pair, votes);
    }
    let recorded = match merged.round.decided {
        Some(_) => as_recorded(merged.is_as_recorded()),
        None => "so far",
    };
    let comes_to = match tally.verdict(merged.threshold) {
        MergeVerdict::Accepted(which) => {
            format!("the {} merge, {}, is accepted", which.word(), which.meaning())
        }
        MergeVerdict::Rejected => "neither can be borne by enough: the model stays".to_owned(),
        MergeVerdict::NoAgreement => "nothing is agreed on: the model stays".to_owned(),
    };
    let _ = writeln!(text, "  so   {comes_to} ({recorded})");
    text
}

/// R82, R86. Whether enough have named one pair.
fn agreement(tally: &MergeTally) -> String {
    let MergeTally { electorate, abstentions, unavailable, checkers, .. } = tally;
    let mut text = String::new();
    match tally.named().next() {
        None => text += "  R82  nobody names any merge\n",
        Some((leading, votes)) => {
            let most = if u64::from(votes.weight) * 2 > u64::from(*electorate) {
                "more than half"
            } else {
                "not more than half"
            };
            let weight = votes.weight;
            let _ = writeln!(
                text,
                "  R82  {weight} of {electorate} votes name {}: {most}",
                pair(leading)
            );
            if *checkers > 0 {
                let named = votes.checkers;
                let enough = if u64::from(named) * 3 >= u64::from(*checkers) * 2 {
                    "at least two thirds"
                } else {
                    "less than two thirds"
                };
                let _ =
                    writeln!(text, "  R86  {named} of {checkers} checkers name it, too: {enough}");
            }
        }
    }
    if *abstentions > 0 {
        let _ = writeln!(
            text,
            "  R81  {abstentions} of {electorate} abstain, {unavailable} of them could not get the bytes"
        );
    }
    text
}

/// R84. Which of the two merges can be borne, and is preferred.
fn bearing(merged: &Merged, tally: &MergeTally, pair: &Merges, votes: &Named) -> String {
    let (electorate, threshold) = (tally.electorate, merged.threshold);
    let mut text = String::new();
    for (which, bear) in [(Merge::Open, votes.bear_open), (Merge::Guarded, votes.bear_guarded)] {
        let word = which.word();
        if pair.of(which).is_none() {
            let _ = writeln!(text, "  R84  there is no {word} merge");
            continue;
        }
        let enough = if threshold.is_met(bear, electorate) { "enough" } else { "too few" };
        let _ = writeln!(
            text,
            "  R84  {bear} of {electorate} can bear the {word} merge: {enough} for {threshold}"
        );
    }
    if pair.guarded.is_some() {
        let prefer = votes.prefer_guarded;
        let most = if u64::from(prefer) * 2 > u64::from(electorate) { "" } else { "not " };
        let _ = writeln!(
            text,
            "  R84  {prefer} of {electorate} find the guarded merge better: {most}more than half"
        );
    }
    text
}
