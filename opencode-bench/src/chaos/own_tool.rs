//! A tool of the application's: it notes that it runs, and for whom, so that the runs can be counted.

use std::collections::HashMap;
use std::time::Duration;

use opencode_client::reply::{PersistedPart, ToolPart, ToolStatus};
use opencode_host::product::HookError;
use opencode_host::store::{Message, MessageStatus, Turn};
use opencode_host::tools::{Tool, ToolCall, ToolSet, schemars};
use serde::{Deserialize, Serialize};

use crate::crowd::Asked;
use crate::notes::{Note, Notes};
use crate::script::{Kind, OWN_CALLS, OWN_TOOL};

/// How long a call takes, for workers to die in.
const LONG: Duration = Duration::from_millis(150);

/// What the tool answers.
const ANSWER: &str = "noted";

#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "opencode_host::tools::schemars")]
struct Args {
    prompt: String,
    number: usize,
}

/// One run of the tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    prompt: String,
    number: usize,
    #[serde(flatten)]
    owner: Owner,
}

/// For whom it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    tenant: String,
    conversation: String,
    turn: String,
}

/// The tool, in a set.
pub(crate) fn own_tools(notes: Notes) -> ToolSet {
    let note = async move |args: Args, call: ToolCall| {
        let run = Run {
            prompt: args.prompt,
            number: args.number,
            owner: Owner {
                tenant: call.tenant().to_string(),
                conversation: call.conversation.id.to_string(),
                turn: call.turn.to_string(),
            },
        };
        notes.add(Note::Ran(run))?;
        tokio::time::sleep(LONG).await;
        Ok::<_, HookError>(ANSWER)
    };
    ToolSet::new().tool(Tool::new("note", "Notes that it was called.", note))
}

/// For whom each call ran, as often as it did: by prompt and number.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    by_call: HashMap<(String, usize), Vec<Owner>>,
    /// How many calls were cut off: they ran, and the model read that they failed.
    pub(crate) cut_off: usize,
}

impl Runs {
    pub(crate) fn of(notes: &[Note]) -> Self {
        let mut runs = Self::default();
        for note in notes {
            if let Note::Ran(run) = note.clone() {
                let by = runs.by_call.entry((run.prompt, run.number)).or_default();
                by.push(run.owner);
            }
        }
        runs
    }

    /// How many there were.
    pub(crate) fn count(&self) -> usize {
        self.by_call.values().map(Vec::len).sum()
    }

    /// A call ran at most once for each run of the prompt, for nobody else, and the model read what came of it.
    pub(crate) fn judge(&mut self, asked: &Asked, turn: &Turn, message: &Message) -> Vec<String> {
        let mut wrong = Vec::new();
        let calls: Vec<_> = message
            .answer
            .parts
            .iter()
            .filter_map(|part| match part {
                PersistedPart::Tool(tool) if is_own(tool) => Some(tool),
                _ => None,
            })
            .collect();
        let owner = Owner {
            tenant: asked.tenant.to_string(),
            conversation: asked.conversation.to_string(),
            turn: asked.turn.to_string(),
        };
        for number in 0..OWN_CALLS {
            let runs = self.by_call.get(&(asked.prompt.clone(), number));
            let runs = runs.map_or(&[][..], Vec::as_slice);
            if runs.len() > 1 + turn.resends as usize {
                wrong.push(format!("call {number} ran {} times", runs.len()));
            }
            if runs.iter().any(|run| *run != owner) {
                wrong.push(format!("call {number} ran for others: {runs:?}"));
            }
            let Some(call) = calls.get(number) else {
                continue;
            };
            match call.status {
                ToolStatus::Completed if was_not_offered(call) && runs.is_empty() => {}
                ToolStatus::Completed
                    if call.output.as_deref() != Some(ANSWER) || runs.is_empty() =>
                {
                    wrong.push(format!("call {number} ran {} times: {call:?}", runs.len()));
                }
                ToolStatus::Error if call.error.as_ref().is_none_or(String::is_empty) => {
                    wrong.push(format!("call {number} failed, and nothing says why"));
                }
                ToolStatus::Error if !runs.is_empty() => self.cut_off += 1,
                _ => {}
            }
        }
        let over = [ToolStatus::Completed, ToolStatus::Error];
        if asked.kind == Kind::Own
            && message.status == MessageStatus::Completed
            && (calls.len() != OWN_CALLS || calls.iter().any(|call| !over.contains(&call.status)))
        {
            wrong.push(format!("it completed with these calls: {calls:?}"));
        }
        wrong
    }
}

/// Whether OpenCode told the model that there is no such tool, as no process listened when it was offered its tools.
fn was_not_offered(call: &ToolPart) -> bool {
    call.tool == "invalid" || call.title.as_deref() == Some("Invalid Tool")
}

/// Whether it is a call of the tool. OpenCode calls it `invalid` where it was not offered, as no process listened.
fn is_own(call: &ToolPart) -> bool {
    call.tool == OWN_TOOL || call.tool == "invalid"
}
