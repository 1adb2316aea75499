//! The parts every command is made of.

use std::sync::Arc;

use opencode_host::metrics::Metrics;
use opencode_host::outcome::Reason;
use opencode_host::reporter::TracingReporter;
use opencode_host::store::Store;
use opencode_host::tracer::LogTracer;
use opencode_host::turn::Limits;
use opencode_host::{Host, HostBuilder, HostOptions, Worker, WorkerOptions};

use crate::cli::{LimitArgs, ServerArgs, StoreArgs};
use crate::exit::Failure;
use crate::product::Chat;
use crate::upstream::Upstream;

/// Opens the database, made and migrated where it is new.
pub(crate) async fn open_store(args: &StoreArgs) -> Result<Arc<dyn Store>, Failure> {
    let opened = opencode_sql::connect(&args.database_url()).await;
    // Whatever it is, the person can mend it: nothing has been done yet.
    opened.map_err(|error| {
        let failure = Failure::configuration(error.to_string());
        if error.is_transient() {
            failure.because(Reason::Unreachable)
        } else {
            failure
        }
    })
}

/// A host of this application's turns.
pub(crate) fn host(store: Arc<dyn Store>, product: &Chat, options: HostOptions) -> Host {
    built(store, product, options).build()
}

/// The same, which `metrics` counts.
pub(crate) fn counted_host(
    store: Arc<dyn Store>,
    product: &Chat,
    options: HostOptions,
    metrics: &Metrics,
) -> Host {
    built(store, product, options)
        .tracer(metrics.tracer(LogTracer::default()))
        .error_reporter(metrics.reporter(TracingReporter))
        .build()
}

fn built(store: Arc<dyn Store>, product: &Chat, options: HostOptions) -> HostBuilder {
    Host::builder(store)
        .blobs(product.blobs().clone())
        .sandboxes(product.sandboxes().clone())
        .options(options)
}

/// A worker on a host's turns.
pub(crate) fn worker(
    host: &Host,
    upstream: &Upstream,
    product: Chat,
    server: &ServerArgs,
    limits: &LimitArgs,
) -> Result<Worker, Failure> {
    let patient = Limits::default();
    let options = WorkerOptions {
        // A server that is away is not waited for longer than for the whole turn.
        limits: Limits {
            turn: limits.timeout,
            unreachable: patient.unreachable.min(limits.timeout),
            ..patient
        },
        lease: limits.lease,
        sweep: product.sweep(),
        ..WorkerOptions::default()
    };
    let worker = Worker::builder(upstream.client.clone())
        .product(product.configured_by(upstream.own_configuration()))
        .sub_agents(upstream.sub_agents.clone())
        .options(options)
        .server(server.options()?)
        .build(host)?;
    Ok(worker)
}
