//! The whole screen: what is told of the source at the top, one part of the document below, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::look::Look;
use super::position::{Over, Part, Position};
use super::told::{Told, count, list, text};
use super::{now, tables, texts};

/// What is drawn, and where one is in it.
pub(super) struct View<'a> {
    pub(super) told: &'a Told,
    pub(super) position: &'a mut Position,
    pub(super) look: Look,
    pub(super) now_ms: u64,
}

/// Draws all of it, whatever the size is.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    told: &Told,
    position: &mut Position,
    look: Look,
    now_ms: u64,
) {
    let area = frame.area();
    let mut view = View { told, position, look, now_ms };
    let standing = texts::standing(&view, area.width);
    // Half of what is there is for what is shown, whatever there is to say first.
    let most = (area.height / 2).max(1);
    let standing_lines = u16::try_from(standing.len()).unwrap_or(u16::MAX).min(most);
    let is_inside = view.position.experiment().is_some();
    let room = |from: u16| u16::from(area.height >= from);
    let [head, source, parts, body, keys] = Layout::vertical([
        Constraint::Length(room(8)),
        Constraint::Length(standing_lines),
        Constraint::Length(if is_inside { room(6) } else { 0 }),
        Constraint::Fill(1),
        Constraint::Length(room(10)),
    ])
    .areas(area);
    frame.render_widget(heading(&view, head), head);
    frame.render_widget(Paragraph::new(standing), source);
    if is_inside {
        frame.render_widget(tabs(&view), parts);
    }
    frame.render_widget(hints(&view), keys);
    match view.position.over {
        Some(Over::Help) => return texts::help(frame, body, &mut view),
        Some(Over::Verified) => return texts::verified(frame, body, &mut view),
        None => {}
    }
    let Some(name) = view.position.experiment() else {
        return tables::experiments(frame, body, &mut view);
    };
    let shown = told.shown().filter(|shown| text(&shown["experiment"]["name"]) == name.as_str());
    let Some(shown) = shown else {
        let line = format!("There is no experiment {name} in this ledger.");
        return frame.render_widget(Paragraph::new(line).style(look.soft()), body);
    };
    match view.position.part {
        Part::Now => now::now(frame, body, &mut view, shown),
        Part::Members => tables::members(frame, body, &mut view, shown),
        Part::Motions => texts::motions(frame, body, &mut view, shown),
        Part::Privacy => tables::privacy(frame, body, &mut view, shown),
    }
}

fn heading(view: &View<'_>, area: Rect) -> Line<'static> {
    let mut left = "colearn top".to_owned();
    if let Some(name) = view.position.experiment() {
        left += &format!(" › {name}");
    }
    if let Some(shown) = view.told.shown().filter(|_| view.position.experiment().is_some()) {
        left += &format!(" › {}", round(&shown["experiment"]));
    }
    let document = view.told.all();
    let entries = count(&document["ledger"]["entries"]);
    let right = match view.position.experiment() {
        Some(_) => format!("{entries} entries"),
        None => format!("{} experiments, {entries} entries", count(&document["experiment_count"])),
    };
    let used = Span::raw(&left).width() + Span::raw(&right).width();
    let mut line = vec![Span::styled(left, view.look.strong())];
    if let Some(gap) = usize::from(area.width).checked_sub(used).filter(|gap| *gap > 0) {
        line.push(Span::raw(" ".repeat(gap)));
        line.push(Span::styled(right, view.look.soft()));
    }
    Line::from(line)
}

/// In which round an experiment is.
pub(super) fn round(experiment: &serde_json::Value) -> String {
    match experiment["max_rounds"].as_u64() {
        Some(most) => format!("round {} of {most}", count(&experiment["round"])),
        None => format!("round {}", count(&experiment["round"])),
    }
}

fn tabs(view: &View<'_>) -> Line<'static> {
    let shown = view.told.shown();
    let motions = shown.map_or(0, |shown| list(&shown["experiment"]["motions"]).len());
    let spans = Part::ALL.into_iter().flat_map(|part| {
        let title = match (part, motions) {
            (Part::Motions, 1..) => format!(" {} ({motions}) ", part.title()),
            _ => format!(" {} ", part.title()),
        };
        let is_here = part == view.position.part && view.position.over.is_none();
        let style = if is_here { view.look.chosen() } else { Style::new() };
        [Span::styled(title, style), Span::raw(" ")]
    });
    spans.collect::<Vec<_>>().into()
}

fn hints(view: &View<'_>) -> Line<'static> {
    let hints = match (view.position.over, view.position.experiment()) {
        (Some(_), _) => "↑↓ scroll  esc back  q quit",
        (None, None) => "↑↓ choose  enter open  v verified?  ? help  q quit",
        (None, Some(_)) => match view.position.part {
            Part::Now => {
                "tab part  ←→ rounds  ↑↓ members  w all  esc list  v verified?  ? help  q quit"
            }
            Part::Members | Part::Motions | Part::Privacy => {
                "tab part  ↑↓ scroll  esc list  v verified?  ? help  q quit"
            }
        },
    };
    Line::styled(hints, view.look.soft())
}
