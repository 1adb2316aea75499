//! One file per command.

pub(crate) mod backup;
pub(crate) mod cancel;
pub(crate) mod config;
pub(crate) mod doctor;
mod exposure;
pub(crate) mod install;
mod observing;
mod password;
pub(crate) mod restore;
pub(crate) mod retry;
pub(crate) mod schedules;
pub(crate) mod serve;
pub(crate) mod servers;
pub(crate) mod show;
pub(crate) mod submit;
pub(crate) mod turn;
pub(crate) mod user;
pub(crate) mod watch;
pub(crate) mod worker;

use std::io::Read as _;

use opencode_client::wire::{Prompt, System};
use opencode_host::{DEFAULT_MAX_PROMPT, SubmitError, SubmitOptions, check_prompt};
use tokio_util::sync::CancellationToken;

use crate::cli::{AskedArgs, PromptArgs};
use crate::exit::Failure;
use crate::terminal;

/// What the arguments ask; `-` is read from standard input.
fn prompt(args: &AskedArgs) -> Result<Prompt, Failure> {
    let text = if args.prompt == "-" {
        let mut text = Vec::new();
        // One byte more than allowed tells that there is too much.
        let limit = DEFAULT_MAX_PROMPT as u64 + 1;
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut text)
            .map_err(|error| {
                Failure::configuration(format!(
                    "cannot read the prompt from standard input: {error}"
                ))
            })?;
        // `git diff` of a file in another encoding holds such bytes; the rest of it is worth asking about.
        String::from_utf8_lossy(&text).into_owned()
    } else {
        args.prompt.clone()
    };
    check_prompt(&text, DEFAULT_MAX_PROMPT)?;
    if args.conversation.trim().is_empty() {
        return Err(Failure::configuration(
            "the conversation needs a name (--conversation)",
        ));
    }
    Ok(Prompt {
        agent: args.agent.clone(),
        model: args.model.clone(),
        system: args.system.clone().map(System::Append),
        ..Prompt::text(text)
    })
}

fn submit_options(args: &PromptArgs) -> SubmitOptions {
    SubmitOptions {
        client_key: args.client_key.clone(),
        on_busy: args.on_busy.into(),
        ..SubmitOptions::default()
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::Upload(error) => Self::error(error.to_string()),
            error => Self::configuration(error.to_string()),
        }
    }
}

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process at once.
fn shutdown_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let signalled = token.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        signalled.cancel();
        wait_for_signal().await;
        terminal::tell("stopped at once");
        std::process::exit(130);
    });
    token
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
