//! How far a turn is, with the times of what has happened to it.
//!
//! [`TurnState`] has the times that its state has, and no others. A row has a column for each time instead:
//! [`StateRow`], which is read by one function, so that every store refuses what cannot be.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnStatus {
    /// With an answer.
    Completed,
    /// By the person.
    Cancelled,
    /// With an error that has a name: upstream, empty, interrupted, a deadline.
    Error,
    /// With something unexpected.
    Failed,
}

/// How far a turn is, and when what had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StateRow", into = "StateRow")]
pub enum TurnState {
    /// Nobody has worked on it yet.
    Queued,
    /// Its worker gave it back. It waits for another one.
    GivenBack(Work),
    /// Somebody works on it, or did until their lease ran out.
    Running(Work),
    /// It was cancelled before anybody worked on it.
    NeverStarted {
        /// When.
        at: Timestamp,
        /// Whether a worker has settled it: its hooks are due then.
        settled: bool,
    },
    /// It has its one terminal state.
    Finished {
        /// The work on it.
        work: Work,
        /// When it ended.
        at: Timestamp,
        /// How it ended.
        status: TurnStatus,
        /// Whether its files are attached: its hooks are due then.
        settled: bool,
    },
}

/// The times of the work on a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Work {
    /// When the turn was claimed first.
    pub started_at: Timestamp,
    /// When there was progress last.
    pub progress_at: Option<Timestamp>,
    /// When a cancel was asked for.
    pub cancel_requested_at: Option<Timestamp>,
}

/// How far a turn is, without times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It waits for a worker.
    Queued,
    /// Somebody works on it, or did until their lease ran out.
    Running,
    /// It has its one terminal state.
    Finished {
        /// How it ended.
        status: TurnStatus,
        /// Whether its files are attached: its hooks are due then.
        settled: bool,
    },
}

/// A turn's state as a row has it: a column for each time.
///
/// ```
/// use opencode_host::clock::Timestamp;
/// use opencode_host::store::{Phase, StateRow, TurnState};
///
/// let row = StateRow::new(Phase::Running);
/// let refused = TurnState::try_from(row).unwrap_err();
/// assert_eq!(refused.to_string(), "the turn runs, and has no time at which it started");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateRow {
    /// How far it is.
    #[serde(rename = "state")]
    pub phase: Phase,
    /// When a cancel was asked for.
    #[serde(default)]
    pub cancel_requested_at: Option<Timestamp>,
    /// When it was claimed first.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When there was progress last.
    #[serde(default)]
    pub progress_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

impl StateRow {
    /// A row without times.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            cancel_requested_at: None,
            started_at: None,
            progress_at: None,
            finished_at: None,
        }
    }
}

/// Times that no turn can have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the turn {is}, and {but}")]
pub struct ImpossibleState {
    is: &'static str,
    but: &'static str,
}

impl Work {
    /// Work that starts.
    pub const fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            progress_at: None,
            cancel_requested_at: None,
        }
    }

    /// This work, with a cancel asked for; the first time stays.
    pub(super) fn cancelled(mut self, now: Timestamp) -> Self {
        self.cancel_requested_at.get_or_insert(now);
        self
    }
}

impl TurnState {
    /// How far the turn is, without times.
    pub fn phase(&self) -> Phase {
        match *self {
            Self::Queued | Self::GivenBack(_) => Phase::Queued,
            Self::Running(_) => Phase::Running,
            Self::NeverStarted { settled, .. } => Phase::Finished {
                status: TurnStatus::Cancelled,
                settled,
            },
            Self::Finished {
                status, settled, ..
            } => Phase::Finished { status, settled },
        }
    }

    /// The work on the turn, if there was any.
    pub fn work(&self) -> Option<&Work> {
        match self {
            Self::Queued | Self::NeverStarted { .. } => None,
            Self::GivenBack(work) | Self::Running(work) | Self::Finished { work, .. } => Some(work),
        }
    }

    /// When the turn ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match *self {
            Self::Queued | Self::GivenBack(_) | Self::Running(_) => None,
            Self::NeverStarted { at, .. } | Self::Finished { at, .. } => Some(at),
        }
    }

    /// When a cancel was asked for.
    pub fn cancel_requested_at(&self) -> Option<Timestamp> {
        match *self {
            Self::NeverStarted { at, .. } => Some(at),
            _ => self.work()?.cancel_requested_at,
        }
    }
}

