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
use crate::budget::Budget;
use crate::budgets::AskedBudgets;
use crate::configuration_guard::guard;
use crate::placement::Placement;
use crate::plug_in::{self, PlugInError};
use crate::product::{Delivery, HookError, Product, TurnContext, Verdict};
use crate::sandbox::{OwnConfiguration, SandboxId, SandboxRoot, blocking};
use crate::store::{Conversation, Message};
use crate::telemetry::Telemetry;
#[cfg(feature = "tools")]
use crate::tools::{ReadySet, ToolSet};
use crate::turn::TurnResult;

/// Where a host's agents work when the product names no folder.
#[derive(Clone, Debug)]
pub(crate) enum Folders {
    /// In a sandbox of the conversation's own.
    Sandboxes(SandboxRoot),
    /// Nowhere: such a conversation is refused.
    Product,
    /// In the server's own folder, all conversations together.
    Shared,
}

impl Folders {
    pub(crate) fn sandboxes(&self) -> Option<&SandboxRoot> {
        match self {
            Self::Sandboxes(root) => Some(root),
            Self::Product | Self::Shared => None,
        }
    }
}

/// A product, and what its host adds.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) product: Arc<dyn Product>,
    pub(crate) budgets: AskedBudgets,
    pub(crate) folders: Folders,
    pub(crate) telemetry: Telemetry,
    /// How long a call of the product may take.
    pub(crate) limit: Duration,
}

/// What a product says of a turn, asked once for each claim.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<ModelRef>,
    pub(crate) system_context: Option<String>,
    pub(crate) own_configuration: OwnConfiguration,
    pub(crate) default_attach: DefaultAttach,
    pub(crate) transforms: Vec<Arc<dyn Transform>>,
    pub(crate) budget: Budget,
    /// What the agent may call; `None` where there is nothing.
    #[cfg(feature = "tools")]
    pub(crate) tools: Option<Arc<ReadySet>>,
    permission_rules: Vec<PermissionRule>,
    session_title: Option<String>,
}

impl Policy {
    /// Asks a product, which may panic or hang. Of a turn that has ended, it is asked what serves to settle it.
    async fn of(
        product: &dyn Product,
        budgets: &AskedBudgets,
        turn: &TurnContext,
        is_over: bool,
    ) -> Result<Self, HookError> {
        let conversation = &turn.conversation;
        let settling = Self {
            own_configuration: product.own_configuration(conversation),
            default_attach: product.default_attach(conversation),
            transforms: product.transforms(conversation),
            ..Self::unknown()
        };
        if is_over {
            return Ok(settling);
        }
        Ok(Self {
            agent: product.agent(turn).await?,
            budget: budgets.of_turn(turn).await?,
            model: product.model(turn).await?,
            system_context: product.system_context(turn).await?,
            permission_rules: product.permission_rules(turn).await?,
            session_title: product.session_title(turn).await?,
            #[cfg(feature = "tools")]
            tools: ReadySet::of(product.tools(turn).await?)?.map(Arc::new),
            ..settling
        })
    }

    /// Of a product that does not say. Nothing is asked of a server in its name: this is for turns that have ended.
    fn unknown() -> Self {
        Self {
            agent: None,
            model: None,
            system_context: None,
            own_configuration: OwnConfiguration::Remove,
            default_attach: DefaultAttach::None,
            transforms: Vec::new(),
            budget: Budget::default(),
            #[cfg(feature = "tools")]
            tools: None,
            permission_rules: Vec::new(),
            session_title: None,
        }
    }
}

/// A product for one claim of a turn: what it says does not change meanwhile, and calling it neither panics nor hangs.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) hosted: Arc<Hosted>,
    pub(crate) policy: Policy,
}

