//! The impostor as a command.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use opencode_impostor::{Impostor, ModelScript, ModelServer, Script, Tape, opencode_config};

/// A deterministic double of an OpenCode server, and of a model provider.
#[derive(Debug, Parser)]
#[command(name = "opencode-impostor", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// An OpenCode server that plays a script or a tape.
    ///
    /// Without --script and --tape it answers every prompt with a short text, and knows the markers of the recorded
    /// tapes: [[text]] [[reason]] [[write]] [[edit]] [[patch]] [[todo]] [[bash]] [[question]] [[task]] [[parallel]]
    /// [[failtool]] [[badtool]] [[err401]] [[err429]] [[slow]] [[cutoff]] [[empty]] [[html]] [[long]] [[hang]]
    /// [[loop]] [[flood]] [[echo]].
    ///
    /// The first line on stdout is "listening on http://127.0.0.1:PORT". Ends on SIGTERM and Ctrl-C.
    Serve(Serve),
    /// An OpenAI-compatible model provider that makes a real OpenCode server deterministic.
    ///
    /// Markers in the newest user message say what it answers: [[text]] [[reason]] [[write]] [[edit]] [[patch]]
    /// [[todo]] [[bash]] [[question]] [[task]] [[parallel]] [[failtool]] [[badtool]] [[err401]] [[err429]] [[slow]]
    /// [[hold]] [[cutoff]] [[empty]] [[html]] [[long]]; [[file:NAME]] names the file to write.
    ///
    /// The first line on stdout is "listening on http://127.0.0.1:PORT", the second the JSON for OpenCode's
    /// OPENCODE_CONFIG_CONTENT. Ends on SIGTERM and Ctrl-C.
    Model(Model),
}

#[derive(Debug, Args)]
struct Serve {
    /// A script: JSON with "rules" (and "faults"); see the documentation of the library's `Script`.
    #[arg(long, value_name = "FILE", conflicts_with = "tape")]
    script: Option<PathBuf>,
    /// A tape to play: JSON lines, a recording of a real server.
    #[arg(long, value_name = "FILE")]
    tape: Option<PathBuf>,
    /// Plays the tape in its own time (1), or faster (2, …); as fast as it goes when not given.
    #[arg(long, value_name = "FACTOR", requires = "tape")]
    speed: Option<f64>,
    /// The port on 127.0.0.1; 0 takes one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The user of the HTTP Basic authentication; "opencode" when not given.
    #[arg(long, env = "OPENCODE_SERVER_USERNAME", requires = "password")]
    username: Option<String>,
    /// Asks for HTTP Basic authentication with this password.
    #[arg(long, env = "OPENCODE_SERVER_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// The version whose habits to have; the script's "dialect" or 1.18.33 when not given. Single habits are changed
    /// in a script: "dialect": {"version": "1.14.48", "keeps_metadata": true}.
    #[arg(long, value_name = "VERSION")]
    dialect: Option<String>,
}

#[derive(Debug, Args)]
struct Model {
    /// The port on 127.0.0.1; 0 takes one that is free.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A script: JSON with "rules", tried before the built-in ones; see the library's `ModelScript`.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(options) => serve(options).await,
        Command::Model(options) => model(options).await,
    }
}

async fn serve(options: Serve) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let mut builder = Impostor::builder()
        .port(options.port)
        .allow_concurrent_prompts();
    if let Some(version) = options.dialect {
        builder = builder.version(&version);
    }
    if let Some(username) = options.username {
        builder = builder.username(username);
    }
    if let Some(password) = options.password {
        builder = builder.password(password);
    }
    if let Some(file) = options.script {
        builder = builder.script(Script::load(file)?);
    }
    if let Some(file) = options.tape {
        builder = builder.tape(Tape::load(file)?);
    }
    if let Some(speed) = options.speed {
        builder = builder.tape_speed(speed);
    }
    let impostor = builder
        .start()
        .await
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    announce(&impostor.url());
    stop.await;
    Ok(())
}

async fn model(options: Model) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let mut script = ModelScript::standard();
    if let Some(file) = options.script {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let own: ModelScript = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a model script", file.display()))?;
        script = own.then(script);
    }
    let model = ModelServer::on_port(options.port, script)
        .await
        .with_context(|| format!("cannot listen on port {}", options.port))?;
    announce(&format!("http://127.0.0.1:{}", model.port()));
    println!("{}", opencode_config(&model.url()));
    stop.await;
    Ok(())
}

/// Standard output is line-buffered only at a terminal; whoever started this waits for the line.
fn announce(url: &str) {
    use std::io::Write as _;
    println!("listening on {url}");
    std::io::stdout().flush().ok();
}

/// SIGTERM or Ctrl-C. Caught from this call on, not only once it is awaited: the command must end well however soon
/// it is told to.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        tokio::signal::ctrl_c().await.ok();
    })
}
