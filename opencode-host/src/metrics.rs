//! Metrics in the text format of Prometheus: what happened, counted from traced events, and how the store, the servers
//! and this process stand, looked at when somebody asks.
//!
//! [`Metrics::tracer`] counts what it is told and passes it on, so that any host has metrics with one line.
//! Labels are bounded: words of this crate, and names of servers. No metric names a tenant, a conversation or a turn, and
//! none holds what people or agents wrote.
//!
//! ```
//! # use std::sync::Arc;
//! # use opencode_host::{Host, store::MemoryStore};
//! use opencode_host::metrics::Metrics;
//! use opencode_host::reporter::TracingReporter;
//! use opencode_host::tracer::LogTracer;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let metrics = Metrics::new()?;
//! let host = Host::builder(Arc::new(MemoryStore::default()))
//!     .tracer(metrics.tracer(LogTracer::default()))
//!     .error_reporter(metrics.reporter(TracingReporter))
//!     .build();
//! // What a route at `/metrics` answers, as `text/plain; version=0.0.4`.
//! println!("{}", metrics.text(&host).await);
//! # Ok(())
//! # }
//! ```

mod counts;
mod looks;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Registry, TextEncoder};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::host::Host;
use crate::reporter::{ErrorReporter, Severity};
use crate::tracer::Tracer;
use counts::Counts;
use looks::Looks;

/// What the text is, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How long a look at the store and the servers is good.
const FRESH: Duration = Duration::from_secs(1);

/// Metrics of the hosts of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    counts: Counts,
    looks: Looks,
    looked: Mutex<Option<Instant>>,
}

/// The metrics cannot be described.
#[derive(Debug, thiserror::Error)]
#[error("cannot describe the metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// All metrics, at nothing.
    ///
    /// # Errors
    /// When a metric cannot be described, which is a mistake of this crate.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        Ok(Self(Arc::new(Inner {
            counts: Counts::new(&registry)?,
            looks: Looks::new(&registry)?,
            registry,
            looked: Mutex::default(),
        })))
    }

    /// Counts events, and passes them on to `next`.
    pub fn tracer(&self, next: impl Tracer) -> CountingTracer {
        CountingTracer {
            metrics: self.clone(),
            next: Arc::new(next),
        }
    }

    /// Counts swallowed errors, and passes them on to `next`.
    pub fn reporter(&self, next: impl ErrorReporter) -> CountingReporter {
        CountingReporter {
            metrics: self.clone(),
            next: Arc::new(next),
        }
    }

    /// Everything as text. The store and the servers are looked at once a second at most, however often this is called,
    /// and a store that does not answer within two seconds is said to be down: its own numbers are left out then.
    pub async fn text(&self, host: &Host) -> String {
        {
            let mut looked = self.0.looked.lock().await;
            if looked.is_none_or(|at| at.elapsed() >= FRESH) {
                self.0.looks.look(host).await;
                *looked = Some(Instant::now());
            }
        }
        let families = self.0.registry.gather();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| {
                tracing::error!(%error, "metrics");
                String::new()
            })
    }
}

/// Counts events and passes them on: [`Metrics::tracer`].
#[derive(Debug)]
pub struct CountingTracer {
    metrics: Metrics,
    next: Arc<dyn Tracer>,
}

impl Tracer for CountingTracer {
    fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        self.metrics.0.counts.event(name, fields);
        self.next.event(name, fields);
    }
}

/// Counts swallowed errors and passes them on: [`Metrics::reporter`].
#[derive(Debug)]
pub struct CountingReporter {
    metrics: Metrics,
    next: Arc<dyn ErrorReporter>,
}

