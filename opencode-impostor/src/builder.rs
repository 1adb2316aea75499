//! How an impostor is chosen before it starts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::dialect::Dialect;
use crate::faults::Fault;
use crate::impostor::Impostor;
use crate::script::Script;
use crate::state::World;
use crate::tape::Tape;
use crate::{listener, ports};

/// Collects how an impostor shall be; see [`Impostor::builder`].
#[derive(Debug, Clone, Default)]
pub struct ImpostorBuilder {
    config: Config,
    script: Option<Script>,
    tape: Option<Arc<Tape>>,
    dialect: Option<Dialect>,
    allow_concurrent_prompts: bool,
}

impl ImpostorBuilder {
    /// What it answers; [`Script::standard`] when not said.
    pub fn script(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    /// Plays a tape instead of a script, with the habits of the version that was recorded.
    pub fn tape(mut self, tape: Tape) -> Self {
        self.tape = Some(Arc::new(tape));
        self
    }

    /// Plays the tape in its own time (1.0), or faster; not said: as fast as it goes.
    pub fn tape_speed(mut self, speed: f64) -> Self {
        self.config.tape_speed = Some(speed);
        self
    }

    /// The port on 127.0.0.1; 0, the default, takes one that is free.
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = port;
        self
    }

    /// The user of the authentication, as `OPENCODE_SERVER_USERNAME` names it; `opencode` by default.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.config.username = username.into();
        self
    }

    /// Asks every request for HTTP Basic authentication.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.config.password = Some(password.into());
        self
    }

    /// The habits of this version; see [`Dialect::of`].
    pub fn version(self, version: &str) -> Self {
        self.dialect(Dialect::of(version))
    }

    /// The habits of a version, with some of them changed. Not said: those of the tape's, or of 1.18.33.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// Rules of the server's own configuration: `[{permission, pattern, action}]`. A session's rules come after them,
    /// and a sub-agent's session has them too.
    pub fn permission(mut self, rules: impl IntoIterator<Item = Value>) -> Self {
        self.config.permission = rules.into_iter().collect();
        self
    }

    /// The time between heartbeats; 10 s by default.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.config.heartbeat = every;
        self
    }

    /// Whether `/global/event` carries the `sync` copies of durable events; it does by default.
    pub fn sync_events(mut self, sync: bool) -> Self {
        self.config.sync = sync;
        self
    }

    /// Sends the burst of `plugin.added` and the like that a real server sends for each new directory.
    pub fn startup_events(mut self, send: bool) -> Self {
        self.config.startup_events = send;
        self
    }

    /// The agents there are. A prompt that names another one fails as on the real server. Not said: any will do.
    pub fn agents<S: Into<String>>(mut self, agents: impl IntoIterator<Item = S>) -> Self {
        self.config.agents = Some(agents.into_iter().map(Into::into).collect());
        self
    }

    /// The models there are, as `provider/model`. A prompt that names another one fails as on the real server. Not
    /// said: any will do. One whose name is `seeing` is said to take pictures and PDFs.
    pub fn models<S: AsRef<str>>(mut self, models: impl IntoIterator<Item = S>) -> Self {
        self.config.models = Some(
            models
                .into_iter()
                .map(|model| {
                    let (provider, model) = model
                        .as_ref()
                        .split_once('/')
                        .unwrap_or(("local", model.as_ref()));
                    (provider.to_owned(), model.to_owned())
                })
                .collect(),
        );
        self
    }

    /// What each model step costs (US dollars) and uses (tokens); 0.00009, 50 and 20 by default, as on the tapes.
    pub fn usage(mut self, cost: f64, input_tokens: u64, output_tokens: u64) -> Self {
        self.config.cost = cost;
        self.config.input_tokens = input_tokens;
        self.config.output_tokens = output_tokens;
        self
    }

    /// The server's clock is this many milliseconds ahead of (or, negative, behind) the machine's.
    pub fn clock_skew_ms(mut self, skew: i64) -> Self {
        self.config.clock_skew_ms = skew;
        self
    }

    /// The directory of requests that name none; the process's own by default.
    pub fn directory(mut self, directory: impl Into<String>) -> Self {
        self.config.directory = directory.into();
        self
    }

    /// Sets a fault from the start.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.script
            .get_or_insert_with(Script::standard)
            .faults
            .push(fault);
        self
    }

    /// How long [`Impostor::wait_for`] and its kin wait before they give up; 20 s by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.config.patience = patience;
        self
    }

    /// A prompt to a busy session is no violation.
    pub fn allow_concurrent_prompts(mut self) -> Self {
        self.allow_concurrent_prompts = true;
        self
    }

    /// Starts the server. It stops when the handle is dropped.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(mut self) -> std::io::Result<Impostor> {
        let script = self.script.unwrap_or_else(Script::standard);
        let taped = self.tape.as_ref();
        let taped = taped.map(|tape| Dialect::of(&tape.header.opencode));
        if let Some(dialect) = self.dialect.or_else(|| script.dialect.clone()).or(taped) {
            self.config.dialect = dialect;
        }
        let port = self.config.port;
        let world = Arc::new(World::new(self.config, script, self.tape));
        world.update(|state| {
            state.ledger.allow_concurrent_prompts = self.allow_concurrent_prompts;
        });
        let listener = ports::listen(port).await?;
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(listener::serve(world.clone(), listener));
        Ok(Impostor::new(world, port, server))
    }
}

impl Impostor {
    /// An impostor with everything as it is by default: the standard script on a free port.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        Self::builder().start().await
    }

    /// An impostor that plays this script.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn scripted(script: Script) -> std::io::Result<Self> {
        Self::builder().script(script).start().await
    }

    /// An impostor that plays a tape: one of the library by its name (`"write-file"`), or a `.jsonl` file by its path.
    ///
    /// # Errors
    /// There is no such tape, or no port can be bound.
    pub async fn tape(name: &str) -> std::io::Result<Self> {
        Self::builder().tape(crate::tape(name)?).start().await
    }

    /// Everything that can be chosen.
    pub fn builder() -> ImpostorBuilder {
        ImpostorBuilder::default()
    }
}
