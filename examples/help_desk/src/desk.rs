//! What the application says of its turns: words, tools, and what follows.

use async_trait::async_trait;
use opencode_host::product::{Delivery, HookError, Product, TurnContext};
use opencode_host::tools::{Tool, ToolCall, ToolSet, schemars};
use opencode_host::turn::TurnResult;
use serde::Deserialize;

use crate::database::{Database, rows};

/// The agent of the help desk.
pub(crate) struct Desk(pub(crate) Database);

/// What the agent looks for.
#[derive(Deserialize, schemars::JsonSchema)]
#[schemars(crate = "opencode_host::tools::schemars")]
struct Search {
    /// A word of the title or of the answer.
    word: String,
}

#[async_trait]
impl Product for Desk {
    async fn system_context(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let company = turn.tenant();
        Ok(Some(format!(
            "You answer tickets of {company}. Look first how earlier ones were answered."
        )))
    }

    async fn tools(&self, _: &TurnContext) -> Result<ToolSet, HookError> {
        let database = self.0.clone();
        // It runs in this process, and `call` says for whom: the agent cannot ask for another company's.
        let search = async move |search: Search, call: ToolCall| {
            let word = search.word.to_lowercase();
            let mut found = database.tickets(call.tenant().as_str()).await?;
            found.retain(|ticket| {
                format!("{} {}", ticket.title, ticket.answer)
                    .to_lowercase()
                    .contains(&word)
            });
            Ok(found)
        };
        let search = Tool::new("tickets", "Finds earlier tickets of this company.", search);
        Ok(ToolSet::named("desk").tool(search))
    }

    /// Notes the answer at its ticket. It may be told twice, or behind a later one: the ids of turns are in the order of
    /// time.
    async fn on_turn_finished(&self, result: &TurnResult, _: &Delivery) -> Result<(), HookError> {
        let (turn, conversation) = (result.turn.to_string(), result.conversation.to_string());
        let update = "UPDATE tickets SET answer = $1, answered_by = $2 WHERE conversation = $3 AND answered_by < $2";
        let _: Vec<()> = rows!(
            &self.0,
            update,
            &result.answer.content,
            &turn,
            &conversation
        )?;
        Ok(())
    }
}
