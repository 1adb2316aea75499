//! `restore`: a data folder of a backup.

use std::process::ExitCode;

use chrono::DateTime;
use opencode_host::Host;
use tokio::runtime::Handle;

use crate::assembly::{open_accounts, open_store};
use crate::backup::{self, blocking};
use crate::cli::RestoreArgs;
use crate::exit::Failure;
use crate::product::{open_blobs, open_sandboxes};
use crate::terminal;

/// Restores a backup, or looks at one.
pub(crate) async fn run(args: RestoreArgs) -> Result<ExitCode, Failure> {
    let file = args.file.clone();
    let backup = blocking(move || backup::check(&file)).await?;
    if args.check {
        let made = DateTime::from_timestamp_millis(backup.header.made_at);
        let made = made.map_or_else(String::new, |made| format!(" of {made:.0?}"));
        let said = backup.contents.in_words();
        terminal::say(format_args!("whole{made}: {said}"));
        return Ok(ExitCode::SUCCESS);
    }
    let url = args.store.database_url();
    let blobs = open_blobs(&args.store)?;
    let root = open_sandboxes(&args.sandbox, &args.store)?
        .path()
        .to_owned();
    let runtime = Handle::current();
    let restoring = blocking(move || backup::restore(backup, &url, &blobs, &root, &runtime));
    let (contents, users) = restoring.await?;
    let added = async {
        let accounts = open_accounts(&args.store).await?;
        accounts.add_rows(&users).await?;
        Ok::<_, Failure>(())
    };
    added.await.map_err(|failure| {
        Failure::error(format!(
            "all but the accounts is restored: {}. Drop the tables chat_users and those of this application, and restore \
             again",
            failure.message()
        ))
    })?;
    let begun_anew = forget_sessions(&args).await.map_err(|failure| {
        Failure::error(format!(
            "all is restored, but not yet fit for a new OpenCode: run `opencode-chat servers --forget NAME` for each server \
             that `opencode-chat servers` lists ({})",
            failure.message()
        ))
    })?;
    terminal::say(format_args!("restored: {}", contents.in_words()));
    if begun_anew > 0 {
        terminal::say(format_args!(
            "{begun_anew} conversations go on in new sessions that are told what was said"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The OpenCode of the backup has sessions that may have gone on since, or are another's now: nothing is taken up there,
/// and nothing deleted.
async fn forget_sessions(args: &RestoreArgs) -> Result<u64, Failure> {
    let host = Host::builder(open_store(&args.store).await?).build();
    let mut conversations = 0;
    for load in host.servers().await? {
        conversations += host.forget_sessions(&load.server.name).await?;
    }
    Ok(conversations)
}
