//! The command line.

mod asked;
mod backups;
mod budgets;
mod bus;
mod metrics;
mod people;
mod schedules;
mod secret_file;
mod servers;
mod size;
mod upstream;
mod webhooks;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use opencode_client::wire::PermissionReply;
use opencode_host::HostOptions;
use opencode_host::id::{EffectId, TurnId};
use opencode_host::live::Cursor;
use opencode_host::store::OnBusy;
use opencode_host::{DEFAULT_MAX_UPLOAD, DEFAULT_UPLOAD_QUOTA};

pub(crate) use asked::{AskedArgs, PromptArgs};
pub(crate) use backups::{BackupArgs, RestoreArgs};
pub(crate) use budgets::BudgetArgs;
pub(crate) use bus::BusArgs;
pub(crate) use metrics::MetricsArgs;
pub(crate) use people::{AddUserArgs, PasswordArgs, RemoveUserArgs, UserAct, UserArgs};
pub(crate) use schedules::{ScheduleArgs, SchedulesArgs};
pub(crate) use secret_file::{is_secret, read as read_secret, read_text};
pub(crate) use servers::{ServerArgs, ServersArgs};
pub(crate) use size::ByteSize;
pub(crate) use upstream::{UpstreamArgs, exposed, has_password};
pub(crate) use webhooks::WebhookArgs;

use crate::web::{BasePath, Host};

/// Talk to an OpenCode agent in the browser or the terminal. Nothing said is lost.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Without a command: `serve`. Exit codes: 0 completed, 1 error or failed, \
    2 usage or configuration, 3 cancelled.\n\nExamples:\n  opencode-chat\n  opencode-chat turn \"Explain monads\"\n  \
    git diff | opencode-chat turn - --json\n  opencode-chat doctor"
)]
pub(crate) struct Cli {
    /// A file with settings: TOML, each under the name of its option, such as `listen = "127.0.0.1:3000"`. Options and
    /// variables of the environment go before what it says [default: opencode-chat/config.toml below
    /// $XDG_CONFIG_HOME or ~/.config, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "OPENCODE_CHAT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What is logged, as error, warn, info, debug, or by target as info,opencode_host=debug [default: info of `serve`
    /// and `worker`, error of others]
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", value_parser = log_filter)]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The web app (the default command)
    Serve(ServeArgs),
    /// One turn in the terminal: asks, streams the answer, exits
    Turn(TurnArgs),
    /// Turns only, no web: start as many as you like, on as many machines, on one database
    Worker(WorkerArgs),
    /// Queue a turn and return; a `serve` or a `worker` on the same database runs it
    Submit(SubmitArgs),
    /// Follow a turn, whoever runs it
    Watch(WatchArgs),
    /// What is stored: one line, or one JSON object, per message
    Show(ShowArgs),
    /// Cancel a turn, wherever it runs
    Cancel(CancelArgs),
    /// Try again what was given up, as `doctor` lists it; a `serve` or a `worker` on the same database does
    Retry(RetryArgs),
    /// Ask something again and again, at the times of a cron expression; a `serve` or a `worker` on the same database does
    Schedule(ScheduleArgs),
    /// What is asked again and again: when it is next, what became of it last; to pause, resume or delete it
    Schedules(SchedulesArgs),
    /// The OpenCode servers on this database: how they stand, and which begin no conversations any more
    Servers(ServersArgs),
    /// Copy everything into one file, while turns run: rows, files and the agents' folders
    Backup(BackupArgs),
    /// Make a data folder of a backup, on SQLite or on Postgres; nothing that is there is overwritten
    Restore(RestoreArgs),
    /// Who may use the pages: without a user there are no accounts, and one local person
    User(UserArgs),
    /// Check database, sandbox root and OpenCode, and say what to do
    Doctor(DoctorArgs),
    /// The settings of `serve` as they are in effect, and where each comes from; secrets are hidden
    Config(ServeArgs),
    /// Completions of these commands for a shell: `opencode-chat completions bash > /etc/bash_completion.d/opencode-chat`
    Completions(CompletionsArgs),
    /// Write the manual pages into a folder: `opencode-chat man /usr/local/share/man/man1`
    Man(ManArgs),
    /// Run an OpenCode server for as long as standard input is open
    #[command(name = "guard-opencode", hide = true)]
    Guard(GuardArgs),
}

impl Command {
    /// Where this command keeps things, if it does.
    pub(crate) fn store(&self) -> Option<&StoreArgs> {
        Some(match self {
            Self::Serve(args) => &args.store,
            Self::Turn(args) => &args.store,
            Self::Worker(args) => &args.store,
            Self::Submit(args) => &args.store,
            Self::Watch(args) => &args.store,
            Self::Show(args) => &args.store,
            Self::Cancel(args) => &args.store,
            Self::Retry(args) => &args.store,
            Self::Schedule(args) => &args.store,
            Self::Schedules(args) => &args.store,
            Self::Servers(args) => &args.store,
            Self::Backup(args) => &args.store,
            Self::Restore(args) => &args.store,
            Self::User(args) => &args.store,
            Self::Doctor(args) => &args.store,
            Self::Config(_) | Self::Completions(_) | Self::Man(_) | Self::Guard(_) => return None,
        })
    }
}

