//! A product, as the turns of a worker ask it: in the host's folders, and without its failures.
//!
//! Everything that asks a product something asks through this, so that what the host promises of every turn
//! (where its agent works, that nothing plugged in ends or holds it) holds whatever the product does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::{ModelRef, PermissionRule};

use crate::artifacts::{DefaultAttach, Transform};
use crate::configuration_guard::guard;
use crate::plug_in::{self, PlugInError};
use crate::product::{HookError, Product};
use crate::sandbox::{OwnConfiguration, SandboxId, SandboxRoot, blocking};
use crate::store::{Conversation, Message};
use crate::telemetry::Telemetry;
use crate::turn::TurnResult;

/// Where a host's agents work when the product names no folder.
#[derive(Clone, Debug)]
pub(super) enum Folders {
    /// In a sandbox of the conversation's own.
    Sandboxes(SandboxRoot),
    /// Nowhere: such a conversation is refused.
    Product,
    /// In the server's own folder, all conversations together.
    Shared,
}

impl Folders {
    pub(super) fn sandboxes(&self) -> Option<&SandboxRoot> {
        match self {
            Self::Sandboxes(root) => Some(root),
            Self::Product | Self::Shared => None,
        }
    }
}

/// A product, and what its host adds.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(super) product: Arc<dyn Product>,
    pub(super) folders: Folders,
    pub(super) telemetry: Telemetry,
    /// How long a call of the product may take.
    pub(super) limit: Duration,
}

/// What a product says of a conversation, asked once for each claim.
#[derive(Debug)]
struct Policy {
    agent: Option<String>,
    model: Option<ModelRef>,
    system_context: Option<String>,
    permission_rules: Vec<PermissionRule>,
    session_title: Option<String>,
    own_configuration: OwnConfiguration,
    default_attach: DefaultAttach,
    transforms: Vec<Arc<dyn Transform>>,
}

impl Policy {
    /// Asks a product, which may panic.
    fn of(product: &dyn Product, conversation: &Conversation) -> Self {
        Self {
            agent: product.agent(conversation),
            model: product.model(conversation),
            system_context: product.system_context(conversation),
            permission_rules: product.permission_rules(conversation),
            session_title: product.session_title(conversation),
            own_configuration: product.own_configuration(conversation),
            default_attach: product.default_attach(conversation),
            transforms: product.transforms(conversation),
        }
    }

    /// Of a product that does not say. Nothing is asked of a server in its name: this is for turns that have ended.
    fn unknown() -> Self {
        Self {
            agent: None,
            model: None,
            system_context: None,
            permission_rules: Vec::new(),
            session_title: None,
            own_configuration: OwnConfiguration::Remove,
            default_attach: DefaultAttach::None,
            transforms: Vec::new(),
        }
    }
}

/// A product for one claim of a turn: what it says does not change meanwhile, and calling it neither panics nor hangs.
#[derive(Debug)]
struct Asked {
    hosted: Arc<Hosted>,
    policy: Policy,
}

impl Hosted {
    /// Asks the product for its policy. Where it fails, what is returned serves to settle a turn, not to run one.
    pub(super) async fn ask(
        self: &Arc<Self>,
        conversation: &Conversation,
    ) -> (Arc<dyn Product>, Result<(), PlugInError>) {
        let (product, conversation) = (Arc::clone(&self.product), conversation.clone());
        let asking = plug_in::call("the product", self.limit, move || {
            std::future::ready(Ok(Policy::of(&*product, &conversation)))
        });
        let (policy, asked) = match asking.await {
            Ok(policy) => (policy, Ok(())),
            Err(error) => (Policy::unknown(), Err(error)),
        };
        let hosted = Arc::clone(self);
        (Arc::new(Asked { hosted, policy }), asked)
    }
}

async fn provision(root: &SandboxRoot, conversation: &Conversation) -> Result<String, HookError> {
    let id: SandboxId = conversation.id.to_string().parse()?;
    let root = root.clone();
    let sandbox = blocking(move || root.provision(&id)).await?;
    let path = sandbox.path().to_str();
    Ok(path.ok_or("the sandbox's path is not UTF-8")?.to_owned())
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a method with a default would bypass the product"
)]
impl Product for Asked {
    fn agent(&self, _: &Conversation) -> Option<String> {
        self.policy.agent.clone()
    }

    fn model(&self, _: &Conversation) -> Option<ModelRef> {
        self.policy.model.clone()
    }

    fn system_context(&self, _: &Conversation) -> Option<String> {
        self.policy.system_context.clone()
    }

    fn permission_rules(&self, _: &Conversation) -> Vec<PermissionRule> {
        self.policy.permission_rules.clone()
    }

    fn session_title(&self, _: &Conversation) -> Option<String> {
        self.policy.session_title.clone()
    }

    fn default_attach(&self, _: &Conversation) -> DefaultAttach {
        self.policy.default_attach
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        self.policy.transforms.clone()
    }

    async fn directory(&self, conversation: &Conversation) -> Result<Option<String>, HookError> {
        let Hosted {
            product,
            folders,
            telemetry,
            limit,
        } = &*self.hosted;
        let (product, of) = (Arc::clone(product), conversation.clone());
        let naming = plug_in::call("Product::directory", *limit, async move || {
            product.directory(&of).await
        });
        let directory = match (naming.await?, folders) {
            (Some(directory), _) => directory,
            (None, Folders::Sandboxes(root)) => provision(root, conversation).await?,
            (None, Folders::Shared) => return Ok(None),
            (None, Folders::Product) => {
                return Err("the product names no folder for this conversation, and the worker was built with \
                            product_folders(): name one in Product::directory, or give the host sandboxes(root)"
                    .into());
            }
        };
        if let Some(root) = folders.sandboxes() {
            let own = self.policy.own_configuration;
            guard(root, own, telemetry, conversation, &directory).await?;
        }
        Ok(Some(directory))
    }

    fn own_configuration(&self, _: &Conversation) -> OwnConfiguration {
        self.policy.own_configuration
    }

    async fn on_finalized(&self, message: &Message, exchange: &Exchange) -> Result<(), HookError> {
        let product = Arc::clone(&self.hosted.product);
        let (message, exchange) = (message.clone(), exchange.clone());
        let hook = async move || product.on_finalized(&message, &exchange).await;
        Ok(plug_in::call("the hook", self.hosted.limit, hook).await?)
    }

    async fn on_turn_finished(&self, result: &TurnResult) -> Result<(), HookError> {
        let (product, result) = (Arc::clone(&self.hosted.product), result.clone());
        let hook = async move || product.on_turn_finished(&result).await;
        Ok(plug_in::call("the hook", self.hosted.limit, hook).await?)
    }

    async fn on_activity(&self, conversation: &Conversation) -> Result<(), HookError> {
        let (product, of) = (Arc::clone(&self.hosted.product), conversation.clone());
        let hook = async move || product.on_activity(&of).await;
        Ok(plug_in::call("the hook", self.hosted.limit, hook).await?)
    }
}
