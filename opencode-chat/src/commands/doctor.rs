//! `doctor`: what works, what does not, and what to do.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use opencode_client::wire::NewSession;
use opencode_client::{Client, Error as ClientError, EventHub, HubOptions};
use opencode_host::UnsafeServer;
use opencode_host::store::{Effect, ServerState, Store, StoreError};
use opencode_host::sub_agents::SubAgents;
use opencode_sql::describe;
use serde::Serialize;

use super::exposure::{Exposure, refusal};
use super::servers::told as told_server;
use super::show::{PAGE, read};
use crate::assembly::{has_accounts, open_store};
use crate::cli::{DoctorArgs, StoreArgs, exposed};
use crate::exit::Failure;
use crate::ndjson;
use crate::product::{open_blobs, open_sandboxes, permission_rules};
use crate::terminal;
use crate::upstream::{Kind, NO_MODELS, SHOWS_PASSWORD, UNASKED, Upstream, locate};

/// How long an event stream may take to say that it is there.
const EVENTS_WITHIN: Duration = Duration::from_secs(5);

/// The most of what is not done yet that is counted.
const OWED: u32 = 1000;

/// What to do where a setting says what is wrong with it.
const MEND: &str = "correct what is said above";

/// How many of those that are given up are told one by one.
const LISTED: usize = 5;

