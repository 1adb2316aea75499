//! The turn's tools, offered to the server that runs it.
//!
//! OpenCode calls them over MCP, and keeps where they are in memory, by folder. So they are offered before each prompt, and
//! looked for before each further one of the claim; each claim of a turn offers them anew, under an address and a token of
//! its own, in the place of the one before. A turn that is taken over while it runs is offered them again too, so that what
//! the agent calls from then on finds somebody.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::{Client, Error as ClientError, RemoteTools, ToolsStatus};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::facts::{Facts, Learned};
use super::hosted::{Folders, Policy};
use super::tools::{Outcome, Tools, Trouble};
use crate::product::Product as _;
use crate::store::SessionRecord;
use crate::tools::{Offering, ReadySet, ToolCall};

/// How much longer OpenCode waits for an answer than a tool may take: what went wrong is said here.
const BEHIND: Duration = Duration::from_secs(10);

/// The shortest time that OpenCode is given to connect.
const CONNECTING: Duration = Duration::from_secs(30);

/// Why a turn that runs is not offered its tools.
#[derive(Debug, thiserror::Error)]
#[error("the turn goes on without its tools: {0}")]
struct NotOffered(String);

/// Whether there is something to offer.
pub(super) fn has_tools(policy: &Policy) -> bool {
    policy.tools.is_some()
}

/// Cuts off the calls that run, and runs no further ones: the turn is over, or not ours.
pub(super) fn stop_calls(tools: &Tools) {
    if let Some(offering) = tools.offering.get() {
        offering.stop();
    }
}

/// Before a prompt: sees to it that the server can call the turn's tools, and nobody else's session.
pub(super) async fn offer(tools: &Tools, session: &SessionRecord) -> Result<(), Trouble> {
    match &tools.product.policy.tools {
        // On the heap: most turns have none.
        Some(set) => Box::pin(offer_set(tools, session, set)).await,
        None => Ok(()),
    }
}

async fn offer_set(
    tools: &Tools,
    session: &SessionRecord,
    set: &Arc<ReadySet>,
) -> Result<(), Trouble> {
    let client = session.client(&tools.server);
    if let Some(offering) = tools.offering.get() {
        let known = client.tools_statuses().await?;
        if known.get(set.name()) == Some(&ToolsStatus::Connected) {
            return Ok(());
        }
        return add(tools, &client, set, offering).await;
    }
    refuse_shared(tools, &client).await?;
    refuse_taken(&client, set).await?;
    let opening = || open(tools, set);
    let offering = tools.offering.get_or_try_init(opening).await?;
    add(tools, &client, set, offering).await
}

/// The same where the turn runs already. It goes on where that cannot be done: what its agent calls then fails, and the
/// agent is told so.
pub(super) async fn offer_again(tools: &Tools, facts: &Facts) -> Outcome {
    let Some(session) = facts.linked_session() else {
        return Ok(Learned::Done);
    };
    match offer(tools, session).await {
        Ok(()) => {}
        // Tried again, as any call is.
        Err(
            trouble @ Trouble::Upstream(
                ClientError::Connection { .. } | ClientError::Timeout { .. },
            ),
        ) => return Err(trouble),
        Err(Trouble::Upstream(error)) => tools.report(&error),
        Err(Trouble::Product(detail)) => tools.report(&NotOffered(detail)),
        Err(trouble) => return Err(trouble),
    }
    Ok(Learned::Offered)
}

/// Refuses a folder in which another conversation works: its agent would be told of the tools, and call them as this one.
async fn refuse_shared(tools: &Tools, client: &Client) -> Result<(), Trouble> {
    let hosted = &tools.product.hosted;
    if matches!(hosted.folders, Folders::Shared) {
        let named = tools.product.directory(&tools.context).await;
        let named = named.map_err(|error| Trouble::Product(error.to_string()))?;
        if named.is_none() {
            return Err(Trouble::Product(
                "the product has tools, and all conversations share the server's folder, where each agent could call \
                 them as another: give the host sandboxes(root), or name a folder in Product::directory"
                    .to_owned(),
            ));
        }
    }
    let own = tools.context.conversation.id;
    match tools.sessions().other_in(client, own).await? {
        None => Ok(()),
        Some(other) => Err(Trouble::Product(format!(
            "the product has tools, and conversation {other} works in the folder of this one, where its agent could call \
             them as this one's: give each conversation a folder of its own"
        ))),
    }
}

/// Refuses names that the server has given already.
async fn refuse_taken(client: &Client, set: &ReadySet) -> Result<(), Trouble> {
    let (own, configured) = tokio::join!(client.own_tools(), client.configured_tools());
    let (own, configured) = (own?, configured?);
    if let Some(taken) = set.names().find(|name| own.contains(name)) {
        return Err(Trouble::Product(format!(
            "OpenCode has a tool {taken} of its own: name the product's otherwise"
        )));
    }
    if configured.iter().any(|name| name == set.name()) {
        return Err(Trouble::Product(format!(
            "OpenCode's configuration has an MCP server {0:?}: name the product's set of tools otherwise, with \
             ToolSet::named",
            set.name()
        )));
    }
    Ok(())
}

/// Lets the tools be called, by who knows the token.
async fn open(tools: &Tools, set: &Arc<ReadySet>) -> Result<Offering, Trouble> {
    let of = ToolCall {
        conversation: tools.context.conversation.clone(),
        turn: tools.turn.id,
        metadata: tools.context.metadata.clone(),
        id: Uuid::nil(),
        cancelled: CancellationToken::new(),
    };
    let telemetry = tools.front.telemetry.clone();
    let opening = tools.workshop.tools.offer(Arc::clone(set), of, telemetry);
    opening.await.map_err(|error| {
        Trouble::Product(format!(
            "the worker cannot listen for calls of its tools: {error}"
        ))
    })
}

/// Tells the server where the tools are.
async fn add(
    tools: &Tools,
    client: &Client,
    set: &ReadySet,
    offering: &Offering,
) -> Result<(), Trouble> {
    let remote = RemoteTools {
        url: offering.url().to_owned(),
        token: offering.token().secret().to_owned(),
        timeout: (set.longest() + BEHIND).max(CONNECTING),
    };
    // What a successor has offered meanwhile is not replaced.
    let not_after = tools.fence().await?.into();
    // The server connects before it answers.
    let client = client.with_patience(tools.patience * 2);
    let adding = client.add_tools(set.name(), &remote, not_after);
    let why = match tools.telling(adding).await? {
        ToolsStatus::Connected => return Ok(()),
        ToolsStatus::Failed(why) => why,
        other => format!("{other:?}"),
    };
    Err(Trouble::Product(format!(
        "OpenCode cannot reach the application's tools at {}: {why}. Where it runs on another machine, say with \
         WorkerBuilder::tools_url where it finds them",
        offering.url()
    )))
}
