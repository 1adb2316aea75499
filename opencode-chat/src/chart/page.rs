//! The page of a chart: HTML and SVG, made of numbers that were checked and words that are escaped.

use askama::Template;

use super::axis::{Axis, number};
use super::data::{Chart, ChartError, Kind};

// The drawing's own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;
/// The most labels below a chart; the others are left out.
const MAX_LABELS: usize = 10;

#[derive(Template)]
#[template(path = "chart.html")]
struct Page<'a> {
    title: &'a str,
    /// What is heard of it.
    summary: String,
    lines: Vec<Line>,
    /// Where zero is.
    ground: String,
    left: f64,
    right: f64,
    labels: Vec<(String, &'a str)>,
    series: Vec<Drawn<'a>>,
}

/// A line across, and the number at it.
struct Line {
    y: String,
    number: String,
}

/// One series.
struct Drawn<'a> {
    name: &'a str,
    /// The pieces of its line, with holes where values are missing.
    lines: Vec<String>,
    bars: Vec<Bar>,
    points: Vec<Point>,
}

struct Bar {
    x: String,
    y: String,
    width: String,
    height: String,
    title: String,
}

struct Point {
    x: String,
    y: String,
    title: String,
}

/// Draws a chart that was checked.
pub(super) fn draw(chart: &Chart) -> askama::Result<String> {
    let axis = Axis::of(chart.values(), chart.kind == Kind::Bar);
    let place = Place {
        slot: (WIDTH - LEFT - RIGHT) / chart.places() as f64,
        axis,
    };
    let lines = place.axis.lines().into_iter().map(|value| Line {
        y: short(place.y(value)),
        number: number(value),
    });
    let every = chart.places().div_ceil(MAX_LABELS);
    let labels = (0..chart.places()).step_by(every);
    let series = 0..chart.series.len();
    Page {
        title: &chart.title,
        summary: summary(chart),
        lines: lines.collect(),
        ground: short(place.y(place.ground())),
        left: LEFT,
        right: WIDTH - RIGHT,
        labels: labels
            .map(|at| (short(place.middle(at)), chart.label(at)))
            .collect(),
        series: series.map(|number| place.series(chart, number)).collect(),
    }
    .render()
}

/// Says why a chart is not drawn.
pub(super) fn undrawn(why: &ChartError) -> askama::Result<String> {
    #[derive(Template)]
    #[template(path = "undrawn.html")]
    struct Undrawn<'a> {
        why: &'a ChartError,
    }
    Undrawn { why }.render()
}

fn summary(chart: &Chart) -> String {
    let kind = match chart.kind {
        Kind::Bar => "Bar chart",
        Kind::Line => "Line chart",
    };
    let (series, places) = (chart.series.len(), chart.places());
    format!(
        "{kind}, {series} series of {places} values. {}",
        chart.title
    )
}

/// Where things are.
struct Place {
    /// The width of what belongs to one label.
    slot: f64,
    axis: Axis,
}

impl Place {
    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - TOP - BOTTOM;
        TOP + height * (1.0 - self.axis.place(value))
    }

    fn middle(&self, at: usize) -> f64 {
        LEFT + self.slot * (at as f64 + 0.5)
    }

    /// What bars stand on: zero, where the scale has it.
    fn ground(&self) -> f64 {
        0.0_f64.clamp(self.axis.low, self.axis.high)
    }

    fn series<'a>(&self, chart: &'a Chart, number: usize) -> Drawn<'a> {
        let series = &chart.series[number];
        let there = series.values.iter().enumerate();
        let there = there.filter_map(|(at, value)| Some((at, (*value)?)));
        let mut drawn = Drawn {
            name: &series.name,
            lines: Vec::new(),
            bars: Vec::new(),
            points: Vec::new(),
        };
        match chart.kind {
            Kind::Bar => {
                let bars = there.map(|(at, value)| self.bar(chart, number, at, value));
                drawn.bars = bars.collect();
            }
            Kind::Line => {
                let points = there.map(|(at, value)| Point {
                    x: short(self.middle(at)),
                    y: short(self.y(value)),
                    title: said(chart, number, at, value),
                });
                drawn.points = points.collect();
                let whole = series
                    .values
                    .split(Option::is_none)
                    .scan(0, |begin, piece| {
                        let from = *begin;
                        *begin += piece.len() + 1;
                        Some((from, piece))
                    });
                // A point without neighbours is a point.
                drawn.lines = whole
                    .filter(|(_, piece)| piece.len() > 1)
                    .map(|(from, piece)| self.polyline(from, piece))
                    .collect();
            }
        }
        drawn
    }

    fn polyline(&self, from: usize, values: &[Option<f64>]) -> String {
        let points = values.iter().flatten().enumerate().map(|(at, value)| {
            format!(
                "{},{}",
                short(self.middle(from + at)),
                short(self.y(*value))
            )
        });
        points.collect::<Vec<_>>().join(" ")
    }

    fn bar(&self, chart: &Chart, number: usize, at: usize, value: f64) -> Bar {
        let count = chart.series.len() as f64;
        let width = (self.slot * 0.72 / count).min(64.0);
        let x = self.middle(at) + width * (number as f64 - count / 2.0);
        let (one, other) = (self.y(value), self.y(self.ground()));
        let gap = (width * 0.06).min(1.5);
        Bar {
            x: short(x + gap),
            y: short(one.min(other)),
            width: short(width - 2.0 * gap),
            height: short((one - other).abs()),
            title: said(chart, number, at, value),
        }
    }
}

/// A value in words.
fn said(chart: &Chart, series: usize, at: usize, value: f64) -> String {
    let names = [chart.label(at), chart.series[series].name.as_str()];
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let value = number(value);
    let value = format!("{value} {}", chart.unit);
    if names.is_empty() {
        value.trim_end().to_owned()
    } else {
        format!("{}: {}", names.join(", "), value.trim_end())
    }
}

/// A coordinate.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