/// Checks everything there is. Nothing is asked of a model.
pub(crate) async fn run(args: DoctorArgs) -> Result<ExitCode, Failure> {
    let mut report = Report {
        json: args.json,
        broken: false,
    };
    check_data(&args.store, &mut report);
    check_database(&args.store, &mut report).await;
    check_blobs(&args, &mut report).await;
    check_sandboxes(&args, &mut report);
    check_opencode(&args, &mut report).await;
    check_reach(&args, &mut report).await;
    check_webhooks(&args, &mut report);
    Ok(if report.broken {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// It works, and the person should know something.
    Warning,
    Broken,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    #[serde(rename = "check")]
    name: &'static str,
    status: Status,
    /// What was found.
    detail: String,
    /// What to do.
    advice: Option<String>,
}

/// Prints checks as they come.
#[derive(Debug)]
struct Report {
    json: bool,
    broken: bool,
}

impl Report {
    fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.tell(Check {
            name,
            status: Status::Ok,
            detail: detail.into(),
            advice: None,
        });
    }

    fn warning(
        &mut self,
        name: &'static str,
        detail: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.tell(Check {
            name,
            status: Status::Warning,
            detail: detail.into(),
            advice: Some(advice.into()),
        });
    }

    fn broken(&mut self, name: &'static str, detail: impl Into<String>, advice: Option<String>) {
        self.tell(Check {
            name,
            status: Status::Broken,
            detail: detail.into(),
            advice,
        });
    }

    fn tell(&mut self, check: Check) {
        self.broken |= check.status == Status::Broken;
        if self.json {
            return ndjson::print(&check);
        }
        let mark = match check.status {
            Status::Ok => '✓',
            Status::Warning => '!',
            Status::Broken => '✗',
        };
        terminal::say(format_args!("{mark} {:<14} {}", check.name, check.detail));
        if let Some(advice) = check.advice {
            terminal::say(format_args!("  {:<14} → {advice}", ""));
        }
    }
}

fn check_data(store: &StoreArgs, report: &mut Report) {
    let place = store.data.display();
    let written = std::fs::create_dir_all(&store.data).and_then(|()| {
        tempfile::Builder::new()
            .prefix(".doctor-")
            .tempfile_in(&store.data)
    });
    match written {
        Ok(_) => report.ok("data folder", format!("{place} can be written to")),
        Err(error) => {
            report.broken(
                "data folder",
                format!("{place}: {error}"),
                Some("choose another folder with --data".to_owned()),
            );
        }
    }
}

async fn check_database(store: &StoreArgs, report: &mut Report) {
    let url = store.database_url();
    // Before anything is written to it.
    let lost = "stop everything that uses it, restore it from a backup, or save what can be read: `sqlite3 FILE .recover`";
    match opencode_sql::damage(&url).await {
        Ok(found) if found.is_empty() => {}
        Ok(found) => {
            let detail = format!("{url} is damaged: {}", found.join("; "));
            return report.broken("database", detail, Some(lost.to_owned()));
        }
        Err(error @ StoreError::Unexpected(_)) => {
            return report.broken("database", error.to_string(), Some(lost.to_owned()));
        }
        // Opening it says the same.
        Err(_) => {}
    }
    // Opening it brings its schema up to date, as any other command does.
    let opened = match open_store(store).await {
        Ok(opened) => opened,
        Err(failure) => {
            let advice = "choose another database with --database, or correct what is said above";
            return report.broken("database", failure.message(), Some(advice.to_owned()));
        }
    };
    if let Some(detail) = unreadable(&*opened).await {
        return report.broken("database", detail, Some(lost.to_owned()));
    }
    match describe(&url).await {
        Ok(found) => {
            let schema = found.schema.map_or_else(
                || "no schema".to_owned(),
                |schema| format!("schema {schema}"),
            );
            let journal = found
                .journal_mode
                .map(|mode| format!(", journal {mode}"))
                .unwrap_or_default();
            let (dialect, version) = (found.dialect, found.engine_version);
            report.ok(
                "database",
                format!("{dialect} {version} at {}, {schema}{journal}", found.place),
            );
        }
        Err(error) => report.broken("database", error.to_string(), None),
    }
    check_servers(&*opened, report).await;
    check_effects(&*opened, report).await;
}

/// The OpenCode servers on the database, where there are several, or something is to be said of one.
async fn check_servers(store: &dyn Store, report: &mut Report) {
    const NAME: &str = "servers";
    let (loads, now) = match tokio::try_join!(store.servers(), store.now()) {
        Ok(read) => read,
        Err(error) => return report.broken(NAME, error.to_string(), None),
    };
    let are_several = loads.len() > 1;
    for load in loads {
        let (server, detail) = (&load.server, told_server(&load, now));
        match server.state() {
            _ if server.problem.is_some() => {
                report.warning(NAME, detail, "see `opencode-chat servers --help`");
            }
            ServerState::Gone => report.warning(
                NAME,
                detail,
                "what it has to do goes on on others: start it again, with a worker, or let it be",
            ),
            ServerState::Draining => report.warning(
                NAME,
                detail,
                format!(
                    "no conversations are begun there: `opencode-chat servers --undrain {}`",
                    server.name
                ),
            ),
            _ if are_several => report.ok(NAME, detail),
            _ => {}
        }
    }
}

/// What was deleted here and is not gone elsewhere yet, hooks that have not succeeded, and what is given up. Says nothing
/// where all is done.
async fn check_effects(store: &dyn Store, report: &mut Report) {
    let read = tokio::try_join!(store.effects(OWED), store.given_up_effects(OWED));
    let (mut effects, given_up) = match read {
        Ok(read) => read,
        Err(error) => return report.broken("not done yet", error.to_string(), None),
    };
    effects.retain(|effect| !effect.is_given_up());
    if let Some(oldest) = effects.first() {
        report.warning(
            "not done yet",
            format!("{}, the oldest: {}", effects.len(), told(oldest)),
            "run `serve` or `worker` with OpenCode within reach: it goes on trying",
        );
    }
    if !given_up.is_empty() {
        let listed = given_up.iter().take(LISTED);
        let mut listed: Vec<_> = listed
            .map(|effect| format!("{} {}", effect.id, told(effect)))
            .collect();
        if given_up.len() > LISTED {
            listed.push("…".to_owned());
        }
        report.warning(
            "given up",
            format!("{}: {}", given_up.len(), listed.join("; ")),
            "mend what is told, and run `retry` with the ids",
        );
    }
}

/// An effect, how often it was tried, and what kept it.
fn told(effect: &Effect) -> String {
    let what = &effect.kind;
    match (effect.attempts, &effect.error) {
        (0, _) => format!("{what} (not tried yet)"),
        (attempts, None) => format!("{what} (tries: {attempts})"),
        (attempts, Some(error)) => format!("{what} (tries: {attempts}; {error})"),
    }
}

/// What is wrong with the messages that are stored, in words.
async fn unreadable(store: &dyn Store) -> Option<String> {
    let (mut after, mut count, mut first) = (0, 0, None);
    loop {
        let page = match store.message_index(None, after, PAGE).await {
            Ok(page) => page,
            Err(error) => return Some(error.to_string()),
        };
        let Some(last) = page.last() else { break };
        after = last.place;
        for entry in page {
            if let Err(error) = read(store, &entry).await {
                count += 1;
                first.get_or_insert(error);
            }
        }
    }
    first.map(|first| format!("{count} messages cannot be read; the first: {first}"))
}

/// Who would reach the pages of a `serve` with the same arguments and environment.
async fn check_reach(args: &DoctorArgs, report: &mut Report) {
    let exposure = Exposure::of(&args.reach, has_accounts(&args.store).await);
    let warning = exposure.warning().unwrap_or_default();
    match exposure {
        Exposure::Accounts(address) if warning.is_empty() => {
            report.ok("network", format!("{address}, for users who sign in"));
        }
        Exposure::Accounts(_) => {
            report.warning("network", warning, "listen on 127.0.0.1 behind a proxy that speaks https");
        }
        Exposure::Machine(address) => report.ok("network", format!("{address}, from this machine alone")),
        Exposure::Proxied(_) => report.warning("network", warning, "look at the proxy's configuration for a login"),
        Exposure::Network(_) => report.warning(
            "network",
            warning,
            "listen on 127.0.0.1 behind a proxy that asks for a login, or keep strangers out of this network",
        ),
        Exposure::Refused(address) => {
            report.broken("network", "`serve` refuses this address", Some(refusal(address)));
        }
    }
}

/// Who is told. What could not be told is among what is not done yet or given up.
fn check_webhooks(args: &DoctorArgs, report: &mut Report) {
    const NAME: &str = "webhooks";
    let Some(url) = &args.webhooks.webhook_url else {
        return;
    };
    match args.webhooks.webhooks() {
        Ok(asked) => match asked.warning {
            Some(warning) => report.warning(NAME, warning, "close the file to other users"),
            None => report.ok(NAME, format!("signed, to {url}")),
        },
        Err(failure) => report.broken(NAME, failure.message(), Some(MEND.to_owned())),
    }
}

async fn check_blobs(args: &DoctorArgs, report: &mut Report) {
    let advice = || Some("name another place with --blobs".to_owned());
    let blobs = match open_blobs(&args.store) {
        Ok(blobs) => blobs,
        Err(failure) => {
            return report.broken("blobs", failure.message(), advice());
        }
    };
    match blobs.check().await {
        Ok(()) => report.ok("blobs", format!("{}, can be written", blobs.location())),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            // A service may answer with a page.
            let cause: String = cause.unwrap_or_default().chars().take(300).collect();
            let advice =
                "check its settings (s3: the AWS_… variables), or name another place with --blobs";
            let detail = format!("{}: {error}: {cause}", blobs.location());
            report.broken("blobs", detail, Some(advice.to_owned()));
        }
    }
}

