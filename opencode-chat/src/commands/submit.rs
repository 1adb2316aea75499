//! `submit`: queues a turn and returns.

use std::process::ExitCode;
use std::sync::Arc;

use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::{MessageId, TurnId};
use opencode_host::store::{NewTurn, Store};
use serde_json::json;

use super::prompt;
use crate::app::open_store;
use crate::cli::SubmitArgs;
use crate::exit::Failure;
use crate::ndjson;

/// Queues a turn. Needs no OpenCode: whoever works on the database finds it.
pub(crate) async fn run(args: SubmitArgs) -> Result<ExitCode, Failure> {
    let prompt = prompt(&args.prompt)?;
    let store: Arc<dyn Store> = open_store(&args.store).await?;
    let conversation = store.open_conversation(&args.prompt.conversation).await?;
    let clock = SystemClock;
    let submitted = store
        .submit(&NewTurn {
            id: TurnId::from_uuid(clock.new_uuid()),
            user_message: MessageId::from_uuid(clock.new_uuid()),
            message: MessageId::from_uuid(clock.new_uuid()),
            conversation: conversation.id,
            prompt,
            client_key: args.prompt.client_key.clone(),
            on_busy: args.prompt.on_busy.into(),
            uploads: None,
        })
        .await?;
    let turn = &submitted.turn;
    if args.json {
        ndjson::print(&json!({
            "turn_id": turn.id,
            "message_id": turn.message,
            "conversation": conversation.name,
            "created": submitted.created,
        }));
    } else {
        println!("{}", turn.id);
        if !submitted.created {
            eprintln!("this key was submitted before: the same turn");
        }
    }
    Ok(ExitCode::SUCCESS)
}
