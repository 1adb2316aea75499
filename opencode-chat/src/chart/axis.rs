//! The scale of a chart's values.

/// About how many lines cross a chart.
const LINES: f64 = 6.0;

/// A scale that begins and ends at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    step: f64,
}

impl Axis {
    /// A scale for these values, and for zero where that is wanted.
    pub(super) fn of(values: impl Iterator<Item = f64>, with_zero: bool) -> Self {
        let zero = with_zero.then_some((0.0, 0.0));
        let span = values.fold(zero, |span, value| {
            let (low, high) = span.unwrap_or((value, value));
            Some((low.min(value), high.max(value)))
        });
        let (mut low, mut high) = span.unwrap_or((0.0, 1.0));
        // Values that are all the same, or nearly, still need a height.
        if high - low <= f64::EPSILON * low.abs().max(high.abs()) * 16.0 {
            let room = if high == 0.0 { 1.0 } else { high.abs() };
            if high >= 0.0 {
                high += room;
            }
            if low < 0.0 {
                low -= room;
            }
        }
        let step = round_step((high - low) / LINES);
        Self {
            low: (low / step).floor() * step,
            high: (high / step).ceil() * step,
            step,
        }
    }

    /// The numbers at its lines.
    pub(super) fn lines(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as u32;
        (0..=count)
            .map(|line| self.low + f64::from(line) * self.step)
            // A zero that is nearly one.
            .map(|at| if at.abs() < self.step / 1e6 { 0.0 } else { at })
            .collect()
    }

    /// Where a value is, from 0 at the low end to 1 at the high one.
    pub(super) fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A number as people write it: up to four digits behind the point, thousands apart.
pub(super) fn number(value: f64) -> String {
    let rounded = if value.abs() < 0.001 && value != 0.0 {
        return format!("{value:.2e}");
    } else {
        format!("{value:.4}")
    };
    let (whole, rest) = rounded.split_once('.').unwrap_or((&rounded, ""));
    let rest = rest.trim_end_matches('0');
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() {
        format!("{sign}{grouped}")
    } else {
        format!("{sign}{grouped}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (values, with_zero, lines) in [
            (
                vec![10.0, -5.0, 20.5],
                true,
                vec!["-5", "0", "5", "10", "15", "20", "25"],
            ),
            (vec![0.9], true, vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (
                vec![1000.0, 1400.0],
                false,
                vec!["1,000", "1,100", "1,200", "1,300", "1,400"],
            ),
            (vec![7.0, 7.0], false, vec!["6", "8", "10", "12", "14"]),
            (vec![], true, vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ] {
            let axis = Axis::of(values.clone().into_iter(), with_zero);
            let told: Vec<_> = axis.lines().into_iter().map(number).collect();
            assert_eq!(told, lines, "{values:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, said) in [
            (0.0, "0"),
            (1_234_567.5, "1,234,567.5"),
            (-1234.0, "-1,234"),
            (0.1 + 0.2, "0.3"),
            (0.000_012, "1.20e-5"),
        ] {
            assert_eq!(number(value), said);
        }
    }
}
