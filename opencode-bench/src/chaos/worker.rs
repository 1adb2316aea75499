//! A worker and a cancel of this program's own, with the arguments of
//! `opencode-chat`: for tests, which know of no other program.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Args;
use opencode_client::{Client, Exchange};
use opencode_host::id::TurnId;
use opencode_host::product::{Delivery, HookError, Product, TurnContext};
use opencode_host::store::{Message, ServerName};
use opencode_host::tools::ToolSet;
use opencode_host::turn::TurnResult;
use opencode_host::{Host, ServerOptions, Worker, WorkerOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::endpoint::webhooks;
use crate::notes::Notes;
use crate::own_hooks::called;
use crate::own_tool::own_tools;

/// The variable with the server's password, as `opencode serve` and `opencode-chat` have it.
const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";

/// How long one of several servers may be silent before it is gone.
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(4);

/// How long a method of the product may take: a killed worker's hooks are called again that much sooner.
const PLUG_IN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    database: String,
    #[arg(long)]
    opencode_url: String,
    #[arg(long, default_value = "default")]
    server_name: ServerName,
    #[arg(long, default_value_t = 60.0)]
    server_gone_after: f64,
    #[arg(long)]
    sandbox_root: PathBuf,
    #[arg(long)]
    lease: f64,
    /// The password of the server
    #[arg(long, env = PASSWORD, hide_env_values = true)]
    opencode_password: Option<String>,
    /// An endpoint to be told of what happens
    #[arg(long)]
    webhooks: Option<String>,
    /// Not used: everything is in the database
    #[arg(long)]
    data: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    turn: TurnId,
    #[arg(long)]
    database: String,
    /// Not used: everything is in the database
    #[arg(long)]
    data: Option<PathBuf>,
}

/// Each conversation in a folder of its own, with a tool; who notes what follows a turn.
#[derive(Debug)]
struct Application {
    sandboxes: PathBuf,
    notes: Notes,
}

#[async_trait]
impl Product for Application {
    async fn directory(&self, turn: &TurnContext) -> Result<Option<String>, HookError> {
        let folder = self.sandboxes.join(turn.conversation.id.to_string());
        std::fs::create_dir_all(&folder)?;
        Ok(Some(folder.display().to_string()))
    }

    async fn tools(&self, _: &TurnContext) -> Result<ToolSet, HookError> {
        Ok(own_tools(self.notes.clone()))
    }

    async fn on_finalized(
        &self,
        message: &Message,
        _: &Exchange,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let (turn, status) = (message.turn, message.status);
        called(&self.notes, "on_finalized", turn, status, delivery).await
    }

    async fn on_turn_finished(
        &self,
        result: &TurnResult,
        delivery: &Delivery,
    ) -> Result<(), HookError> {
        let (turn, status) = (result.turn, result.status.into());
        called(&self.notes, "on_turn_finished", turn, status, delivery).await
    }
}

/// Works on turns until SIGTERM.
pub(crate) async fn work(args: WorkerArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .init();
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            terminate.recv().await;
            shutdown.cancel();
        }
    });
    let store = opencode_sql::connect(&args.database).await?;
    let options = WorkerOptions {
        lease: Duration::from_secs_f64(args.lease),
        plug_in_limit: PLUG_IN_LIMIT,
        server_gone_after: Duration::from_secs_f64(args.server_gone_after),
        ..WorkerOptions::default()
    };
    let client = Client::builder(&args.opencode_url);
    let client = match args.opencode_password {
        Some(password) => client.password(password),
        None => client,
    };
    let application = Application {
        notes: Notes::beside(&args.sandbox_root),
        sandboxes: args.sandbox_root,
    };
    let builder = Worker::builder(client.build()?).product(application);
    let builder = match args.webhooks {
        Some(url) => builder.webhooks(webhooks(&url)?),
        None => builder,
    };
    let worker = builder
        .options(options)
        .server(ServerOptions::new(args.server_name.as_str())?)
        .product_folders()
        .build(&Host::builder(store).build())?;
    Ok(worker.run(shutdown).await?)
}

/// Cancels a turn.
pub(crate) async fn cancel(args: CancelArgs) -> anyhow::Result<()> {
    let store = opencode_sql::connect(&args.database).await?;
    store.request_cancel(args.turn, None).await?;
    Ok(())
}

/// How the programs under test are started.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) program: PathBuf,
    pub(crate) database: String,
    pub(crate) server: String,
    pub(crate) password: Option<String>,
    /// Its name, where there are several.
    pub(crate) server_name: Option<ServerName>,
    /// Where workers tell what happens. Only this program's own do.
    pub(crate) webhooks: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) lease: f64,
}

impl Programs {
    /// The folder that the conversations' folders are in.
    fn sandboxes(&self) -> PathBuf {
        self.folder.join("sandboxes")
    }

    /// What the workers' application notes.
    pub(crate) fn notes(&self) -> Notes {
        Notes::beside(&self.sandboxes())
    }

    fn command(&self, name: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .arg(name)
            .arg("--data")
            .arg(&self.folder)
            .args(["--database", &self.database])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts a worker. What it logs is appended to `log`.
    pub(crate) fn worker(&self, log: &Path) -> anyhow::Result<tokio::process::Child> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        let sandboxes = self.sandboxes();
        std::fs::create_dir_all(&sandboxes)?;
        let mut command = self.command("worker");
        command
            .args(["--opencode-url", &self.server])
            .arg("--sandbox-root")
            .arg(sandboxes)
            .args(["--lease", &self.lease.to_string()])
            .stderr(log);
        if let Some(password) = &self.password {
            command.env(PASSWORD, password);
        }
        if let Some(name) = &self.server_name {
            let gone_after = GONE_AFTER.as_secs_f64().to_string();
            command.args(["--server-name", name.as_str()]);
            command.args(["--server-gone-after", &gone_after]);
        }
        if let Some(webhooks) = &self.webhooks {
            command.args(["--webhooks", webhooks]);
        }
        Ok(command.spawn()?)
    }

    /// Cancels a turn from a process of its own.
    pub(crate) async fn cancel(&self, turn: TurnId) -> anyhow::Result<()> {
        let output = self
            .command("cancel")
            .arg(turn.to_string())
            .stderr(std::process::Stdio::piped())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "cancel: {}", said.trim());
        Ok(())
    }
}

/// A store that is tried again while its database is away.
#[derive(Clone, Debug)]
pub(crate) struct Patient(pub(crate) Arc<dyn opencode_host::store::Store>);

impl Patient {
    /// Calls until the answer is one, for a minute at most.
    pub(crate) async fn ask<T, F>(
        &self,
        call: impl Fn(Arc<dyn opencode_host::store::Store>) -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = opencode_host::store::StoreResult<T>>,
    {
        let started = std::time::Instant::now();
        loop {
            match call(Arc::clone(&self.0)).await {
                Err(error)
                    if error.is_transient() && started.elapsed() < Duration::from_secs(60) =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                answer => return Ok(answer?),
            }
        }
    }
}
