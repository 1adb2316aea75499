//! What a host says about one of its features that talks to an agent.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::{ModelRef, PermissionRule, Prompt};

pub use crate::plug_in::HookError;

use crate::artifacts::{DefaultAttach, Transform};
use crate::id::{EffectId, TurnId};
use crate::placement::Placement;
use crate::sandbox::{OwnConfiguration, default_permission_rules};
use crate::store::{Attachment, AttachmentSource, Conversation, Message, Metadata, Tenant, Turn};
#[cfg(feature = "tools")]
use crate::tools::ToolSet;
use crate::turn::TurnResult;

/// The turn that a product is asked about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TurnContext {
    /// Its conversation, with the session that it has.
    pub conversation: Conversation,
    /// The turn.
    pub turn: TurnId,
    /// What was submitted.
    pub prompt: Prompt,
    /// What the application keeps with the turn.
    pub metadata: Metadata,
    /// How many workers in a row have taken the turn up without any progress: 1 for the first. 0 for a turn that is about to
    /// be submitted.
    pub attempt: u32,
}

impl TurnContext {
    /// The context of a turn of this conversation, as a worker has claimed it.
    pub fn new(conversation: Conversation, turn: &Turn) -> Self {
        Self {
            conversation,
            turn: turn.id,
            prompt: turn.prompt.clone(),
            metadata: turn.metadata.clone(),
            attempt: turn.attempts,
        }
    }

    /// Whose conversation it is.
    pub fn tenant(&self) -> &Tenant {
        &self.conversation.tenant
    }
}

/// Whether a turn may begin.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It does.
    Go,
    /// It ends with [`Reason::Refused`](crate::outcome::Reason::Refused), and nothing of it is told to a model. The person
    /// is shown these words.
    Refuse(String),
    /// The server is prompted with this instead. The person's message stays as it is; what a later session is told of the
    /// conversation is this.
    Change(Prompt),
}

/// Which call of a hook this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// The idempotency key: the same for all calls of the hooks of a turn, and no other turn's.
    pub id: EffectId,
    /// How many times the turn's hooks were begun to be called, this time included. 1 for the first.
    pub attempt: u32,
}

impl Delivery {
    /// The call of this number.
    pub fn new(id: EffectId, attempt: u32) -> Self {
        Self { id, attempt }
    }
}

