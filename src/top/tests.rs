//! How the screen looks at three sizes, as text, and where keys lead.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::draw::draw;
use super::look::Look;
use super::position::{Part, Position, Step};
use super::texts::wrapped;
use super::told::{Told, left, span};

/// When it is, and when the phase has begun.
const NOW_MS: u64 = 1_700_000_100_000;
const SINCE_MS: u64 = NOW_MS - 42_000;

/// Who takes part: one with a name, one without, one whose name would turn the line and clear the screen.
const NAMES: [Option<&str>; 4] =
    [Some("Ann"), Some("St. Mary's hospital"), None, Some("x\u{202e}y\u{1b}[2J")];

fn key_of(at: usize) -> String {
    format!("{at}").repeat(64)
}

/// A document as `ui::document` gives it, of an experiment in its 12th round.
fn document() -> Value {
    let people: Vec<Value> = NAMES
        .iter()
        .enumerate()
        .map(|(at, name)| {
            json!({
                "learner": key_of(at), "number": at + 1, "name": name, "seat": "active", "weight": 1,
                "judge": at == 3, "missed_in_a_row": 0, "exhausted": false,
                "totals": {
                    "accepted": 3, "rejected": at, "approvals": 5, "rejections": 1, "abstentions": 0,
                    "missed_turns": 0, "missed_votes": 2, "last_vote_score": 0.9, "last_test_score": 0.91,
                },
            })
        })
        .collect();
    let deeds = |at: usize| -> Vec<&str> {
        let deed = |round: usize| match (round, round % 4 == at) {
            (11, true) => "done",
            (11, false) if at < 2 => "due",
            (11, false) => "none",
            (_, true) if round.is_multiple_of(3) => "lost",
            (_, true) => "won",
            _ if round % 5 == at => "reject",
            _ => "approve",
        };
        (0..12).map(deed).collect()
    };
    let rows = (0..4).map(|at| json!({ "learner": key_of(at), "deeds": deeds(at) }));
    let curve: Vec<Value> = (1..=12)
        .map(|round| {
            let model = 0.6 + 0.03 * f64::from(round / 2 * 2);
            let mean = 0.6 + 0.03 * f64::from(round);
            json!([round, mean, mean + 0.01, model, model + 0.01, mean, mean, "accepted"])
        })
        .collect();
    let curve = json!({ "columns": [], "rows": curve, "rounds": 12 });
    json!({
        "schema": 1, "program": "colearn", "revision": 7, "now_ms": NOW_MS,
        "source": { "kind": "node", "place": "http://127.0.0.1:7400" },
        "connection": { "state": "live" },
        "alarm": null,
        "claims": [
            { "what": "Who did what", "by": "here", "by_text": "✓ verified here", "how": "Signatures." },
            { "what": "Times", "by": "node", "by_text": "said by the node", "how": "Clocks." },
        ],
        "ledger": { "entries": 128 },
        "experiments": [
            {
                "name": "digits", "phase_text": "voting", "finished": false, "round": 12, "max_rounds": 15,
                "member_count": 4, "accepted": 8, "model_vote_score": 0.931, "model_test_score": 0.94,
                "deadline_ms": NOW_MS + 72_000, "waits_for": 2, "motions": 1,
            },
            {
                "name": "iris", "phase_text": "finished", "finished": true, "round": 4, "max_rounds": null,
                "member_count": 3, "accepted": 4, "model_vote_score": null, "model_test_score": null,
                "deadline_ms": null, "waits_for": 0, "motions": 0,
            },
        ],
        "experiment_count": 2,
        "shown": {
            "experiment": {
                "name": "digits", "round": 12, "max_rounds": 15, "member_count": 4, "names": {},
                "finish_reason": null,
                "motions": [{
                    "number": 1, "mover": key_of(0), "approvals": 2, "rejections": 1, "electorate": 4,
                    "deadline_ms": NOW_MS + 3_600_000,
                }],
            },
            "motions": { "1": "1 by Ann (00000000): set threshold = 2/3; 2 for, 1 against, of 4" },
            "history": { "rounds": [{ "round": 12, "verdict": null, "proposer": key_of(3) }] },
            "phase": {
                "text": "voting", "since_ms": SINCE_MS, "deadline_ms": NOW_MS + 72_000,
                "waits_for": [
                    { "learner": key_of(0), "owes_text": "a vote", "usual_ms": 12_000, "late_from_ms": SINCE_MS + 12_000 },
                    { "learner": key_of(1), "owes_text": "a vote", "usual_ms": null, "late_from_ms": null },
                ],
            },
            "people": people,
            "privacy": {
                "cap": { "epsilon_micros": 8_000_000, "delta_picos": 10_000_000 },
                "learners": [
                    { "learner": key_of(0), "exhausted": false,
                      "spent": { "epsilon_micros": 2_000_000, "delta_picos": 10_000_000, "steps": 400 } },
                    { "learner": key_of(2), "exhausted": false, "spent": null },
                ],
            },
            "grid": {
                "rounds": (1..=12).collect::<Vec<u64>>(),
                "rows": rows.collect::<Vec<_>>(),
                "signs": {
                    "approve": { "sign": "✓", "meaning": "voted for" },
                    "reject": { "sign": "✗", "meaning": "voted against" },
                    "won": { "sign": "▲", "meaning": "proposed, accepted" },
                    "lost": { "sign": "△", "meaning": "proposed, not accepted" },
                    "due": { "sign": "…", "meaning": "is waited for" },
                    "done": { "sign": "•", "meaning": "has done its part" },
                    "none": { "sign": "", "meaning": "took no part" },
                },
            },
            "curve": curve, "recent": curve,
        },
    })
}

