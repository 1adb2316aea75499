//! The files that a model is shown with a prompt: those that are there still, and that it takes.

use opencode_client::wire::{Prompt, ShownFile};
use opencode_client::{Input, Models};

use super::facts::Facts;
use super::tools::Tools;
use crate::sandbox::{SandboxId, blocking};

/// How often the list of models is asked for, each time with twice the patience. A server that has not worked in the
/// folder yet takes seconds for the first one, or never answers it (1.17.19 to 1.18.34), and is quick then.
const TRIES: u32 = 3;

/// Which of the prompt's files the model is shown. OpenCode refuses a prompt with a file that is not there, and tells a
/// model that takes none that it cannot see them, where the person has not asked for that.
pub(super) async fn to_show(tools: &Tools, facts: &Facts, prompt: &Prompt) -> Vec<ShownFile> {
    let models = match &prompt.model {
        Some(model) => listed(tools, facts).await.map(|models| (models, model)),
        None => None,
    };
    let taken = |file: &ShownFile| {
        let input = match &*file.mime_type {
            "application/pdf" => Input::Pdf,
            _ => Input::Image,
        };
        let known = models
            .as_ref()
            .and_then(|(models, model)| models.takes(model, input));
        known.unwrap_or(input == Input::Image)
    };
    let files: Vec<_> = prompt
        .files
        .iter()
        .filter(|file| taken(file))
        .cloned()
        .collect();
    there(tools, files).await
}

/// What the models take. A list that does not come in time holds up no prompt: then it is not known.
async fn listed(tools: &Tools, facts: &Facts) -> Option<Models> {
    let mut tried = 0;
    loop {
        let client = tools.client(facts);
        let client = client.with_patience(tools.patience.saturating_mul(1 << tried));
        tried += 1;
        match client.models().await {
            Ok(models) => return Some(models),
            Err(error) if tried == TRIES => {
                tools.report(&error);
                return None;
            }
            Err(error) => tracing::debug!(%error, "what the model takes is asked again"),
        }
    }
}

/// Those that are in the conversation's sandbox still. Where the product has folders of its own, all of them.
async fn there(tools: &Tools, files: Vec<ShownFile>) -> Vec<ShownFile> {
    let id = tools
        .context
        .conversation
        .id
        .to_string()
        .parse::<SandboxId>();
    let (Some(root), Ok(id), false) = (tools.front.sandboxes.clone(), id, files.is_empty()) else {
        return files;
    };
    let found = blocking(move || {
        let Some(sandbox) = root.find(&id)? else {
            return Ok(Vec::new());
        };
        let is_there = |file: &ShownFile| {
            let path = file.path.parse().ok();
            path.is_some_and(|path| sandbox.file(path).is_ok())
        };
        Ok(files.into_iter().filter(is_there).collect())
    });
    match found.await {
        Ok(files) => files,
        Err(error) => {
            tools.report(&error);
            Vec::new()
        }
    }
}
