//! Named events of a turn's life, for dashboards.

use std::fmt;

use serde_json::{Map, Value};

/// Takes traced events. Names are unprefixed, such as `turn.finished`: the host
/// chooses the prefix. No event carries what people or agents wrote.
pub trait Tracer: Send + Sync + fmt::Debug + 'static {
    /// Something happened.
    fn event(&self, name: &'static str, fields: &Map<String, Value>);
}

/// Writes events as `tracing` events under a prefix: `request` at debug level,
/// the others at info.
#[derive(Clone, Debug)]
pub struct LogTracer {
    prefix: String,
}

impl LogTracer {
    /// Events named `prefix.name`; `name` alone with an empty prefix.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }
}

impl Default for LogTracer {
    fn default() -> Self {
        Self::new("opencode")
    }
}

impl Tracer for LogTracer {
    fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        let fields = Value::Object(fields.clone());
        let dot = if self.prefix.is_empty() { "" } else { "." };
        let event = format_args!("{}{dot}{name}", self.prefix);
        // One for each HTTP call: too many for every day.
        if name == "request" {
            tracing::debug!(%event, %fields);
        } else {
            tracing::info!(%event, %fields);
        }
    }
}