fn inside() -> Position {
    Position::at(Some("digits".parse().unwrap()))
}

/// What is on a screen of this size, without the ends of lines.
fn screen(document: Value, position: &mut Position, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let told = Told::of(document);
    terminal.draw(|frame| draw(frame, &told, position, Look::with(true), NOW_MS)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn keys(position: &mut Position, told: &Told, keys: &[KeyCode]) -> Step {
    let press =
        |key: &KeyCode| position.on(&Event::Key(KeyEvent::new(*key, KeyModifiers::NONE)), told);
    keys.iter().map(press).last().unwrap()
}

/// `COLEARN_BLESS=1` writes them anew.
#[test]
fn it_looks_like_this_at_three_sizes() {
    for (name, size) in [("wide", (120, 40)), ("usual", (80, 24)), ("small", (44, 12))] {
        let mut all = String::new();
        for (part, mut position) in [("list", Position::at(None)), ("now", inside())] {
            all += &format!("--- {part}\n{}", screen(document(), &mut position, size));
        }
        for part in [Part::Members, Part::Motions, Part::Privacy] {
            let mut position = inside();
            position.part = part;
            all += &format!("--- {}\n{}", part.title(), screen(document(), &mut position, size));
        }
        let path = format!("{}/src/top/screens/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("COLEARN_BLESS").is_some() {
            std::fs::write(&path, &all).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(all, expected, "{path}");
    }
}

#[test]
fn it_can_be_drawn_at_any_size_and_of_any_document() {
    let mut empty = document();
    empty["shown"] = Value::Null;
    empty["experiments"] = json!([]);
    let mut bare = document();
    for part in ["grid", "curve", "recent", "people", "privacy", "motions", "history", "phase"] {
        bare["shown"][part] = Value::Null;
    }
    for size in [(1, 1), (2, 30), (10, 3), (20, 6), (40, 7), (41, 13), (300, 5), (300, 100)] {
        for document in [document(), empty.clone(), bare.clone(), json!({})] {
            for part in Part::ALL {
                for mut position in [Position::at(None), inside()] {
                    (position.part, position.down, position.back) = (part, 1000, 1000);
                    screen(document.clone(), &mut position, size);
                    let told = Told::of(document.clone());
                    for over in ['?', 'v'] {
                        keys(&mut position, &told, &[KeyCode::Char(over), KeyCode::End]);
                        screen(document.clone(), &mut position, size);
                    }
                }
            }
        }
    }
}

#[test]
fn what_others_wrote_does_not_steer_the_terminal() {
    let mut position = inside();
    position.part = Part::Members;
    let told = screen(document(), &mut position, (80, 24));
    assert!(told.contains("x\u{fffd}y\u{fffd}[2J"), "{told}");
    let mut document = document();
    document["alarm"] = json!({
        "title": "FORK", "what": "a\u{1b}]0;x\u{7}\nb", "remedy": "\u{2066}c", "withdraws": true,
    });
    let told = screen(document, &mut position, (80, 24));
    assert!(told.contains("a\u{fffd}]0;x\u{fffd} b") && told.contains("\u{fffd}c"), "{told}");
    assert!(
        !told.chars().any(|it| it != '\n' && (it.is_control() || it == '\u{2066}')),
        "{told:?}"
    );
}

#[test]
fn a_lie_is_said_first_and_clocks_stop() {
    let mut lied = document();
    lied["connection"] = json!({ "state": "ended", "since_ms": NOW_MS - 5_000 });
    lied["alarm"] = json!({
        "title": "FORK: the ledger has two histories", "what": "the evidence is in fork.json",
        "remedy": "Stop trusting this ledger.", "withdraws": true,
    });
    let told = screen(lied.clone(), &mut inside(), (80, 24));
    for part in [
        "FORK: the ledger has two histories",
        "the evidence is in fork.json",
        "Nothing below is claimed to be verified any longer.",
        "Stop trusting this ledger.",
        "Nothing is followed any more for 5 s",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for part in ["ends in", "verified here", "tried again", "late by"] {
        assert!(!told.contains(part), "{part}: {told}");
    }
    // On a small one the first of it is there, and something of what is shown.
    let told = screen(lied, &mut inside(), (44, 12));
    assert!(told.contains("FORK: ") && told.contains("voting"), "{told}");

    let mut away = document();
    away["connection"] =
        json!({ "state": "away", "since_ms": NOW_MS - 65_000, "reason": "refused" });
    let told = screen(away, &mut inside(), (120, 40));
    assert!(told.contains("The node is not reached for 1 min 5 s"), "{told}");
    assert!(told.contains("tried again") && !told.contains("verified here"), "{told}");
}

#[test]
fn keys_lead_where_help_says() {
    let told = Told::of(document());
    let mut position = Position::at(None);
    assert_eq!(position.line(&told), 0);
    keys(&mut position, &told, &[KeyCode::Down, KeyCode::Down, KeyCode::Down]);
    assert_eq!(position.line(&told), 1, "not beyond the last");
    // What is chosen stays so where the order changes.
    let mut turned = document();
    turned["experiments"].as_array_mut().unwrap().reverse();
    assert_eq!(position.line(&Told::of(turned)), 0);
    assert_eq!(keys(&mut position, &told, &[KeyCode::Enter]), Step::Look);
    assert_eq!(position.experiment().unwrap().as_str(), "iris");
    assert_eq!(keys(&mut position, &told, &[KeyCode::Tab, KeyCode::Tab]), Step::Draw);
    assert_eq!(position.part, Part::Motions);
    keys(&mut position, &told, &[KeyCode::BackTab]);
    assert_eq!(position.part, Part::Members);
    // From help back to where one was, and from there to the list.
    assert_eq!(keys(&mut position, &told, &[KeyCode::Char('?'), KeyCode::Esc]), Step::Draw);
    assert_eq!(position.part, Part::Members);
    assert_eq!(keys(&mut position, &told, &[KeyCode::Esc]), Step::Look);
    assert!(position.experiment().is_none());
    assert_eq!(position.line(&told), 1, "where one was");
    assert_eq!(keys(&mut position, &told, &[KeyCode::Esc]), Step::Draw, "esc does not quit");
    assert_eq!(keys(&mut position, &told, &[KeyCode::Char('q')]), Step::Leave);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(position.on(&Event::Key(interrupt), &told), Step::Leave);
}

#[test]
fn without_colours_there_are_none() {
    for colours in [true, false] {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        let mut document = document();
        document["alarm"] =
            json!({ "title": "FORK", "what": "x", "remedy": "y", "withdraws": true });
        let (told, mut position) = (Told::of(document), inside());
        let look = Look::with(colours);
        terminal.draw(|frame| draw(frame, &told, &mut position, look, NOW_MS)).unwrap();
        let cells = &terminal.backend().buffer().content;
        let reset = ratatui::style::Color::Reset;
        let is_coloured = cells.iter().any(|cell| cell.fg != reset || cell.bg != reset);
        assert_eq!(is_coloured, colours);
    }
}

#[test]
fn times_and_lines_are_as_long_as_they_are() {
    assert_eq!(span(0), "0 s");
    assert_eq!((span(59_499), span(59_500)), ("59 s".to_owned(), "1 min 0 s".to_owned()));
    assert_eq!(span(3_600_000 * 25), "1 d 1 h");
    assert_eq!((left(5_000, 2_000), left(2_000, 5_000)), ("3 s".into(), "over for 3 s".into()));
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
    assert_eq!(wrapped("", 3), [""]);
    // A letter may be two cells wide.
    assert_eq!(wrapped("学習学", 4), ["学習", "学"]);
    assert_eq!(wrapped("ab", 0), ["a", "b"]);
}
