//! `retry`: what was given up is due again.

use std::process::ExitCode;

use crate::assembly::open_store;
use crate::cli::RetryArgs;
use crate::exit::Failure;
use crate::terminal;

/// Makes due what was given up. A worker does it.
pub(crate) async fn run(args: RetryArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let mut unknown = Vec::new();
    for effect in args.effects {
        if store.retry_effect(effect).await? {
            terminal::say(format_args!("{effect} is tried again"));
        } else {
            unknown.push(effect.to_string());
        }
    }
    if unknown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(format!(
        "not given up, or done meanwhile: {}. `doctor` lists what is given up",
        unknown.join(", ")
    )))
}
