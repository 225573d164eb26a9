//! What is knitted into a sock: tiles for SVG's `<pattern>`, or bands drawn straight onto the sock.

use std::fmt::{Result, Write};

use super::{Color, Palette, Style};

mod table;

/// A repeating tile.
struct Tile {
    width: u32,
    height: u32,
    /// Clockwise, in degrees.
    turn: i32,
    /// The shapes, lowest first.
    shapes: &'static [Shape],
}

/// One path of a tile.
enum Shape {
    /// Filled.
    Area(Paint, &'static str),
    /// Drawn as a line of this width.
    Line(Paint, u32, &'static str),
}

/// Which colour of the palette a shape has.
#[derive(Clone, Copy)]
enum Paint {
    Motif,
    Second,
    Trim,
    /// The sock's own colour, a little darker.
    Shade,
}

/// Writes the `<pattern>` of a style into the `<defs>`, if it has one.
pub(super) fn define(out: &mut String, style: Style, palette: Palette) -> Result {
    let Some(Tile {
        width,
        height,
        turn,
        shapes,
    }) = table::tile(style)
    else {
        return Ok(());
    };
    let scale = table::scale(style);
    write!(
        out,
        "<pattern id=\"p\" width=\"{width}\" height=\"{height}\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"translate(152 104) rotate({turn}) scale({scale})\">"
    )?;
    for shape in shapes {
        draw(out, shape, palette)?;
    }
    write!(out, "</pattern>")
}

/// Covers the sock with the style's tile, or draws its bands.
pub(super) fn fill(out: &mut String, style: Style, palette: Palette) -> Result {
    if table::tile(style).is_some() {
        write!(out, "<path fill=\"url(#p)\" d=\"M120 40H380V350H120Z\"/>")?;
    }
    for shape in table::bands(style) {
        draw(out, shape, palette)?;
    }
    Ok(())
}

fn draw(out: &mut String, shape: &Shape, palette: Palette) -> Result {
    match shape {
        Shape::Area(paint, path) => {
            let color = paint.color(palette);
            write!(out, "<path fill=\"{color}\" d=\"{path}\"/>")
        }
        Shape::Line(paint, width, path) => {
            let color = paint.color(palette);
            write!(
                out,
                "<path fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" \
                 stroke-linecap=\"round\" d=\"{path}\"/>"
            )
        }
    }
}

impl Paint {
    fn color(self, palette: Palette) -> Color {
        match self {
            Self::Motif => palette.motif,
            Self::Second => palette.second,
            Self::Trim => palette.trim,
            Self::Shade => palette.body.mixed(Color::BLACK, 14),
        }
    }
}
