//! How an experiment goes on: its phase and who is waited for, scores, and who did what.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};
use serde_json::Value;

use super::draw::View;
use super::position::ROUNDS;
use super::texts::wrapped;
use super::told::{called, left, list, span, text};
use crate::cli::tell::text::score;

/// How high the parts are: what goes on, and the least for scores and for who did what.
const PHASE: u16 = 7;
const SCORES: u16 = 7;
const GRID: u16 = 5;
/// How wide a round is in the grid, and how often it has its number above.
const ROUND: usize = 2;
const NUMBERED: u64 = 5;
/// A space at which no line is broken.
const TOGETHER: &str = "\u{a0}";
/// The widest that names are in the grid.
const NAMES: usize = 16;

/// All of it, or what there is room for.
pub(super) fn now(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>, shown: &Value) {
    let (phase, waiting) = (phase(view, shown), waiting(view, shown));
    if area.height < PHASE || area.width < 40 {
        let lines: Vec<Line<'_>> = phase.into_iter().chain(waiting).collect();
        return frame.render_widget(Paragraph::new(lines), area);
    }
    let people = u16::try_from(list(&shown["grid"]["rows"]).len()).unwrap_or(u16::MAX);
    let rest = area.height - PHASE;
    let all = people.saturating_add(4).max(GRID);
    let grid_height = match rest {
        ..GRID => 0,
        _ if rest < SCORES + GRID => rest,
        _ => all.min((rest / 2).max(GRID)).max(rest.saturating_sub(3 * SCORES)).min(all),
    };
    let scores_height = if rest < grid_height + SCORES { 0 } else { rest - grid_height };
    let [above, middle, below] = Layout::vertical([
        Constraint::Length(PHASE),
        Constraint::Length(scores_height),
        Constraint::Length(grid_height),
    ])
    .areas(area);
    let [here, beside] =
        Layout::horizontal([Constraint::Percentage(42), Constraint::Fill(1)]).areas(above);
    frame.render_widget(Paragraph::new(phase).block(framed("Now")), here);
    frame.render_widget(Paragraph::new(waiting).block(framed("Waited for")), beside);
    if scores_height > 0 {
        scores(frame, middle, view, shown);
    }
    if grid_height > 0 {
        grid(frame, below, view, shown);
    }
}

fn framed(title: impl Into<String>) -> Block<'static> {
    Block::bordered().title(format!(" {} ", title.into()))
}

