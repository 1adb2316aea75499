//! One function of the application that the agent may call.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::id::TurnId;
use crate::plug_in::HookError;
use crate::store::{Conversation, Metadata, Tenant};

/// How long a call may take unless the tool says otherwise.
const LIMIT: Duration = Duration::from_secs(30);

/// How many bytes an answer may have unless the tool says otherwise.
const MAX_OUTPUT: usize = 1 << 20;

/// Reads the arguments, calls the function, and writes its answer, in so many bytes at most.
type Function = dyn Fn(Value, ToolCall, usize) -> LocalBoxFuture<'static, Result<String, HookError>>
    + Send
    + Sync;

/// A function of the application that the agent may call.
///
/// Its arguments are a type of yours, whose JSON schema the model is told; a doc comment on a field becomes the field's
/// description. Derive with this crate's own schemars:
///
/// ```
/// use opencode_host::tools::{Tool, ToolCall, schemars};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[schemars(crate = "opencode_host::tools::schemars")]
/// struct Lookup {
///     /// The number on the order.
///     order: u32,
/// }
///
/// let lookup = Tool::new("lookup", "Looks an order up.", async |args: Lookup, call: ToolCall| {
///     Ok(format!("order {} of {}", args.order, call.tenant()))
/// });
/// assert_eq!(lookup.name(), "lookup");
/// ```
#[derive(Clone)]
pub struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
    pub(super) limit: Duration,
    pub(super) max_output: usize,
    function: Arc<Function>,
}

impl Tool {
    /// Makes a tool of an async closure.
    ///
    /// The model reads what it returns: a text as it is, anything else as JSON. An error is read too, as the tool's, so
    /// it holds nothing that the person may not know. The closure runs on a thread of its own, which it may block.
    pub fn new<A, T>(
        name: impl Into<String>,
        description: impl Into<String>,
        function: impl AsyncFn(A, ToolCall) -> Result<T, HookError> + Send + Sync + 'static,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + 'static,
        T: Serialize + 'static,
    {
        let function = Arc::new(function);
        let function = move |arguments: Value, call: ToolCall, most: usize| {
            let function = Arc::clone(&function);
            let called: LocalBoxFuture<'static, Result<String, HookError>> = Box::pin(async move {
                let arguments: A = serde_json::from_value(arguments).map_err(Misfit)?;
                let output = function(arguments, call).await?;
                Ok(written(&output, most)?)
            });
            called
        };
        Self {
            name: name.into(),
            description: description.into(),
            schema: schema_of::<A>(),
            limit: LIMIT,
            max_output: MAX_OUTPUT,
            function: Arc::new(function),
        }
    }

    /// How long a call may take. Default 30 s; the model then reads that there was no answer in time, and the closure's
    /// future is dropped.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Maximum size in bytes of what a call returns, as JSON. Default 1 MiB; of a larger answer the model reads only that
    /// it is too large.
    #[must_use]
    pub fn max_output(self, max_output: usize) -> Self {
        Self { max_output, ..self }
    }

    /// Its name, without that of its set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The JSON schema of its arguments.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Calls the function. Not contained.
    pub(super) async fn call(&self, arguments: Value, call: ToolCall) -> Result<String, HookError> {
        (self.function)(arguments, call, self.max_output).await
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("max_output", &self.max_output)
            .finish_non_exhaustive()
    }
}

/// One call of a tool: whose it is, and whether it is still wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToolCall {
    /// The conversation whose agent calls. A sub-agent's call is its conversation's.
    pub conversation: Conversation,
    /// The turn that runs.
    pub turn: TurnId,
    /// What the application keeps with the turn.
    pub metadata: Metadata,
    /// The call. Each runs at most once, so that what it does needs no guard against being done twice.
    pub id: Uuid,
    /// Cancelled when the call is not wanted any more: its turn was cancelled or has ended, the worker lost the turn, or
    /// OpenCode gave the call up. The closure's future is dropped then; this is for what it has started elsewhere.
    pub cancelled: CancellationToken,
}

impl ToolCall {
    /// Whose conversation it is.
    pub fn tenant(&self) -> &Tenant {
        &self.conversation.tenant
    }
}

/// The arguments fit the schema, and not the type it was made from.
#[derive(Debug, thiserror::Error)]
#[error("the arguments do not fit: {0}")]
struct Misfit(serde_json::Error);

/// An answer that the model does not get.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error("the tool's answer is larger than the {0} bytes it may have: ask for less")]
    TooLarge(usize),
    #[error("the tool's answer cannot be written as JSON: {0}")]
    NotJson(serde_json::Error),
}

/// The schema of a type, with what it refers to in place: models read it better so.
fn schema_of<A: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<A>();
    // The type's name says nothing to a model.
    schema.remove("title");
    schema.to_value()
}

/// What the model reads of an answer: a text as it is, anything else as JSON.
fn written(output: &impl Serialize, most: usize) -> Result<String, Unwritten> {
    let mut json = Bounded {
        bytes: Vec::new(),
        most,
        full: false,
    };
    match serde_json::to_writer(&mut json, output) {
        Ok(()) => {}
        Err(_) if json.full => return Err(Unwritten::TooLarge(most)),
        Err(error) => return Err(Unwritten::NotJson(error)),
    }
    if json.bytes.first() == Some(&b'"') {
        return serde_json::from_slice(&json.bytes).map_err(Unwritten::NotJson);
    }
    // `serde_json` writes UTF-8.
    Ok(String::from_utf8_lossy(&json.bytes).into_owned())
}

/// Takes so many bytes, and no more.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Args {
        /// The number on the order.
        order: u32,
        deep: Option<Deep>,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Deep {
        yes: bool,
    }

    #[test]
    fn the_schema_says_what_the_type_says_in_one_piece() {
        let schema = schema_of::<Args>();
        assert_eq!(schema["type"], "object");
        assert_eq!(
            schema["properties"]["order"]["description"],
            "The number on the order."
        );
        assert_eq!(schema["required"], serde_json::json!(["order"]));
        let text = schema.to_string();
        assert!(
            !text.contains("$ref") && !text.contains("$schema"),
            "{text}"
        );
        assert!(text.contains("yes"), "{text}");
    }

    #[test]
    fn a_text_is_read_as_it_is_and_all_else_as_json() {
        let read = |output: &dyn erased::Output| output.read(100).unwrap();
        assert_eq!(read(&"two\nlines"), "two\nlines");
        assert_eq!(read(&7), "7");
        assert_eq!(read(&()), "null");
        assert_eq!(read(&serde_json::json!({"a": ["b"]})), r#"{"a":["b"]}"#);
    }

    #[test]
    fn an_answer_has_so_many_bytes_and_no_more() {
        assert_eq!(written(&"x".repeat(98), 100).unwrap().len(), 98);
        let error = written(&"x".repeat(99), 100).unwrap_err();
        let told = "the tool's answer is larger than the 100 bytes it may have: ask for less";
        assert_eq!(error.to_string(), told);
    }

    mod erased {
        pub(super) trait Output {
            fn read(&self, most: usize) -> Option<String>;
        }

        impl<T: serde::Serialize> Output for T {
            fn read(&self, most: usize) -> Option<String> {
                super::written(self, most).ok()
            }
        }
    }
}