fn check_sandboxes(args: &DoctorArgs, report: &mut Report) {
    match open_sandboxes(&args.upstream.sandbox, &args.store) {
        Ok(root) => report.ok(
            "sandbox root",
            format!("{}, outside every Git worktree", root.path().display()),
        ),
        Err(failure) => {
            report.broken(
                "sandbox root",
                failure.message(),
                Some("choose another folder with --sandbox-root".to_owned()),
            );
        }
    }
}

async fn check_opencode(args: &DoctorArgs, report: &mut Report) {
    if args.upstream.opencode_url.is_none() && !check_program(&args.store.tools_dir(), report) {
        return;
    }
    let upstream = match Upstream::find(&args.upstream, &args.store).await {
        Ok(upstream) => upstream,
        Err(failure) => return report.broken("opencode", failure.message(), None),
    };
    for warning in exposed(std::env::args_os()) {
        let advice = "see `opencode-chat serve --help`";
        report.warning("arguments", warning, advice);
    }
    for warning in &upstream.warnings {
        report.warning("secrets", warning, "see `opencode-chat serve --help`");
    }
    match upstream.ready().await {
        Ok(health) => {
            let version = health.map_or_else(
                || "it does not say which version".to_owned(),
                |health| format!("version {}", health.version),
            );
            let place = match &upstream.kind {
                Kind::Supervised { .. } => "starts and answers",
                Kind::Given | Kind::Impostor => "answers",
            };
            report.ok(
                "opencode",
                format!("{} {place}, {version}", upstream.client.server()),
            );
            let url = args
                .upstream
                .opencode_url
                .as_deref()
                .unwrap_or(upstream.client.server());
            if check_password(url, report).await {
                check_shell(&upstream, report).await;
            }
            check_events(&upstream.client, report).await;
            check_models(&upstream.client, report).await;
            check_agents(&upstream.client, report).await;
            check_rules(&upstream.client, report).await;
            check_sub_agents(&upstream.sub_agents, report);
        }
        Err(failure) => report.broken("opencode", failure.message(), None),
    }
    upstream.stop().await;
}