/// Where things are kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct StoreArgs {
    /// Folder for the database, the sandboxes and installed tools; closed to other users at each start
    #[arg(
        long,
        value_name = "DIR",
        default_value = "data",
        env = "OPENCODE_CHAT_DATA"
    )]
    pub(crate) data: PathBuf,
    /// Database: sqlite://PATH, postgres://USER:PASSWORD@HOST/NAME, or a file's path [default: DIR/host.db]
    #[arg(
        long,
        value_name = "URL",
        env = "OPENCODE_CHAT_DATABASE",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,
    /// A file with the database's URL in its one line, where the URL has a password
    #[arg(long, value_name = "PATH", env = "OPENCODE_CHAT_DATABASE_URL_FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
    /// Where the bytes of files are kept: file://FOLDER, memory:// or, where this build has it, s3://BUCKET/PREFIX
    /// [default: DIR/blobs]
    #[arg(long, value_name = "URL", env = "OPENCODE_CHAT_BLOBS")]
    pub(crate) blobs: Option<String>,
}

impl StoreArgs {
    /// The database the arguments name.
    pub(crate) fn database_url(&self) -> String {
        match &self.database {
            Some(url) if url.contains("://") => url.clone(),
            Some(path) => format!("sqlite://{path}"),
            None => format!("sqlite://{}", self.data.join("host.db").display()),
        }
    }

    /// Where installed tools are kept.
    pub(crate) fn tools_dir(&self) -> PathBuf {
        self.data.join("tools")
    }
}

/// Where the agent works.
#[derive(Clone, Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Folder for the agent's sandboxes, one per conversation; outside every Git worktree [default: a folder
    /// of this application below the user's data folder]
    #[arg(long, value_name = "DIR", env = "OPENCODE_CHAT_SANDBOX_ROOT")]
    pub(crate) sandbox_root: Option<PathBuf>,
}

/// How large the files may be that come with a prompt.
#[derive(Clone, Debug, Args)]
pub(crate) struct UploadArgs {
    /// The largest file you may give the agent, in bytes or as 500K, 50M, 2G. A larger one is refused while it
    /// arrives, and nothing is sent. Each is kept twice: below the blobs, and in the agent's folder
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = ByteSize(DEFAULT_MAX_UPLOAD),
        env = "OPENCODE_CHAT_MAX_UPLOAD"
    )]
    pub(crate) max_upload: ByteSize,
    /// The most that all files of yours in one conversation may have together, in bytes or as 500K, 50M, 2G. What would
    /// pass it is refused, and nothing is sent; another conversation begins at nothing
    #[arg(
        long,
        value_name = "SIZE",
        default_value_t = ByteSize(DEFAULT_UPLOAD_QUOTA),
        env = "OPENCODE_CHAT_UPLOAD_QUOTA"
    )]
    pub(crate) upload_quota: ByteSize,
}

impl Default for UploadArgs {
    fn default() -> Self {
        Self {
            max_upload: ByteSize(DEFAULT_MAX_UPLOAD),
            upload_quota: ByteSize(DEFAULT_UPLOAD_QUOTA),
        }
    }
}

impl UploadArgs {
    /// Options of a host that takes files within these limits.
    pub(crate) fn options(&self) -> HostOptions {
        HostOptions {
            max_upload: self.max_upload.0,
            upload_quota: self.upload_quota.0,
            ..HostOptions::default()
        }
    }
}

/// How turns are limited.
#[derive(Clone, Debug, Args)]
pub(crate) struct LimitArgs {
    /// The longest a turn may take, in seconds; waiting for you is not counted
    #[arg(long, value_name = "SECONDS", default_value = "600", env = "OPENCODE_CHAT_TIMEOUT", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// How long a turn belongs to a worker that says nothing, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "15", env = "OPENCODE_CHAT_LEASE", value_parser = seconds)]
    pub(crate) lease: Duration,
}

/// What to do when the agent asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct AnswerArgs {
    /// Answer every permission request with this; without it you are asked at a terminal, and the request is
    /// rejected where there is none
    #[arg(long, value_name = "REPLY")]
    pub(crate) permission: Option<PermissionArg>,
    /// Answer every question with this option's label
    #[arg(long, value_name = "LABEL", value_parser = any_text())]
    pub(crate) answer: Option<String>,
}

