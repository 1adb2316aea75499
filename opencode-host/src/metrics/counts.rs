//! What happened, counted from traced events.

use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use serde_json::{Map, Value};

use crate::reporter::Severity;
use crate::store::Finish;

/// Seconds of a turn, up to its usual longest.
const TURN: [f64; 11] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];
/// Seconds of a call, or until a first word.
const CALL: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Kinds of tokens, with the fields of `turn.finished`.
const TOKENS: [(&str, &str); 4] = [
    ("input", "input_tokens"),
    ("output", "output_tokens"),
    ("cache_read", "cache_read_tokens"),
    ("cache_write", "cache_write_tokens"),
];

#[derive(Debug)]
pub(super) struct Counts {
    turns: IntCounterVec,
    claims: IntCounterVec,
    tokens: IntCounterVec,
    cost: Counter,
    resent: IntCounter,
    interruptions: IntCounterVec,
    live_gaps: IntCounter,
    unanswered: IntCounter,
    upstream_errors: IntCounter,
    hook_failures: IntCounter,
    moved: IntCounter,
    reported: IntCounterVec,
    duration: HistogramVec,
    first_token: Histogram,
    calls: HistogramVec,
}

impl Counts {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counts = Self {
            turns: counters(
                "opencode_turns_total",
                "Turns that were settled, by how they ended and why.",
                &["status", "reason"],
            )?,
            claims: counters(
                "opencode_claims_total",
                "Turns that a worker took up: for the first time, or again after another worker or a pause.",
                &["claim"],
            )?,
            tokens: counters(
                "opencode_tokens_total",
                "Tokens that settled turns used.",
                &["kind"],
            )?,
            cost: Counter::new(
                "opencode_cost_dollars_total",
                "What settled turns cost, as the providers' prices are known to OpenCode.",
            )?,
            resent: counter(
                "opencode_prompts_resent_total",
                "Prompts that went to a fresh session because theirs was lost.",
            )?,
            interruptions: counters(
                "opencode_stream_interruptions_total",
                "Times that a turn missed events of its server.",
                &["reason"],
            )?,
            live_gaps: counter(
                "opencode_live_gaps_total",
                "Times that changes of a turn on another node did not come, and the whole was asked for.",
            )?,
            unanswered: counter(
                "opencode_requests_unanswered_total",
                "Requests of agents that nobody answered in time.",
            )?,
            upstream_errors: counter(
                "opencode_upstream_errors_total",
                "Errors that a provider or a server reported to a turn.",
            )?,
            hook_failures: counter(
                "opencode_hook_failures_total",
                "Calls of the application's hooks that failed.",
            )?,
            moved: counter(
                "opencode_conversations_moved_total",
                "Conversations that lost their place because their server is gone.",
            )?,
            reported: counters(
                "opencode_reported_errors_total",
                "Errors that were got over, or reported in a caller's place.",
                &["severity"],
            )?,
            duration: histograms(
                "opencode_turn_duration_seconds",
                "From the first claim of a turn to its end.",
                &TURN,
                "status",
            )?,
            first_token: Histogram::with_opts(
                HistogramOpts::new(
                    "opencode_turn_first_token_seconds",
                    "From the first claim of a turn to the first word of its answer.",
                )
                .buckets(TURN.to_vec()),
            )?,
            calls: histograms(
                "opencode_server_call_seconds",
                "Calls to OpenCode servers, by the first digit of the answer's status.",
                &CALL,
                "outcome",
            )?,
        };
        counts.begin();
        for metric in [
            &counts.turns,
            &counts.claims,
            &counts.tokens,
            &counts.interruptions,
            &counts.reported,
        ] {
            registry.register(Box::new(metric.clone()))?;
        }
        for metric in [
            &counts.resent,
            &counts.live_gaps,
            &counts.unanswered,
            &counts.upstream_errors,
            &counts.hook_failures,
            &counts.moved,
        ] {
            registry.register(Box::new(metric.clone()))?;
        }
        registry.register(Box::new(counts.cost.clone()))?;
        registry.register(Box::new(counts.first_token.clone()))?;
        registry.register(Box::new(counts.duration.clone()))?;
        registry.register(Box::new(counts.calls.clone()))?;
        Ok(counts)
    }

    /// Has what is usual shown at nothing before it happens, so that its first time is seen as an increase.
    fn begin(&self) {
        for (status, reason) in [
            ("completed", "none"),
            ("cancelled", "cancelled"),
            ("error", "upstream"),
            ("failed", "unreachable"),
        ] {
            self.turns.with_label_values(&[status, reason]);
            self.duration.with_label_values(&[status]);
        }
        for claim in ["first", "again"] {
            self.claims.with_label_values(&[claim]);
        }
        for (kind, _) in TOKENS {
            self.tokens.with_label_values(&[kind]);
        }
        self.interruptions.with_label_values(&["disconnected"]);
        for severity in ["warning", "error"] {
            self.reported.with_label_values(&[severity]);
        }
        for outcome in ["2xx", "failed"] {
            self.calls.with_label_values(&[outcome]);
        }
    }

    pub(super) fn event(&self, name: &'static str, fields: &Map<String, Value>) {
        let word = |field: &str| fields.get(field).and_then(Value::as_str);
        let number = |field: &str| fields.get(field).and_then(Value::as_u64);
        let seconds = |field: &str| {
            let millis = fields.get(field).and_then(Value::as_f64);
            millis.map(|millis| millis / 1000.0)
        };
        match name {
            Finish::EVENT => {
                let status = word("status").unwrap_or("none");
                let reason = word("reason").unwrap_or("none");
                self.turns.with_label_values(&[status, reason]).inc();
                if let Some(duration) = seconds("duration_ms") {
                    self.duration.with_label_values(&[status]).observe(duration);
                }
                if let Some(first) = seconds("first_token_ms") {
                    self.first_token.observe(first);
                }
                for (kind, field) in TOKENS {
                    let tokens = number(field).unwrap_or(0);
                    self.tokens.with_label_values(&[kind]).inc_by(tokens);
                }
                let cost = fields.get("cost").and_then(Value::as_f64);
                // A counter takes nothing below zero.
                self.cost.inc_by(cost.unwrap_or(0.0).max(0.0));
            }
            "response.started" => {
                let is_first = number("generation").is_none_or(|generation| generation <= 1);
                let claim = if is_first { "first" } else { "again" };
                self.claims.with_label_values(&[claim]).inc();
            }
            "request" => {
                let outcome = match number("status").map(|status| status / 100) {
                    Some(1 | 2) => "2xx",
                    Some(3) => "3xx",
                    Some(4) => "4xx",
                    Some(_) => "5xx",
                    None => "failed",
                };
                let took = seconds("duration_ms").unwrap_or(0.0);
                self.calls.with_label_values(&[outcome]).observe(took);
            }
            "stream.interrupted" => {
                let reason = word("reason").unwrap_or("none").replace(' ', "_");
                self.interruptions.with_label_values(&[&*reason]).inc();
            }
            "session.recreated_with_resend" => self.resent.inc(),
            "live.gap" => self.live_gaps.inc(),
            "request.unanswered" => self.unanswered.inc(),
            "response.upstream_error" => self.upstream_errors.inc(),
            "callback.error" => self.hook_failures.inc(),
            "conversation.moved" => self.moved.inc(),
            _ => {}
        }
    }

    pub(super) fn reported(&self, severity: Severity) {
        let severity = match severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        self.reported.with_label_values(&[severity]).inc();
    }
}

fn counter(name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(name, help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn histograms(
    name: &str,
    help: &str,
    buckets: &[f64],
    label: &str,
) -> Result<HistogramVec, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    HistogramVec::new(options, &[label])
}
