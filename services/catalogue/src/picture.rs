//! Draws the picture of a product: a pair of socks as a flat SVG illustration.
//!
//! The drawing is a pure function of the product's [`Pattern`], so that a product always has the same
//! picture and nothing has to be stored. [`motif`] holds what is knitted into the sock, this file the
//! sock itself. Nothing of a pattern gets into the document as text: styles are an enum and colours
//! are three numbers, so there is nothing to escape.

use std::fmt::{self, Display, Formatter, Write};

use serde::{Deserialize, Serialize};

mod motif;

/// How a sock looks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// What is knitted into the sock.
    pub style: Style,
    /// The sock; heel, toe and cuff; the motif; the motif's second colour. Of those that are missing,
    /// the first is cream, the others are the one before.
    pub colors: Vec<Color>,
}

/// What is knitted into a sock.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say what they look like")]
pub enum Style {
    Plain,
    Ribs,
    Cable,
    Stripes,
    Pinstripes,
    Blocks,
    Checks,
    Argyle,
    Zigzag,
    Waves,
    Dots,
    Terrazzo,
    Fairisle,
    Hearts,
    Stars,
    Snow,
    Trees,
    Leaves,
    Lemons,
    Mushrooms,
    Fish,
    Cats,
}

/// An opaque sRGB colour, written `#rrggbb`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Color([u8; 3]);

/// The text is no colour of the form `#rrggbb`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no colour such as `#dfa32d`")]
pub struct NotAColor(String);

impl Color {
    const CREAM: Self = Self([0xf6, 0xec, 0xd9]);
    const BLACK: Self = Self([0x1c, 0x14, 0x10]);
    const PAPER: Self = Self([0xfb, 0xf5, 0xea]);

    /// This colour with `percent` of the other mixed in.
    fn mixed(self, other: Self, percent: u16) -> Self {
        let part = |own: u8, other: u8| {
            let sum = u16::from(own) * (100 - percent) + u16::from(other) * percent;
            u8::try_from(sum / 100).unwrap_or(u8::MAX)
        };
        let [red, green, blue] = self.0;
        let [other_red, other_green, other_blue] = other.0;
        Self([
            part(red, other_red),
            part(green, other_green),
            part(blue, other_blue),
        ])
    }

    /// How bright it looks, 0 to 255 (ITU-R BT.601).
    fn brightness(self) -> u32 {
        let [red, green, blue] = self.0.map(u32::from);
        (299 * red + 587 * green + 114 * blue) / 1000
    }
}

impl TryFrom<String> for Color {
    type Error = NotAColor;

    fn try_from(text: String) -> Result<Self, NotAColor> {
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6 && digits.is_ascii());
        let channel = |at: usize| {
            let pair = digits?
                .get(at..at + 2)
                .filter(|pair| !pair.starts_with('+'))?;
            u8::from_str_radix(pair, 16).ok()
        };
        match (channel(0), channel(2), channel(4)) {
            (Some(red), Some(green), Some(blue)) => Ok(Self([red, green, blue])),
            _ => Err(NotAColor(text)),
        }
    }
}

impl From<Color> for String {
    fn from(color: Color) -> Self {
        color.to_string()
    }
}

