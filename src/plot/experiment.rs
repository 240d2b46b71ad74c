//! The picture of an experiment: scores over rounds above, who did what below.

use colearn_contracts::{Merge, Verdict};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::figure::{Figure, Kind, Rows, Series};
use super::{Backend, Chart, Drawn, FONT, LABELS, MARGIN, Picture, WIDTH, colors, draw_legend};
use crate::curve::{self, Point};
use crate::deeds::{Deed, deeds};
use colearn_records::history::History;

const SCORES_HEIGHT: u32 = 420;
const ROW_HEIGHT: u32 = 26;
const NOTE_HEIGHT: u32 = 18;
/// More learners than this are not drawn one by one.
const MAX_ROWS: usize = 40;
/// Where there are more rounds, points have no signs of their own.
const MAX_SIGNS: usize = 120;
/// How many columns there is room for below; of more rounds several share one.
const MAX_COLUMNS: usize = 110;
/// A cell that is narrower has no sign.
const MIN_SIGN: i32 = 12;
/// How many letters of a name there is room for.
const MAX_NAME: usize = 11;

/// An experiment, and what its test scores measure, where that is known.
pub(super) struct Experiment<'a> {
    pub(super) history: &'a History,
    pub(super) metric: Option<&'a str>,
    /// Lines that stand below.
    pub(super) notes: Vec<String>,
}

impl Picture for Experiment<'_> {
    fn title(&self) -> &str {
        self.history.experiment.as_str()
    }

    fn height(&self) -> u32 {
        let rows = self.history.learners.len().min(MAX_ROWS) as u32;
        let notes = self.notes.len() as u32;
        SCORES_HEIGHT + rows * ROW_HEIGHT + 2 * MARGIN + 56 + notes * NOTE_HEIGHT
    }

    fn draw<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        area.fill(&WHITE)?;
        let (upper, lower) = area.split_vertically(SCORES_HEIGHT);
        let (_, height) = lower.dim_in_pixel();
        let notes = self.notes.len() as u32 * NOTE_HEIGHT;
        let (lower, below) = lower.split_vertically(height - notes);
        self.draw_scores(&upper)?;
        self.draw_deeds(&lower)?;
        for (at, note) in (0..).zip(&self.notes) {
            let place = (MARGIN as i32, at * NOTE_HEIGHT as i32);
            below.draw(&Text::new(note.as_str(), place, (FONT, 13)))?;
        }
        Ok(())
    }

    fn figure(&self) -> Figure {
        let points = curve::points(&self.history.rounds);
        let mut series = self.series(&points);
        series.extend(self.merges());
        Figure {
            title: self.caption(),
            x: "round".to_owned(),
            y: "score".to_owned(),
            series,
            rows: Some(self.rows()),
            notes: self.notes.clone(),
        }
    }
}

