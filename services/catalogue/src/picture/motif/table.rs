//! The table of motifs. A tile is as small as its shapes allow; a shape that meets the tile's edge goes
//! past it, so that the seam does not show.

use super::Paint::{Motif, Second, Shade, Trim};
use super::Shape::{self, Area, Line};
use super::Tile;
use crate::picture::Style;

/// What is drawn onto the sock once.
pub(super) fn bands(style: Style) -> &'static [Shape] {
    match style {
        Style::Blocks => &[
            Area(Motif, "M120 170Q206 196 300 150V40H120Z"),
            Area(Second, "M120 150Q206 176 300 134V112Q206 152 120 126Z"),
        ],
        Style::Plain => &[Line(Motif, 5, "M146 114Q206 122 266 114")],
        _ => &[],
    }
}

/// How much larger than drawn a tile is knitted.
pub(super) fn scale(style: Style) -> f32 {
    match style {
        Style::Ribs | Style::Pinstripes | Style::Stripes | Style::Argyle => 1.0,
        Style::Cable | Style::Checks | Style::Zigzag | Style::Waves | Style::Fairisle => 1.15,
        _ => 1.4,
    }
}

/// What is repeated all over the sock.
pub(super) fn tile(style: Style) -> Option<Tile> {
    let (width, height, turn, shapes): (u32, u32, i32, &'static [Shape]) = match style {
        Style::Blocks | Style::Plain => return None,
        Style::Ribs => (12, 12, 0, &[Line(Shade, 4, "M6 -2V14")]),
        Style::Cable => (
            36,
            36,
            0,
            &[
                Line(Shade, 2, "M3 -2V38M33 -2V38"),
                Line(Motif, 6, "M11 -4C11 10 25 8 25 18S11 28 11 40"),
                Line(Shade, 6, "M25 -4C25 10 11 8 11 18S25 28 25 40"),
            ],
        ),
        Style::Stripes => (
            40,
            44,
            4,
            &[
                Area(Motif, "M0 10H40V26H0Z"),
                Area(Second, "M0 32H40V36H0Z"),
            ],
        ),
        Style::Pinstripes => (14, 14, 0, &[Line(Motif, 2, "M7 -2V16")]),
        Style::Checks => (
            32,
            32,
            0,
            &[
                Area(Shade, "M0 0H16V32H0ZM16 0H32V16H16Z"),
                Area(Motif, "M0 0H16V16H0Z"),
                Line(Second, 1, "M24 -2V34M-2 24H34"),
            ],
        ),
        Style::Argyle => (
            44,
            68,
            0,
            &[
                Area(Motif, "M22 2L42 34L22 66L2 34Z"),
                Line(Second, 2, "M-1 -1L45 69M45 -1L-1 69"),
            ],
        ),
        Style::Zigzag => (
            32,
            44,
            0,
            &[
                Line(Motif, 7, "M-4 18L8 6L24 22L36 10"),
                Line(Second, 4, "M-4 38L8 26L24 42L36 30"),
            ],
        ),
        Style::Waves => (
            40,
            34,
            -3,
            &[
                Line(Motif, 6, "M-2 10C8 0 12 0 20 10S32 20 42 10"),
                Line(Second, 3, "M-2 27C8 17 12 17 20 27S32 37 42 27"),
            ],
        ),
        Style::Dots => (
            34,
            34,
            0,
            &[
                Area(Motif, "M8 2a6 6 0 0 1 0 12a6 6 0 0 1 0-12"),
                Area(Second, "M25 19a6 6 0 0 1 0 12a6 6 0 0 1 0-12"),
            ],
        ),
        Style::Terrazzo => (
            66,
            62,
            8,
            &[
                Area(
                    Motif,
                    "M6 8l12-3 5 9-9 6zM44 34l10 2 2 10-12-2zM28 52l6-4 4 6-6 4z",
                ),
                Area(
                    Second,
                    "M38 6l9 5-4 8-8-3zM8 36l7-6 8 7-6 8zM58 14l5 4-5 5-4-4z",
                ),
                Area(
                    Trim,
                    "M25 26l8-2 1 8-7 1zM54 54l6-2 2 6-7 1zM3 56l6-2 1 5-6 1z",
                ),
            ],
        ),
        Style::Fairisle => (
            32,
            76,
            0,
            &[
                Area(Motif, "M16 6l5 8 9 2-7 6 2 10-9-5-9 5 2-10-7-6 9-2z"),
                Area(
                    Second,
                    "M0 42H8V46H0ZM16 42H24V46H16ZM8 46H16V50H8ZM24 46H32V50H24Z",
                ),
                Area(Motif, "M0 56l8 6 8-6 8 6 8-6v6l-8 6-8-6-8 6-8-6z"),
            ],
        ),
        Style::Hearts => (
            40,
            40,
            -6,
            &[
                Area(Motif, "M11 21C-2 10 4 2 11 8C18 2 24 10 11 21Z"),
                Area(Second, "M31 39C20 30 25 22 31 28C37 22 42 30 31 39Z"),
            ],
        ),
        Style::Stars => (
            46,
            46,
            10,
            &[
                Area(Motif, "M13 3l3 7 8 1-6 5 2 8-7-4-7 4 2-8-6-5 8-1z"),
                Area(Second, "M36 28l2 5 5 1-4 4 1 5-4-3-5 3 2-5-4-4 5-1z"),
            ],
        ),
        Style::Snow => (
            50,
            50,
            0,
            &[
                Line(
                    Motif,
                    2,
                    "M14 3V25M4 8L24 20M24 8L4 20M11 5l3 3 3-3M11 23l3-3 3 3",
                ),
                Area(
                    Motif,
                    "M38 30a4 4 0 0 1 0 8a4 4 0 0 1 0-8M42 8a2 2 0 0 1 0 4a2 2 0 0 1 0-4",
                ),
                Area(Second, "M20 38a3 3 0 0 1 0 6a3 3 0 0 1 0-6"),
            ],
        ),
        Style::Trees => (
            40,
            52,
            0,
            &[
                Area(Motif, "M12 2L21 16H17L23 26H1L7 16H3Z"),
                Line(Second, 3, "M12 27v4"),
                Area(Second, "M32 28L38 38H35L39 46H25L29 38H26Z"),
            ],
        ),
        Style::Leaves => (
            54,
            50,
            -12,
            &[
                Area(Motif, "M6 24C4 10 14 4 26 4C26 18 20 26 6 24Z"),
                Area(Second, "M48 46C36 48 30 40 31 28C43 28 50 34 48 46Z"),
                Line(Shade, 2, "M3 27L20 10M50 49L37 34"),
            ],
        ),
        Style::Lemons => (
            56,
            50,
            -14,
            &[
                Area(
                    Motif,
                    "M5 15C9 4 23 2 29 10C34 11 34 14 31 17C28 28 12 28 8 20C4 20 3 17 5 15Z",
                ),
                Area(Second, "M27 8C30 1 37 1 41 3C38 9 33 11 27 8Z"),
                Area(
                    Motif,
                    "M36 38C38 32 46 31 49 36C52 37 52 39 50 40C48 46 39 46 37 41C35 41 35 39 36 38Z",
                ),
            ],
        ),
        Style::Mushrooms => (
            52,
            54,
            -4,
            &[
                Area(Second, "M13 16h8l2 12h-12zM38 42h6l1 8h-8z"),
                Area(Motif, "M3 18C3 0 31 0 31 18ZM31 43C31 31 51 31 51 43Z"),
                Area(
                    Second,
                    "M11 9a2 2 0 0 1 0 5a2 2 0 0 1 0-5M19 6a2 2 0 0 1 0 5a2 2 0 0 1 0-5M25 12a2 2 0 0 1 0 4a2 2 0 0 1 0-4M41 36a2 2 0 0 1 0 4a2 2 0 0 1 0-4",
                ),
            ],
        ),
        Style::Fish => (
            58,
            44,
            -8,
            &[
                Area(Motif, "M2 12C8 2 22 2 28 12L36 6V20L28 14C22 24 8 22 2 12Z"),
                Area(
                    Second,
                    "M54 34C50 27 40 27 36 34L30 30V40L36 35C40 42 50 41 54 34Z",
                ),
                Area(
                    Trim,
                    "M9 9a2 2 0 0 1 0 4a2 2 0 0 1 0-4M48 32a1 1 0 0 1 0 3a1 1 0 0 1 0-3",
                ),
            ],
        ),
        Style::Cats => (
            56,
            52,
            0,
            &[
                Area(
                    Motif,
                    "M4 4L11 10H21L28 4V18C28 28 4 28 4 18ZM33 30L38 34H46L51 30V41C51 49 33 49 33 41Z",
                ),
                Area(
                    Second,
                    "M11 14a2 2 0 0 1 0 5a2 2 0 0 1 0-5M21 14a2 2 0 0 1 0 5a2 2 0 0 1 0-5M38 37a1 1 0 0 1 0 4a1 1 0 0 1 0-4M46 37a1 1 0 0 1 0 4a1 1 0 0 1 0-4",
                ),
            ],
        ),
    };
    Some(Tile {
        width,
        height,
        turn,
        shapes,
    })
}
