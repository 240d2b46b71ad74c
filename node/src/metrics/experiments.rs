//! Experiments and their members in numbers. Of how many is bounded, for whoever may create or join could make others
//! pay for any number of series.

use std::borrow::Cow;
use std::collections::HashSet;

use colearn_contracts::{ExperimentName, LearnerId, Phase, Verdict};
use colearn_records::convert::MemberState;
use colearn_records::words::{Word as _, Words as _};

use super::chronicle::{Story, Told};
use super::family::{Families, Label};
use super::key_id;
use crate::view::{ExperimentView, View};

/// Of how many experiments that are not finished there are metrics: of those that were created first, so that who
/// creates more pushes nobody's out.
const MAX_EXPERIMENTS: usize = 200;
/// Of how many members in all; each experiment has the same share, and what one does not need is for the others.
const MAX_MEMBERS: usize = 2_000;

/// The words of the phases that an experiment can be in before it has finished.
const PHASES: [&str; 5] = ["waiting", "paused", "proposing", "voting", "merged"];

/// An experiment of which there are metrics.
struct Shown<'a> {
    view: &'a ExperimentView,
    story: Option<&'a Story>,
}

impl Shown<'_> {
    fn name(&self) -> &ExperimentName {
        &self.view.state().name
    }

    fn label(&self) -> Label {
        ("experiment", Cow::Owned(self.name().to_string()))
    }
}

/// Adds what there is to say of a ledger's experiments at this time, in ms since 1970.
pub(super) fn experiments(families: &mut Families, view: &View, told: &Told, now_ms: u64) {
    let mut phases = PHASES.map(|phase| (phase, 0_u64));
    let (mut finished, mut all) = (0_u64, Vec::new());
    for view in view.experiments_after("") {
        let word = view.state().phase.word();
        match phases.iter_mut().find(|(phase, _)| *phase == word) {
            Some((_, count)) => {
                *count += 1;
                all.push(Shown { view, story: told.story(&view.state().name) });
            }
            None => finished += 1,
        }
    }
    let family = families.gauge("experiments", "Experiments, by phase.");
    for (phase, count) in phases.into_iter().chain([("finished", finished)]) {
        family.sample([("phase", phase.into())], count);
    }
    // What is not followed yet was created last.
    all.sort_by_key(|shown| shown.story.map_or(u64::MAX, |story| story.created));
    let left_out = all.len().saturating_sub(MAX_EXPERIMENTS);
    all.truncate(MAX_EXPERIMENTS);
    // Counters of what is half read would seem to have fallen with a restart, and then to rise by all.
    if !told.is_caught_up() {
        all.iter_mut().for_each(|shown| shown.story = None);
    }
    each(families, &all, now_ms);
    let members_left_out = members(families, &all);
    let family = families.gauge(
        "metrics_left_out",
        "Experiments that are not finished, and members of those that are shown, of which there are no metrics.",
    );
    family.sample([("what", "experiments".into())], left_out);
    family.sample([("what", "members".into())], members_left_out);
}