impl From<TurnState> for StateRow {
    fn from(state: TurnState) -> Self {
        let work = state.work();
        Self {
            phase: state.phase(),
            cancel_requested_at: state.cancel_requested_at(),
            started_at: work.map(|work| work.started_at),
            progress_at: work.and_then(|work| work.progress_at),
            finished_at: state.finished_at(),
        }
    }
}

impl TryFrom<StateRow> for TurnState {
    type Error = ImpossibleState;

    fn try_from(row: StateRow) -> Result<Self, ImpossibleState> {
        let is = match row.phase {
            Phase::Queued => "is queued",
            Phase::Running => "runs",
            Phase::Finished { .. } => "has finished",
        };
        let refuse = |but| Err(ImpossibleState { is, but });
        let work = row.started_at.map(|started_at| Work {
            started_at,
            progress_at: row.progress_at,
            cancel_requested_at: row.cancel_requested_at,
        });
        if work.is_none() && row.progress_at.is_some() {
            return refuse("has a time of progress, but none at which it started");
        }
        match (row.phase, work, row.finished_at) {
            (Phase::Queued, None, None) if row.cancel_requested_at.is_some() => {
                refuse("was cancelled before anybody worked on it")
            }
            (Phase::Queued, None, None) => Ok(Self::Queued),
            (Phase::Queued, Some(work), None) => Ok(Self::GivenBack(work)),
            (Phase::Running, Some(work), None) => Ok(Self::Running(work)),
            (Phase::Running, None, None) => refuse("has no time at which it started"),
            (Phase::Queued | Phase::Running, _, Some(_)) => refuse("has a time at which it ended"),
            (Phase::Finished { .. }, _, None) => refuse("has no time at which it ended"),
            (Phase::Finished { status, settled }, Some(work), Some(at)) => Ok(Self::Finished {
                work,
                at,
                status,
                settled,
            }),
            (Phase::Finished { status, settled }, None, Some(at)) => match status {
                TurnStatus::Cancelled => Ok(Self::NeverStarted { at, settled }),
                _ => refuse("has no time at which it started, though it was not cancelled"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PHASES: [Phase; 4] = [
        Phase::Queued,
        Phase::Running,
        Phase::Finished {
            status: TurnStatus::Cancelled,
            settled: true,
        },
        Phase::Finished {
            status: TurnStatus::Completed,
            settled: false,
        },
    ];

    /// Every row there can be: what is read is written back as it was, and the rest is refused.
    #[test]
    fn a_row_is_written_back_as_it_was_or_refused() {
        let time = |bits: u8, bit: u8| (bits >> bit & 1 == 1).then_some(Timestamp(7));
        let mut read = Vec::new();
        for phase in PHASES {
            for bits in 0..16 {
                let row = StateRow {
                    phase,
                    cancel_requested_at: time(bits, 0),
                    started_at: time(bits, 1),
                    progress_at: time(bits, 2),
                    finished_at: time(bits, 3),
                };
                match TurnState::try_from(row) {
                    Ok(state) if row.started_at.is_none() && row.finished_at.is_some() => {
                        let cancelled = StateRow {
                            cancel_requested_at: row.finished_at,
                            ..row
                        };
                        assert_eq!(StateRow::from(state), cancelled);
                        read.push((phase, bits));
                    }
                    Ok(state) => {
                        assert_eq!(StateRow::from(state), row);
                        read.push((phase, bits));
                    }
                    Err(refused) => assert!(refused.to_string().starts_with("the turn ")),
                }
            }
        }
        let [queued, running, cancelled, completed] = PHASES;
        let mut expected = vec![(queued, 0b0000)];
        expected.extend([0b0010, 0b0011, 0b0110, 0b0111].map(|bits| (queued, bits)));
        expected.extend([0b0010, 0b0011, 0b0110, 0b0111].map(|bits| (running, bits)));
        expected.extend([0b1000, 0b1001].map(|bits| (cancelled, bits)));
        expected.extend([0b1010, 0b1011, 0b1110, 0b1111].map(|bits| (cancelled, bits)));
        expected.extend([0b1010, 0b1011, 0b1110, 0b1111].map(|bits| (completed, bits)));
        assert_eq!(read, expected);
    }

    #[test]
    fn json_of_rows_is_as_it_was() {
        let json = json!({
            "state": {"finished": {"status": "error", "settled": false}},
            "cancel_requested_at": null, "started_at": 3, "progress_at": 4, "finished_at": 5,
        });
        let state: TurnState = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(state).unwrap(), json);
        let refused = serde_json::from_value::<TurnState>(json!({"state": "running"}));
        let refused = refused.unwrap_err().to_string();
        assert_eq!(
            refused,
            "the turn runs, and has no time at which it started"
        );
    }
}
