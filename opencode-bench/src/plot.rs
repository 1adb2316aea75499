//! What a delta costs against the number of turns, drawn.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;

/// A line with a dot for each number of turns and what a delta costs there, in microseconds. The numbers are spaced by
/// their logarithms.
pub(crate) fn svg(points: &[(usize, f64)]) -> String {
    let mut rows = points.to_vec();
    rows.sort_by_key(|(turns, _)| *turns);
    let most = rows.iter().map(|(_, cost)| *cost).fold(1.0, f64::max) * 1.1;
    let log = |turns: usize| (turns.max(1) as f64).ln();
    let (low, high) = match (rows.first(), rows.last()) {
        (Some((first, _)), Some((last, _))) => (log(*first), log(*last)),
        _ => (0.0, 0.0),
    };
    let span = if high > low { high - low } else { 1.0 };
    let x = |turns: usize| MARGIN + (log(turns) - low) / span * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / most * (HEIGHT - 2.0 * MARGIN);
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>CPU time of the host for one delta, against turns at once</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <path d=\"M{MARGIN} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"gray\"/>\n\
         <text x=\"{MARGIN}\" y=\"{title}\">CPU µs a delta</text>\n\
         <text x=\"{right}\" y=\"{under}\" text-anchor=\"end\">turns at once</text>\n",
        bottom = HEIGHT - MARGIN,
        right = WIDTH - MARGIN,
        title = MARGIN - 16.0,
        under = HEIGHT - 12.0,
    );
    let points: Vec<_> = rows
        .iter()
        .map(|(turns, cost)| format!("{:.1},{:.1}", x(*turns), y(*cost)))
        .collect();
    // Writing to a string does not fail.
    let _written = writeln!(
        drawing,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1a6dd6\" stroke-width=\"2\"/>",
        points.join(" ")
    );
    for (turns, cost) in rows {
        let (x, y) = (x(turns), y(cost));
        let _written = writeln!(
            drawing,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#1a6dd6\"/>\
             <text x=\"{x:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{cost:.1}</text>\
             <text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{turns}</text>",
            above = y - 10.0,
            below = HEIGHT - MARGIN + 18.0,
        );
    }
    drawing.push_str("</svg>\n");
    drawing
}
