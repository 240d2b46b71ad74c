//! A figure as the page of a plot draws it: all that there is to see, so that one can look closer.

use plotters::style::RGBColor;
use serde::{Serialize, Serializer};

/// How points of a series look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Between two values at each point.
    Band,
    /// A line through them.
    Line,
    /// A value that stays until the next.
    Stairs,
    /// Filled circles.
    Full,
    /// Circles.
    Hollow,
    /// Crosses.
    Cross,
}

impl Kind {
    /// Whether each point is a sign of its own, for which many leave no room.
    pub(super) fn is_sign(self) -> bool {
        matches!(self, Self::Full | Self::Hollow | Self::Cross)
    }
}

/// A named row of points.
#[derive(Debug, Serialize)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) kind: Kind,
    #[serde(serialize_with = "as_css")]
    pub(super) color: RGBColor,
    /// `[x, y]`, of a band `[x, low, high]`, from left to right; all finite.
    pub(super) points: Vec<Vec<f64>>,
}

impl Series {
    pub(super) fn new(name: &str, kind: Kind, color: RGBColor, points: Vec<Vec<f64>>) -> Self {
        Self { name: name.to_owned(), kind, color, points }
    }
}

/// Who did what.
#[derive(Debug, Serialize)]
pub(super) struct Rows {
    /// The numbers of the rounds.
    pub(super) rounds: Vec<u64>,
    /// A name, and a letter for each round: `a` for the first of the signs.
    pub(super) rows: Vec<(String, String)>,
    /// Signs, what they mean, and their colours.
    pub(super) signs: Vec<(String, String, Option<String>)>,
}

/// A figure.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    pub(super) series: Vec<Series>,
    pub(super) rows: Option<Rows>,
    /// Lines that stand below.
    pub(super) notes: Vec<String>,
}

fn as_css<S: Serializer>(color: &RGBColor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::colors::css(*color))
}
