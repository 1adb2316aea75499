//! What this application says about its turns.

use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_client::wire::{PermissionAction, PermissionRule};
use opencode_host::artifacts::Transform;
use opencode_host::blobs::{Blobs, OpenError};
use opencode_host::placement::Placement;
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::sandbox::{OwnConfiguration, RootError, SandboxRoot, own_configuration_rules};
use opencode_host::store::{Conversation, ServerLabel, Tenant};

use crate::chart::{self, ChartPage};
use crate::cli::{SandboxArgs, StoreArgs};
use crate::exit::Failure;
use crate::people::Accounts;

/// How long bytes are kept that no message names.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// The chat: one local person or users with accounts, each conversation in a folder of its own.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    sandboxes: SandboxRoot,
    blobs: Blobs,
    sweep: Option<Duration>,
    own_configuration: OwnConfiguration,
    placement: Placement,
    accounts: Option<Accounts>,
}

impl Chat {
    /// A chat whose agents work where the arguments say: by default below the
    /// data folder, or below the person's own when that lies in a Git worktree
    /// (a worktree would be the agent's boundary, not its sandbox).
    pub(crate) fn new(sandbox: &SandboxArgs, store: &StoreArgs) -> Result<Self, Failure> {
        // Bytes that another database names must not be taken for nobody's.
        let alone = store.blobs.is_none() && store.database.is_none();
        Ok(Self {
            sandboxes: open_sandboxes(sandbox, store)?,
            blobs: open_blobs(store)?,
            sweep: alone.then_some(ORPHAN_AGE),
            own_configuration: OwnConfiguration::Remove,
            placement: Placement::Any,
            accounts: None,
        })
    }

    /// The chat, with this becoming of configuration that is found in a conversation's folder.
    pub(crate) fn configured_by(self, own_configuration: OwnConfiguration) -> Self {
        Self {
            own_configuration,
            ..self
        }
    }

    /// The chat, whose conversations begin on servers with this label, if there is one.
    pub(crate) fn begun_on(self, label: Option<ServerLabel>) -> Self {
        let placement = label.map_or(Placement::Any, Placement::Label);
        Self { placement, ..self }
    }

    /// The chat, whose users are these.
    pub(crate) fn used_by(self, accounts: Accounts) -> Self {
        Self {
            accounts: Some(accounts),
            ..self
        }
    }

    /// Whether the agent may ask for commands in conversations of this tenant.
    async fn may_run(&self, tenant: &Tenant) -> Result<bool, HookError> {
        match &self.accounts {
            Some(accounts) => Ok(accounts.may_run(tenant).await?),
            None => Ok(true),
        }
    }

    /// Where the bytes of files are.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Where conversations have their folders.
    pub(crate) fn sandboxes(&self) -> &SandboxRoot {
        &self.sandboxes
    }

    /// The age at which bytes that no message names are removed, if they are at all.
    pub(crate) fn sweep(&self) -> Option<Duration> {
        self.sweep
    }
}

/// Opens the folder that the arguments name, or the default one.
pub(crate) fn open_sandboxes(
    sandbox: &SandboxArgs,
    store: &StoreArgs,
) -> Result<SandboxRoot, Failure> {
    let told = |error: RootError| Failure::configuration(format!("{error} (--sandbox-root)"));
    let opened = match &sandbox.sandbox_root {
        Some(root) => SandboxRoot::open(root).map_err(told)?,
        None => match SandboxRoot::open(store.data.join("sandboxes")) {
            Err(RootError::InGitWorktree { .. }) => {
                SandboxRoot::open(personal_root()?).map_err(told)?
            }
            opened => opened.map_err(told)?,
        },
    };
    Ok(opened)
}

/// Opens the storage that the arguments name.
pub(crate) fn open_blobs(store: &StoreArgs) -> Result<Blobs, Failure> {
    let blobs = match &store.blobs {
        Some(url) => Blobs::open(url),
        None => Blobs::in_folder(store.data.join("blobs")),
    };
    blobs.map_err(|error: OpenError| {
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        Failure::configuration(format!("{error}{cause} (--blobs)"))
    })
}

fn personal_root() -> Result<PathBuf, Failure> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    data.map(|data| data.join("opencode-chat/sandboxes"))
        .ok_or_else(|| {
            Failure::configuration(
                "no folder for the agent's sandboxes: HOME is not set; give --sandbox-root DIR",
            )
        })
}

/// The one local person is asked; see the README for what that means. What the server would run unasked is not
/// written unasked.
pub(crate) fn permission_rules() -> Vec<PermissionRule> {
    let mut rules = vec![
        PermissionRule::all("external_directory", PermissionAction::Ask),
        PermissionRule::all("bash", PermissionAction::Ask),
    ];
    rules.extend(own_configuration_rules());
    rules
}

#[async_trait]
impl Product for Chat {
    async fn permission_rules(&self, turn: &TurnContext) -> Result<Vec<PermissionRule>, HookError> {
        let mut rules = permission_rules();
        if !self.may_run(&turn.conversation.tenant).await? {
            // Whoever answers for a command, or for a step out of the folder, reaches what is other people's.
            rules.extend(
                ["external_directory", "bash"]
                    .map(|what| PermissionRule::all(what, PermissionAction::Deny)),
            );
        }
        Ok(rules)
    }

    async fn placement(&self, _: &TurnContext) -> Result<Placement, HookError> {
        Ok(self.placement.clone())
    }

    fn own_configuration(&self, _: &Conversation) -> OwnConfiguration {
        self.own_configuration
    }

    async fn system_context(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some(chart::INSTRUCTION.to_owned()))
    }

    fn transforms(&self, _: &Conversation) -> Vec<Arc<dyn Transform>> {
        vec![Arc::new(ChartPage)]
    }
}
