//! Tables whose columns go, the least important first, as the terminal gets narrower.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Row, Table, TableState};
use serde_json::Value;

use super::draw::View;
use super::told::{called, count, left, list, text};
use crate::cli::tell::text::score;

/// A column: what it is called, how wide it is, and how wide the terminal must be for it.
struct Column(&'static str, u16, u16);

/// A cell of a table.
struct Cell(String, Style);

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(text, Style::new())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The experiments of the ledger.
pub(super) fn experiments(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>) {
    let all = list(&view.told.all()["experiments"]);
    if all.is_empty() {
        let none = "There is no experiment yet. Create one with: colearn experiment create NAME --key FILE";
        return frame.render_widget(Paragraph::new(none).style(view.look.soft()), area);
    }
    let columns = [
        Column("Experiment", 0, 0),
        Column("Phase", 23, 50),
        Column("Round", 9, 0),
        Column("Vote score", 10, 64),
        Column("Test score", 10, 92),
        Column("Ends in", 13, 76),
        Column("Waits for", 9, 102),
        Column("Motions", 7, 110),
        Column("Members", 7, 118),
        Column("Accepted", 8, 126),
    ];
    let rows = all.iter().map(|it| {
        let ends = it["deadline_ms"].as_u64();
        let ends = ends.filter(|_| it["finished"] != true && view.told.is_live());
        let round = match it["max_rounds"].as_u64() {
            Some(most) => format!("{}/{most}", count(&it["round"])),
            None => count(&it["round"]),
        };
        vec![
            text(&it["name"]).into(),
            text(&it["phase_text"]).into(),
            round.into(),
            score(it["model_vote_score"].as_f64()).into(),
            score(it["model_test_score"].as_f64()).into(),
            ends.map_or_else(|| "-".to_owned(), |at| left(at, view.now_ms)).into(),
            count(&it["waits_for"]).into(),
            count(&it["motions"]).into(),
            count(&it["member_count"]).into(),
            count(&it["accepted"]).into(),
        ]
    });
    let rows = rows.collect();
    let chosen = view.position.line(view.told);
    table(frame, area, view, &columns, rows, Some(chosen));
}

/// Everybody who ever joined.
pub(super) fn members(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>, shown: &Value) {
    let columns = [
        Column("Member", 0, 0),
        Column("Key", 8, 56),
        Column("Seat", 10, 44),
        Column("Owes", 14, 0),
        Column("Vote score", 10, 68),
        Column("Test score", 10, 80),
        Column("Accepted", 8, 90),
        Column("Not accepted", 12, 104),
        Column("For", 5, 112),
        Column("Against", 7, 120),
        Column("Missed votes", 12, 134),
    ];
    let waits = list(&shown["phase"]["waits_for"]);
    let rows = list(&shown["people"]).iter().map(|it| {
        let owed = waits.iter().find(|owed| owed["learner"] == it["learner"]);
        let owes = match owed {
            Some(owed) => Cell(text(&owed["owes_text"]).to_owned(), view.look.late()),
            None => "-".into(),
        };
        let seat = match it["seat"].as_str() {
            Some(_) if it["exhausted"] == true => "spent".to_owned(),
            Some(_) if it["judge"] == true => "judge".to_owned(),
            Some(seat) => seat.replace('_', " "),
            None => "gone".to_owned(),
        };
        let totals = &it["totals"];
        vec![
            called(shown, &it["learner"]).into(),
            text(&it["learner"]).chars().take(8).collect::<String>().into(),
            seat.into(),
            owes,
            score(totals["last_vote_score"].as_f64()).into(),
            score(totals["last_test_score"].as_f64()).into(),
            count(&totals["accepted"]).into(),
            count(&totals["rejected"]).into(),
            count(&totals["approvals"]).into(),
            count(&totals["rejections"]).into(),
            count(&totals["missed_votes"]).into(),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    if rows.is_empty() {
        let none = Paragraph::new("Nobody has joined yet.").style(view.look.soft());
        return frame.render_widget(none, area);
    }
    table(frame, area, view, &columns, rows, None);
}

/// What members have stated of their privacy budgets.
pub(super) fn privacy(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>, shown: &Value) {
    let (cap, learners) = (&shown["privacy"]["cap"], list(&shown["privacy"]["learners"]));
    let micros = |value: &Value| value.as_u64().map(|value| value as f64 / 1e6);
    let delta = |value: &Value| {
        let value = value.as_u64().map(|value| value as f64 / 1e12);
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:e}"))
    };
    let told = match micros(&cap["epsilon_micros"]) {
        Some(most) => format!("The cap is ε = {most} at δ = {}.", delta(&cap["delta_picos"])),
        None => "There is no cap.".to_owned(),
    };
    let [above, area] =
        ratatui::layout::Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(told), above);
    let stated = learners.iter().filter(|it| !it["spent"].is_null() || it["exhausted"] == true);
    let rows = stated.map(|it| {
        let (spent, look) = (&it["spent"], view.look);
        let epsilon = micros(&spent["epsilon_micros"]);
        let of_cap = match (epsilon, micros(&cap["epsilon_micros"])) {
            _ if it["exhausted"] == true => Cell("spent".to_owned(), look.late()),
            (Some(epsilon), Some(most)) if most > 0.0 => {
                format!("{:.0} %", 100.0 * epsilon / most).into()
            }
            _ => "-".into(),
        };
        vec![
            called(shown, &it["learner"]).into(),
            score(epsilon).into(),
            delta(&spent["delta_picos"]).into(),
            of_cap,
            count(&spent["steps"]).into(),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    if rows.is_empty() {
        let none = match cap.is_null() {
            true => "No member trains with differential privacy here.",
            false => "Nobody has stated anything yet.",
        };
        return frame.render_widget(Paragraph::new(none).style(view.look.soft()), area);
    }
    let columns = [
        Column("Member", 0, 0),
        Column("ε", 9, 0),
        Column("δ", 9, 60),
        Column("Of the cap", 10, 0),
        Column("Steps", 10, 70),
    ];
    table(frame, area, view, &columns, rows, None);
}

/// A table with a line that is chosen, or one that scrolls.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &mut View<'_>,
    columns: &[Column],
    rows: Vec<Vec<Cell>>,
    chosen: Option<usize>,
) {
    let is_there = |at: usize| columns.get(at).is_some_and(|it| it.2 <= area.width);
    let widths = columns.iter().filter(|it| it.2 <= area.width).map(|it| match it.1 {
        0 => Constraint::Fill(1),
        width => Constraint::Length(width),
    });
    let heads = columns.iter().filter(|it| it.2 <= area.width).map(|it| it.0);
    let head = Row::new(heads).style(view.look.strong());
    let room = usize::from(area.height.saturating_sub(1));
    let most = rows.len().saturating_sub(room);
    if chosen.is_none() {
        view.position.down = view.position.down.min(most);
    }
    let rows = rows.into_iter().map(|row| {
        let cells = row.into_iter().enumerate().filter(|(at, _)| is_there(*at));
        Row::new(cells.map(|(_, Cell(text, style))| Text::styled(text, style)))
    });
    let table = Table::new(rows, widths)
        .header(head)
        .column_spacing(1)
        .row_highlight_style(view.look.chosen());
    let offset = if chosen.is_none() { view.position.down } else { 0 };
    let mut state = TableState::new().with_offset(offset).with_selected(chosen);
    frame.render_stateful_widget(table, area, &mut state);
}
