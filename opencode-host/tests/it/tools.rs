//! Functions of the application that the agent calls: against the impostor, which calls them over MCP.

mod calls;
mod offering;
mod refused;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::store::TurnStatus;
use opencode_host::tools::schemars::{self, JsonSchema};
use opencode_host::tools::{Tool, ToolCall, ToolSet};
use opencode_host::turn::TurnResult;
use opencode_impostor::{Impostor, Script, Step};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::hosting::{Builder, Hosting, PATIENCE, assert_ended, quick};

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "schemars")]
pub(crate) struct Lookup {
    /// The number on the order.
    #[schemars(range(min = 1))]
    pub(crate) order: i64,
}

/// What ran: the tenant, the conversation, the order.
pub(crate) type Ran = Arc<Mutex<Vec<(String, String, i64)>>>;

/// A product with tools, each of whose conversations has a folder of its own name, or one for all.
pub(crate) struct Desk {
    pub(crate) tools: ToolSet,
    pub(crate) folder: Option<String>,
}

#[async_trait]
impl Product for Desk {
    async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let own = || format!("/workspace/{}", turn.conversation.name);
        Ok(Some(self.folder.clone().unwrap_or_else(own)))
    }

    async fn tools(&self, _: &TurnContext) -> Result<ToolSet, HookError> {
        Ok(self.tools.clone())
    }
}

impl Desk {
    pub(crate) fn with(tools: impl IntoIterator<Item = Tool>) -> Self {
        Self {
            tools: tools.into_iter().fold(ToolSet::new(), ToolSet::tool),
            folder: None,
        }
    }
}

/// Looks an order up, and notes for whom.
pub(crate) fn lookup(ran: &Ran) -> Tool {
    let ran = Arc::clone(ran);
    Tool::new(
        "lookup",
        "Looks an order up.",
        async move |args: Lookup, call: ToolCall| {
            let of = (
                call.tenant().to_string(),
                call.conversation.name.clone(),
                args.order,
            );
            ran.lock().unwrap().push(of);
            Ok(format!("order {}: shipped", args.order))
        },
    )
}

fn ran(ran: &Ran) -> Vec<i64> {
    ran.lock()
        .unwrap()
        .iter()
        .map(|(_, _, order)| *order)
        .collect()
}

async fn desk(
    steps: impl IntoIterator<Item = Step>,
    tools: impl IntoIterator<Item = Tool>,
) -> Hosting {
    let impostor = Impostor::scripted(Script::always(steps)).await.unwrap();
    Hosting::with_product(impostor, Desk::with(tools)).await
}

/// What the server has of the tool calls of a turn: name, state.
fn calls(test: &Hosting, result: &TurnResult) -> Vec<(String, Value)> {
    let messages = test
        .impostor
        .messages(result.session.as_ref().unwrap().as_str());
    let parts = messages
        .iter()
        .flat_map(|message| message["parts"].as_array().unwrap());
    let tools = parts.filter(|part| part["type"] == "tool");
    tools
        .map(|part| {
            (
                part["tool"].as_str().unwrap().to_owned(),
                part["state"].clone(),
            )
        })
        .collect()
}

/// The error that the model reads of the only call of a turn.
fn error_read(test: &Hosting, result: &TurnResult) -> String {
    let calls = calls(test, result);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].1["status"], "error", "{calls:?}");
    calls[0].1["error"].as_str().unwrap().to_owned()
}

/// What is said of a turn that failed before its prompt.
fn refusal(test: &Hosting, result: &TurnResult) -> String {
    assert!(
        matches!(result.status, TurnStatus::Error | TurnStatus::Failed),
        "{result:?}"
    );
    assert_eq!(test.impostor.ledger().prompt_posts().len(), 0);
    result.answer.error.as_ref().unwrap().message.clone()
}
