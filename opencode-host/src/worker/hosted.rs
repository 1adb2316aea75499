//! A product as its host runs it: in the host's folders.
//!
//! Everything that asks a product something asks through this, so that what the host promises of every turn
//! (where its agent works) holds whatever the product says.

use std::sync::Arc;

use async_trait::async_trait;
use opencode_client::Exchange;
use opencode_client::wire::{ModelRef, PermissionRule};

use super::configuration_guard::guard;
use crate::artifacts::{DefaultAttach, Transform};
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
pub(super) struct Hosted {
    pub(super) product: Arc<dyn Product>,
    pub(super) folders: Folders,
    pub(super) telemetry: Telemetry,
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
impl Product for Hosted {
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
        let named = self.product.directory(conversation).await?;
        let directory = match (named, &self.folders) {
            (Some(directory), _) => directory,
            (None, Folders::Sandboxes(root)) => provision(root, conversation).await?,
            (None, Folders::Shared) => return Ok(None),
            (None, Folders::Product) => {
                return Err("the product names no folder for this conversation, and the host was built with \
                            product_folders(): name one in Product::directory, or give the host sandboxes(root)"
                    .into());
            }
        };
        if let Some(root) = self.folders.sandboxes() {
            let product = &*self.product;
            guard(root, product, &self.telemetry, conversation, &directory).await?;
        }
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
