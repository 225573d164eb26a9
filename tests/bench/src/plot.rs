//! The ratios as a picture: one row for each load, one mark for each proxy, on a logarithmic axis.

use std::ops::Range;

use crate::{
    peers::{Layout, Peer},
    results::Results,
    shapes,
};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = WIDTH - 30.0;
const ROW: f64 = 30.0;
const PANEL_HEAD: f64 = 46.0;
const PANEL_FOOT: f64 = 34.0;
/// Ratios that the axis reaches to.
const AXIS: Range<f64> = 0.01..4.0;
const TICKS: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

const STYLE: &str = "<style>
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .small { font-size: 11px; fill: #59636e; }
  .head { font-weight: 600; }
  line { stroke: #d1d9e0; }
  .one { stroke: #59636e; stroke-width: 1.5; }
  .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; } line { stroke: #3d444d; }
    .one { stroke: #9198a1; } .back { fill: #0d1117; }
  }
</style>
";

/// Draws it.
pub fn svg(results: &Results) -> String {
    let layouts = [
        (Layout::Hop, "One cleartext hop"),
        (Layout::Pair, "Pair with mutual TLS, both proxies together"),
    ];
    let panel = PANEL_HEAD + PANEL_FOOT + ROW * shapes::ALL.len() as f64;
    let height = 62.0 + panel * layouts.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"CPU time of the proxies per call as a ratio to Envoy's\">\n{STYLE}\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"head\" x=\"16\" y=\"24\">CPU time per call, ratio to Envoy (less is better, logarithmic)</text>\n"
    );
    text += &legend();
    for (index, (layout, title)) in layouts.into_iter().enumerate() {
        text += &draw(results, layout, title, 56.0 + panel * index as f64);
    }
    text + "</svg>\n"
}

fn color(peer: Peer) -> &'static str {
    match peer {
        Peer::Weft => "#d1242f",
        Peer::Envoy => "#8c6bb1",
        Peer::Haproxy => "#2f81f7",
        Peer::Nginx => "#1a7f37",
        Peer::Nghttpx => "#bf8700",
        Peer::Copy => "#1b9aaa",
        Peer::Direct | Peer::Hyper => "#6e7781",
    }
}

fn proxies() -> impl Iterator<Item = Peer> {
    Peer::ALL.into_iter().filter(|peer| *peer != Peer::Direct)
}

fn legend() -> String {
    let entry = |(index, peer): (usize, Peer)| {
        let x = 22.0 + 105.0 * index as f64;
        let label = x + 10.0;
        format!(
            "{}<text x=\"{label}\" y=\"48\">{}</text>\n",
            mark(peer, x, 44.0, None),
            peer.name()
        )
    };
    proxies().enumerate().map(entry).collect()
}

/// Ours is a diamond, so that colours are not needed to find it.
fn mark(peer: Peer, x: f64, y: f64, label: Option<&str>) -> String {
    let fill = color(peer);
    let title = label.map_or(String::new(), |label| format!("<title>{label}</title>"));
    if peer == Peer::Weft {
        let (left, right, top, bottom) = (x - 7.0, x + 7.0, y - 7.0, y + 7.0);
        format!(
            "<path d=\"M{left:.1} {y:.1}L{x:.1} {top:.1}L{right:.1} {y:.1}L{x:.1} {bottom:.1}Z\" fill=\"{fill}\">{title}</path>\n"
        )
    } else {
        format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" fill-opacity=\"0.85\">{title}</circle>\n"
        )
    }
}

fn position(ratio: f64) -> f64 {
    let share =
        (ratio.clamp(AXIS.start, AXIS.end) / AXIS.start).ln() / (AXIS.end / AXIS.start).ln();
    LEFT + share * (RIGHT - LEFT)
}

fn draw(results: &Results, layout: Layout, title: &str, top: f64) -> String {
    let first = top + PANEL_HEAD;
    let bottom = first + ROW * shapes::ALL.len() as f64;
    let heading = top + 24.0;
    let mut text = format!("<text class=\"head\" x=\"16\" y=\"{heading}\">{title}</text>\n");
    for tick in TICKS {
        let (x, label) = (position(tick), bottom + 16.0);
        let class = if tick == 1.0 { " class=\"one\"" } else { "" };
        text += &format!(
            "<line{class} x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{first}\" y2=\"{bottom}\"/>\
             <text class=\"small\" x=\"{x:.1}\" y=\"{label}\" text-anchor=\"middle\">{tick}</text>\n"
        );
    }
    for (row, shape) in shapes::ALL.iter().enumerate() {
        let y = first + ROW * (row as f64 + 0.5);
        let baseline = y + 4.0;
        text += &format!("<text x=\"16\" y=\"{baseline}\">{}</text>\n", shape.name);
        text += &format!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y}\" y2=\"{y}\"/>\n");
        // Ours last, on top of the others.
        for peer in proxies()
            .filter(|peer| *peer != Peer::Weft)
            .chain([Peer::Weft])
        {
            let cell = results
                .find(peer, layout)
                .and_then(|found| found.cells.get(row));
            if let Some(ratio) = cell.and_then(|cell| cell.cpu_ratio) {
                let label = format!("{} {ratio:.3}", peer.name());
                text += &mark(peer, position(ratio), y, Some(&label));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_is_logarithmic_and_ends_where_it_says() {
        assert!((position(0.001) - LEFT).abs() < 1e-9);
        assert!((position(100.0) - RIGHT).abs() < 1e-9);
        let decade = position(0.1) - position(0.01);
        assert!((position(1.0) - position(0.1) - decade).abs() < 1e-9);
    }
}
