//! Merged rounds that were computed again, for people.

use std::collections::BTreeMap;

use colearn_audit::merges::{Computed, MergeReport, UpdateReport};

/// How much of a digest or key is shown.
const SHOWN: usize = 8;

/// What became of a member's updates, over all rounds.
#[derive(Default)]
struct Standing {
    updates: usize,
    void: usize,
    clipped: usize,
    alone: usize,
    false_pairs: usize,
}

/// What is to be said of each round, and how each member did over all of them.
pub(crate) fn merges(reports: &[MergeReport]) -> String {
    let mut text = String::new();
    let mut members: BTreeMap<&str, Standing> = BTreeMap::new();
    for report in reports {
        text += &round(report);
        for update in &report.updates {
            let standing = members.entry(&update.learner).or_default();
            standing.updates += 1;
            standing.void += usize::from(update.void.is_some());
            standing.clipped += usize::from(update.clipped);
            standing.alone += usize::from(is_alone(update, report));
        }
        for learner in &report.false_pairs {
            members.entry(learner).or_default().false_pairs += 1;
        }
    }
    text += &looked_back(reports);
    if members.is_empty() {
        return text;
    }
    text += "member    updates   void  clipped  near nobody's  false pairs\n";
    for (learner, it) in members {
        let Standing { updates, void, clipped, alone, false_pairs } = it;
        text += &format!(
            "{learner:.SHOWN$}  {updates:>7}  {void:>5}  {clipped:>7}  {alone:>13}  {false_pairs:>11}\n"
        );
    }
    text
}

/// How far back each experiment's rounds could be computed again, where that is not to the first.
fn looked_back(reports: &[MergeReport]) -> String {
    // By experiment: how many rounds come before the first that was computed, and which that is.
    let mut back: BTreeMap<&str, (usize, Option<u64>)> = BTreeMap::new();
    for report in reports {
        match back.entry(&report.experiment).or_default() {
            (_, Some(_)) => {}
            (_, first) if report.missing.is_empty() => *first = Some(report.round),
            (before, None) => *before += 1,
        }
    }
    let told = back.into_iter().filter_map(|(experiment, (before, first))| {
        let first = first.filter(|_| before > 0)?;
        Some(format!(
            "{experiment}: computed again from round {first} on, and not {before} before it; nodes let go of the updates \
             of closed rounds as their operators say (--keep-updates), and the ledger does not say for how long they keep \
             them\n"
        ))
    });
    told.collect()
}

/// A line for what was computed, and one for each update and vote that there is something to be said of.
fn round(report: &MergeReport) -> String {
    let place = format!("round {} of {}", report.round, report.experiment);
    if !report.missing.is_empty() {
        return format!("{place}: not computed: {}\n", report.missing.join("; "));
    }
    let agreed = agreed(report);
    let mut text = format!(
        "{place}: open {}, guarded {}, {agreed}\n",
        computed(&report.open),
        computed(&report.guarded)
    );
    for update in &report.updates {
        if let Some(void) = &update.void {
            text += &format!("  {:.SHOWN$} left out: {void}\n", update.learner);
        }
    }
    for learner in &report.false_pairs {
        text += &format!("  {learner:.SHOWN$} named another pair\n");
    }
    text
}

/// Whether what was computed is what was agreed on.
pub(super) fn agreed(report: &MergeReport) -> &'static str {
    match report.as_agreed {
        Some(true) => "as agreed",
        Some(false) => "NOT AS AGREED",
        None => "no agreement",
    }
}

pub(super) fn computed(merge: &Computed) -> String {
    match (&merge.digest, &merge.absent) {
        (Some(digest), _) => format!("{digest:.SHOWN$}"),
        (None, Some(absent)) => format!("none ({absent})"),
        (None, None) => "none".to_owned(),
    }
}

/// Whether it was among nobody's nearest, where there were others.
fn is_alone(update: &UpdateReport, report: &MergeReport) -> bool {
    let others = report.updates.iter().filter(|update| update.void.is_none()).count() > 1;
    others && update.void.is_none() && update.neighbour_of.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_far_back_rounds_could_be_computed() {
        let report = |experiment: &str, round, is_there: bool| MergeReport {
            experiment: experiment.to_owned(),
            round,
            index: round,
            missing: if is_there { Vec::new() } else { vec!["it is not there".to_owned()] },
            updates: Vec::new(),
            open: Computed::default(),
            guarded: Computed::default(),
            false_pairs: Vec::new(),
            as_agreed: None,
        };
        let rounds = |experiment, there: [bool; 3]| {
            (1..).zip(there).map(move |(round, it)| report(experiment, round, it))
        };
        let [gone, cut, whole, none] =
            [[false, false, true], [true, false, true], [true; 3], [false; 3]];
        let all = rounds("a", gone).chain(rounds("b", cut)).chain(rounds("c", whole));
        let told = looked_back(&all.chain(rounds("d", none)).collect::<Vec<_>>());
        assert!(
            told.starts_with("a: computed again from round 3 on, and not 2 before it"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
