//! Draws a picture's shapes and texts as pixels, with a font that comes with the program.

use std::convert::Infallible;

use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};
use tiny_skia::{
    Color, FillRule, Paint, Path, PathBuilder, Pixmap, PixmapMut, Rect, Stroke, Transform,
};
use ttf_parser::{Face, FaceParsingError, GlyphId, OutlineBuilder};

/// Pixels for each unit of the picture.
const SCALE: f32 = 1.5;
/// The part of a text's size that its letters' em is, as in the SVG.
const EM: f32 = 1.0 / 1.24;

type Painted = Result<(), DrawingErrorKind<Infallible>>;

/// Pixels for a picture of this many units.
pub(super) fn blank((width, height): (u32, u32)) -> Option<Pixmap> {
    let pixels = |units: u32| (units as f32 * SCALE) as u32;
    Pixmap::new(pixels(width), pixels(height))
}

/// Draws on pixels what the plots' library asks for. The library thinks in units; only here are
/// there pixels, so the layout is the one of the SVG.
pub(super) struct Canvas<'a> {
    pixels: PixmapMut<'a>,
    size: (u32, u32),
    font: Face<'static>,
}

impl<'a> Canvas<'a> {
    /// A canvas of this many units on pixels of [`blank`].
    ///
    /// # Errors
    /// If the font that comes with the program cannot be read.
    pub(super) fn new(pixels: PixmapMut<'a>, size: (u32, u32)) -> Result<Self, FaceParsingError> {
        // The machine may have no fonts.
        let font = Face::parse(epaint_default_fonts::UBUNTU_LIGHT, 0)?;
        Ok(Self { pixels, size, font })
    }

    fn fill(&mut self, path: Option<Path>, color: BackendColor, place: Transform) {
        let Some(path) = path else { return };
        let place = place.post_scale(SCALE, SCALE);
        self.pixels.fill_path(&path, &paint(color), FillRule::Winding, place, None);
    }

    fn stroke(&mut self, path: Option<Path>, style: &impl BackendStyle) {
        let Some(path) = path else { return };
        let stroke = Stroke { width: style.stroke_width() as f32, ..Stroke::default() };
        let scale = Transform::from_scale(SCALE, SCALE);
        self.pixels.stroke_path(&path, &paint(style.color()), &stroke, scale, None);
    }

    fn fill_or_stroke(&mut self, path: Option<Path>, style: &impl BackendStyle, fill: bool) {
        if fill {
            self.fill(path, style.color(), Transform::identity());
        } else {
            self.stroke(path, style);
        }
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Painted {
        Ok(())
    }

    fn present(&mut self) -> Painted {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Painted {
        self.draw_rect(point, (point.0 + 1, point.1 + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Painted {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Painted {
        let ((left, top), (right, bottom)) = (float(upper_left), float(bottom_right));
        let path = Rect::from_ltrb(left, top, right, bottom).map(PathBuilder::from_rect);
        self.fill_or_stroke(path, style, fill);
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Painted {
        self.stroke(lines(path).finish(), style);
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Painted {
        let (x, y) = float(center);
        self.fill_or_stroke(PathBuilder::from_circle(x, y, radius as f32), style, fill);
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Painted {
        let mut path = lines(corners);
        path.close();
        self.fill(path.finish(), style.color(), Transform::identity());
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        position: BackendCoord,
    ) -> Painted {
        let em = style.size() as f32 * EM;
        let (path, width) = outline(&self.font, text, em);
        let anchor = style.anchor();
        let dx = match anchor.h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        // From the anchor down to the line that the letters stand on.
        let dy = match anchor.v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.25 * em,
            VPos::Bottom => -0.25 * em,
        };
        let degrees = match style.transform() {
            FontTransform::None => 0.0,
            FontTransform::Rotate90 => 90.0,
            FontTransform::Rotate180 => 180.0,
            FontTransform::Rotate270 => 270.0,
        };
        let (x, y) = float(position);
        let place = Transform::from_rotate_at(degrees, x, y).pre_translate(x + dx, y + dy);
        self.fill(path, style.color(), place);
        Ok(())
    }
}

fn paint(color: BackendColor) -> Paint<'static> {
    let (red, green, blue) = color.rgb;
    let mut color8 = Color::from_rgba8(red, green, blue, 255);
    color8.apply_opacity(color.alpha as f32);
    Paint { shader: tiny_skia::Shader::SolidColor(color8), ..Paint::default() }
}

fn float((x, y): BackendCoord) -> (f32, f32) {
    (x as f32, y as f32)
}

fn lines(points: impl IntoIterator<Item = BackendCoord>) -> PathBuilder {
    let mut path = PathBuilder::new();
    for (x, y) in points.into_iter().map(float) {
        // The first one begins the path.
        if path.is_empty() { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path
}

/// The outlines of a line of text whose first letter starts at the origin, and its width.
fn outline(font: &Face<'_>, text: &str, em: f32) -> (Option<Path>, f32) {
    let scale = em / f32::from(font.units_per_em());
    let mut pen = Pen { path: PathBuilder::new(), x: 0.0, scale };
    for letter in text.chars() {
        // Glyph 0 is the box that stands for what the font lacks.
        let glyph = font.glyph_index(letter).unwrap_or(GlyphId(0));
        font.outline_glyph(glyph, &mut pen);
        pen.x += f32::from(font.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
    }
    (pen.path.finish(), pen.x)
}

/// Draws a glyph at `x`, from the font's units, which count upwards.
struct Pen {
    path: PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}
