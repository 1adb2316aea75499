//! How an impostor is set up.

use std::time::Duration;

/// The habits of a server version that matter to clients. The default is 1.18.33.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialect {
    /// What `/global/health` says.
    pub version: String,
    /// A second post of a message id while the first runs makes the model run again (seen on 1.15.13).
    pub repost_runs_again: bool,
    /// The loop is ordered by message ids: a prompt that sorts before the newest message never runs, and one that
    /// sorts after the server's own ids runs for ever (seen on 1.15.13 and 1.2.27).
    pub ids_order_the_loop: bool,
    /// Text grows by `message.part.delta`; when false by repeated `message.part.updated` (1.1.65).
    pub deltas: bool,
    /// `GET /global/event` exists.
    pub global_event: bool,
    /// `/event` sends `server.connected` and then nothing (1.14.48).
    pub silent_event: bool,
    /// Events carry an `id` (from 1.14 on).
    pub event_ids: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            version: "1.18.33".into(),
            repost_runs_again: false,
            ids_order_the_loop: false,
            deltas: true,
            global_event: true,
            silent_event: false,
            event_ids: true,
        }
    }
}

impl Dialect {
    /// 1.15.13: a repeated post runs again, and ids order the loop.
    pub fn v1_15_13() -> Self {
        Self {
            version: "1.15.13".into(),
            repost_runs_again: true,
            ids_order_the_loop: true,
            ..Self::default()
        }
    }

    /// 1.14.48: `/event` is silent.
    pub fn v1_14_48() -> Self {
        Self {
            version: "1.14.48".into(),
            silent_event: true,
            ..Self::default()
        }
    }

    /// 1.2.27: ids order the loop, events have none.
    pub fn v1_2_27() -> Self {
        Self {
            version: "1.2.27".into(),
            ids_order_the_loop: true,
            event_ids: false,
            ..Self::default()
        }
    }

    /// 1.1.65: no deltas.
    pub fn v1_1_65() -> Self {
        Self {
            version: "1.1.65".into(),
            deltas: false,
            event_ids: false,
            ..Self::default()
        }
    }
}

/// What an [`ImpostorBuilder`](crate::ImpostorBuilder) collects.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) port: u16,
    pub(crate) password: Option<String>,
    pub(crate) dialect: Dialect,
    pub(crate) heartbeat: Duration,
    pub(crate) sync: bool,
    pub(crate) startup_events: bool,
    pub(crate) agents: Option<Vec<String>>,
    pub(crate) models: Option<Vec<(String, String)>>,
    pub(crate) cost: f64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) clock_skew_ms: i64,
    pub(crate) directory: String,
    /// Of a tape: `None` plays it as fast as it goes, 1 in its own time.
    pub(crate) tape_speed: Option<f64>,
    /// How long a wait of a test may take.
    pub(crate) patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            password: None,
            dialect: Dialect::default(),
            heartbeat: Duration::from_secs(10),
            sync: true,
            startup_events: false,
            agents: None,
            models: None,
            cost: 0.000_09,
            input_tokens: 50,
            output_tokens: 20,
            clock_skew_ms: 0,
            directory: std::env::current_dir()
                .ok()
                .and_then(|path| path.into_os_string().into_string().ok())
                .unwrap_or_else(|| "/".into()),
            tape_speed: None,
            patience: Duration::from_secs(20),
        }
    }
}
