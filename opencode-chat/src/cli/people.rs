//! Accounts: users and what they sign in with.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::StoreArgs;

/// What is to become of users.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) act: UserAct,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAct {
    /// Add a user. From the first one on, the pages ask for a login, and each user sees what is theirs
    Add(AddUserArgs),
    /// The users, one a line
    List {
        /// Print one JSON object per user
        #[arg(long)]
        json: bool,
    },
    /// Change what a user may do
    Set(SetUserArgs),
    /// Remove a user, who is signed out everywhere
    Remove(RemoveUserArgs),
    /// Give a user another password, which signs them out everywhere
    Password {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
}

/// A user to be added.
#[derive(Debug, Args)]
pub(crate) struct AddUserArgs {
    /// 1 to 64 letters a to z, digits, and . _ - + @
    pub(crate) name: String,
    /// Sees users, turns and costs too, but no contents
    #[arg(long)]
    pub(crate) admin: bool,
    /// The agent may ask this user to run shell commands and to leave its folder, which reach all that OpenCode's own
    /// user can: other users' conversations too. It is refused both otherwise
    #[arg(long)]
    pub(crate) allow_shell: bool,
    /// Give this user the conversations that were made without accounts
    #[arg(long)]
    pub(crate) take_over: bool,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

/// What is to be changed of a user.
#[derive(Debug, Args)]
pub(crate) struct SetUserArgs {
    pub(crate) name: String,
    /// Whether they see users, turns and costs too
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) admin: Option<bool>,
    /// Whether the agent may ask them to run shell commands and to leave its folder
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) allow_shell: Option<bool>,
}

/// A user to be removed.
#[derive(Debug, Args)]
pub(crate) struct RemoveUserArgs {
    pub(crate) name: String,
    /// Delete their conversations and files for good
    #[arg(long, group = "conversations")]
    pub(crate) delete_conversations: bool,
    /// Leave their conversations in the database, where nobody sees them
    #[arg(long, group = "conversations")]
    pub(crate) keep_conversations: bool,
}

/// Where a password comes from. It is never an argument: every user of the machine could read it.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// A file with the password in its one line. Without it you are asked at a terminal, and the first line of standard
    /// input is read where there is none
    #[arg(long, value_name = "PATH")]
    pub(crate) password_file: Option<PathBuf>,
}