impl ErrorReporter for CountingReporter {
    fn report(
        &self,
        error: &(dyn std::error::Error + 'static),
        handled: bool,
        severity: Severity,
        context: &Map<String, Value>,
    ) {
        self.metrics.0.counts.reported(severity);
        self.next.report(error, handled, severity, context);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reporter::TracingReporter;
    use crate::store::MemoryStore;
    use crate::tracer::LogTracer;

    fn value(text: &str, sample: &str) -> Option<f64> {
        let of = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(of)
    }

    #[tokio::test]
    async fn many_scrapes_are_one_look_at_the_store() {
        let metrics = Metrics::new().unwrap();
        let host = Host::builder(Arc::new(MemoryStore::default())).build();
        let looks = async || {
            let text = metrics.text(&host).await;
            value(&text, "opencode_store_look_seconds_count")
        };
        assert_eq!(looks().await, Some(1.0));
        // However long the test takes, it is fresh.
        *metrics.0.looked.lock().await = Some(Instant::now() + 1000 * FRESH);
        for _ in 0..50 {
            assert_eq!(looks().await, Some(1.0));
        }
        *metrics.0.looked.lock().await = Instant::now().checked_sub(FRESH);
        assert_eq!(looks().await, Some(2.0));
    }

    #[tokio::test]
    async fn events_are_counted_and_passed_on() {
        #[derive(Clone, Default)]
        struct Heard(Arc<std::sync::Mutex<Vec<&'static str>>>);
        impl Tracer for Heard {
            fn event(&self, name: &'static str, _: &Map<String, Value>) {
                self.0.lock().unwrap().push(name);
            }
        }
        let metrics = Metrics::new().unwrap();
        let heard = Heard::default();
        let tracer = metrics.tracer(heard.clone());
        let tell = |name, fields: Value| tracer.event(name, fields.as_object().unwrap());
        let end = json!({
            "status": "error", "reason": "upstream", "duration_ms": 2500, "first_token_ms": 500, "cost": 0.25,
            "input_tokens": 7, "output_tokens": 3,
        });
        tell("turn.finished", end);
        tell(
            "turn.finished",
            json!({ "status": "cancelled", "cost": -1.0 }),
        );
        tell("response.started", json!({ "generation": 1 }));
        tell("response.started", json!({ "generation": 3 }));
        tell("request", json!({ "status": 204, "duration_ms": 10 }));
        tell("request", json!({ "duration_ms": 10 }));
        tell("stream.interrupted", json!({ "reason": "fell behind" }));
        tell("live.gap", json!({ "turn": "secret-turn" }));
        tell("something.new", json!({}));
        let reporter = metrics.reporter(TracingReporter);
        let error = std::io::Error::other("secret-words");
        reporter.report(&error, true, Severity::Error, &Map::new());
        let host = Host::builder(Arc::new(MemoryStore::default()))
            .tracer(LogTracer::default())
            .build();
        let text = metrics.text(&host).await;
        for (sample, expected) in [
            (
                "opencode_turns_total{reason=\"upstream\",status=\"error\"}",
                1.0,
            ),
            (
                "opencode_turns_total{reason=\"none\",status=\"cancelled\"}",
                1.0,
            ),
            ("opencode_turn_duration_seconds_sum{status=\"error\"}", 2.5),
            ("opencode_turn_first_token_seconds_sum", 0.5),
            ("opencode_cost_dollars_total", 0.25),
            ("opencode_tokens_total{kind=\"input\"}", 7.0),
            ("opencode_tokens_total{kind=\"output\"}", 3.0),
            ("opencode_claims_total{claim=\"first\"}", 1.0),
            ("opencode_claims_total{claim=\"again\"}", 1.0),
            ("opencode_server_call_seconds_count{outcome=\"2xx\"}", 1.0),
            (
                "opencode_server_call_seconds_count{outcome=\"failed\"}",
                1.0,
            ),
            (
                "opencode_stream_interruptions_total{reason=\"fell_behind\"}",
                1.0,
            ),
            ("opencode_live_gaps_total", 1.0),
            ("opencode_reported_errors_total{severity=\"error\"}", 1.0),
            ("opencode_store_up", 1.0),
        ] {
            assert_eq!(value(&text, sample), Some(expected), "{sample} in {text}");
        }
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(heard.0.lock().unwrap().len(), 9);
    }
}