/// One feature of a host that talks to an agent: its agent, its words to the
/// model, its permission rules, its hooks. Every method has a default.
///
/// What a turn is run with may be looked up, in a database say: such a method is async, gets the [`TurnContext`], and may
/// fail. What is also needed where no turn runs (a page that shows a file, a call for a person's answer) is not:
/// [`own_configuration`](Self::own_configuration), [`default_attach`](Self::default_attach) and
/// [`transforms`](Self::transforms) get the conversation, and answer at once.
///
/// A worker asks for agent, model, words, rules, title and the rest of the policy once for each claim of a turn, all in
/// one call, and calls each of the others by itself. Every call runs on a thread of its own, which it may block. One that
/// panics, or takes longer than [`plug_in_limit`](crate::WorkerOptions::plug_in_limit), fails the turn where it belongs
/// to the policy, and is called again later where it is a hook of a turn's end; both is reported. So is an error. A thread that never returns is
/// lost to the process.
#[async_trait]
pub trait Product: Send + Sync + 'static {
    /// On which of the application's OpenCode servers the turn's conversation may be placed. By default on any.
    ///
    /// Asked before the first turn of a conversation is claimed, and again where it has lost its place; by any worker, and
    /// by several where they look at the same time. It stays where it is placed. As long as no server fits, it waits
    /// ([`Conversation::waits_for`]), and the question is asked again now and then.
    ///
    /// # Errors
    /// Reported; the conversation waits, and the question is asked again.
    async fn placement(&self, turn: &TurnContext) -> Result<Placement, HookError> {
        let _ = turn;
        Ok(Placement::Any)
    }

    /// The agent that answers; the server's default without one. A prompt that names one goes before.
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn agent(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let _ = turn;
        Ok(None)
    }

    /// The model that answers; the agent's default without one. A prompt that names one goes before.
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn model(&self, turn: &TurnContext) -> Result<Option<ModelRef>, HookError> {
        let _ = turn;
        Ok(None)
    }

    /// Further system instructions, said with every prompt: before what a prompt appends
    /// ([`System::Append`](opencode_client::wire::System)), and not with one that replaces them
    /// ([`System::Replace`](opencode_client::wire::System)).
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn system_context(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let _ = turn;
        Ok(None)
    }

    /// The rules of the conversation's session, the last match wins. By default the agent
    /// stays in its folder and has no shell: see [`default_permission_rules`].
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn permission_rules(&self, turn: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        let _ = turn;
        Ok(default_permission_rules())
    }

    /// Functions of the application that the agent may call, and which run in this process. None by default.
    ///
    /// They are offered to the conversation's folder alone, and answer in this turn only. So the turn fails where another
    /// conversation works in the same folder; where OpenCode has a tool of the same name already; and where the set does
    /// not pass [`ToolSet::check`]. What an earlier turn offered, a model may still be told of in a turn that offers nothing:
    /// its calls are refused. Permission rules name a tool as the model does: `app_lookup`.
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    #[cfg(feature = "tools")]
    async fn tools(&self, turn: &TurnContext) -> Result<ToolSet, HookError> {
        let _ = turn;
        Ok(ToolSet::default())
    }

    /// Whether the turn may begin. Asked before anything of the turn goes to a server, once its worker has time for it:
    /// a cancel, and the turn's time, break the call off.
    ///
    /// Asked once, unless a worker dies between the answer and the prompt: the next one asks again. Once the prompt is
    /// recorded, whoever takes the turn over goes by what was said then, a changed prompt included.
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn before_turn(&self, turn: &TurnContext) -> Result<Verdict, HookError> {
        let _ = turn;
        Ok(Verdict::Go)
    }

    /// The title of a new session; the server writes its own without one.
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn session_title(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let _ = turn;
        Ok(None)
    }

    /// The folder a new session works in, asked when there is one to be made. Without one the host decides:
    /// [`HostBuilder::sandboxes`](crate::HostBuilder::sandboxes),
    /// [`WorkerBuilder::product_folders`](crate::WorkerBuilder::product_folders) or
    /// [`WorkerBuilder::shared_folder`](crate::WorkerBuilder::shared_folder).
    ///
    /// # Errors
    /// The turn then fails, and the error is reported.
    async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let _ = turn;
        Ok(None)
    }

    /// What becomes of configuration of OpenCode's that is found in the conversation's sandbox, whoever put it
    /// there. Asked where the host has sandboxes, before each prompt.
    fn own_configuration(&self, conversation: &Conversation) -> OwnConfiguration {
        let _ = conversation;
        OwnConfiguration::Remove
    }

    /// What of an agent's files is attached to its message.
    fn default_attach(&self, conversation: &Conversation) -> DefaultAttach {
        let _ = conversation;
        DefaultAttach::All
    }

    /// What the host itself makes of an agent's files, and vouches for.
    fn transforms(&self, conversation: &Conversation) -> Vec<Arc<dyn Transform>> {
        let _ = conversation;
        Vec::new()
    }

    /// The turn has ended and is settled: its message is durable, and the attach of its files was attempted. For what
    /// follows: index, notify.
    ///
    /// That the hook is to be called is noted in the transaction that ends the turn, and it is called at least once,
    /// whatever dies in between. One that fails, panics or takes too long is called again after a pause that grows from a
    /// second to four hours, until it succeeds, or has failed [`hook_attempts`](crate::WorkerOptions::hook_attempts)
    /// times. Then it is given up: [`Reader::given_up_effects`](crate::store::Reader::given_up_effects) lists it, and
    /// [`Host::retry_effect`](crate::Host::retry_effect) has it called again. Each call has the same
    /// [`Delivery::id`]: do what the hook does under that id, where twice is as good as once.
    ///
    /// Nothing waits for a hook: the conversation's next turn may run, and its hooks may be called before, or at the same
    /// time. Any worker on the store calls it, also one that did not run the turn.
    ///
    /// `message` is as the store has it at the call. `exchange` is what the server told at the end of the turn; where
    /// the worker that ran the turn is gone, it is read from the server once more, and where the server does not give it
    /// any more, it is what the store saved of it while it streamed, which may lack the end that the message has. A turn
    /// that was cancelled in the queue has an empty one. Not called for a turn whose conversation was deleted meanwhile.
    ///
    /// # Errors
    /// Reported and traced (`callback.error`); the message stays as it is, and the hook is called again.
    async fn on_finalized(
        &self,
        message: &Message,
        exchange: &Exchange,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let _ = (message, exchange, delivery);
        Ok(())
    }

    /// The turn is over, however it ended.
    ///
    /// Called behind the first call of [`Product::on_finalized`], whether that failed or not, and again as that is: each
    /// of the two until it has succeeded.
    ///
    /// # Errors
    /// Reported and traced (`callback.error`); the turn stays as it is, and the hook is called again.
    async fn on_turn_finished(
        &self,
        result: &TurnResult,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let _ = (result, delivery);
        Ok(())
    }

    /// The turn is alive: called at most every five minutes while it runs, also
    /// while it only waits for a person.
    ///
    /// # Errors
    /// Reported; the turn goes on.
    async fn on_activity(&self, conversation: &Conversation) -> Result<(), HookError> {
        let _ = conversation;
        Ok(())
    }
}

impl fmt::Debug for dyn Product + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Product")
    }
}

/// The product of a host that has nothing to say.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainProduct;

impl Product for PlainProduct {}

/// Whether the product vouches for this file of the conversation's: a transform
/// made it, and one of the product's own says that it is [`trusted`](Transform::trusted).
/// What an agent or a person gave is never.
pub fn vouches_for(product: &dyn Product, conversation: &Conversation, file: &Attachment) -> bool {
    file.source == AttachmentSource::Transform
        && file.conversation == conversation.id
        && product
            .transforms(conversation)
            .iter()
            .any(|transform| transform.trusted(file))
}
