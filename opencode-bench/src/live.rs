//! How late a browser hears of what the server says: paced, stamped deltas, through the whole host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use opencode_client::reply::Change;
use opencode_client::wire::Prompt;
use opencode_host::live::{Cursor, LiveEvent};
use opencode_host::store::Tenant;
use opencode_host::{Host, SubmitOptions, Worker};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::expect::client;
use crate::hosted::{is_whole, open};
use crate::meter::{Meter, peak_memory_kb};
use crate::stream_args::StreamArgs;

/// How many digits a stamp has.
const STAMP: usize = 16;

/// One line of output. Lateness runs from when the server wrote a delta to when a watcher of the turn had it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    peer: String,
    store: String,
    #[serde(rename = "S")]
    sessions: usize,
    pub(crate) deltas: usize,
    /// Times a watcher was given the whole instead.
    pub(crate) snapshots: usize,
    pub(crate) late_p50_ms: f64,
    pub(crate) late_p99_ms: f64,
    pub(crate) late_max_ms: f64,
    pub(crate) wall_s: f64,
    pub(crate) user_s: f64,
    pub(crate) sys_s: f64,
    pub(crate) maxrss_kb: u64,
    pub(crate) completed: usize,
    /// Turns whose stored text is not the server's.
    pub(crate) lost: usize,
}

pub(crate) async fn run(args: &StreamArgs) -> anyhow::Result<Report> {
    let sessions = args.sessions.context("--sessions says how many turns")?;
    let store = match args.store.as_str() {
        "none" => "memory",
        store => store,
    };
    let host = Host::builder(open(store).await?).build();
    let worker = Worker::builder(client(args)?)
        .shared_folder()
        .build(&host)?;
    let run = std::process::id();
    let mut turns = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let name = format!("bench-{run}-{number}");
        let conversation = host.open_conversation(&Tenant::default(), &name).await?.id;
        let prompt = Prompt::text(args.prompt.clone());
        let submitted = host.submit(conversation, prompt, SubmitOptions::default());
        turns.push(submitted.await?.turn.id);
    }
    let meter = Meter::start()?;
    let shutdown = CancellationToken::new();
    let working = tokio::spawn({
        let (worker, shutdown) = (worker.clone(), shutdown.clone());
        async move { worker.run(shutdown).await }
    });
    let mut watching = JoinSet::new();
    for turn in &turns {
        watching.spawn(watch(host.clone(), *turn));
    }
    let (mut late, mut snapshots, mut completed, mut failed) = (Vec::new(), 0, 0, None);
    let watched = async {
        while let Some(seen) = watching.join_next().await {
            let seen = seen??;
            late.extend(seen.late_us);
            snapshots += seen.snapshots;
            match seen.failed {
                None => completed += 1,
                Some(why) if failed.is_none() => failed = Some(why),
                Some(_) => {}
            }
        }
        Ok::<_, anyhow::Error>(())
    };
    let watched = tokio::time::timeout(Duration::from_secs(args.limit), watched).await;
    watched.map_err(|_| anyhow::anyhow!("not all turns ended within {} s", args.limit))??;
    let cost = meter.read()?;
    if let Some(why) = failed {
        eprintln!("{} turns failed, one because: {why}", sessions - completed);
    }
    let maxrss_kb = peak_memory_kb();
    shutdown.cancel();
    working.await??;
    let mut lost = 0;
    for turn in turns {
        lost += usize::from(!is_whole(&worker, turn).await?);
    }
    late.sort_unstable();
    let last = late
        .len()
        .checked_sub(1)
        .context("no delta had a stamp: the server's script wants \"stamped\": true")?;
    let at = |share: f64| f64::from(late[(last as f64 * share) as usize]) / 1e3;
    Ok(Report {
        peer: args.base.clone(),
        store: store.to_owned(),
        sessions,
        deltas: late.len(),
        snapshots,
        late_p50_ms: at(0.5),
        late_p99_ms: at(0.99),
        late_max_ms: at(1.0),
        wall_s: cost.wall_s,
        user_s: cost.user_s,
        sys_s: cost.sys_s,
        maxrss_kb,
        completed,
        lost,
    })
}

/// What one watcher saw.
#[derive(Default)]
struct Seen {
    late_us: Vec<u32>,
    snapshots: usize,
    /// Why the turn did not complete.
    failed: Option<String>,
}

async fn watch(host: Host, turn: opencode_host::id::TurnId) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut live = host.live(turn, Cursor::START).await?;
    while let Some(event) = live.try_next().await? {
        match event {
            LiveEvent::Change { change, .. } => {
                if let Change::PartDelta { delta, .. } = &*change {
                    seen.late_us.extend(lateness(delta));
                }
            }
            LiveEvent::Snapshot { .. } => seen.snapshots += 1,
            _ => {}
        }
    }
    let result = host.result(turn).await?.context("the turn has no result")?;
    seen.failed = result.answer.error.map(|error| format!("{error:?}"));
    Ok(seen)
}

/// In microseconds.
fn lateness(delta: &str) -> Option<u32> {
    let sent = Duration::from_micros(delta.get(..STAMP)?.parse().ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(
        now.saturating_sub(sent)
            .as_micros()
            .try_into()
            .unwrap_or(u32::MAX),
    )
}
