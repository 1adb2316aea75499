//! `submit`: queues a turn and returns.

use std::process::ExitCode;

use opencode_host::store::Tenant;
use opencode_host::{Host, SubmitOptions};
use serde_json::json;

use super::{prompt, submit_options};
use crate::assembly::{bounded, host, open_store};
use crate::cli::SubmitArgs;
use crate::exit::Failure;
use crate::product::Chat;
use crate::{local_files, ndjson, terminal};

/// Queues a turn. Needs no OpenCode: whoever works on the database finds it.
pub(crate) async fn run(args: SubmitArgs) -> Result<ExitCode, Failure> {
    let prompt = prompt(&args.prompt.asked)?;
    let store = open_store(&args.store).await?;
    let host = if args.file.is_empty() {
        bounded(Host::builder(store), &args.budgets).build()
    } else {
        let product = Chat::new(&args.sandbox, &args.store)?;
        host(store, &product, args.uploads.options(), &args.budgets)
    };
    let name = &args.prompt.asked.conversation;
    let conversation = host.open_conversation(&Tenant::default(), name).await?;
    let options = SubmitOptions {
        uploads: local_files::upload(&host, conversation.id, &args.file).await?,
        ..submit_options(&args.prompt)
    };
    let submitted = host.submit(conversation.id, prompt, options).await?;
    let turn = &submitted.turn;
    if args.json {
        ndjson::print(&json!({
            "turn_id": turn.id,
            "message_id": turn.message,
            "conversation": conversation.name,
            "created": submitted.created,
        }));
    } else {
        terminal::say(turn.id);
        if !submitted.created {
            terminal::tell("this key was submitted before: the same turn");
        }
    }
    Ok(ExitCode::SUCCESS)
}
