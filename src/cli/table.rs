//! Tables and lines for people.

use colearn::history::{History, Round, verdict_word};
use colearn_contracts::LearnerId;

/// A number with three digits behind the point, or a dash.
pub(crate) fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// The first eight digits of a key.
pub(crate) fn short(learner: LearnerId) -> String {
    learner.to_string()[..8].to_owned()
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
