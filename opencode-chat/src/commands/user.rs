//! `user`: who may use the chat.

use std::process::ExitCode;

use chrono::DateTime;
use opencode_host::Host;
use opencode_host::store::{ConversationFilter, Page, Store};
use serde_json::json;

use super::password::new_password;
use crate::assembly::{open_accounts, open_store};
use crate::cli::{AddUserArgs, RemoveUserArgs, UserAct, UserArgs};
use crate::exit::Failure;
use crate::ndjson;
use crate::people::{Accounts, NewUser, Role, User};
use crate::terminal;

/// Conversations that are deleted at once.
const PAGE: u32 = 100;

/// Does what is said of users, or lists them.
pub(crate) async fn run(args: UserArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let accounts = open_accounts(&args.store).await?;
    match args.act {
        UserAct::Add(args) => add(&accounts, &*store, args).await?,
        UserAct::List { json } => list(&accounts, json).await?,
        UserAct::Set(args) => {
            let user = accounts.user_named(&args.name).await?;
            let role = match args.admin {
                Some(true) => Role::Admin,
                Some(false) => Role::User,
                None => user.role,
            };
            let may_run = args.allow_shell.unwrap_or(user.may_run);
            accounts.set_role(&user, role, may_run).await?;
            terminal::say(told(&accounts.user_named(&args.name).await?));
        }
        UserAct::Remove(args) => {
            let host = Host::builder(store).build();
            remove(&accounts, &host, args).await?;
        }
        UserAct::Password { name, password } => {
            let user = accounts.user_named(&name).await?;
            let new = new_password(&password, &user.name).await?;
            accounts.set_password(&user, &new).await?;
            terminal::say(format_args!(
                "{} has another password, and is signed out everywhere",
                user.name
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(accounts: &Accounts, store: &dyn Store, args: AddUserArgs) -> Result<(), Failure> {
    let is_first = !accounts.are_used().await?;
    let new = NewUser {
        name: args.name,
        role: if args.admin { Role::Admin } else { Role::User },
        may_run: args.allow_shell,
        takes_over: args.take_over,
    };
    accounts.check_new(&new).await?;
    let password = new_password(&args.password, &new.name).await?;
    let user = accounts.add_user(&new, &password).await?;
    terminal::say(told(&user));
    if is_first {
        terminal::tell("from now on the pages ask for a login");
        let left = ConversationFilter::of(&opencode_host::store::Tenant::default());
        let left = store.conversations(&left, &Page::newest(1)).await?;
        if !args.take_over && !left.is_empty() {
            terminal::tell(
                "conversations that were made without accounts are nobody's now. To give them to a user, remove this one \
                 and add it again with --take-over, or add another one so",
            );
        }
    }
    Ok(())
}

async fn list(accounts: &Accounts, json: bool) -> Result<(), Failure> {
    let users = accounts.users().await?;
    for user in &users {
        if json {
            ndjson::print(&json!({
                "name": user.name,
                "id": user.id.to_string(),
                "tenant": user.tenant,
                "admin": user.role == Role::Admin,
                "allow_shell": user.may_run,
                "created_at": user.created_at,
            }));
        } else {
            terminal::say(told(user));
        }
    }
    if users.is_empty() && !json {
        terminal::tell(
            "there are no users, and so no accounts: whoever reaches the pages is the one person. Add one with \
             `opencode-chat user add NAME`",
        );
    }
    Ok(())
}

/// A user in a line.
fn told(user: &User) -> String {
    let mut about = Vec::new();
    if user.role == Role::Admin {
        about.push("admin");
    }
    if user.may_run {
        about.push("may allow commands");
    }
    let about = if about.is_empty() {
        String::new()
    } else {
        format!(" ({})", about.join(", "))
    };
    let since = DateTime::from_timestamp_millis(user.created_at.0);
    let since = since.map(|since| since.format(", since %Y-%m-%d").to_string());
    format!("{}{about}{}", user.name, since.unwrap_or_default())
}

async fn remove(accounts: &Accounts, host: &Host, args: RemoveUserArgs) -> Result<(), Failure> {
    let user = accounts.user_named(&args.name).await?;
    let theirs = ConversationFilter::of(&user.tenant);
    let store = host.store();
    let has_some = !store
        .conversations(&theirs, &Page::newest(1))
        .await?
        .is_empty();
    if has_some && !args.delete_conversations && !args.keep_conversations {
        return Err(Failure::configuration(format!(
            "{} has conversations: say what becomes of them, --delete-conversations or --keep-conversations",
            user.name
        )));
    }
    // Nobody begins another one meanwhile.
    accounts.remove_user(&user).await?;
    terminal::say(format_args!("{} is removed", user.name));
    if args.delete_conversations {
        let mut deleted = 0;
        loop {
            let found = store.conversations(&theirs, &Page::newest(PAGE)).await?;
            if found.is_empty() {
                break;
            }
            for summary in found {
                host.delete_conversation(summary.conversation.id).await?;
                deleted += 1;
            }
        }
        terminal::say(format_args!(
            "conversations that are deleted: {deleted}; a `serve` or a `worker` removes their files"
        ));
    }
    if !accounts.are_used().await? {
        terminal::tell(
            "there are no users any more: a `serve` that is started from now on knows one local person",
        );
    }
    Ok(())
}