impl Display for Color {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(formatter, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// The colours of a pattern by what they are for.
#[derive(Clone, Copy, Debug)]
struct Palette {
    body: Color,
    trim: Color,
    motif: Color,
    second: Color,
}

impl Palette {
    fn of(spec: &Pattern) -> Self {
        let mut colors = spec.colors.iter().copied();
        let body = colors.next().unwrap_or(Color::CREAM);
        let trim = colors.next().unwrap_or(body);
        let motif = colors.next().unwrap_or(trim);
        let second = colors.next().unwrap_or(motif);
        Self {
            body,
            trim,
            motif,
            second,
        }
    }

    /// A pale tint of a colour of the sock. A sock that is pale or dark itself lends that of its motif
    /// or its trim, so that it stands out and the shop is not grey.
    fn backdrop(self) -> Color {
        let pale = self.body.brightness() > 205;
        let lively = match self.body.brightness() {
            206.. => self.motif,
            0..70 if self.trim.brightness() >= 70 => self.trim,
            0..70 if self.motif.brightness() >= 70 => self.motif,
            _ => self.body,
        };
        Color::PAPER.mixed(lively, if pale { 33 } else { 24 })
    }
}

/// The outline: cuff, instep, toe, sole, heel.
const OUTLINE: &str = "M151 64C150 58 154 54 160 54L252 54C258 54 262 58 261 64\
C257 112 253 150 256 186C258 206 272 214 296 224C336 240 362 262 360 296\
C358 326 332 338 298 336C262 334 222 326 190 316C154 305 138 282 143 250C148 216 154 176 153 140\
C152 112 152 88 151 64Z";
/// What is of the trim's colour.
const CUFF: &str = "M146 48H266V98Q206 106 146 98Z";
const HEEL: &str = "M120 232C172 234 208 262 206 300C205 318 200 330 190 340L120 340Z";
const TOE: &str = "M322 220C300 248 296 300 316 350H400V220Z";
/// The ribs of the cuff.
const CUFF_RIBS: &str = "M168 58V98M182 58V100M196 58V101M210 58V101M224 58V100M238 58V98";
/// Where heel and toe are linked to the foot.
const SEAMS: &str = "M120 232C172 234 208 262 206 300C205 318 200 330 190 340M322 220C300 248 296 300 316 350M146 98Q206 106 266 98";

/// Draws a pair of socks, 400 by 400 units, at most 6 kB.
pub fn svg(spec: &Pattern) -> String {
    let mut out = String::with_capacity(4096);
    // Writing to a `String` cannot fail.
    let _ = draw(&mut out, spec.style, Palette::of(spec));
    out
}

fn draw(out: &mut String, style: Style, palette: Palette) -> fmt::Result {
    let backdrop = palette.backdrop();
    let glow = backdrop.mixed(Color::PAPER, 55);
    let shadow = backdrop.mixed(Color::BLACK, 26);
    let line = palette.body.mixed(Color::BLACK, 30);
    let (body, trim) = (palette.body, palette.trim);
    let rib = trim.mixed(Color::BLACK, if trim.brightness() < 60 { 55 } else { 20 });
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 400 400\" width=\"400\" \
         height=\"400\"><defs><clipPath id=\"c\"><path d=\"{OUTLINE}\"/></clipPath>\
         <linearGradient id=\"l\" x2=\"1\" y2=\".25\"><stop stop-color=\"#fff\" stop-opacity=\".22\"/>\
         <stop offset=\".45\" stop-color=\"#fff\" stop-opacity=\"0\"/>\
         <stop offset=\"1\" stop-opacity=\".16\"/></linearGradient>"
    )?;
    motif::define(out, style, palette)?;
    write!(
        out,
        "<g id=\"s\"><g clip-path=\"url(#c)\"><path fill=\"{body}\" d=\"M120 40H380V350H120Z\"/>"
    )?;
    motif::fill(out, style, palette)?;
    write!(
        out,
        "<path fill=\"{trim}\" d=\"{CUFF}{HEEL}{TOE}\"/>\
         <path fill=\"none\" stroke=\"{rib}\" stroke-width=\"3\" stroke-linecap=\"round\" \
         opacity=\".55\" d=\"{CUFF_RIBS}\"/>\
         <path fill=\"none\" stroke=\"#000\" stroke-width=\"2\" stroke-dasharray=\"5 4\" \
         opacity=\".22\" d=\"{SEAMS}\"/>\
         <path fill=\"url(#l)\" d=\"{OUTLINE}\"/></g>\
         <path fill=\"none\" stroke=\"{line}\" stroke-width=\"2.5\" stroke-linejoin=\"round\" \
         opacity=\".5\" d=\"{OUTLINE}\"/></g></defs>\
         <path fill=\"{backdrop}\" d=\"M0 0H400V400H0Z\"/>\
         <circle cx=\"200\" cy=\"198\" r=\"172\" fill=\"{glow}\"/>\
         <ellipse cx=\"212\" cy=\"359\" rx=\"132\" ry=\"11\" fill=\"{shadow}\" opacity=\".35\"/>\
         <g transform=\"rotate(-7 190 330) translate(-58 -6)\"><use href=\"#s\"/>\
         <path d=\"{OUTLINE}\" opacity=\".16\"/></g>\
         <path d=\"{OUTLINE}\" opacity=\".2\" transform=\"translate(-18 13)\"/>\
         <use href=\"#s\" transform=\"translate(-6 10)\"/></svg>"
    )
}

#[cfg(test)]
mod tests;
