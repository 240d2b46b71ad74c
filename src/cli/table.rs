//! Tables, lines and progress bars for people.

use colearn_contracts::{LearnerId, PrivacyCap};
use colearn_records::history::{History, Round, verdict_word};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// A number with three digits behind the point, or a dash.
pub(crate) fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// The first eight digits of a key.
pub(crate) fn short(learner: LearnerId) -> String {
    learner.to_string()[..8].to_owned()
}

/// Shows how many of `length` steps are done, and the time left.
pub(crate) fn progress(length: u64, hidden: bool, step: &str) -> ProgressBar {
    let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(length) };
    let template = format!("{{bar:30}} {step} {{pos}}/{{len}} {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// What the lines of [`round_line`] mean.
pub(crate) const ROUND_HEADER: &str =
    "round  proposer            for  against  absent  verdict    vote score  test score";

/// One line for a closed round.
pub(crate) fn round_line(history: &History, round: &Round) -> String {
    let number = history.number_of(round.proposer);
    let proposer = format!(
        "{} ({})",
        number.map_or_else(|| "?".to_owned(), |number| format!("learner {number}")),
        short(round.proposer)
    );
    let (vote, test) = round.mean_scores();
    let (approvals, rejections, absent, verdict) = match round.result {
        Some(result) => (
            result.approvals.to_string(),
            result.rejections.to_string(),
            result.absent().to_string(),
            verdict_word(result.verdict),
        ),
        None => ("-".into(), "-".into(), "-".into(), "open"),
    };
    format!(
        "{:>5}  {proposer:<20}{approvals:>3}  {rejections:>7}  {absent:>6}  {verdict:<9}  {:>10}  {:>10}",
        round.number,
        score(vote),
        score(test)
    )
}

/// A table of what every learner did.
pub(crate) fn learner_table(history: &History) -> String {
    let mut text = String::from(
        "learner                proposals       votes                 last scores\n\
         number  key         accepted  other   for  against  absent    vote    test\n",
    );
    for (at, learner) in history.learners.iter().enumerate() {
        let totals = history.totals_of(*learner);
        text += &format!(
            "{:>6}  {:<10}  {:>8}  {:>5}  {:>4}  {:>7}  {:>6}  {:>6}  {:>6}\n",
            at + 1,
            short(*learner),
            totals.accepted,
            totals.rejected + totals.missed_turns,
            totals.approvals,
            totals.rejections,
            totals.missed_votes,
            score(totals.last_vote_score),
            score(totals.last_test_score)
        );
    }
    text
}

/// What each learner has stated of its privacy budget.
pub(crate) fn privacy_table(history: &History, cap: Option<PrivacyCap>) -> String {
    let micros = |value: u64| value as f64 / 1e6;
    let mut text = match cap {
        Some(cap) => format!(
            "cap: epsilon {} at delta {:e}\n",
            micros(cap.epsilon_micros),
            cap.delta_picos as f64 / 1e12
        ),
        None => "no cap\n".to_owned(),
    };
    text += "learner                proposals  epsilon     delta   left  noise   clip  sampling  steps\n";
    for (at, learner) in history.learners.iter().enumerate() {
        let privacy = history.privacy.get(learner).copied().unwrap_or_default();
        let name = format!("{:>6}  {:<10}", at + 1, short(*learner));
        let Some(spent) = privacy.spent else {
            text += &format!("{name}  {:>12}  nothing stated\n", privacy.proposals);
            continue;
        };
        let left = match cap {
            _ if privacy.exhausted => "spent".to_owned(),
            Some(cap) => {
                let left = cap.epsilon_micros.saturating_sub(spent.epsilon_micros);
                format!("{:.0} %", 100.0 * left as f64 / cap.epsilon_micros as f64)
            }
            None => "-".to_owned(),
        };
        text += &format!(
            "{name}  {:>12}  {:>7.3}  {:>8.1e}  {left:>5}  {:>5.2}  {:>5.2}  {:>8.4}  {:>5}\n",
            privacy.proposals,
            micros(spent.epsilon_micros),
            spent.delta_picos as f64 / 1e12,
            micros(spent.noise_micros),
            micros(spent.clip_micros),
            spent.sampling_nanos as f64 / 1e9,
            spent.steps
        );
    }
    text
}

/// The same for scripts, in the units of the ledger.
pub(crate) fn privacy_json(history: &History, cap: Option<PrivacyCap>) -> serde_json::Value {
    let learners: Vec<serde_json::Value> = history
        .learners
        .iter()
        .map(|learner| {
            let privacy = history.privacy.get(learner).copied().unwrap_or_default();
            json!({
                "learner": learner.to_string(),
                "proposals": privacy.proposals,
                "spent": privacy.spent,
                "exhausted": privacy.exhausted,
            })
        })
        .collect();
    json!({ "cap": cap, "learners": learners })
}
