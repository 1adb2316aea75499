//! Turns at once, through the whole host: submit, claim, follow, snapshot, finish.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use opencode_client::wire::Prompt;
use opencode_host::id::TurnId;
use opencode_host::live::Cursor;
use opencode_host::store::{MemoryStore, Store, Tenant};
use opencode_host::tracer::Tracer;
use opencode_host::{Host, SubmitOptions, Worker};
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::expect::client;
use crate::meter::{Meter, Report, peak_memory_kb};
use crate::stream_args::StreamArgs;

/// Counts the events that turns say they folded.
#[derive(Clone, Debug, Default)]
struct EventCount(Arc<std::sync::atomic::AtomicU64>);

impl Tracer for EventCount {
    fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        if name == "stream.completed" {
            let events = fields
                .get("event_count")
                .and_then(Value::as_u64)
                .unwrap_or(0);
            self.0
                .fetch_add(events, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// `memory`, or a database.
pub(crate) async fn open(store: &str) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match store {
        "memory" => Arc::new(MemoryStore::default()),
        url => opencode_sql::connect(url)
            .await
            .context("cannot open the store")?,
    })
}

pub(crate) async fn run(args: &StreamArgs, store: &str) -> anyhow::Result<Report> {
    anyhow::ensure!(
        args.expect.is_none(),
        "--store makes its own sessions: use --sessions"
    );
    let sessions = args.sessions.unwrap_or(1);
    let store = open(store).await?;
    let events = EventCount::default();
    let host = Host::builder(store).tracer(events.clone()).build();
    let worker = Worker::builder(client(args)?)
        .shared_folder()
        .build(&host)?;
    let mut conversations = Vec::with_capacity(sessions);
    let run = std::process::id();
    for number in 0..sessions {
        conversations.push(
            host.open_conversation(&Tenant::default(), &format!("bench-{run}-{number}"))
                .await?
                .id,
        );
    }

    let meter = Meter::start()?;
    let shutdown = CancellationToken::new();
    let working = tokio::spawn({
        let (worker, shutdown) = (worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    let mut watching = JoinSet::new();
    for conversation in conversations {
        let prompt = Prompt::text(args.prompt.clone());
        let turn = host
            .submit(conversation, prompt, SubmitOptions::default())
            .await?
            .turn
            .id;
        watching.spawn(watch(worker.clone(), turn));
    }
    let mut verified = 0;
    let watched = async {
        while let Some(whole) = watching.join_next().await {
            verified += usize::from(whole??);
        }
        Ok::<_, anyhow::Error>(())
    };
    let watched = tokio::time::timeout(Duration::from_secs(args.limit), watched).await;
    let cost = meter.read()?;
    watched.map_err(|_| anyhow::anyhow!("not all turns ended within {} s", args.limit))??;
    shutdown.cancel();
    working.await??;
    let own_events = events.0.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Report {
        peer: args.base.clone(),
        subs: "shared",
        sessions,
        deltas: own_events / sessions.max(1) as u64,
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        sys_s: cost.sys_s,
        maxrss_kb: peak_memory_kb(),
        own_events,
        verified,
        bad: sessions - verified,
    })
}

async fn watch(worker: Worker, turn: TurnId) -> anyhow::Result<bool> {
    let mut live = worker.host().live(turn, Cursor::START).await?;
    while live.try_next().await?.is_some() {}
    is_whole(&worker, turn).await
}

/// Whether a turn's stored text is what the server's own messages say.
pub(crate) async fn is_whole(worker: &Worker, turn: TurnId) -> anyhow::Result<bool> {
    let host = worker.host();
    let result = host.result(turn).await?.context("the turn has no result")?;
    let (Some(session), Some(prompt)) = (&result.session, &result.prompt) else {
        return Ok(false);
    };
    let exchange = worker.client().exchange(session, prompt, 1).await?;
    let mut reply = opencode_client::Reply::new(session.clone(), prompt.clone());
    reply.reconcile(&exchange);
    Ok(reply.result().full_text == result.answer.content && !result.answer.content.is_empty())
}
