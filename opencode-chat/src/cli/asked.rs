//! What is asked, of whom.

use clap::Args;
use opencode_client::wire::ModelRef;

use super::{OnBusyArg, any_text};

/// What is asked, of whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct AskedArgs {
    /// What to ask; `-` reads it from standard input
    #[arg(value_parser = any_text())]
    pub(crate) prompt: String,
    /// The conversation to go on with; made when there is none of this name
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = any_text())]
    pub(crate) conversation: String,
    /// The agent that answers, such as build or plan
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// The model that answers, as provider/model
    #[arg(long, value_name = "PROVIDER/MODEL")]
    pub(crate) model: Option<ModelRef>,
    /// Further instructions to the model, behind those of the chat
    #[arg(long, value_name = "TEXT", value_parser = any_text())]
    pub(crate) system: Option<String>,
}

/// What is asked now.
#[derive(Clone, Debug, Args)]
pub(crate) struct PromptArgs {
    #[command(flatten)]
    pub(crate) asked: AskedArgs,
    /// The same key in the same conversation is the same turn: safe to repeat
    #[arg(long, value_name = "KEY", value_parser = any_text())]
    pub(crate) client_key: Option<String>,
    /// What to do when the conversation has an unfinished turn
    #[arg(long, value_name = "POLICY", default_value = "enqueue")]
    pub(crate) on_busy: OnBusyArg,
}
