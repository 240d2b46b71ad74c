//! The picture of an experiment: scores over rounds above, who voted how below.

use colearn_contracts::{Choice, LearnerId, Merge, Verdict};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Backend, Chart, Drawn, FONT, LABELS, MARGIN, Picture, WIDTH, draw_legend};
use colearn_records::history::{History, Round, unit};

const SCORES_HEIGHT: u32 = 420;
const ROW_HEIGHT: u32 = 26;
/// More learners than this are not drawn one by one.
const MAX_ROWS: usize = 40;

const VOTE: RGBColor = RGBColor(31, 119, 180);
const TEST: RGBColor = RGBColor(214, 110, 20);
const YES: RGBColor = RGBColor(68, 160, 84);
const NO: RGBColor = RGBColor(208, 66, 62);
const ABSENT: RGBColor = RGBColor(205, 205, 205);
const NEITHER: RGBColor = RGBColor(240, 215, 150);
const PROPOSER: RGBColor = RGBColor(240, 240, 250);
const MERGES: RGBColor = RGBColor(110, 110, 110);

impl Picture for History {
    fn title(&self) -> &str {
        self.experiment.as_str()
    }

    fn height(&self) -> u32 {
        let rows = self.learners.len().min(MAX_ROWS) as u32;
        SCORES_HEIGHT + rows * ROW_HEIGHT + 2 * MARGIN + 56
    }

    fn draw<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        area.fill(&WHITE)?;
        let (upper, lower) = area.split_vertically(SCORES_HEIGHT);
        draw_scores(self, &upper)?;
        draw_votes(self, &lower)
    }
}

fn last_round(history: &History) -> u64 {
    history.rounds.last().map_or(1, |round| round.number)
}