fn phase(view: &View<'_>, shown: &Value) -> Vec<Line<'static>> {
    let (experiment, phase) = (&shown["experiment"], &shown["phase"]);
    let mut lines = vec![Line::styled(text(&phase["text"]).to_owned(), view.look.strong())];
    if let Some(at) = phase["deadline_ms"].as_u64().filter(|_| view.told.is_live()) {
        let style = if at > view.now_ms { Style::new() } else { view.look.late() };
        lines.push(Line::styled(format!("ends in {}", left(at, view.now_ms)), style));
    }
    if let Some(reason) = experiment["finish_reason"].as_str() {
        lines.push(Line::from(format!("because: {}", reason.replace('_', " "))));
    }
    let open = list(&shown["history"]["rounds"]).last().filter(|it| it["verdict"].is_null());
    if let Some(proposer) = open.map(|it| &it["proposer"]).filter(|it| it.is_string()) {
        lines.push(Line::from(format!("proposer {}", called(shown, proposer))));
    }
    let last = list(&shown["curve"]["rows"]).last();
    let of_model = |at: usize| score(last.and_then(|row| row[at].as_f64()));
    lines.push(Line::from(format!("model: vote {}, test {}", of_model(3), of_model(4))));
    let members = experiment["member_count"].as_u64().unwrap_or(0);
    lines.push(Line::styled(format!("{members} members"), view.look.soft()));
    lines
}

fn waiting(view: &View<'_>, shown: &Value) -> Vec<Line<'static>> {
    let (waits, look) = (list(&shown["phase"]["waits_for"]), view.look);
    if waits.is_empty() {
        return vec![Line::styled("Nobody", look.soft())];
    }
    let since_ms = shown["phase"]["since_ms"].as_u64().unwrap_or(view.now_ms);
    let mut lines = Vec::new();
    for owed in waits {
        let mut line = vec![
            Span::styled(called(shown, &owed["learner"]), look.strong()),
            Span::raw(format!(" owes {}", text(&owed["owes_text"]))),
        ];
        if view.told.is_live() {
            line.push(format!(" for {}", span(view.now_ms.saturating_sub(since_ms))).into());
            match owed["late_from_ms"].as_u64() {
                Some(at) if view.now_ms > at => {
                    let late = format!(", late by {}", span(view.now_ms - at));
                    line.push(Span::styled(late, look.late()));
                }
                Some(_) | None => {}
            }
        }
        lines.push(Line::from(line));
    }
    // Where not all have room the last line says so.
    let room = usize::from(PHASE) - 2;
    if lines.len() > room {
        let more = lines.len() - (room - 1);
        lines.truncate(room - 1);
        lines.push(Line::styled(format!("and {more} more (Members)"), look.soft()));
    }
    lines
}

fn scores(frame: &mut Frame<'_>, area: Rect, view: &View<'_>, shown: &Value) {
    let curve = if view.position.all_rounds { &shown["curve"] } else { &shown["recent"] };
    let rows = list(&curve["rows"]);
    let points = |column: usize| -> Vec<(f64, f64)> {
        let points = rows.iter().map(|row| Some((row[0].as_f64()?, row[column].as_f64()?)));
        points.flatten().collect()
    };
    let (vote, test) = (points(1), points(2));
    // As on the page: by the test score where there is one.
    let (of_model, which) = match points(4) {
        none if none.is_empty() => (points(3), "vote"),
        some => (some, "test"),
    };
    let all: Vec<(f64, f64)> = [&vote[..], &test, &of_model].concat();
    if all.is_empty() {
        let none = Paragraph::new("No scores are recorded in these rounds.");
        return frame.render_widget(none.style(view.look.soft()).block(framed("Scores")), area);
    }
    let (low, high) = ends(all.iter().map(|it| it.1));
    let room = ((high - low) * 0.06).max(0.005);
    let (low, high) = (low - room, high + room);
    let (first, last) = ends(rows.iter().filter_map(|row| row[0].as_f64()));
    let stairs = stairs(&of_model, last);
    let look = view.look;
    let sets = vec![
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(look.soft())
            .data(&stairs),
        Dataset::default().marker(Marker::Dot).style(look.good()).data(&test),
        Dataset::default().marker(Marker::Block).style(look.turn()).data(&vote),
    ];
    let rounds = match view.position.all_rounds {
        true => "all rounds".to_owned(),
        false => format!("last {ROUNDS} rounds"),
    };
    let title = match (vote.is_empty(), test.is_empty()) {
        (false, false) => "█ mean vote  • mean test  ",
        (false, true) => "█ mean vote  ",
        (true, _) => "• mean test  ",
    };
    let title = format!("Scores: {title}⠉ accepted model ({which}); {rounds}");
    let labels = [low, (low + high) / 2.0, high].map(|it| format!("{it:.3}"));
    // A chart of one round has that in its middle.
    let sides = if first < last { [first, last] } else { [first - 1.0, last + 1.0] };
    let across = match first < last {
        true => vec![first.to_string(), last.to_string()],
        false => vec![String::new(), first.to_string(), String::new()],
    };
    let chart = Chart::new(sets)
        .block(framed(title))
        .x_axis(Axis::default().bounds(sides).labels(across).style(look.soft()))
        .y_axis(Axis::default().bounds([low, high]).labels(labels).style(look.soft()))
        .legend_position(None);
    frame.render_widget(chart, area);
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)))
}