impl Experiment<'_> {
    /// What a test score is called.
    fn test(&self) -> String {
        self.metric
            .map_or_else(|| "test score".to_owned(), |metric| format!("test score ({metric})"))
    }

    fn has_merges(&self) -> bool {
        self.history.rounds.iter().any(|round| round.merged.is_some())
    }

    fn caption(&self) -> String {
        let what =
            if self.has_merges() { "what each round voted on" } else { "each round's proposal" };
        format!("{}: scores of {what}", self.history.experiment)
    }

    /// The curves, those that lie below first.
    fn series(&self, points: &[Point]) -> Vec<Series> {
        let line = |score: &dyn Fn(&Point) -> Option<f64>| -> Vec<Vec<f64>> {
            points.iter().filter_map(|it| Some(vec![it.round as f64, score(it)?])).collect()
        };
        let range = points.iter().filter_map(|it| {
            let (low, high) = it.range?;
            Some(vec![it.round as f64, low, high])
        });
        // As on the page: the test score, where there is one.
        let is_tested = points.iter().any(|it| it.model.1.is_some());
        let model = line(&|it| if is_tested { it.model.1 } else { it.model.0 });
        let closed = |accepted: bool| {
            let is = move |it: &Point| {
                it.verdict.is_some_and(|it| (it == Verdict::Accepted) == accepted)
            };
            line(&move |it| it.mean.0.or(it.mean.1).filter(|_| is(it)))
        };
        let test = self.test();
        let model_name =
            format!("the accepted model: {}", if is_tested { &test } else { "vote score" });
        let test_name = format!("mean {test}");
        let all = [
            (
                "from the lowest to the highest of the learners",
                Kind::Band,
                colors::BLUE,
                range.collect(),
            ),
            (&model_name[..], Kind::Stairs, colors::DARK, model),
            (&test_name[..], Kind::Line, colors::VERMILLION, line(&|it| it.mean.1)),
            ("mean vote score", Kind::Line, colors::BLUE, line(&|it| it.mean.0)),
            ("accepted", Kind::Full, colors::BLUE, closed(true)),
            ("not accepted", Kind::Hollow, colors::BLUE, closed(false)),
        ];
        let all = all.into_iter().filter(|(.., points)| !points.is_empty());
        all.map(|(name, kind, color, points)| Series::new(name, kind, color, points)).collect()
    }

    /// What both merges of each round score.
    fn merges(&self) -> Vec<Series> {
        let means = |which: Merge, vote: bool| -> Vec<Vec<f64>> {
            let rounds = self.history.rounds.iter().filter_map(|round| {
                let (of_vote, of_test) = round.merged.as_ref()?.mean_scores(which);
                Some(vec![round.number as f64, if vote { of_vote } else { of_test }?])
            });
            rounds.collect()
        };
        let all = [
            ("open merge: mean vote score", Kind::Hollow, colors::GREEN, means(Merge::Open, true)),
            (
                "open merge: mean test score",
                Kind::Hollow,
                colors::YELLOW,
                means(Merge::Open, false),
            ),
            (
                "guarded merge: mean vote score",
                Kind::Cross,
                colors::GREEN,
                means(Merge::Guarded, true),
            ),
            (
                "guarded merge: mean test score",
                Kind::Cross,
                colors::YELLOW,
                means(Merge::Guarded, false),
            ),
        ];
        let all = all.into_iter().filter(|(.., points)| !points.is_empty());
        all.map(|(name, kind, color, points)| Series::new(name, kind, color, points)).collect()
    }

    fn names(&self) -> Vec<String> {
        let name = |(at, learner)| match self.history.names.get(learner) {
            Some(name) => name.as_str().to_owned(),
            None => format!("learner {}", at + 1),
        };
        self.history.learners.iter().enumerate().map(name).collect()
    }

    fn rows(&self) -> Rows {
        let history = self.history;
        let code = |deed: Deed| Deed::ALL.iter().position(|it| *it == deed).unwrap_or_default();
        let rows = deeds(history, &history.rounds, &history.learners, &[]);
        let letters =
            |row: Vec<Deed>| row.into_iter().map(|it| (b'a' + code(it) as u8) as char).collect();
        let names = self.names().into_iter();
        Rows {
            rounds: history.rounds.iter().map(|round| round.number).collect(),
            rows: names.zip(rows.into_iter().map(letters)).collect(),
            signs: Deed::ALL
                .map(|deed| {
                    let (_, sign, meaning) = deed.told();
                    let color = color_of(deed).map(colors::css);
                    (sign.to_owned(), meaning.to_owned(), color)
                })
                .to_vec(),
        }
    }

    fn draw_scores<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        let rounds = &self.history.rounds;
        let last = rounds.last().map_or(1, |round| round.number);
        let points = curve::thinned(&curve::points(rounds));
        let mut series = self.series(&points);
        if rounds.len() <= MAX_SIGNS {
            series.extend(self.merges());
        } else {
            series.retain(|it| !it.kind.is_sign());
        }
        let values = series.iter().flat_map(|it| it.points.iter().flat_map(|at| &at[1..]));
        let low = values.clone().copied().fold(f64::INFINITY, f64::min);
        let high = values.copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let room = ((high - low) * 0.06).max(0.01);
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption(), (FONT, 20))
            .margin_top(10)
            .margin_right(MARGIN)
            .x_label_area_size(36)
            .y_label_area_size(LABELS)
            .build_cartesian_2d(0.5..last as f64 + 0.5, low - room..high + room)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(230, 230, 230))
            .x_desc("round")
            .y_desc("score")
            .x_labels(usize::try_from(last).unwrap_or(usize::MAX).min(20))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.2}"))
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15))
            .draw()?;
        for series in &series {
            draw_series(&mut chart, series)?;
        }
        draw_legend(&mut chart)
    }

    /// A row for each learner; where there are many rounds, a column shows how often it did what in several.
    fn draw_deeds<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        let history = self.history;
        let shown = &history.learners[..history.learners.len().min(MAX_ROWS)];
        let (left, right) = (LABELS as i32, (WIDTH - MARGIN) as i32);
        let share = history.rounds.len().div_ceil(MAX_COLUMNS).max(1);
        let columns = history.rounds.len().div_ceil(share).max(1);
        let x = |column: usize| left + (right - left) * column as i32 / columns as i32;
        let text = |size: u32| (FONT, size).into_font().color(&BLACK);
        let caption = match share {
            1 => "who did what".to_owned(),
            _ => format!("who did what, {share} rounds a column"),
        };
        area.draw_text(&caption, &text(15), (left, 2))?;
        let top = 22;
        let rows = deeds(history, &history.rounds, shown, &[]);
        for (row, (deeds, name)) in rows.iter().zip(self.names()).enumerate() {
            let y = top + row as i32 * ROW_HEIGHT as i32;
            area.draw_text(&shortened(&name), &text(14), (8, y + 5))?;
            for (column, deeds) in deeds.chunks(share).enumerate() {
                let gap = i32::from(x(column + 1) - x(column) > 6);
                let across = (x(column) + gap, x(column + 1) - gap);
                draw_cell(area, deeds, across, (y + 1, y + ROW_HEIGHT as i32 - 1))?;
            }
        }
        let used = |deed: &Deed| rows.iter().flatten().any(|it| it == deed);
        let mut at = (left, top + shown.len() as i32 * ROW_HEIGHT as i32 + 12);
        for deed in Deed::ALL.into_iter().filter(used) {
            let (Some(color), (_, _, meaning)) = (color_of(deed), deed.told()) else { continue };
            let width = 46 + 8 * meaning.len() as i32;
            if at.0 + width > right {
                at = (left, at.1 + 22);
            }
            let (x, y) = at;
            area.draw(&Rectangle::new([(x, y), (x + 16, y + 16)], color.filled()))?;
            draw_sign(area, deed, (x + 8, y + 8))?;
            area.draw_text(meaning, &text(14), (x + 22, y + 1))?;
            at.0 += width;
        }
        Ok(())
    }
}

