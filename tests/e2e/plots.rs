//! Plots: readable from one round to ten thousand, and looked at more closely in a real browser.

use std::path::Path;

use colearn::plot;
use colearn_contracts::{Choice, Digest, LearnerId, Scores, Verdict};
use colearn_records::history::{CastVote, History, Round, RoundResult};
use serde_json::json;

use crate::page::HOSTILE;
use crate::support::browser::Browser;
use crate::support::{id, key, name};

const LEARNERS: usize = 5;

/// Scores at a height, in parts of a thousand.
fn scores(vote: u64, test: u64) -> Scores {
    Scores { vote: Some(vote as i64 * 1000), test: Some(test as i64 * 1000) }
}

/// A history of so many rounds: scores that rise, a round in seven that is rejected, one that is always against,
/// and one that is away for the middle third. Somebody has a hostile name.
fn history(rounds: u64) -> History {
    let mut history = History::new(name("plots"));
    history.learners = (0..LEARNERS).map(|at| id(&key(at as u8 + 1))).collect();
    for (learner, called) in history.learners.iter().zip(["City Hospital", HOSTILE, "C & D"]) {
        history.names.insert(*learner, called.parse().unwrap());
    }
    for number in 1..=rounds {
        let proposer = number as usize % LEARNERS;
        let accepted = number % 7 != 0;
        let height = 500 + 400 * number / rounds + number * 37 % 41;
        let away = number > rounds / 3 && number < 2 * rounds / 3;
        let vote = |(at, learner): (usize, &LearnerId)| {
            let choice = match at {
                4 => Choice::Reject,
                _ if accepted => Choice::Approve,
                _ => Choice::Abstain,
            };
            let vote = CastVote {
                choice,
                reason: None,
                scores: scores(height + 7 * at as u64, height - 20),
            };
            (at != proposer && !(at == 3 && away)).then_some((*learner, vote))
        };
        let ballots = history.learners.iter().enumerate().filter_map(vote).collect();
        let verdict = if accepted { Verdict::Accepted } else { Verdict::Rejected };
        history.rounds.push(Round {
            number,
            proposer: Some(history.learners[proposer]),
            merged: None,
            base: Digest([1; 32]),
            proposal: Some((Digest([2; 32]), scores(height, height - 20))),
            ballots,
            passed: None,
            opened_ms: number * 1000,
            voting_ms: Some(number * 1000 + 1),
            voted_ms: Default::default(),
            closed_ms: Some(number * 1000 + 2),
            result: Some(RoundResult {
                verdict,
                approvals: 3,
                rejections: 1,
                abstentions: 0,
                unavailable: 0,
                electorate: 4,
                model: Digest([2; 32]),
            }),
        });
    }
    history
}

/// Who keeps the ledger, in a line and in two.
fn notes() -> Vec<String> {
    vec!["kept by a contract".to_owned(), "word of whoever shows this copy ".repeat(8)]
}

/// Where somebody wants to look at the pictures themselves.
fn kept(name: &str) -> Option<std::path::PathBuf> {
    std::env::var_os("COLEARN_SCREENSHOTS").map(|folder| Path::new(&folder).join(name))
}

