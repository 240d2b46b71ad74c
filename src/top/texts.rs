//! What is read rather than looked at: where what is shown comes from, what was verified, motions, the keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::Value;

use super::draw::View;
use super::told::{count, left, list, span, text};

/// Where what is shown comes from, and whether it can be relied on.
pub(super) fn standing(view: &View<'_>, width: u16) -> Vec<Line<'static>> {
    let (document, look) = (view.told.all(), view.look);
    let mut lines = Vec::new();
    let mut say = |words: String, style: Style| {
        lines.extend(wrapped(&words, width).into_iter().map(|line| Line::styled(line, style)));
    };
    let alarm = &document["alarm"];
    if alarm.is_object() {
        say(text(&alarm["title"]).to_owned(), look.alarm());
        say(text(&alarm["what"]).to_owned(), look.bad());
        let worth = match alarm["withdraws"] == true {
            true => "Nothing below is claimed to be verified any longer.",
            false => "What is shown below was verified before.",
        };
        say(worth.to_owned(), look.strong());
        say(format!("What to do: {}", text(&alarm["remedy"])), Style::new());
    }
    let (connection, place) = (&document["connection"], text(&document["source"]["place"]));
    let since_ms = connection["since_ms"].as_u64().unwrap_or(view.now_ms);
    let since = span(view.now_ms.saturating_sub(since_ms));
    match text(&connection["state"]) {
        "away" => {
            let reason = text(&connection["reason"]);
            let told = format!(
                "The node is not reached for {since}: what is shown is as it was then. It is tried again all the time. \
                 {reason}"
            );
            say(told, look.late());
        }
        "ended" => {
            let told = format!(
                "Nothing is followed any more for {since}: what is shown is as it was then."
            );
            say(told, look.late());
        }
        "read" => say(
            format!("A copy in {place}, audited and read {since} ago (v: what was verified)"),
            Style::new(),
        ),
        _ if alarm.is_object() => {}
        _ => say(format!("● Live, verified here, from {place} (v: how)"), look.good()),
    }
    lines
}

/// Who says what of all that is shown.
pub(super) fn verified(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>) {
    let look = view.look;
    let mut lines = Vec::new();
    for claim in list(&view.told.all()["claims"]) {
        let style = match text(&claim["by"]) {
            "here" => look.good(),
            "withdrawn" => look.bad(),
            _ => look.late(),
        };
        let by = Span::styled(format!("  {}", text(&claim["by_text"])), style);
        let what = Span::styled(text(&claim["what"]).to_owned(), look.strong());
        lines.push(Line::from(vec![what, by]));
        let how = wrapped(text(&claim["how"]), area.width.saturating_sub(2));
        lines.extend(how.into_iter().map(|line| Line::from(format!("  {line}"))));
    }
    scrolled(frame, area, view, lines);
}

/// What keys do, and what the signs mean.
pub(super) fn help(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>) {
    let keys = [
        ("↑ ↓  k j", "choose an experiment, or scroll; also page up and down, home, end"),
        ("enter", "open the chosen experiment"),
        ("tab", "the next part of an experiment; with shift the one before"),
        ("← →", "earlier and later rounds of the grid"),
        ("w", "the scores of the last 60 rounds, or of all"),
        ("v", "what was verified, and who says the rest"),
        ("esc", "back"),
        ("q", "quit; also ctrl-c"),
    ];
    let mut lines: Vec<Line<'static>> = keys
        .into_iter()
        .map(|(key, does)| {
            Line::from(vec![Span::styled(format!("{key:<10}"), view.look.strong()), does.into()])
        })
        .collect();
    if let Some(signs) = view.told.shown().and_then(|shown| shown["grid"]["signs"].as_object()) {
        lines.push(Line::default());
        for (word, it) in signs.iter().filter(|(_, it)| !text(&it["sign"]).is_empty()) {
            let sign = Span::styled(format!("{:<10}", text(&it["sign"])), view.look.deed(word));
            lines.push(Line::from(vec![sign, Span::raw(text(&it["meaning"]).to_owned())]));
        }
    }
    scrolled(frame, area, view, lines);
}

/// The open motions, and how votes on them stand.
pub(super) fn motions(frame: &mut Frame<'_>, area: Rect, view: &mut View<'_>, shown: &Value) {
    let open = list(&shown["experiment"]["motions"]);
    let mut lines = Vec::new();
    for motion in open {
        let number = count(&motion["number"]);
        let told = text(&shown["motions"][&number]);
        let told = if told.is_empty() { &number } else { told };
        let told = wrapped(&format!("Motion {told}"), area.width);
        lines.extend(told.into_iter().map(|line| Line::styled(line, view.look.strong())));
        if let Some(at) = motion["deadline_ms"].as_u64().filter(|_| view.told.is_live()) {
            lines.push(Line::from(format!("  voting ends in {}", left(at, view.now_ms))));
        }
    }
    if open.is_empty() {
        lines.push(Line::styled("No motion is open.", view.look.soft()));
    }
    scrolled(frame, area, view, lines);
}

/// Lines that may be more than there is room for.
pub(super) fn scrolled(
    frame: &mut Frame<'_>,
    area: Rect,
    view: &mut View<'_>,
    lines: Vec<Line<'static>>,
) {
    let most = lines.len().saturating_sub(usize::from(area.height));
    view.position.down = view.position.down.min(most);
    let seen: Vec<Line<'static>> = lines.into_iter().skip(view.position.down).collect();
    frame.render_widget(Paragraph::new(seen), area);
}

/// A text in lines of this width, broken between words where that can be.
pub(super) fn wrapped(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let wide = |text: &str| Span::raw(text).width();
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let line = lines.last_mut().filter(|line| wide(line) + 1 + wide(word) <= width);
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => *line = format!("{line} {word}"),
            None => {
                if lines.last().is_some_and(|line| !line.is_empty()) {
                    lines.push(String::new());
                }
                for char in word.chars() {
                    let mut next = lines.pop().unwrap_or_default();
                    if wide(&next) + wide(char.encode_utf8(&mut [0; 4])) > width {
                        lines.push(std::mem::take(&mut next));
                    }
                    next.push(char);
                    lines.push(next);
                }
            }
        }
    }
    lines
}
