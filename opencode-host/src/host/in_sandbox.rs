use std::sync::Arc;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::{ModelRef, PermissionRule};

use super::guard::guard;
use crate::artifacts::{DefaultAttach, Transform};
use crate::product::{HookError, Product};
use crate::sandbox::{OwnConfiguration, SandboxId, SandboxRoot, blocking};
use crate::store::{Conversation, Message};
use crate::telemetry::Telemetry;
use crate::turn::TurnResult;

/// A product whose agents work in the sandboxes of the host, where it names no folder itself.
#[derive(Debug)]
pub(super) struct InSandbox {
    pub(super) product: Arc<dyn Product>,
    pub(super) sandboxes: SandboxRoot,
    pub(super) telemetry: Telemetry,
}

impl InSandbox {
    async fn provision(&self, conversation: &Conversation) -> Result<String, HookError> {
        let id: SandboxId = conversation.id.to_string().parse()?;
        let root = self.sandboxes.clone();
        let sandbox = blocking(move || root.provision(&id)).await?;
        let path = sandbox.path().to_str();
        Ok(path.ok_or("the sandbox's path is not UTF-8")?.to_owned())
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a method with a default would bypass the product"
)]
impl Product for InSandbox {
    fn agent(&self, conversation: &Conversation) -> Option<String> {
        self.product.agent(conversation)
    }

    fn model(&self, conversation: &Conversation) -> Option<ModelRef> {
        self.product.model(conversation)
    }

    fn system_context(&self, conversation: &Conversation) -> Option<String> {
        self.product.system_context(conversation)
    }

    fn permission_rules(&self, conversation: &Conversation) -> Vec<PermissionRule> {
        self.product.permission_rules(conversation)
    }

    fn session_title(&self, conversation: &Conversation) -> Option<String> {
        self.product.session_title(conversation)
    }

    fn default_attach(&self, conversation: &Conversation) -> DefaultAttach {
        self.product.default_attach(conversation)
    }

    fn transforms(&self, conversation: &Conversation) -> Vec<Arc<dyn Transform>> {
        self.product.transforms(conversation)
    }

    async fn directory(&self, conversation: &Conversation) -> Result<Option<String>, HookError> {
        let directory = match self.product.directory(conversation).await? {
            Some(directory) => directory,
            None => self.provision(conversation).await?,
        };
        let (root, product) = (&self.sandboxes, &*self.product);
        guard(root, product, &self.telemetry, conversation, &directory).await?;
        Ok(Some(directory))
    }

    fn own_configuration(&self, conversation: &Conversation) -> OwnConfiguration {
        self.product.own_configuration(conversation)
    }

    async fn on_finalized(&self, message: &Message, exchange: &Exchange) -> Result<(), HookError> {
        self.product.on_finalized(message, exchange).await
    }

    async fn on_turn_finished(&self, result: &TurnResult) -> Result<(), HookError> {
        self.product.on_turn_finished(result).await
    }

    async fn on_activity(&self, conversation: &Conversation) -> Result<(), HookError> {
        self.product.on_activity(conversation).await
    }
}
