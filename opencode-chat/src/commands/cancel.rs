//! `cancel`: from anywhere.

use std::process::ExitCode;

use opencode_host::store::CancelOutcome;

use crate::assembly::open_store;
use crate::cli::CancelArgs;
use crate::exit::Failure;
use crate::ndjson::serde_plain;
use crate::terminal;

/// Notes that the turn is to be cancelled; its worker stops it.
pub(crate) async fn run(args: CancelArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    match store.request_cancel(args.turn, None).await? {
        CancelOutcome::Cancelled => terminal::say("cancelled before it began"),
        CancelOutcome::Requested => terminal::say("asked its worker to stop"),
        CancelOutcome::Already(status) => {
            terminal::say(format_args!(
                "it had ended before: {}",
                serde_plain(&status)
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
