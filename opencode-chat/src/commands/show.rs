//! `show`: what is stored.

use std::collections::HashMap;
use std::process::ExitCode;

use opencode_client::reply::PersistedPart;
use opencode_host::id::ConversationId;
use opencode_host::store::{
    Message, MessageEntry, MessageRole, Store, StoreError, StoreResult, Tenant,
};
use opencode_host::visible::line;
use serde_json::{Value, json};

use crate::assembly::open_store;
use crate::attached;
use crate::cli::ShowArgs;
use crate::exit::Failure;
use crate::local_files;
use crate::ndjson;
use crate::terminal;

/// Messages looked for at once.
pub(super) const PAGE: u32 = 200;

/// Prints every message, oldest first.
pub(crate) async fn run(args: ShowArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let only = match &args.conversation {
        None => None,
        Some(name) => Some(
            store
                .conversation_named(&Tenant::default(), name)
                .await?
                .ok_or_else(|| {
                    Failure::configuration(format!("there is no conversation named {name:?}"))
                })?
                .id,
        ),
    };
    let mut names: HashMap<ConversationId, String> = HashMap::new();
    let (mut after, mut shown, mut unreadable) = (0, 0, 0);
    loop {
        // One message is in memory at a time, and one that cannot be read hides no other.
        let page = store.message_index(only, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.place;
        for entry in page.iter().filter(|entry| !entry.hidden) {
            if !terminal::is_read() {
                return Ok(ExitCode::SUCCESS);
            }
            let printed = async {
                let Some(message) = read(&*store, entry).await? else {
                    return Ok(());
                };
                let name = match names.get(&message.conversation) {
                    Some(name) => name.clone(),
                    None => {
                        let row = store.conversation(message.conversation).await?;
                        let name = row.map(|row| row.name).unwrap_or_default();
                        names.insert(message.conversation, name.clone());
                        name
                    }
                };
                if args.json {
                    ndjson::print(&json_of(&*store, &name, &message).await?);
                } else {
                    print_text(&name, &message);
                }
                Ok(())
            };
            match printed.await {
                Ok(()) => {}
                Err(error @ StoreError::Corrupt { .. }) => {
                    unreadable += 1;
                    print_unreadable(entry, &error, args.json);
                }
                Err(error) => return Err(error.into()),
            }
            shown += 1;
        }
    }
    if unreadable > 0 {
        let text = format!(
            "{unreadable} of {shown} messages cannot be read: restore the database from a backup"
        );
        return Err(Failure::error(text));
    }
    if shown == 0 && !args.json {
        terminal::tell("nothing is stored yet: ask something with `opencode-chat turn \"…\"`");
    }
    Ok(ExitCode::SUCCESS)
}

/// The message of an entry; `None` for one that was deleted meanwhile.
pub(super) async fn read(store: &dyn Store, entry: &MessageEntry) -> StoreResult<Option<Message>> {
    store.message(entry.message()?).await
}

fn print_unreadable(entry: &MessageEntry, error: &StoreError, json: bool) {
    if json {
        ndjson::print(&json!({ "message_id": entry.id, "unreadable": error.to_string() }));
    } else {
        let error = error.to_string();
        terminal::say(format_args!("?\t?\tunreadable\t{}", line(&error)));
    }
}

async fn json_of(store: &dyn Store, conversation: &str, message: &Message) -> StoreResult<Value> {
    let turn = store.turn(message.turn).await?;
    let files = store.attachments(message.id).await?;
    let prompted = turn.as_ref().and_then(|turn| turn.prompted.as_ref());
    let (answer, usage) = (&message.answer, &message.answer.usage);
    Ok(json!({
        "conversation": conversation,
        "role": message.role,
        "message_id": message.id,
        "turn_id": message.turn,
        "status": message.status,
        "reason": answer.reason,
        "content": answer.content,
        "parts": answer.parts,
        "reasoning": answer.reasoning,
        "cost": usage.cost,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "truncated": answer.truncated,
        "error": answer.error,
        "artifacts": files.iter().map(local_files::json_of).collect::<Vec<_>>(),
        "session_id": prompted.map(|prompted| &prompted.session),
        "opencode_message_id": prompted.map(|prompted| &prompted.ids.message),
        "created_at": message.created_at,
        "finished_at": message.finished_at,
    }))
}

fn print_text(conversation: &str, message: &Message) {
    let who = match message.role {
        MessageRole::User => "you",
        MessageRole::Assistant => "agent",
    };
    let status = ndjson::serde_plain(&message.status);
    let text = message.answer.content.lines().next().unwrap_or_default();
    let (conversation, text) = (line(conversation), line(text));
    let why = message
        .answer
        .error
        .as_ref()
        .map_or_else(String::new, |error| {
            format!(" ({}: {})", line(&error.name), line(&error.message))
        });
    terminal::say(format_args!("{conversation}\t{who}\t{status}\t{text}{why}"));
    for part in &message.answer.parts {
        if let PersistedPart::Tool(tool) = part {
            for attachment in &tool.attachments {
                let (tool, words) = (line(&tool.tool), attached::words(attachment));
                terminal::say(format_args!("{conversation}\t{tool}\tattached\t{words}"));
            }
        }
    }
}
