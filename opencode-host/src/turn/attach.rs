//! The files of a turn, attached between its end and the word that it is settled.

use opencode_client::Exchange;

use super::ears::Ears;
use super::past_exchange::past_exchange;
use super::tools::Tools;
use crate::artifacts::{Echo, MessageArtifacts};
use crate::sandbox::{Sandbox, SandboxId};
use crate::store::{StoreError, Turn};

/// How many of the conversation's newest files tell what is not new. Those of the turn before matter: what is older
/// is behind the cutoff.
const REMEMBERED: u32 = 1000;

/// The upstream messages of the ended turn. Where the worker that ran it is
/// gone, they are read from the server once more; a server that is gone too is
/// reported, and does not keep the turn from being settled. `None` where they were
/// not read, as there is nowhere to keep files: the hooks then read them.
pub(super) async fn exchange_of(tools: &Tools, ears: &mut Ears, turn: &Turn) -> Option<Exchange> {
    if let Some(exchange) = ears.exchange.take() {
        return Some(exchange);
    }
    tools.front.blobs.as_ref()?;
    let (conversation, own) = (&tools.context.conversation, tools.own_configuration());
    let lost = || tools.control.orders().lost;
    Some(past_exchange(&tools.front, &tools.workshop, conversation, own, turn, lost).await)
}

/// Attaches the turn's files. Those that cannot be had are reported.
///
/// # Errors
/// A [`StoreError`] that concerns them all.
pub(super) async fn attach(
    tools: &Tools,
    turn: &Turn,
    exchange: &Exchange,
) -> Result<(), StoreError> {
    let store = &*tools.front.store;
    // Who was never prompted has made no file: what is new in the folder is another turn's.
    let blobs = tools.front.blobs.as_ref();
    let Some(blobs) = blobs.filter(|_| turn.prompted.is_some()) else {
        return Ok(());
    };
    let known = store
        .newest_attachments(turn.conversation, REMEMBERED)
        .await?;
    let echo = Echo::of(known.iter().filter(|file| file.message != turn.message));
    let policy = &tools.product.policy;
    let attaching = MessageArtifacts {
        message: turn.message,
        store,
        blobs,
        clock: &*tools.front.clock,
        telemetry: &tools.front.telemetry,
        default_attach: policy.default_attach,
        transforms: &policy.transforms,
        transform_limit: tools.workshop.options.plug_in_limit,
    };
    let cutoff = turn.started_at().unwrap_or(turn.created_at);
    let sandbox = sandbox(tools).await;
    attaching
        .attach_from(exchange, sandbox.as_ref(), cutoff, &echo)
        .await?;
    Ok(())
}

/// The conversation's folder.
pub(super) async fn sandbox(tools: &Tools) -> Option<Sandbox> {
    let root = tools.front.sandboxes.clone()?;
    let id: SandboxId = tools.context.conversation.id.to_string().parse().ok()?;
    match crate::sandbox::blocking(move || root.provision(&id)).await {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            tools.report(&error);
            None
        }
    }
}