fn draw_series<'a, B: Backend + 'a>(chart: &mut Chart<'a, B>, series: &Series) -> Drawn {
    let color = series.color;
    let at = |values: &Vec<f64>| (values[0], values[1]);
    let points = series.points.iter().map(at);
    let line = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3));
    let drawn = match series.kind {
        Kind::Band => {
            let low = series.points.iter().map(|it| (it[0], it[1]));
            let high = series.points.iter().rev().map(|it| (it[0], it[2]));
            let edge = low.chain(high).collect::<Vec<_>>();
            let drawn = chart.draw_series([Polygon::new(edge, color.mix(0.15))])?;
            drawn.legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 18, y + 5)], color.mix(0.2).filled())
            })
        }
        Kind::Line => {
            chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?.legend(line)
        }
        Kind::Stairs => {
            let mut stairs = Vec::with_capacity(2 * series.points.len());
            let mut level = None;
            for (x, y) in points {
                stairs.extend(level.map(|level| (x, level)));
                stairs.push((x, y));
                level = Some(y);
            }
            chart.draw_series(LineSeries::new(stairs, color.stroke_width(3)))?.legend(line)
        }
        Kind::Full => {
            let drawn = chart.draw_series(points.map(|at| Circle::new(at, 4, color.filled())))?;
            drawn.legend(move |(x, y)| Circle::new((x + 9, y), 4, color.filled()))
        }
        Kind::Hollow => {
            let drawn =
                chart.draw_series(points.map(|at| Circle::new(at, 5, color.stroke_width(2))))?;
            drawn.legend(move |(x, y)| Circle::new((x + 9, y), 5, color.stroke_width(2)))
        }
        Kind::Cross => {
            let drawn =
                chart.draw_series(points.map(|at| Cross::new(at, 5, color.stroke_width(2))))?;
            drawn.legend(move |(x, y)| Cross::new((x + 9, y), 5, color.stroke_width(2)))
        }
    };
    drawn.label(series.name.as_str());
    Ok(())
}