/// False when there is no program to start.
fn check_program(tools: &Path, report: &mut Report) -> bool {
    match locate(tools) {
        Ok(Some(found)) => {
            report.ok(
                "program",
                format!("{}, {}", found.program.display(), found.place),
            );
            true
        }
        Ok(None) => {
            report.warning(
                "program",
                format!("no opencode on PATH or in {}: a stand-in answers, not a model", tools.display()),
                "install it with `npm install -g opencode-ai`, then log in with `opencode auth login`",
            );
            false
        }
        Err(failure) => {
            report.broken("program", failure.message(), None);
            false
        }
    }
}

/// Whether the server asks for a password at all: one that does not serves everybody who reaches its port.
async fn check_password(url: &str, report: &mut Report) -> bool {
    let stranger = match Client::builder(url).build() {
        Ok(stranger) => stranger.health().await,
        Err(error) => Err(error),
    };
    let is_asked_for = matches!(stranger, Err(ClientError::Unauthorized { .. }));
    match stranger {
        Err(ClientError::Unauthorized { .. }) => report.ok("password", "asked for, and accepted"),
        Ok(_) => report.warning(
            "password",
            "the server asks for none: every program that reaches its port can use it",
            "start it with OPENCODE_SERVER_PASSWORD set, and give the same with --opencode-password (and --opencode-username)",
        ),
        Err(error) => report.warning("password", format!("unknown: {error}"), "run this again"),
    }
    is_asked_for
}

/// Whether the agent's shell gets at the password.
async fn check_shell(upstream: &Upstream, report: &mut Report) {
    const NAME: &str = "agent's shell";
    const CARE: &str = "approve no command that you do not understand";
    let shows = upstream.shows_password().await;
    match &upstream.kind {
        Kind::Supervised { .. } if !shows => {
            report.ok(NAME, "cannot read the server's password in an environment");
        }
        Kind::Supervised { .. } => report.warning(
            NAME,
            SHOWS_PASSWORD,
            format!("use OpenCode 1.17.19 or newer, on Linux; until then {CARE}"),
        ),
        Kind::Given | Kind::Impostor => {
            let seen = if shows {
                ""
            } else {
                " (not seen in this machine's /proc)"
            };
            report.warning(
                NAME,
                format!("{SHOWS_PASSWORD}, for OpenCode hands its environment on{seen}"),
                format!("leave --opencode-url out, so that OpenCode is started and sealed here, or {CARE}"),
            );
        }
    }
}

