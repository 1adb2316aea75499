//! How an impostor is set up.

use std::time::Duration;

use crate::dialect::Dialect;

/// What an [`ImpostorBuilder`](crate::ImpostorBuilder) collects.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) port: u16,
    pub(crate) username: String,
    pub(crate) password: Option<String>,
    pub(crate) dialect: Dialect,
    pub(crate) heartbeat: Duration,
    pub(crate) sync: bool,
    pub(crate) startup_events: bool,
    pub(crate) agents: Option<Vec<String>>,
    pub(crate) models: Option<Vec<(String, String)>>,
    /// The rules of the server's own configuration; a session's come after them.
    pub(crate) permission: Vec<serde_json::Value>,
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
            username: "opencode".into(),
            password: None,
            dialect: Dialect::default(),
            heartbeat: Duration::from_secs(10),
            sync: true,
            startup_events: false,
            agents: None,
            models: None,
            permission: Vec::new(),
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
