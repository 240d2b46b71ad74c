//! Curves over a common axis.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::figure::{Figure, Kind, Series};
use super::{Backend, Drawn, FONT, LABELS, MARGIN, Picture, colors, draw_legend};

const HEIGHT: u32 = 460;
const COLORS: [RGBColor; 7] = [
    colors::BLUE,
    colors::VERMILLION,
    colors::GREEN,
    colors::PURPLE,
    colors::ORANGE,
    colors::SKY,
    colors::DARK,
];

/// A named line.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What it is called in the legend.
    pub name: String,
    /// Its points, from left to right; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Curves and what is measured on the axes.
#[derive(Clone, Debug)]
pub struct Curves<'a> {
    /// Stands above.
    pub title: &'a str,
    /// What the horizontal axis measures.
    pub x: &'a str,
    /// What the vertical axis measures.
    pub y: &'a str,
    /// The curves; seven colours, then they repeat.
    pub curves: Vec<Curve>,
}

impl Picture for Curves<'_> {
    fn title(&self) -> &str {
        self.title
    }

    fn height(&self) -> u32 {
        HEIGHT
    }

    fn draw<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn {
        draw(self, area)
    }

    fn figure(&self) -> Figure {
        let series = self.curves.iter().zip(COLORS.iter().cycle()).map(|(curve, color)| {
            let points = curve.points.iter().filter(|at| is_finite(at)).map(|at| vec![at.0, at.1]);
            Series::new(&curve.name, Kind::Line, *color, points.collect())
        });
        Figure {
            title: self.title.to_owned(),
            x: self.x.to_owned(),
            y: self.y.to_owned(),
            series: series.collect(),
            rows: None,
            notes: Vec::new(),
        }
    }
}

fn draw<B: Backend>(curves: &Curves<'_>, area: &DrawingArea<B, Shift>) -> Drawn {
    let all = || curves.curves.iter().flat_map(|curve| &curve.points).filter(|at| is_finite(at));
    let range = |pick: fn(&(f64, f64)) -> f64| {
        let low = all().map(pick).fold(f64::INFINITY, f64::min);
        let high = all().map(pick).fold(f64::NEG_INFINITY, f64::max);
        if low > high { (0.0, 1.0) } else { (low, high.max(low + 1e-9)) }
    };
    let ((left, right), (low, high)) = (range(|at| at.0), range(|at| at.1));
    let room = (high - low) * 0.06;
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(curves.title, (FONT, 20))
        .margin_top(10)
        .margin_right(MARGIN)
        .x_label_area_size(40)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(left..right, low - room..high + room)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(230, 230, 230))
        .x_desc(curves.x)
        .y_desc(curves.y)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    for (curve, color) in curves.curves.iter().zip(COLORS.iter().cycle()) {
        let points = curve.points.iter().copied().filter(is_finite);
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
    }
    draw_legend(&mut chart)
}

fn is_finite((x, y): &(f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}