async fn check_events(client: &Client, report: &mut Report) {
    let hub = EventHub::new(
        client.clone(),
        HubOptions {
            connect_timeout: EVENTS_WITHIN,
            ..HubOptions::default()
        },
    );
    // Any session's ear is live once the server has greeted.
    let nobody = "ses_doctor".into();
    match hub.subscribe(&nobody, None).await {
        Ok(_) if hub.is_per_directory() => report.warning(
            "event stream",
            "the server has no /global/event: one stream per folder is used instead",
            "a newer OpenCode costs less: `npm install -g opencode-ai`",
        ),
        Ok(_) => report.ok("event stream", "/global/event answers"),
        Err(error) => report.warning(
            "event stream",
            format!("none: {error}. Answers come by asking every few seconds instead"),
            "look for a proxy before the server that holds back event streams",
        ),
    }
}

async fn check_models(client: &Client, report: &mut Report) {
    match client.models().await {
        Ok(models) if models.available.is_empty() => report.warning("models", "none", NO_MODELS),
        Ok(models) => {
            let defaults: Vec<String> = models.defaults.iter().map(ToString::to_string).collect();
            let defaults = if defaults.is_empty() {
                String::new()
            } else {
                format!("; defaults: {}", defaults.join(", "))
            };
            report.ok("models", format!("{}{defaults}", models.available.len()));
        }
        Err(error) => report.warning(
            "models",
            format!("unknown: {error}"),
            "ask something: `opencode-chat turn hello`",
        ),
    }
}

/// Whether the server does as the rules of a session say. The session is deleted at once.
async fn check_rules(client: &Client, report: &mut Report) {
    let rules = permission_rules();
    let new = NewSession {
        title: Some("opencode-chat doctor".to_owned()),
        permission: rules.clone(),
        ..NewSession::default()
    };
    let checked = async {
        let version = client.health().await?.version;
        let session = client.create_session(&new).await?;
        client.delete_session(&session.id).await?;
        let kept = UnsafeServer::check_rules(&session, &rules);
        Ok::<_, ClientError>(kept.and_then(|()| UnsafeServer::check_version(&version)))
    };
    match checked.await {
        Ok(Ok(())) => report.ok("rules", "the server keeps permission rules"),
        Ok(Err(refused)) => {
            let advice = "run `npm install -g opencode-ai`, and start the server again";
            report.broken("rules", refused.to_string(), Some(advice.to_owned()));
        }
        Err(error) => report.warning("rules", format!("unknown: {error}"), "run this again"),
    }
}

fn check_sub_agents(sub_agents: &SubAgents, report: &mut Report) {
    match sub_agents {
        SubAgents::Asking(names) => report.ok(
            "sub-agents",
            format!(
                "{} ask as the agent does; others are off",
                names.join(" and ")
            ),
        ),
        SubAgents::Unasked => report.warning(
            "sub-agents",
            UNASKED,
            "leave --allow-unasked-subagents out: they are off then",
        ),
        _ => report.ok("sub-agents", "off: this server's would ask for nothing"),
    }
}

async fn check_agents(client: &Client, report: &mut Report) {
    match client.agents().await {
        Ok(agents) if agents.is_empty() => report.warning(
            "agents",
            "none",
            "check the `agent` part of its configuration",
        ),
        Ok(agents) => report.ok("agents", agents.join(", ")),
        Err(error) => report.warning(
            "agents",
            format!("unknown: {error}"),
            "ask something: `opencode-chat turn hello`",
        ),
    }
}