fn draw_scores<B: Backend>(history: &History, area: &DrawingArea<B, Shift>) -> Drawn {
    let rounds = last_round(history);
    let all = history.rounds.iter().flat_map(|round| {
        let learners = history.learners.iter();
        learners.filter_map(|learner| round.scores_of(*learner)).flat_map(|s| [s.vote, s.test])
    });
    let judged = history.rounds.iter().filter_map(|round| round.merged.as_ref());
    let judged = judged.flat_map(|merged| merged.votes.values()).flat_map(|vote| {
        let (open, guarded) = (vote.scores_open, vote.scores_guarded);
        [open.vote, open.test, guarded.vote, guarded.test]
    });
    let all: Vec<f64> = all.chain(judged).flatten().map(unit).collect();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = ((high - low) * 0.06).max(0.01);
    let merges = history.rounds.iter().any(|round| round.merged.is_some());
    let what = if merges { "what each round voted on" } else { "each round's proposal" };
    let title = format!("{}: scores of {what}", history.experiment);
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin_top(10)
        .margin_right(MARGIN)
        .x_label_area_size(36)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.5..rounds as f64 + 0.5, low - room..high + room)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(230, 230, 230))
        .x_desc("round")
        .y_desc("score")
        .x_labels((rounds as usize).min(20))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    let points = |score: &dyn Fn(&Round) -> Option<f64>| -> Vec<(f64, f64)> {
        let rounds = history.rounds.iter();
        rounds.filter_map(|round| Some((round.number as f64, score(round)?))).collect()
    };
    for learner in &history.learners {
        let vote = points(&|round| round.scores_of(*learner)?.vote.map(unit));
        let test = points(&|round| round.scores_of(*learner)?.test.map(unit));
        chart.draw_series(LineSeries::new(vote, VOTE.mix(0.3).stroke_width(1)))?;
        chart.draw_series(LineSeries::new(test, TEST.mix(0.3).stroke_width(1)))?;
    }
    let means = [
        ("vote score: mean (thick), each learner (thin)", VOTE, true),
        ("test score: mean (thick), each learner (thin)", TEST, false),
    ];
    for (name, color, vote) in means {
        let mean = points(&|round| {
            let (of_vote, of_test) = round.mean_scores();
            if vote { of_vote } else { of_test }
        });
        chart
            .draw_series(LineSeries::new(mean.clone(), color.stroke_width(3)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
        chart.draw_series(mean.into_iter().map(|at| Circle::new(at, 3, color.filled())))?;
    }
    if merges {
        draw_merges(history, &mut chart)?;
    }
    draw_legend(&mut chart)
}

/// What both merges of a round score, beside the line of the one that was accepted.
fn draw_merges<'a, B: Backend + 'a>(history: &History, chart: &mut Chart<'a, B>) -> Drawn {
    let means = |which: Merge, vote: bool| {
        let merged = history.rounds.iter().filter_map(move |round| {
            let (of_vote, of_test) = round.merged.as_ref()?.mean_scores(which);
            Some((round.number as f64, if vote { of_vote } else { of_test }?))
        });
        merged.collect::<Vec<(f64, f64)>>()
    };
    for (color, vote) in [(VOTE, true), (TEST, false)] {
        let (open, guarded) = (means(Merge::Open, vote), means(Merge::Guarded, vote));
        chart.draw_series(open.into_iter().map(|at| Circle::new(at, 6, color)))?;
        chart.draw_series(guarded.into_iter().map(|at| Cross::new(at, 5, color)))?;
    }
    let none = || std::iter::empty::<Circle<(f64, f64), i32>>();
    let open = chart.draw_series(none())?.label("open merge: mean");
    open.legend(|(x, y)| Circle::new((x + 9, y), 6, MERGES));
    let guarded = chart.draw_series(none())?.label("guarded merge: mean");
    guarded.legend(|(x, y)| Cross::new((x + 9, y), 5, MERGES));
    Ok(())
}

fn draw_votes<B: Backend>(history: &History, area: &DrawingArea<B, Shift>) -> Drawn {
    let rounds = last_round(history);
    let left = LABELS as i32;
    let right = (WIDTH - MARGIN) as i32;
    let cell = f64::from(right - left) / rounds as f64;
    let text = |size: u32| (FONT, size).into_font().color(&BLACK);
    area.draw_text("votes", &text(15), (left, 2))?;
    let top = 22;
    for (row, learner) in history.learners.iter().take(MAX_ROWS).enumerate() {
        let y = top + row as i32 * ROW_HEIGHT as i32;
        area.draw_text(&format!("learner {}", row + 1), &text(14), (12, y + 5))?;
        for round in &history.rounds {
            let x = |column: u64| left + (column as f64 * cell) as i32;
            let corners = [
                (x(round.number - 1) + 1, y + 1),
                (x(round.number) - 1, y + ROW_HEIGHT as i32 - 1),
            ];
            let (color, mark) = look(round, *learner);
            if let Some(color) = color {
                area.draw(&Rectangle::new(corners, color.filled()))?;
            }
            if let Some((mark, color)) = mark {
                let middle = i32::midpoint(corners[0].0, corners[1].0);
                draw_mark(area, mark, (middle, y + ROW_HEIGHT as i32 / 2), &color)?;
            }
        }
    }
    let rows = history.learners.len().min(MAX_ROWS) as i32;
    let mut y = top + rows * ROW_HEIGHT as i32 + 12;
    let mut x = left;
    let mut legend = vec![
        ("approved", YES, None),
        ("rejected", NO, None),
        ("abstained", NEITHER, None),
        ("absent", ABSENT, None),
    ];
    if history.rounds.iter().any(|round| round.proposer.is_some()) {
        legend.push(("proposer, accepted", PROPOSER, Some(true)));
        legend.push(("proposer, not accepted", PROPOSER, Some(false)));
    }
    if history.rounds.iter().any(|round| round.merged.is_some()) {
        legend.push(("named another pair", ABSENT, Some(false)));
    }
    for (name, color, mark) in legend {
        let width = 46 + 8 * name.len() as i32;
        if x + width > right {
            (x, y) = (left, y + 22);
        }
        area.draw(&Rectangle::new([(x, y), (x + 16, y + 16)], color.filled()))?;
        if let Some(good) = mark {
            draw_mark(area, good, (x + 8, y + 8), &if good { YES } else { NO })?;
        }
        area.draw_text(name, &text(14), (x + 22, y + 1))?;
        x += width;
    }
    Ok(())
}

/// A learner's cell in a round: its colour, and for the proposer whether it succeeded. Who named another pair
/// of merges than was agreed on is as absent.
fn look(round: &Round, learner: LearnerId) -> (Option<RGBColor>, Option<(bool, RGBColor)>) {
    if Some(learner) == round.proposer {
        let good = round.result.map(|result| result.verdict == Verdict::Accepted);
        return (Some(PROPOSER), good.map(|good| (good, if good { YES } else { NO })));
    }
    if round.merged.as_ref().is_some_and(|merged| merged.named_another().contains(&learner)) {
        return (Some(ABSENT), Some((false, NO)));
    }
    let color = match round.ballots.get(&learner) {
        Some(ballot) => Some(match ballot.choice {
            Choice::Approve => YES,
            Choice::Reject => NO,
            Choice::Abstain => NEITHER,
        }),
        None if round.was_voted_on() => Some(ABSENT),
        None => None,
    };
    (color, None)
}

/// A tick or a cross, drawn as lines: not every font has them.
fn draw_mark<B: Backend>(
    area: &DrawingArea<B, Shift>,
    good: bool,
    (x, y): (i32, i32),
    color: &RGBColor,
) -> Drawn {
    let style = color.stroke_width(3);
    let strokes: &[&[(i32, i32)]] = if good {
        &[&[(-6, 0), (-2, 5), (6, -5)]]
    } else {
        &[&[(-5, -5), (5, 5)], &[(-5, 5), (5, -5)]]
    };
    for stroke in strokes {
        let points: Vec<(i32, i32)> = stroke.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        area.draw(&PathElement::new(points, style))?;
    }
    Ok(())
}
