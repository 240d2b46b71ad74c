//! Pictures: of an experiment, and of curves.

mod curves;
mod experiment;

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use colearn_records::history::History;
pub use curves::{Curve, Curves};

const WIDTH: u32 = 1000;
const MARGIN: u32 = 24;
const LABELS: u32 = 90;
const FONT: &str = "sans-serif";
/// PNG pixels for each unit of the picture.
const PNG_SCALE: f32 = 1.5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

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

/// Draws an experiment to a file; its ending decides between SVG, PNG and HTML.
///
/// # Errors
/// If the ending is another, or the file cannot be written.
pub fn write(history: &History, path: &Path) -> Result<(), PlotError> {
    save(&experiment::svg(history)?, history.experiment.as_str(), path)
}

/// Draws curves to a file; its ending decides between SVG, PNG and HTML.
///
/// # Errors
/// If the ending is another, or the file cannot be written.
pub fn write_curves(curves: &Curves<'_>, path: &Path) -> Result<(), PlotError> {
    save(&curves::svg(curves)?, curves.title, path)
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
fn draw_legend<'a>(chart: &mut Chart<'a>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

fn save(svg: &str, title: &str, path: &Path) -> Result<(), PlotError> {
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => svg.as_bytes().to_vec(),
        Some("png") => png(svg)?,
        Some("html") => html(svg, title).into_bytes(),
        _ => return Err(PlotError::Format(path.to_owned())),
    };
    std::fs::write(path, bytes).map_err(|source| PlotError::Io { path: path.to_owned(), source })
}

fn html(svg: &str, title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>colearn: {title}</title>\n\
         <body style=\"margin:1em auto;max-width:1000px\">\n{svg}\n</body>\n</html>\n"
    )
}

fn png(svg: &str) -> Result<Vec<u8>, PlotError> {
    let draw = |error: &dyn std::fmt::Display| PlotError::Draw(error.to_string());
    let mut options = usvg::Options::default();
    // The machine may have no fonts; this one comes with the program.
    options.fontdb_mut().load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    options.fontdb_mut().set_sans_serif_family("Ubuntu");
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| draw(&error))?;
    let size = tree.size().to_int_size();
    let (width, height) = (size.width() as f32 * PNG_SCALE, size.height() as f32 * PNG_SCALE);
    let mut pixels = Pixmap::new(width as u32, height as u32)
        .ok_or_else(|| PlotError::Draw("the picture is too large".to_owned()))?;
    let scale = Transform::from_scale(PNG_SCALE, PNG_SCALE);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| draw(&error))
}