/// What holds until it is replaced, up to the last round.
fn stairs(points: &[(f64, f64)], last: f64) -> Vec<(f64, f64)> {
    let mut stairs: Vec<(f64, f64)> = Vec::new();
    for (round, value) in points {
        if let Some((_, before)) = stairs.last().copied() {
            stairs.push((*round, before));
        }
        stairs.push((*round, *value));
    }
    stairs.extend(points.last().map(|(_, value)| (last, *value)));
    stairs
}

fn grid(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>, shown: &Value) {
    let (rows, rounds) = (list(&shown["grid"]["rows"]), list(&shown["grid"]["rounds"]));
    let block = framed("Who did what");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    if rows.is_empty() || rounds.is_empty() {
        let none = Paragraph::new("No round was opened yet.").style(view.look.soft());
        return frame.render_widget(none, inner);
    }
    let names: Vec<String> = rows.iter().map(|row| called(shown, &row["learner"])).collect();
    let widest = names.iter().map(|name| Span::raw(name).width()).max().unwrap_or(0);
    let width = widest.min(NAMES).min(usize::from(inner.width) / 3);
    let room = usize::from(inner.width).saturating_sub(width + 1) / ROUND;
    let back = view.position.back.min(rounds.len().saturating_sub(room));
    let end = rounds.len() - back;
    let begin = end.saturating_sub(room);
    // One line for the numbers, and one for what the signs mean.
    let lines = usize::from(inner.height).saturating_sub(2);
    let down = view.position.down.min(rows.len().saturating_sub(lines));
    (view.position.back, view.position.down) = (back, down);

    let mut drawn = vec![numbers(&rounds[begin..end], width)];
    let signs = &shown["grid"]["signs"];
    let mut used = BTreeSet::new();
    for (row, name) in rows.iter().zip(&names).skip(down).take(lines) {
        let mut line = vec![Span::styled(fitted(name, width), view.look.strong()), " ".into()];
        let deeds = list(&row["deeds"]);
        for deed in deeds.get(begin..end).unwrap_or_default().iter().map(text) {
            used.insert(deed);
            let sign = text(&signs[deed]["sign"]);
            line.push(Span::styled(fitted(sign, ROUND), view.look.deed(deed)));
        }
        drawn.push(Line::from(line));
    }
    let legend = used.into_iter().filter(|deed| !text(&signs[*deed]["sign"]).is_empty());
    // A sign stays beside what it means.
    let legend = legend.map(|deed| {
        let told = format!("{} {}", text(&signs[deed]["sign"]), text(&signs[deed]["meaning"]));
        told.replace(' ', TOGETHER)
    });
    let legend = wrapped(&legend.collect::<Vec<_>>().join(", "), inner.width).into_iter();
    let legend = legend.map(|line| line.replace(TOGETHER, " "));
    drawn.extend(legend.map(|line| Line::styled(line, view.look.soft())));
    frame.render_widget(Paragraph::new(drawn), inner);
}

/// The numbers above the rounds, of some of them.
fn numbers(rounds: &[Value], width: usize) -> Line<'static> {
    let mut line = " ".repeat(width + 1);
    for (at, round) in rounds.iter().filter_map(Value::as_u64).enumerate() {
        let place = width + 1 + at * ROUND;
        let is_told = at == 0 || (round.is_multiple_of(NUMBERED) && line.len() < place);
        if is_told || (round.is_multiple_of(NUMBERED) && at > 0 && line.len() <= place) {
            line = format!("{line:<place$}{round}");
        }
    }
    Line::from(line)
}

/// A text that is as wide as this, cut off or filled up.
fn fitted(text: &str, width: usize) -> String {
    let wide = |text: &str| Span::raw(text).width();
    let mut fitted = text.to_owned();
    while wide(&fitted) > width {
        fitted.pop();
    }
    let missing = width - wide(&fitted);
    fitted + &" ".repeat(missing)
}