/// From where the pages can be reached.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReachArgs {
    /// Address to listen on. One that other machines can reach needs --allow-network-without-accounts
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:3000",
        env = "OPENCODE_CHAT_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    /// A name under which browsers reach this application, such as chat.example.org behind a reverse proxy; give it
    /// once for each name. Requests for other names are refused (421), since any web site can point a name of its own
    /// here. Addresses and localhost are always known
    #[arg(
        long = "allowed-host",
        value_name = "NAME",
        env = "OPENCODE_CHAT_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_parser = allowed_host
    )]
    pub(crate) allowed_hosts: Vec<Host>,
    /// Listen on an address of a network although there are no accounts: whoever reaches it reads all conversations,
    /// prompts the agent, and approves what it runs on this machine
    #[arg(
        long,
        env = "OPENCODE_CHAT_ALLOW_NETWORK_WITHOUT_ACCOUNTS",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_name = "true|false",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = FalseyValueParser::new(),
        action = ArgAction::Set
    )]
    pub(crate) allow_network_without_accounts: bool,
    /// The path below which browsers see this application, such as /chat behind a reverse proxy. All addresses in its
    /// pages begin with it; the proxy may pass requests on with it or without
    #[arg(
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        env = "OPENCODE_CHAT_BASE_PATH"
    )]
    pub(crate) base_path: BasePath,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    /// Serve the pages only; workers elsewhere run the turns
    #[arg(
        long,
        env = "OPENCODE_CHAT_NO_WORKER",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_name = "true|false",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = FalseyValueParser::new(),
        action = ArgAction::Set
    )]
    pub(crate) no_worker: bool,
    #[command(flatten)]
    pub(crate) uploads: UploadArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TurnArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// A file for the agent, put in its folder; give it once for each file
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// Save the files of the answer in this folder; nothing there is overwritten
    #[arg(long, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) uploads: UploadArgs,
    #[command(flatten)]
    pub(crate) answers: AnswerArgs,
    /// Print one JSON object per change, and the result as the last line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    /// A file for the agent, put in its folder; give it once for each file. Whoever works on the turn must have the
    /// same blobs and sandboxes
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) uploads: UploadArgs,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Print {"turn_id","message_id","conversation","created"}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) budgets: BudgetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The turn, as `submit` printed it
    pub(crate) turn: TurnId,
    /// Go on behind this place, as an earlier watch printed it
    #[arg(long, value_name = "CURSOR", default_value = "0-0")]
    pub(crate) cursor: Cursor,
    /// Print one JSON object per change, and the result as the last line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) bus: BusArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Only this conversation
    #[arg(long, value_name = "NAME", value_parser = any_text())]
    pub(crate) conversation: Option<String>,
    /// Print one JSON object per message
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The turn, as `submit` printed it
    pub(crate) turn: TurnId,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// What was given up, by the ids that `doctor` lists
    #[arg(required = true, value_name = "ID")]
    pub(crate) effects: Vec<EffectId>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object per check: {"check","status":"ok"|"warning"|"broken","detail","advice"}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
}

/// For which shell.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    pub(crate) shell: clap_complete::Shell,
}

/// Where manual pages go.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder; pages that are there are replaced
    pub(crate) folder: PathBuf,
}

/// What a guard runs.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    pub(crate) program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

/// `--permission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PermissionArg {
    /// This time
    Once,
    /// From now on in this conversation
    Always,
    /// No
    Reject,
}

impl From<PermissionArg> for PermissionReply {
    fn from(reply: PermissionArg) -> Self {
        match reply {
            PermissionArg::Once => Self::Once,
            PermissionArg::Always => Self::Always,
            PermissionArg::Reject => Self::Reject,
        }
    }
}

/// `--on-busy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBusyArg {
    /// Wait behind it
    Enqueue,
    /// Refuse
    Reject,
    /// Cancel it
    Interrupt,
}

impl From<OnBusyArg> for OnBusy {
    fn from(policy: OnBusyArg) -> Self {
        match policy {
            OnBusyArg::Enqueue => Self::Enqueue,
            OnBusyArg::Reject => Self::Reject,
            OnBusyArg::Interrupt => Self::Interrupt,
        }
    }
}

/// Text, with U+FFFD for bytes that are not UTF-8: a shell passes on what a file holds.
fn any_text() -> impl TypedValueParser<Value = String> {
    OsStringValueParser::new().map(|text| text.to_string_lossy().into_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "give a number of seconds above 0".to_owned())
}

/// What `--log` takes. An empty variable is none.
fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A name of `--allowed-host`.
fn allowed_host(text: &str) -> Result<Host, String> {
    Host::parse(text.trim()).ok_or_else(|| {
        "give a name alone, without scheme, port and path, such as chat.example.org; a name with other letters as \
         browsers send it, such as xn--bcher-kva.example"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