/// What was done in the rounds of a column, what was done most often being the largest part of it.
fn draw_cell<B: Backend>(
    area: &DrawingArea<B, Shift>,
    deeds: &[Deed],
    (left, right): (i32, i32),
    (top, bottom): (i32, i32),
) -> Drawn {
    let mut above = 0;
    let y = |count: usize| bottom - (bottom - top) * count as i32 / deeds.len() as i32;
    for deed in Deed::ALL {
        let count = deeds.iter().filter(|it| **it == deed).count();
        if let (1.., Some(color)) = (count, color_of(deed)) {
            let corners = [(left, y(above + count)), (right, y(above))];
            area.draw(&Rectangle::new(corners, color.filled()))?;
        }
        above += count;
    }
    match deeds {
        [deed] if right - left >= MIN_SIGN => {
            draw_sign(area, *deed, (i32::midpoint(left, right), i32::midpoint(top, bottom)))
        }
        _ => Ok(()),
    }
}

/// Colours that the colour-blind tell apart, and that differ in brightness.
fn color_of(deed: Deed) -> Option<RGBColor> {
    match deed {
        Deed::Approved => Some(colors::BLUE),
        Deed::Rejected | Deed::Other => Some(colors::VERMILLION),
        Deed::Abstained => Some(colors::YELLOW),
        Deed::Absent | Deed::Missed => Some(colors::PALE),
        Deed::Won => Some(colors::GREEN),
        Deed::Lost => Some(colors::PURPLE),
        Deed::Due | Deed::Done => Some(colors::SKY),
        Deed::None => None,
    }
}

/// The sign of a deed, drawn as lines: not every font has them.
fn draw_sign<B: Backend>(area: &DrawingArea<B, Shift>, deed: Deed, (x, y): (i32, i32)) -> Drawn {
    let strokes: &[&[(i32, i32)]] = match deed {
        Deed::Approved => &[&[(-5, 0), (-2, 4), (5, -4)]],
        Deed::Rejected => &[&[(-4, -4), (4, 4)], &[(-4, 4), (4, -4)]],
        Deed::Other => &[&[(-4, -2), (4, -2)], &[(-4, 2), (4, 2)], &[(-3, 5), (3, -5)]],
        Deed::Abstained => &[&[(-4, 0), (4, 0)]],
        Deed::Won | Deed::Lost => &[&[(-5, 4), (0, -5), (5, 4), (-5, 4)]],
        Deed::Missed => &[&[(-4, 4), (4, -4)]],
        Deed::Absent | Deed::Due | Deed::Done | Deed::None => &[],
    };
    let style = match deed {
        Deed::Abstained | Deed::Missed => BLACK.stroke_width(2),
        _ => WHITE.stroke_width(2),
    };
    for stroke in strokes {
        let points: Vec<(i32, i32)> = stroke.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        match deed {
            Deed::Won => area.draw(&Polygon::new(points, WHITE.filled()))?,
            _ => area.draw(&PathElement::new(points, style))?,
        }
    }
    Ok(())
}

/// A name where there is little room.
fn shortened(name: &str) -> String {
    match name.chars().count() > MAX_NAME {
        true => name.chars().take(MAX_NAME - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
