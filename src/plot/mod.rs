//! Pictures: of an experiment, and of curves.

mod colors;
mod curves;
mod experiment;
mod figure;
mod pixels;

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use self::experiment::Experiment;
use self::figure::Figure;
use colearn_records::history::History;
pub use curves::{Curve, Curves};

const WIDTH: u32 = 1000;
const MARGIN: u32 = 24;
const LABELS: u32 = 90;
/// How many letters a line of notes has.
const MAX_LINE: usize = 140;
const FONT: &str = "sans-serif";

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// What shapes and texts are drawn on: an SVG, or pixels.
trait Backend: DrawingBackend<ErrorType: 'static> {}

impl<B: DrawingBackend<ErrorType: 'static>> Backend for B {}

/// Something to draw, [`WIDTH`] units wide.
trait Picture {
    /// What stands in the title of the page around it.
    fn title(&self) -> &str;

    /// In units.
    fn height(&self) -> u32;

    /// Draws it on all of an area of its size.
    fn draw<B: Backend>(&self, area: &DrawingArea<B, Shift>) -> Drawn;

    /// All that there is to see, for who wants to look closer.
    fn figure(&self) -> Figure;
}

/// Why a plot could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The file's ending says nothing.
    #[error("a plot is written to a file ending in .svg, .png or .html, not {}", .0.display())]
    Format(PathBuf),
    /// The file cannot be written.
    #[error("cannot write the plot {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The picture cannot be drawn.
    #[error("cannot draw the plot: {0}")]
    Draw(String),
}

/// Draws an experiment to a file; its ending decides between SVG, PNG and HTML. The metric is what its scores are
/// called, where that is known; the notes stand below the picture, such as who keeps the ledger.
///
/// # Errors
/// If the ending is another, or the file cannot be written.
pub fn write(
    history: &History,
    metric: Option<&str>,
    notes: &[String],
    path: &Path,
) -> Result<(), PlotError> {
    save(&Experiment { history, metric, notes: lines(notes) }, path)
}

/// Notes in lines for which there is room.
fn lines(notes: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for note in notes {
        let mut line = String::new();
        for word in note.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= MAX_LINE {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Draws curves to a file; its ending decides between SVG, PNG and HTML.
///
/// # Errors
/// If the ending is another, or the file cannot be written.
pub fn write_curves(curves: &Curves<'_>, path: &Path) -> Result<(), PlotError> {
    save(curves, path)
}

/// Checks before a long run that a plot could be written to this file afterwards.
///
/// # Errors
/// If its ending is not one of a picture's.
pub fn check_path(path: &Path) -> Result<(), PlotError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg" | "png" | "html") => Ok(()),
        _ => Err(PlotError::Format(path.to_owned())),
    }
}

/// Names a chart's lines in its lower right corner.
fn draw_legend<'a, B: Backend + 'a>(chart: &mut Chart<'a, B>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

fn save(picture: &impl Picture, path: &Path) -> Result<(), PlotError> {
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => svg(picture)?.into_bytes(),
        Some("png") => png(picture)?,
        Some("html") => html(picture)?.into_bytes(),
        _ => return Err(PlotError::Format(path.to_owned())),
    };
    std::fs::write(path, bytes).map_err(|source| PlotError::Io { path: path.to_owned(), source })
}

fn svg(picture: &impl Picture) -> Result<String, PlotError> {
    let mut text = String::new();
    let backend = SVGBackend::with_string(&mut text, (WIDTH, picture.height()));
    draw(picture, backend)?;
    Ok(text)
}

/// A page of its own: the picture, which a script replaces by one that can be looked at more closely. It asks nobody
/// for anything.
fn html(picture: &impl Picture) -> Result<String, PlotError> {
    let svg = svg(picture)?;
    let figure = serde_json::to_string(&picture.figure());
    // Names were written by others; none of them ends the script that they are in.
    let figure =
        figure.map_err(|error| PlotError::Draw(error.to_string()))?.replace('<', "\\u003c");
    let title = picture.title().replace('&', "&amp;").replace('<', "&lt;");
    let (style, script) = (include_str!("plot.css"), include_str!("plot.js"));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         script-src 'unsafe-inline'; style-src 'unsafe-inline'\">\n\
         <title>colearn: {title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <main id=\"figure\">\n{svg}\n</main>\n\
         <script type=\"application/json\" id=\"data\">{figure}</script>\n\
         <script>\n{script}</script>\n</body>\n</html>\n"
    ))
}

fn png(picture: &impl Picture) -> Result<Vec<u8>, PlotError> {
    let size = (WIDTH, picture.height());
    let mut pixels = pixels::blank(size)
        .ok_or_else(|| PlotError::Draw("the picture is too large".to_owned()))?;
    let canvas = pixels::Canvas::new(pixels.as_mut(), size);
    draw(picture, canvas.map_err(|error| PlotError::Draw(error.to_string()))?)?;
    pixels.encode_png().map_err(|error| PlotError::Draw(error.to_string()))
}

fn draw(picture: &impl Picture, backend: impl Backend) -> Result<(), PlotError> {
    let area = backend.into_drawing_area();
    let drawn = picture.draw(&area).and_then(|()| Ok(area.present()?));
    drawn.map_err(|error| PlotError::Draw(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Dark pixels of a PNG, by quarters from left to right.
    fn dark(png: &[u8]) -> [usize; 4] {
        let pixels = tiny_skia::Pixmap::decode_png(png).unwrap();
        let width = pixels.width() as usize;
        let mut dark = [0; 4];
        for (at, pixel) in pixels.pixels().iter().enumerate() {
            let color = pixel.demultiply();
            dark[4 * (at % width) / width] += usize::from(color.green() < 100);
        }
        dark
    }

    #[test]
    fn a_png_has_the_shapes_and_the_letters_of_the_svg() {
        let curve = |title| {
            let points = vec![(0.0, 0.0), (1.0, f64::NAN), (2.0, 2.0)];
            let curves = vec![Curve { name: "line".to_owned(), points }];
            Curves { title, x: "time", y: "score", curves }
        };
        assert_eq!(svg(&curve("a title")).unwrap().matches("a title").count(), 1);
        let with = png(&curve("a title")).unwrap();
        assert_eq!(with[16..24], [0, 0, 5, 220, 0, 0, 2, 178], "1500 times 690 pixels");
        let (with, without) = (dark(&with), dark(&png(&curve("")).unwrap()));
        assert!(with[1] + with[2] > without[1] + without[2] + 100, "{with:?} {without:?}");
        assert_eq!((with[0], with[3]), (without[0], without[3]), "the title is in the middle");
    }
}
