//! `turn`: asks, streams the answer, exits.

mod answerer;
mod lines;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use opencode_client::Client;
use opencode_client::wire::Prompt;
use opencode_host::live::{Cursor, LiveEvent};
use opencode_host::store::Tenant;
use opencode_host::turn::TurnResult;
use opencode_host::{Host, LiveStream, SubmitOptions, Worker};
use tokio_util::sync::CancellationToken;

use super::{prompt, shutdown_signal, submit_options};
use crate::assembly::{host_on_bus, open_store, worker};
use crate::cli::TurnArgs;
use crate::exit::{Failure, of_turn};
use crate::local_files;
use crate::ndjson::{self, ResultLine};
use crate::product::Chat;
use crate::terminal;
use crate::upstream::{SHOWS_PASSWORD, Upstream, models_warning};
use answerer::Answerer;
pub(crate) use output::Output;

/// How long hooks and webhooks are waited for that follow the turn. What is not done then is done by another worker.
const FOLLOWING: Duration = Duration::from_secs(5);

/// Submits, works on that turn, watches it.
pub(crate) async fn run(args: TurnArgs) -> Result<ExitCode, Failure> {
    let json = args.json;
    match turn(args).await {
        Err(failure) if json => {
            // Programs read the last line, whatever happened.
            ndjson::print(&ResultLine::failed(failure.reason, failure.message()));
            terminal::tell(format_args!("error: {}", failure.message()));
            Ok(failure.code())
        }
        outcome => outcome,
    }
}

async fn turn(args: TurnArgs) -> Result<ExitCode, Failure> {
    // Everything that can be wrong with the set-up shows before a row is written.
    let prompt = prompt(&args.prompt.asked)?;
    if let Some(folder) = &args.artifacts {
        local_files::prepare(folder).await?;
    }
    let webhooks = args.webhooks.webhooks()?;
    let product = Chat::new(&args.upstream.sandbox, &args.store)?;
    let upstream = Upstream::find(&args.upstream, &args.store).await?;
    if let Some(banner) = upstream.banner() {
        terminal::tell(banner);
    }
    for warning in &upstream.warnings {
        terminal::tell(format!("· {warning}"));
    }
    let outcome = async {
        upstream.ready().await?;
        if upstream.shows_password().await {
            terminal::tell(format!("· {SHOWS_PASSWORD}"));
        }
        tokio::spawn(warn_of_models(upstream.client.clone()));
        upstream.refuses(&prompt).await?;
        let store = open_store(&args.store).await?;
        let options = args.uploads.options();
        let host = host_on_bus(store, &product, options, &args.budgets, &args.bus).await?;
        let worker = worker(
            &host,
            &upstream,
            product,
            &args.server,
            &args.limits,
            webhooks.told(),
        )?;
        drive(&worker, &args, prompt).await
    }
    .await;
    upstream.stop().await;
    outcome
}

/// Says what there is to know of the server's models. The turn does not wait for it.
async fn warn_of_models(client: Client) {
    if let Some(warning) = models_warning(&client).await {
        terminal::tell(format_args!("· {warning}"));
    }
}

async fn drive(worker: &Worker, args: &TurnArgs, prompt: Prompt) -> Result<ExitCode, Failure> {
    let host = worker.host();
    let conversation = host
        .open_conversation(&Tenant::default(), &args.prompt.asked.conversation)
        .await?;
    let uploads = local_files::upload(host, conversation.id, &args.file).await?;
    let options = SubmitOptions {
        uploads,
        ..submit_options(&args.prompt)
    };
    let submitted = host.submit(conversation.id, prompt, options).await?;
    let turn = submitted.turn.id;

    let interrupted = shutdown_signal();
    let canceller = tokio::spawn({
        let host = host.clone();
        async move {
            interrupted.cancelled().await;
            terminal::tell("stopping …");
            if let Err(error) = host.cancel(turn, None).await {
                terminal::tell(format_args!("error: {error}"));
            }
        }
    });
    let shutdown = CancellationToken::new();
    let mut working = tokio::spawn({
        let (worker, shutdown) = (worker.clone(), shutdown.clone());
        async move { worker.run_turn(turn, shutdown).await }
    });
    let mut output = Output::new(args.json);
    let mut answerer = Answerer::new(&args.answers, args.json);
    let live = host.live(turn, Cursor::START).await?;
    let result = show(host, live, &mut output, Some(&mut answerer)).await;
    canceller.abort();
    if !matches!(result, Ok(Some(_))) {
        shutdown.cancel();
    }
    // The turn is settled, wherever: its worker here ends by itself, behind the hooks and the webhooks that follow the turn.
    let worked = match tokio::time::timeout(FOLLOWING, &mut working).await {
        Ok(worked) => worked,
        Err(_) => {
            shutdown.cancel();
            working.await
        }
    };
    let Some(result) = result? else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Ok(Err(error)) = worked {
        tracing::warn!(%error, "worker");
    }
    let saved = match (&args.artifacts, host.blobs()) {
        (Some(folder), Some(blobs)) => local_files::save(blobs, &result.artifacts, folder).await,
        _ => Vec::new(),
    };
    for failure in saved.iter().filter_map(|saved| saved.as_ref().err()) {
        terminal::tell(format_args!("error: {failure}"));
    }
    let saved_all = saved.iter().all(Result::is_ok);
    output.result(&result);
    for path in saved.into_iter().flatten() {
        output.saved(&path);
    }
    Ok(if saved_all {
        of_turn(result.status)
    } else {
        ExitCode::FAILURE
    })
}

/// Prints the changes of a turn and answers what the agent asks, until it ends. `None` when nobody is there who reads
/// or answers: a turn that is only watched goes on without us.
pub(crate) async fn show(
    host: &Host,
    mut live: LiveStream,
    output: &mut Output,
    mut answerer: Option<&mut Answerer>,
) -> Result<Option<TurnResult>, Failure> {
    let turn = live.turn();
    while let Some(event) = live.try_next().await? {
        match event {
            LiveEvent::Change { cursor, change } => {
                output.change(cursor, &change);
                if let Some(answerer) = &mut answerer {
                    answerer.heard(host, turn, &change);
                }
            }
            LiveEvent::Snapshot { cursor, view } => {
                if let Some(answerer) = &mut answerer {
                    for request in view.requests() {
                        answerer.asked(host, turn, request);
                    }
                }
                output.snapshot(cursor, view);
            }
            LiveEvent::Finished(result) => return Ok(Some(*result)),
            _ => break,
        }
        if answerer.is_none() && !terminal::is_read() {
            return Ok(None);
        }
    }
    Err(Failure::error(
        "the conversation was deleted while the turn ran",
    ))
}
