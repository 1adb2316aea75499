//! Tools that were checked, and one call of one: its arguments looked at, its function contained.

use std::fmt;
use std::time::{Duration, Instant};

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::set::{ToolSet, ToolSetError};
use super::tool::{Tool, ToolCall};
use crate::plug_in::{self, HookError, PlugInError};
use crate::reporter::Severity;
use crate::telemetry::Telemetry;

/// How many of the things that are wrong with arguments a model is told.
const TOLD_MISFITS: usize = 3;

/// How long the words of one error may be, in bytes.
const LONGEST_ERROR: usize = 4 << 10;

/// What a call came to, as the model reads it: the tool's answer, or its error.
pub(super) type Answer = Result<String, String>;

/// Tools that were checked.
pub(crate) struct ReadySet {
    set: ToolSet,
    /// What checks the arguments of each tool, in their order.
    validators: Vec<Validator>,
}

impl fmt::Debug for ReadySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadySet").field(&self.set).finish()
    }
}

/// The call was not wanted any more before it had an answer.
#[derive(Debug, thiserror::Error)]
#[error("this call was cut off: what it had begun may be done in part")]
struct CutOff;

impl ReadySet {
    /// Checks a set. `None` where there is nothing in it.
    pub(crate) fn of(set: ToolSet) -> Result<Option<Self>, ToolSetError> {
        if set.is_empty() {
            return Ok(None);
        }
        let validators = set.validators()?;
        Ok(Some(Self { set, validators }))
    }

    /// The set, as it was before it was checked.
    pub(crate) fn set(&self) -> ToolSet {
        self.set.clone()
    }

    /// The set's name, by which OpenCode knows the server of the tools.
    pub(crate) fn name(&self) -> &str {
        self.set.name()
    }

    /// The names that a model is told.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.set.names()
    }

    /// The tools, as they are told.
    pub(super) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.set.tools.iter()
    }

    /// How long the slowest may take.
    pub(crate) fn longest(&self) -> Duration {
        self.tools()
            .map(|tool| tool.limit)
            .max()
            .unwrap_or_default()
    }

    /// Calls a tool. Whatever it does, there is an answer in time.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        call: ToolCall,
        telemetry: &Telemetry,
    ) -> Answer {
        let began = Instant::now();
        let turn = call.turn.to_string();
        let called = self.contained(tool, arguments, call).await;
        let (outcome, answer) = match called {
            Ok(output) => ("answered", Ok(output)),
            Err(NotAnswered::Unknown) => (
                "unknown",
                Err(format!(
                    "there is no tool {tool:?}: it may be of an earlier turn"
                )),
            ),
            Err(NotAnswered::Misfit(detail)) => ("misfit", Err(detail)),
            Err(NotAnswered::CutOff) => ("cut off", Err(CutOff.to_string())),
            Err(NotAnswered::PlugIn(error)) => {
                let outcome = match &error {
                    PlugInError::Failed(_) => "failed",
                    PlugInError::TimedOut { .. } => "timed out",
                    PlugInError::Panicked { .. } => "panicked",
                    PlugInError::NotCalled { .. } => "not called",
                };
                if !matches!(error, PlugInError::Failed(_)) {
                    let context = [
                        ("action", "tool".into()),
                        ("tool", tool.into()),
                        ("turn", turn.clone().into()),
                    ];
                    telemetry.report(&error, Severity::Error, context);
                }
                (outcome, Err(error.to_string()))
            }
        };
        // What is no name of a tool, the agent wrote.
        let known = (outcome != "unknown").then_some(tool);
        telemetry.event(
            "tool.called",
            [
                ("turn", turn.into()),
                ("tool", known.into()),
                ("outcome", outcome.into()),
                ("duration_ms", (began.elapsed().as_millis() as u64).into()),
            ],
        );
        answer.map_err(cut)
    }

    async fn contained(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        call: ToolCall,
    ) -> Result<String, NotAnswered> {
        let mut checked = self.tools().zip(&self.validators);
        let found = checked.find(|(found, _)| found.name == tool);
        let (tool, validator) = found.ok_or(NotAnswered::Unknown)?;
        let arguments = Value::Object(arguments);
        let misfits = validator.iter_errors(&arguments).take(TOLD_MISFITS);
        let misfits: Vec<_> = misfits
            .map(|misfit| match misfit.instance_path().as_str() {
                "" => misfit.to_string(),
                path => format!("{misfit} at {path}"),
            })
            .collect();
        if !misfits.is_empty() {
            let detail = format!("the arguments do not fit: {}", misfits.join("; "));
            return Err(NotAnswered::Misfit(detail));
        }
        let (function, cancelled) = (tool.clone(), call.cancelled.clone());
        let calling = plug_in::call("the tool", tool.limit, async move || {
            let cancelled = call.cancelled.clone();
            tokio::select! {
                biased;
                () = cancelled.cancelled() => Err(HookError::from(CutOff)),
                answered = function.call(arguments, call) => answered,
            }
        });
        tokio::select! {
            biased;
            () = cancelled.cancelled() => Err(NotAnswered::CutOff),
            called = calling => called.map_err(NotAnswered::PlugIn),
        }
    }
}

/// Why a call has no answer.
enum NotAnswered {
    Unknown,
    Misfit(String),
    CutOff,
    PlugIn(PlugInError),
}

/// The words of an error, no more than a model is told.
fn cut(mut words: String) -> String {
    if words.len() > LONGEST_ERROR {
        words.truncate(words.floor_char_boundary(LONGEST_ERROR));
        words.push('…');
    }
    words
}