#[test]
fn a_picture_has_as_much_in_it_as_can_be_seen_however_many_rounds_there_are() {
    let dir = tempfile::tempdir().unwrap();
    for rounds in [1, 40, 400, 10_000] {
        let history = history(rounds);
        let path = dir.path().join("plot.svg");
        plot::write(&history, Some("accuracy"), &notes(), &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        assert!(svg.contains("mean test score (accuracy)"), "{rounds}");
        assert!(svg.contains("the accepted model: test score (accuracy)"), "{rounds}");
        assert!(!svg.contains(HOSTILE));
        assert!(svg.contains("kept by a contract") && svg.contains("word of whoever"), "{rounds}");
        assert!(svg.contains("City Hospi…"));
        assert_eq!(svg.contains("rounds a column"), rounds > 110, "{rounds}");
        let shapes = svg.matches("<rect").count();
        assert!(shapes < 5000, "{rounds}: {shapes} rectangles");
        assert!(svg.len() < 700_000, "{rounds}: {} bytes", svg.len());
        if let Some(path) = kept(&format!("plot-{rounds}.png")) {
            plot::write(&history, Some("accuracy"), &notes(), &path).unwrap();
        }
    }
}

#[test]
fn a_plot_as_a_page_can_be_looked_at_more_closely_and_asks_nobody() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    for rounds in [1_u64, 40, 10_000] {
        let path = dir.path().join(format!("plot-{rounds}.html"));
        plot::write(&history(rounds), None, &notes(), &path).unwrap();
        browser.open(&format!("file://{}", path.display()));
        browser.look(1000, 900, false);
        browser
            .wait_until(&format!("document.body && document.body.dataset.view === '1 {rounds}'"));
        // Both drawings are there, and the last round is told of.
        browser
            .wait_until("!!document.getElementById('chart') && !!document.getElementById('strip')");
        let told = browser.value("document.getElementById('readout').textContent");
        assert!(told.as_str().unwrap().starts_with(&format!("round {rounds}. ")), "{told}");
        let notes = browser.value("document.querySelectorAll('.note').length");
        assert_eq!(notes, 3);
        let model = browser.value("document.getElementById('readout').textContent.includes('the accepted model: test score: ')");
        assert_eq!(model, true);
        assert_eq!(browser.nameless(), Vec::<serde_json::Value>::new());
        for width in [360, 1400] {
            browser.look(width, 900, false);
            let wide =
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
            browser.wait_until(wide);
        }
        browser.look(1000, 900, false);
        if let Some(path) = kept(&format!("plot-{rounds}-page.png")) {
            browser.picture(&path);
        }
    }
    // A part is chosen with the pointer, by dragging over it.
    browser.wait_until("document.getElementById('chart').getBoundingClientRect().width > 500");
    let spot = browser.value(
        "(() => { const it = document.getElementById('chart').getBoundingClientRect(); \
         return [it.left + it.width * 0.3, it.left + it.width * 0.32, it.top + it.height / 2]; })()",
    );
    let [from, to, y] = [0, 1, 2].map(|at| spot[at].as_f64().unwrap());
    for (kind, x) in [("mousePressed", from), ("mouseMoved", to), ("mouseReleased", to)] {
        let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
        browser.call("Input.dispatchMouseEvent", event);
    }
    let span = "document.body.dataset.view.split(' ').map(Number).reduce((a, b) => b - a)";
    browser.wait_until(&format!("{span} < 300 && {span} > 100"));
    // Closer still: each round has its own column, and says in words what it shows.
    browser.value("document.getElementById('chart').focus()");
    for _ in 0..3 {
        browser.press("+", 0);
    }
    browser.wait_until(&format!("{span} < 60"));
    let titles = "[...document.querySelectorAll('#strip g title')].map((it) => it.textContent)";
    browser.wait_until(&format!(
        "{titles}.some((it) => /^City Hospital, round \\d+: voted for$/.test(it))"
    ));
    browser.wait_until(&format!("{titles}.some((it) => it.startsWith('<img src=x'))"));
    if let Some(path) = kept("plot-closer-page.png") {
        browser.picture(&path);
    }
    // Along it by keys, and back to all of it.
    let told = browser.value("document.getElementById('readout').textContent");
    browser.press("ArrowLeft", 37);
    assert_ne!(browser.value("document.getElementById('readout').textContent"), told);
    browser.value("document.getElementById('series-0').click()");
    browser
        .wait_until("document.getElementById('series-0').getAttribute('aria-pressed') === 'false'");
    browser.value("document.getElementById('all').click()");
    browser.wait_until("document.body.dataset.view === '1 10000'");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
    let elsewhere = browser.asked().into_iter().filter(|it| !it.starts_with("file:")).count();
    assert_eq!(elsewhere, 0);
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
}

#[test]
fn curves_are_a_page_too() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("epsilon.html");
    let path = path.to_str().unwrap();
    crate::support::succeed(&[
        "dp",
        "epsilon",
        "--noise",
        "1.1",
        "--batch",
        "256",
        "--examples",
        "60000",
        "--epochs",
        "15",
        "--plot",
        path,
    ]);
    browser.open(&format!("file://{path}"));
    browser.wait_until("!!document.getElementById('chart') && !document.getElementById('strip')");
    browser.wait_until("document.getElementById('readout').textContent.includes(': ')");
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}
