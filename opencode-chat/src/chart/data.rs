//! A chart as the agent writes it, checked.

use serde::Deserialize;

/// The most series of a chart: as many as there are colours to tell apart.
const MAX_SERIES: usize = 12;
/// The most values of a series.
const MAX_VALUES: usize = 500;
/// The most characters of any word in it.
const MAX_WORDS: usize = 120;

/// A chart, as the agent writes it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Chart {
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) kind: Kind,
    /// What stands behind a value.
    #[serde(default)]
    pub(super) unit: String,
    /// What stands below the values of the same place.
    #[serde(default)]
    pub(super) labels: Vec<String>,
    pub(super) series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    Bar,
    Line,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) name: String,
    /// `null` where there is none.
    pub(super) values: Vec<Option<f64>>,
}

/// Why a chart is not drawn.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChartError {
    #[error("what the agent wrote is no chart: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a chart has 1 to {MAX_SERIES} series, and this one has {0}")]
    Series(usize),
    #[error("a series has 1 to {MAX_VALUES} values, and the longest here has {0}")]
    Values(usize),
    #[error("the values of a chart lie between -1e15 and 1e15")]
    Size,
}

impl Chart {
    /// The chart, if it can be drawn, with its words cut to what fits.
    pub(super) fn checked(mut self) -> Result<Self, ChartError> {
        if self.series.is_empty() || self.series.len() > MAX_SERIES {
            return Err(ChartError::Series(self.series.len()));
        }
        if self.places() == 0 || self.places() > MAX_VALUES {
            return Err(ChartError::Values(self.places()));
        }
        if self.values().any(|value| !(-1e15..=1e15).contains(&value)) {
            return Err(ChartError::Size);
        }
        self.labels.truncate(self.places());
        let words = [&mut self.title, &mut self.unit].into_iter();
        let names = self.series.iter_mut().map(|series| &mut series.name);
        for words in words.chain(names).chain(&mut self.labels) {
            if let Some((at, _)) = words.char_indices().nth(MAX_WORDS) {
                words.truncate(at);
                words.push('…');
            }
        }
        Ok(self)
    }

    /// How many values the longest series has.
    pub(super) fn places(&self) -> usize {
        let lengths = self.series.iter().map(|series| series.values.len());
        lengths.max().unwrap_or(0)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = f64> {
        self.series
            .iter()
            .flat_map(|series| series.values.iter().flatten().copied())
    }

    pub(super) fn label(&self, place: usize) -> &str {
        self.labels.get(place).map_or("", String::as_str)
    }
}
