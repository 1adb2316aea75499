//! `watch`: follows a turn, whoever runs it.

use std::process::ExitCode;

use super::turn::{Output, show};
use crate::assembly::{open_store, watching_host};
use crate::cli::WatchArgs;
use crate::exit::{Failure, of_turn};

/// Prints what the turn says until it ends.
pub(crate) async fn run(args: WatchArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let host = watching_host(store, &args.bus).await?;
    let mut output = Output::new(args.json);
    let live = host.live(args.turn, args.cursor).await?;
    let Some(result) = show(&host, live, &mut output, None).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    output.result(&result);
    Ok(of_turn(result.status))
}
