//! The OpenCode server this process talks to: one that runs already, one that
//! is started and stopped here, or a stand-in.

mod environment;
mod guard;
mod last_lines;
mod launch;
mod locate;
mod orphans;
mod seal;
mod server_configuration;
mod supervisor;

use std::path::PathBuf;

use opencode_client::wire::{ModelRef, Prompt};
use opencode_client::{Client, Error as ClientError, Health, Models};
use opencode_host::sandbox::OwnConfiguration;
use opencode_host::sub_agents::SubAgents;
use opencode_impostor::Impostor;

use crate::cli::{StoreArgs, UpstreamArgs};
use crate::exit::Failure;
use crate::product::open_sandboxes;
use environment::Environment;
pub(crate) use environment::VariableName;
pub(crate) use guard::run as guard;
use launch::Launch;
pub(crate) use locate::{Found, locate};
pub(crate) use seal::SHOWS_PASSWORD;
pub(crate) use server_configuration::SUB_AGENTS;
use supervisor::Supervisor;

/// What is said where a stand-in answers.
const BANNER: &str = "No OpenCode was found, so a stand-in answers: nothing it says comes from a model. Install \
    OpenCode with `npm install -g opencode-ai`, log in with `opencode auth login`, and start this again.";

/// What is said where a server has no model.
pub(crate) const NO_MODELS: &str = "OpenCode has no model it could use: log in with `opencode auth login`, or \
    configure a provider (with --opencode-isolated your own logins are not used)";

/// What is said where sub-agents ask for nothing.
pub(crate) const UNASKED: &str = "Sub-agents ask for nothing (--allow-unasked-subagents): a shell command of theirs runs at once.";

/// The server this process talks to.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// Talks to it.
    pub(crate) client: Client,
    /// What it is.
    pub(crate) kind: Kind,
    /// What the person must know about how it is reached or started.
    pub(crate) warnings: Vec<String>,
    /// What becomes of its sub-agents.
    pub(crate) sub_agents: SubAgents,
    source: Source,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It ran already, at a URL the person gave.
    Given,
    /// It was started here, and is stopped with this process.
    Supervised {
        /// Its program.
        program: PathBuf,
    },
    /// The stand-in: nothing it says comes from a model.
    Impostor,
}

/// What keeps the server running.
#[derive(Debug)]
enum Source {
    /// With its password, if it has one.
    Given(Option<String>),
    Supervised(Supervisor),
    Impostor(Impostor),
}

impl Upstream {
    /// The server the arguments name, or the best there is. A server that has to be started is starting when this
    /// returns: wait with [`Upstream::ready`].
    pub(crate) async fn find(args: &UpstreamArgs, store: &StoreArgs) -> Result<Self, Failure> {
        if let Some(url) = &args.opencode_url {
            let mut builder = Client::builder(url);
            let password = args.password()?;
            let unasked = args.allow_unasked_subagents;
            // An empty variable is none.
            if let Some(user) = args
                .opencode_username
                .as_ref()
                .filter(|user| !user.is_empty())
            {
                builder = builder.username(user);
            }
            if let Some(password) = &password.value {
                builder = builder.password(password);
            }
            return Ok(Self {
                client: builder.build()?,
                kind: Kind::Given,
                warnings: password
                    .warning
                    .into_iter()
                    .chain(unasked.then(|| UNASKED.to_owned()))
                    .collect(),
                sub_agents: if unasked {
                    SubAgents::Unasked
                } else {
                    SubAgents::Off
                },
                source: Source::Given(password.value),
            });
        }
        if args.allow_unasked_subagents {
            return Err(Failure::configuration(
                "--allow-unasked-subagents is of a server at --opencode-url: sub-agents of one that is started here ask. \
                 Leave it out",
            ));
        }
        match locate(&store.tools_dir())? {
            Some(found) => Self::supervise(found, args, store),
            None => Self::stand_in().await,
        }
    }

    fn supervise(found: Found, args: &UpstreamArgs, store: &StoreArgs) -> Result<Self, Failure> {
        let isolated = args.opencode_isolated.then(|| store.data.join("opencode"));
        let environment = Environment::of_this_process(&args.opencode_env);
        let missed = environment.missed(isolated.as_deref());
        let warning = (!missed.is_empty()).then(|| {
            format!(
                "OpenCode's configuration names {}, which OpenCode does not get: pass each with --opencode-env NAME",
                missed.join(", ")
            )
        });
        let sandboxes = open_sandboxes(&args.sandbox, store)?;
        let launch = Launch::new(
            &found.program,
            isolated.as_deref(),
            sandboxes.path(),
            environment,
        )?;
        let supervisor = Supervisor::start(launch)?;
        Ok(Self {
            client: supervisor.client().clone(),
            warnings: warning.into_iter().collect(),
            kind: Kind::Supervised {
                program: found.program,
            },
            sub_agents: SubAgents::Asking(SUB_AGENTS.map(str::to_owned).to_vec()),
            source: Source::Supervised(supervisor),
        })
    }