fn each(families: &mut Families, all: &[Shown<'_>], now_ms: u64) {
    let family = families.gauge("experiment_round", "The last opened round.");
    for shown in all {
        family.sample([shown.label()], shown.view.state().round);
    }
    let family = families.gauge("experiment_phase", "1 for the phase that it is in.");
    for shown in all {
        let word = shown.view.state().phase.word();
        for phase in PHASES {
            family.sample([shown.label(), ("phase", phase.into())], phase == word);
        }
    }
    let help = "How long it is until the phase ends by itself; none where it does not.";
    let family = families.gauge("experiment_deadline", help).in_seconds();
    for shown in all {
        if let Some(deadline_ms) = deadline_ms(&shown.view.state().phase) {
            let left_ms = deadline_ms as f64 - now_ms as f64;
            family.sample([shown.label()], left_ms / 1e3);
        }
    }
    let family = families.gauge("experiment_members", "Members that take part.");
    for shown in all {
        family.sample([shown.label()], shown.view.state().member_count);
    }
    let family = families.counter("experiment_rounds", "Closed rounds, by verdict.");
    for shown in all {
        let Some(story) = shown.story else { continue };
        // Those that did not occur, too: what begins with its first event has not risen by it.
        for (verdict, _, _) in Verdict::WORDS {
            let count = story.rounds.get(verdict).copied().unwrap_or(0);
            family.sample([shown.label(), ("verdict", (*verdict).into())], count);
        }
    }
    let help = "When the last round was closed, in seconds since 1970.";
    let family = families.gauge("experiment_last_round_timestamp", help).in_seconds();
    for shown in all {
        if let Some(last_ms) = shown.story.and_then(|story| story.last_round_ms) {
            family.sample([shown.label()], last_ms as f64 / 1e3);
        }
    }
}

/// Adds what there is to say of members; how many are left out.
fn members(families: &mut Families, all: &[Shown<'_>]) -> usize {
    let counts: Vec<usize> = all.iter().map(|shown| shown.view.present().count()).collect();
    let shares = shares(&counts, MAX_MEMBERS);
    let mut left_out = counts.iter().sum::<usize>();
    let mut listed: Vec<(&Shown<'_>, String, LearnerId, &MemberState)> = Vec::new();
    for (shown, share) in all.iter().zip(shares) {
        let mut ids = HashSet::new();
        for (learner, member) in shown.view.standing().take(share) {
            // Two keys that begin alike are of somebody who has looked for them; two samples of one name would be
            // no metrics any more.
            let id = key_id(&learner);
            if ids.insert(id.clone()) {
                listed.push((shown, id, learner, member));
            }
        }
    }
    left_out -= listed.len();
    let help = "When its last transaction was recorded, in seconds since 1970.";
    let family = families.gauge("member_last_seen_timestamp", help).in_seconds();
    for (shown, id, learner, _) in &listed {
        if let Some(last_ms) = shown.story.and_then(|story| story.heard(learner)) {
            let labels = [shown.label(), ("member", id.clone().into())];
            family.sample(labels, last_ms as f64 / 1e3);
        }
    }
    let family = families.gauge("member_missed_turns", "Turns that it has missed in a row.");
    for (shown, id, _, member) in &listed {
        family.sample([shown.label(), ("member", id.clone().into())], member.missed);
    }
    left_out
}

/// How many of each may be had where there is room for so many in all: the same of each, and what one does not need is
/// for the others, the first before the later.
fn shares(counts: &[usize], room: usize) -> Vec<usize> {
    let each = room / counts.len().max(1);
    let mut shares: Vec<usize> = counts.iter().map(|count| (*count).min(each)).collect();
    let mut left = room - shares.iter().sum::<usize>();
    for (share, count) in shares.iter_mut().zip(counts) {
        let more = (count - *share).min(left);
        *share += more;
        left -= more;
    }
    shares
}

/// When a phase ends by itself, in ms since 1970.
fn deadline_ms(phase: &Phase) -> Option<u64> {
    match phase {
        Phase::Proposing { deadline_ms, .. } | Phase::Voting { deadline_ms, .. } => {
            Some(*deadline_ms)
        }
        Phase::Merged(round) => Some(round.deadline_ms),
        Phase::Waiting | Phase::Paused(_) | Phase::Finished(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use colearn_records::record::Record;

    use super::*;
    use crate::metrics::chronicle::Chronicle;
    use crate::testing::{Draws, create, keeper, next_step, signed};
    use crate::view::Publisher;

    #[test]
    fn each_has_its_share_and_what_others_leave() {
        assert!(shares(&[], 10).is_empty());
        assert_eq!(shares(&[3, 4], 10), [3, 4]);
        assert_eq!(shares(&[100, 2, 100], 10), [5, 2, 3]);
        assert_eq!(shares(&[5, 5, 5], 2), [2, 0, 0]);
    }

    fn text(view: &View, chronicle: &Chronicle) -> String {
        let mut families = Families::default();
        experiments(&mut families, view, &chronicle.told(), 10_000);
        families.text(Some("colearn")).unwrap()
    }

    fn samples(text: &str) -> BTreeMap<&str, f64> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect()
    }

    /// In a history that has something of everything.
    #[test]
    fn what_is_counted_is_what_the_ledger_says() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let (mut draws, mut now_ms) = (Draws(5), 1_000);
        for _ in 0..1_500 {
            now_ms += [0, 1, 7, 60][draws.below(4) as usize];
            let transaction = next_step(&mut draws, keeper.contract());
            keeper.decide(now_ms, &transaction).unwrap();
        }
        keeper.seal().unwrap().wait().unwrap();
        let reader = keeper.reader();
        let chronicle = Chronicle::new(reader.size());
        let mut closed: BTreeMap<String, u64> = BTreeMap::new();
        for index in 0..reader.size() {
            assert!(!chronicle.told().is_caught_up());
            let entry = Record::decode(&reader.entry(index).unwrap()).unwrap();
            if let Record::Outcome(outcome) = &entry.record
                && let colearn_contracts::Decision::RoundClosed { verdict, .. } = &outcome.what
            {
                let labels = format!(
                    "colearn_experiment_rounds_total{{experiment=\"{}\",verdict=\"{}\"}}",
                    outcome.experiment,
                    verdict.word()
                );
                *closed.entry(labels).or_default() += 1;
            }
            chronicle.note(Some(&entry));
        }
        assert!(chronicle.told().is_caught_up());
        let (_, views) = Publisher::new(keeper.contract(), reader.size());
        let view = views.latest();
        let told = text(&view, &chronicle);
        let samples = samples(&told);
        let unfinished: Vec<_> = view.unfinished().collect();
        assert!(!unfinished.is_empty() && !closed.is_empty());
        for experiment in &unfinished {
            let name = &experiment.state().name;
            let of = |what: &str| samples[&*format!("colearn_{what}{{experiment=\"{name}\"}}")];
            assert_eq!(of("experiment_round"), experiment.state().round as f64);
            assert_eq!(of("experiment_members"), f64::from(experiment.state().member_count));
            let phase = experiment.state().phase.word();
            let is = |phase: &str| {
                let labels = format!("experiment=\"{name}\",phase=\"{phase}\"");
                samples[&*format!("colearn_experiment_phase{{{labels}}}")]
            };
            assert_eq!(PHASES.map(is).iter().sum::<f64>(), 1.0);
            assert_eq!(is(phase), 1.0);
        }
        let names: HashSet<String> =
            unfinished.iter().map(|it| format!("experiment=\"{}\"", it.state().name)).collect();
        closed.retain(|labels, _| names.iter().any(|name| labels.contains(name)));
        // Verdicts that did not occur are there, too.
        for (name, (verdict, _, _)) in
            names.iter().flat_map(|name| Verdict::WORDS.iter().map(move |verdict| (name, verdict)))
        {
            let labels = format!("colearn_experiment_rounds_total{{{name},verdict=\"{verdict}\"}}");
            closed.entry(labels).or_default();
        }
        let rounds = samples.iter().filter(|(it, _)| it.contains("experiment_rounds_total"));
        let rounds: BTreeMap<String, u64> =
            rounds.map(|(labels, count)| ((*labels).to_owned(), *count as u64)).collect();
        assert_eq!(rounds, closed);
        let members: usize = unfinished.iter().map(|it| it.present().count()).sum();
        let seen = samples.keys().filter(|it| it.contains("member_last_seen")).count();
        assert!(seen > 0 && seen <= members);
        let missed = samples.keys().filter(|it| it.contains("member_missed_turns")).count();
        assert_eq!(missed, members);
        // Of what is half read nothing is counted.
        let half = Chronicle::new(reader.size());
        for index in 0..reader.size() / 2 {
            half.note(Record::decode(&reader.entry(index).unwrap()).ok().as_ref());
        }
        assert!(!text(&view, &half).contains("colearn_experiment_rounds_total{"));
    }

    #[test]
    fn who_creates_many_experiments_pushes_no_earlier_one_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        // The later ones come first by name.
        for number in 0..MAX_EXPERIMENTS + 7 {
            let name = format!("e{:04}", 9_999 - number);
            keeper.decide(1_000, &signed((number / 32) as u8, create(&name))).unwrap();
        }
        keeper.seal().unwrap().wait().unwrap();
        let (reader, chronicle) = (keeper.reader(), Chronicle::new(0));
        for index in 0..reader.size() {
            chronicle.note(Record::decode(&reader.entry(index).unwrap()).ok().as_ref());
        }
        let (_, views) = Publisher::new(keeper.contract(), reader.size());
        let told = text(&views.latest(), &chronicle);
        let of = |name: &str| format!("colearn_experiment_round{{experiment=\"{name}\"}} 0\n");
        assert!(told.contains(&of("e9999")) && told.contains(&of("e9800")), "{told}");
        assert!(!told.contains(&of("e9799")));
        assert!(told.contains("colearn_metrics_left_out{what=\"experiments\"} 7\n"));
        assert!(told.contains("colearn_experiments{phase=\"waiting\"} 207\n"));
    }
}
