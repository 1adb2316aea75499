//! What a delta costs against the number of turns, drawn.

use std::fmt::Write as _;

use super::Row;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;

/// A line with a dot for each row, in the order of the numbers of turns, which are spaced by their logarithms.
pub(super) fn svg(rows: &[Row]) -> String {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| row.turns);
    let most = rows.iter().map(|row| row.us_per_delta).fold(1.0, f64::max) * 1.1;
    let log = |row: &Row| (row.turns.max(1) as f64).ln();
    let (low, high) = match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => (log(first), log(last)),
        _ => (0.0, 0.0),
    };
    let span = if high > low { high - low } else { 1.0 };
    let x = |row: &Row| MARGIN + (log(row) - low) / span * (WIDTH - 2.0 * MARGIN);
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
        .map(|row| format!("{:.1},{:.1}", x(row), y(row.us_per_delta)))
        .collect();
    // Writing to a string does not fail.
    let _written = writeln!(
        drawing,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1a6dd6\" stroke-width=\"2\"/>",
        points.join(" ")
    );
    for row in rows {
        let (x, y) = (x(row), y(row.us_per_delta));
        let _written = writeln!(
            drawing,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#1a6dd6\"/>\
             <text x=\"{x:.1}\" y=\"{above:.1}\" text-anchor=\"middle\">{cost:.1}</text>\
             <text x=\"{x:.1}\" y=\"{below}\" text-anchor=\"middle\">{turns}</text>",
            above = y - 10.0,
            cost = row.us_per_delta,
            below = HEIGHT - MARGIN + 18.0,
            turns = row.turns,
        );
    }
    drawing.push_str("</svg>\n");
    drawing
}
