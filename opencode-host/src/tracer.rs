//! Named events of a turn's life, for dashboards.
//!
//! Names and fields are a contract: `turn`, `conversation`, `message` and `session` are ids, a field ending in `_ms` is in
//! milliseconds, and a field without a value is left out.
//!
//! | event | told when | fields |
//! | --- | --- | --- |
//! | `request` | a call to the server was answered, or failed (`status` is then left out) | `method`, `path`, `status`, `duration_ms` |
//! | `wire.skipped` | something odd in a server's JSON was mended or left out | `source`, `kind`, `count` |
//! | `session.created` | a conversation got its session | `session`, `conversation` |
//! | `session.recreated_with_resend` | a prompt whose session was lost goes to a fresh one | `session`, `lost`, `conversation` |
//! | `session.carried_over` | a fresh session was told what was said before | `turn`, `session`, `conversation`, `bytes`, `messages`, `cut` |
//! | `session.not_carried_over` | it could not be told | `turn`, `session`, `conversation`, `error` |
//! | `session.unreadable` | the server does not give the session's history any more | `turn`, `session`, `error` |
//! | `sandbox.restored` | files of earlier messages were put into a folder that is new to the conversation | `turn`, `conversation`, `files` |
//! | `conversation.placed` | a conversation was placed on a server | `conversation`, `server` |
//! | `conversation.moved` | a conversation lost its place, because the server is gone | `conversation`, `from` |
//! | `server.gone` | a server has been silent for too long | `server` |
//! | `server.returned` | one that was gone takes conversations again | `server` |
//! | `sandbox.configuration_removed` | what OpenCode would run was moved out of a sandbox | `conversation`, `count`, `names` |
//! | `response.started` | a worker took up a turn | `turn`, `conversation`, `message`, `generation` |
//! | `response.recovered_from_exchange` | the messages told of an answer that no event had told | `turn`, `session` |
//! | `response.waiting_for_final_text` | the session went idle before the last message ended | `turn`, `session` |
//! | `response.upstream_error` | the provider or the server reported an error | `turn`, `error_name`, `error_message`, `status_code`, `provider_url` |
//! | `response.error` | a turn ended badly | `turn`, `reason`, `message` |
//! | `stream.interrupted` | events were missed | `turn`, `reason` |
//! | `stream.completed` | a reply that was heard has ended | `turn`, `duration_ms`, `first_token_ms`, `event_count`, `tool_count` |
//! | `live.gap` | changes of a turn that runs on another node did not come, and the whole is asked for | `turn` |
//! | `live.refused` | a message of another node was not read: of another version, malformed or too large | `turn`, `generation`, `reason`, `size` |
//! | `reply.cut` | words or details were left out for lack of room | `turn`, `words`, `details` |
//! | `tool.called` | a call of one of the product's tools was answered, once (`tool` is left out where there is no such one) | `turn`, `tool`, `outcome`, `duration_ms` |
//! | `turn.finished` | the turn is settled: once, from the record of its end | `turn`, `conversation`, `status`, `reason`, `cancel_reason`, `duration_ms`, `first_token_ms`, `tool_count`, `cost`, `input_tokens`, `output_tokens`, `cache_read_tokens`, `cache_write_tokens`, `error`, `error_message` |
//! | `schedule.missed` | times of a schedule passed with nobody there, or while the turn before had not ended: they are not made up for | `schedule`, `conversation`, `missed` |
//! | `schedule.refused` | the prompt of a schedule was not taken | `schedule`, `conversation`, `error` |
//! | `request.unanswered` | nobody answered a request in time, and it was answered in a person's place; `taken` is false where it had an answer | `turn`, `request`, `waited_ms`, `taken` |
//! | `callback.error` | a hook failed, panicked or took too long | `callback`, `turn`, `attempt`, `error` |
//! | `apply_patch.artifacts_dropped` | files of a patch were not attached | `message`, `count`, `paths`, `reason` |

use std::fmt;

use serde_json::{Map, Value};

/// Takes traced events. Names are unprefixed, such as `turn.finished`: the host
/// chooses the prefix. No event carries what people or agents wrote.
pub trait Tracer: Send + Sync + 'static {
    /// Something happened.
    fn event(&self, name: &'static str, fields: &Map<String, Value>);
}

impl fmt::Debug for dyn Tracer + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
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
