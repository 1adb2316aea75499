//! Arguments of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

use super::{SandboxArgs, StoreArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "The file is a tar archive, readable for you alone: it holds all that was said, and the files. Turns go on \
    meanwhile; the rows are those of one moment, and the agents' folders are copied as they are then. What OpenCode keeps \
    itself (its sessions, its credentials) is not in it: restored, each conversation goes on in a new session that is told \
    what was said.\n\nExamples:\n  opencode-chat backup /backups/chat-$(date +%F).tar\n  \
    opencode-chat backup - | age -r RECIPIENT > chat.tar.age\n  opencode-chat restore --check /backups/chat-2026-11-28.tar"
)]
pub(crate) struct BackupArgs {
    /// The file to make, which must not be there yet; `-` writes to standard output
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The file is read to its end before anything is written. The database must have no tables of this \
    application yet, and may be of another kind than the one that was backed up. Until all is there, there is nothing: a \
    restore that failed can be begun again.\n\nTurns that ran when the backup was made end as interrupted, with what had \
    come; queued ones run. What was owed to webhooks is sent, with the same webhook-id.\n\nExamples:\n  \
    opencode-chat restore chat.tar --data /var/lib/opencode-chat\n  \
    opencode-chat restore chat.tar --database postgres://chat@db/chat --blobs s3://chat/files"
)]
pub(crate) struct RestoreArgs {
    /// The file, as `backup` has made it
    pub(crate) file: PathBuf,
    /// Only look whether the file is whole and as it was made, and say what is in it
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