    async fn stand_in() -> Result<Self, Failure> {
        let impostor = Impostor::start()
            .await
            .map_err(|error| Failure::error(format!("cannot start the stand-in: {error}")))?;
        let client = Client::builder(impostor.url()).build()?;
        Ok(Self {
            client,
            kind: Kind::Impostor,
            warnings: Vec::new(),
            sub_agents: SubAgents::Off,
            source: Source::Impostor(impostor),
        })
    }

    /// Waits until the server answers. What it said of itself, if that could be read.
    pub(crate) async fn ready(&self) -> Result<Option<Health>, Failure> {
        match &self.source {
            Source::Given(_) => reachable(&self.client).await,
            Source::Supervised(supervisor) => supervisor.ready().await.map(Some),
            Source::Impostor(_) => Ok(None),
        }
    }

    /// Whether programs of this user, such as the agent's shell, are seen to have the server's password. Ask when it is
    /// ready.
    pub(crate) async fn shows_password(&self) -> bool {
        match &self.source {
            Source::Supervised(supervisor) => supervisor.shows_password(),
            Source::Given(Some(password)) => {
                let password = password.clone();
                let shows = tokio::task::spawn_blocking(move || seal::shows(&password)).await;
                cfg!(target_os = "linux") && shows.unwrap_or(true)
            }
            Source::Given(None) | Source::Impostor(_) => false,
        }
    }

    /// What becomes of configuration that an agent leaves in its folder.
    pub(crate) fn own_configuration(&self) -> OwnConfiguration {
        match self.kind {
            // Started with OPENCODE_DISABLE_PROJECT_CONFIG.
            Kind::Supervised { .. } => OwnConfiguration::KeepInstructions,
            Kind::Given | Kind::Impostor => OwnConfiguration::Remove,
        }
    }

    /// What the person must know about a server like this.
    pub(crate) fn banner(&self) -> Option<&'static str> {
        (self.kind == Kind::Impostor).then_some(BANNER)
    }

    /// Refuses a prompt that names an agent or a model the server does not have. A server that does not tell what it
    /// has is not asked twice: the turn then says what was wrong.
    pub(crate) async fn refuses(&self, prompt: &Prompt) -> Result<(), Failure> {
        if let Some(agent) = &prompt.agent {
            let agents = self.client.agents().await.unwrap_or_default();
            if !agents.is_empty() && !agents.contains(agent) {
                let known = agents.join(", ");
                return Err(Failure::configuration(format!(
                    "OpenCode has no agent {agent:?}: choose one of {known} (--agent)"
                )));
            }
        }
        if let Some(model) = &prompt.model {
            let models = self.client.models().await.unwrap_or_default();
            if !models.available.is_empty() && !models.available.contains(model) {
                return Err(Failure::configuration(no_such_model(model, &models)));
            }
        }
        Ok(())
    }

    /// Stops what was started here.
    pub(crate) async fn stop(self) {
        match self.source {
            Source::Given(_) => {}
            Source::Supervised(supervisor) => supervisor.stop().await,
            Source::Impostor(impostor) => impostor.kill().await,
        }
    }
}

/// What the person must know about the models of a server: [`NO_MODELS`], or nothing.
pub(crate) async fn models_warning(client: &Client) -> Option<&'static str> {
    match client.models().await {
        Ok(models) => models.available.is_empty().then_some(NO_MODELS),
        Err(error) => {
            // Not every server tells.
            tracing::debug!(%error, "models");
            None
        }
    }
}

/// Names a few models that there are, of the same provider where it has any.
fn no_such_model(model: &ModelRef, models: &Models) -> String {
    const SHOWN: usize = 10;
    let of_provider: Vec<&ModelRef> = models
        .available
        .iter()
        .filter(|known| known.provider == model.provider)
        .collect();
    let known = if of_provider.is_empty() {
        models.available.iter().collect()
    } else {
        of_provider
    };
    let more = if known.len() > SHOWN {
        format!(", and {} more", known.len() - SHOWN)
    } else {
        String::new()
    };
    let names: Vec<String> = known.iter().take(SHOWN).map(ToString::to_string).collect();
    format!(
        "OpenCode has no model {model}: choose one of {}{more} (--model)",
        names.join(", ")
    )
}

/// Whether a server answers at all, with this password.
async fn reachable(client: &Client) -> Result<Option<Health>, Failure> {
    let mut last = None;
    for _ in 0..3 {
        match client.health().await {
            Ok(health) => return Ok(Some(health)),
            // An odd answer is an answer: the calls that matter say what is wrong.
            Err(ClientError::Server { .. } | ClientError::BadRequest { .. }) => return Ok(None),
            Err(error @ (ClientError::Unauthorized { .. } | ClientError::Configuration(_))) => {
                return Err(error.into());
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Failure::error("OpenCode does not answer"), Into::into))
}