impl Hosted {
    /// Asks the product for its policy. Where it fails, what is returned serves to settle a turn, not to run one.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        turn: &TurnContext,
        is_over: bool,
    ) -> (Arc<Asked>, Result<(), PlugInError>) {
        let (product, turn) = (Arc::clone(&self.product), turn.clone());
        let budgets = self.budgets.clone();
        let asking = plug_in::call("the product", self.limit, async move || {
            Policy::of(&*product, &budgets, &turn, is_over).await
        });
        let (policy, asked) = match asking.await {
            Ok(policy) => (policy, Ok(())),
            Err(error) => (Policy::unknown(), Err(error)),
        };
        let hosted = Arc::clone(self);
        (Arc::new(Asked { hosted, policy }), asked)
    }

    /// Where the turn's conversation may be placed, asked before the turn is claimed.
    pub(crate) async fn placement(&self, turn: &TurnContext) -> Result<Placement, PlugInError> {
        let (product, turn) = (Arc::clone(&self.product), turn.clone());
        let asking = async move || product.placement(&turn).await;
        plug_in::call("Product::placement", self.limit, asking).await
    }

    /// What becomes of configuration in the conversation's folder, asked where no turn is.
    pub(crate) async fn own_configuration(
        &self,
        conversation: &Conversation,
    ) -> Result<OwnConfiguration, PlugInError> {
        let (product, conversation) = (Arc::clone(&self.product), conversation.clone());
        let asking = plug_in::call("Product::own_configuration", self.limit, move || {
            std::future::ready(Ok(product.own_configuration(&conversation)))
        });
        asking.await
    }
}

/// The hooks of a turn that has ended. No claim is on it.
impl Hosted {
    pub(crate) async fn on_finalized(
        &self,
        message: Message,
        exchange: Arc<Exchange>,
        delivery: Delivery,
    ) -> Result<(), PlugInError> {
        let product = Arc::clone(&self.product);
        let hook = async move || product.on_finalized(&message, &exchange, &delivery).await;
        plug_in::call("the hook", self.limit, hook).await
    }

    pub(crate) async fn on_turn_finished(
        &self,
        result: TurnResult,
        delivery: Delivery,
    ) -> Result<(), PlugInError> {
        let product = Arc::clone(&self.product);
        let hook = async move || product.on_turn_finished(&result, &delivery).await;
        plug_in::call("the hook", self.limit, hook).await
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
    async fn placement(&self, turn: &TurnContext) -> Result<Placement, HookError> {
        Ok(self.hosted.placement(turn).await?)
    }

    async fn agent(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(self.policy.agent.clone())
    }

    async fn model(&self, _: &TurnContext) -> Result<Option<ModelRef>, HookError> {
        Ok(self.policy.model.clone())
    }

    async fn system_context(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(self.policy.system_context.clone())
    }

    async fn permission_rules(&self, _: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        Ok(self.policy.permission_rules.clone())
    }

    async fn session_title(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(self.policy.session_title.clone())
    }

    #[cfg(feature = "tools")]
    async fn tools(&self, _: &TurnContext) -> Result<ToolSet, HookError> {
        let ready = self.policy.tools.as_deref();
        Ok(ready.map_or_else(ToolSet::default, ReadySet::set))
    }

    fn default_attach(&self, _: &Conversation) -> DefaultAttach {
        self.policy.default_attach
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        self.policy.transforms.clone()
    }

    async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let Hosted {
            product,
            folders,
            telemetry,
            limit,
            ..
        } = &*self.hosted;
        let (product, of, conversation) = (Arc::clone(product), turn.clone(), &turn.conversation);
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

    async fn before_turn(&self, turn: &TurnContext) -> Result<Verdict, HookError> {
        let (product, turn) = (Arc::clone(&self.hosted.product), turn.clone());
        let asking = async move || product.before_turn(&turn).await;
        Ok(plug_in::call("Product::before_turn", self.hosted.limit, asking).await?)
    }

    fn own_configuration(&self, _: &Conversation) -> OwnConfiguration {
        self.policy.own_configuration
    }

    async fn on_finalized(
        &self,
        message: &Message,
        exchange: &Exchange,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let (message, exchange) = (message.clone(), Arc::new(exchange.clone()));
        let calling = self.hosted.on_finalized(message, exchange, *delivery);
        Ok(calling.await?)
    }

    async fn on_turn_finished(
        &self,
        result: &TurnResult,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let calling = self.hosted.on_turn_finished(result.clone(), *delivery);
        Ok(calling.await?)
    }

    async fn on_activity(&self, conversation: &Conversation) -> Result<(), HookError> {
        let (product, of) = (Arc::clone(&self.hosted.product), conversation.clone());
        let hook = async move || product.on_activity(&of).await;
        Ok(plug_in::call("the hook", self.hosted.limit, hook).await?)
    }
}
