//! Curves over a common axis.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Backend, Drawn, FONT, LABELS, MARGIN, Picture, draw_legend};

const HEIGHT: u32 = 460;
/// Colours that the colour-blind tell apart (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(60, 60, 60),
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
}

fn draw<B: Backend>(curves: &Curves<'_>, area: &DrawingArea<B, Shift>) -> Drawn {
    let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
    let all = || curves.curves.iter().flat_map(|curve| &curve.points).filter(|at| finite(at));
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
        let points = curve.points.iter().copied().filter(|at| finite(at));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
    }
    draw_legend(&mut chart)
}
