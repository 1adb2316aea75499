//! How the store, the servers and this process stand, as gauges.

use std::time::Duration;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntGauge, IntGaugeVec, Opts, Registry,
};
use tokio::time::{Instant, timeout};

use crate::clock::Timestamp;
use crate::host::Host;
use crate::store::{Backlog, ServerLoad, ServerState, StoreError};

/// How long a store may take to be looked at.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most servers that are told of.
const SERVERS: usize = 100;
/// The most of what was given up that is counted.
const GIVEN_UP: u32 = 100;
/// Seconds of a look.
const LOOK: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 2.0];

#[derive(Debug)]
pub(super) struct Looks {
    store_up: IntGauge,
    store: Histogram,
    queued: IntGauge,
    oldest: Gauge,
    running: IntGauge,
    waiting: IntGauge,
    given_up: IntGauge,
    here: IntGauge,
    watched: IntGauge,
    server_turns: IntGaugeVec,
    server_state: IntGaugeVec,
    server_silence: GaugeVec,
}

/// What the store told.
struct Told {
    backlog: Option<Backlog>,
    servers: Vec<ServerLoad>,
    given_up: usize,
    now: Timestamp,
}

impl Looks {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let options = HistogramOpts::new(
            "opencode_store_look_seconds",
            "How long the store took to tell its time, once a scrape.",
        );
        let looks = Self {
            store_up: gauge(
                "opencode_store_up",
                "1 while the store answers, else 0. Numbers of the queue and of servers are 0 then.",
            )?,
            store: Histogram::with_opts(options.buckets(LOOK.to_vec()))?,
            queued: gauge(
                "opencode_queue_turns",
                "Turns that are queued on the store and whose moment has come. Counted up to 10,000.",
            )?,
            oldest: Gauge::new(
                "opencode_queue_oldest_seconds",
                "How long the turn has waited that has waited longest; 0 when none waits.",
            )?,
            running: gauge(
                "opencode_turns_running",
                "Turns that run, on all nodes of the store. Counted up to 10,000.",
            )?,
            waiting: gauge(
                "opencode_turns_waiting",
                "Turns that run and wait for a person, on all nodes of the store.",
            )?,
            given_up: gauge(
                "opencode_effects_given_up",
                "Hooks and deletions that failed too often and are not tried any more. Counted up to 100.",
            )?,
            here: gauge("opencode_turns_here", "Turns that run in this process.")?,
            watched: gauge(
                "opencode_turns_watched",
                "Turns that somebody watches in this process.",
            )?,
            server_turns: IntGaugeVec::new(
                Opts::new(
                    "opencode_server_turns",
                    "Turns of an OpenCode server, running and queued.",
                ),
                &["server", "turns"],
            )?,
            server_state: IntGaugeVec::new(
                Opts::new(
                    "opencode_server_state",
                    "1 for the state that an OpenCode server is in: ready, draining or gone.",
                ),
                &["server", "state"],
            )?,
            server_silence: GaugeVec::new(
                Opts::new(
                    "opencode_server_silence_seconds",
                    "How long an OpenCode server has not answered its workers.",
                ),
                &["server"],
            )?,
        };
        for metric in [
            &looks.store_up,
            &looks.queued,
            &looks.running,
            &looks.waiting,
            &looks.given_up,
            &looks.here,
            &looks.watched,
        ] {
            registry.register(Box::new(metric.clone()))?;
        }
        registry.register(Box::new(looks.store.clone()))?;
        registry.register(Box::new(looks.oldest.clone()))?;
        registry.register(Box::new(looks.server_turns.clone()))?;
        registry.register(Box::new(looks.server_state.clone()))?;
        registry.register(Box::new(looks.server_silence.clone()))?;
        Ok(looks)
    }

    pub(super) async fn look(&self, host: &Host) {
        let (here, watched) = host.front().live.counts();
        self.here.set(whole(here));
        self.watched.set(whole(watched));
        let told = timeout(PATIENCE, self.ask(host)).await;
        let told = match told {
            Ok(Ok(told)) => Some(told),
            Ok(Err(error)) => {
                tracing::warn!(%error, "metrics");
                None
            }
            Err(_) => {
                tracing::warn!("metrics: the store does not answer");
                None
            }
        };
        self.store_up.set(i64::from(told.is_some()));
        self.server_turns.reset();
        self.server_state.reset();
        self.server_silence.reset();
        let now = told.as_ref().map_or(Timestamp(0), |told| told.now);
        let backlog = told.as_ref().and_then(|told| told.backlog);
        let backlog = backlog.unwrap_or_else(|| Backlog::empty(now));
        self.queued.set(whole(backlog.queued));
        self.running.set(whole(backlog.running));
        self.waiting.set(whole(backlog.waiting));
        let waited = backlog.oldest.map(|since| backlog.now.since(since));
        self.oldest.set(waited.unwrap_or_default().as_secs_f64());
        self.given_up
            .set(whole(told.as_ref().map_or(0, |told| told.given_up)));
        for load in told
            .iter()
            .flat_map(|told| told.servers.iter().take(SERVERS))
        {
            self.tell(load, now);
        }
    }

    async fn ask(&self, host: &Host) -> Result<Told, StoreError> {
        let store = &host.front().store;
        let since = Instant::now();
        let now = store.now().await?;
        self.store.observe(since.elapsed().as_secs_f64());
        Ok(Told {
            backlog: store.backlog().await?,
            servers: if store.keeps_servers() {
                store.servers().await?
            } else {
                Vec::new()
            },
            given_up: store.given_up_effects(GIVEN_UP).await?.len(),
            now,
        })
    }

    fn tell(&self, load: &ServerLoad, now: Timestamp) {
        let name = load.server.name.as_str();
        let turns = |which| self.server_turns.with_label_values(&[name, which]);
        turns("running").set(whole(load.running));
        turns("queued").set(whole(load.queued));
        for state in [ServerState::Ready, ServerState::Draining, ServerState::Gone] {
            let is = i64::from(load.server.state() == state);
            let gauge = self.server_state.with_label_values(&[name, state.as_str()]);
            gauge.set(is);
        }
        let silence = self.server_silence.with_label_values(&[name]);
        silence.set(load.server.silence(now).as_secs_f64());
    }
}

fn whole(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
