//! The parts every command is made of.

use std::sync::Arc;

use opencode_host::metrics::Metrics;
use opencode_host::outcome::Reason;
use opencode_host::reporter::TracingReporter;
use opencode_host::store::Store;
use opencode_host::tracer::LogTracer;
use opencode_host::turn::Limits;
use opencode_host::webhooks::Webhooks;
use opencode_host::{Host, HostBuilder, HostOptions, Worker, WorkerOptions};

use crate::cli::{BudgetArgs, BusArgs, LimitArgs, ServerArgs, StoreArgs};
use crate::exit::Failure;
use crate::people::Accounts;
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

/// Opens the accounts of the same database, behind its store.
pub(crate) async fn open_accounts(args: &StoreArgs) -> Result<Accounts, Failure> {
    Ok(Accounts::open(&args.database_url()).await?)
}

/// Whether there are accounts, as far as the database can say.
pub(crate) async fn has_accounts(args: &StoreArgs) -> bool {
    match open_accounts(args).await {
        Ok(accounts) => accounts.are_used().await.unwrap_or(false),
        Err(_) => false,
    }
}

/// A host of this application's turns.
pub(crate) fn host(
    store: Arc<dyn Store>,
    product: &Chat,
    options: HostOptions,
    budgets: &BudgetArgs,
) -> Host {
    built(store, product, options, budgets).build()
}

/// The same, among other nodes.
pub(crate) async fn host_on_bus(
    store: Arc<dyn Store>,
    product: &Chat,
    options: HostOptions,
    budgets: &BudgetArgs,
    bus: &BusArgs,
) -> Result<Host, Failure> {
    let built = with_bus(built(store, product, options, budgets), bus).await?;
    Ok(built.build())
}

/// The same, which `metrics` counts.
pub(crate) async fn counted_host(
    store: Arc<dyn Store>,
    product: &Chat,
    options: HostOptions,
    budgets: &BudgetArgs,
    bus: &BusArgs,
    metrics: &Metrics,
) -> Result<Host, Failure> {
    let built = with_bus(built(store, product, options, budgets), bus).await?;
    Ok(built
        .tracer(metrics.tracer(LogTracer::default()))
        .error_reporter(metrics.reporter(TracingReporter))
        .build())
}

/// A host that watches turns alone.
pub(crate) async fn watching_host(store: Arc<dyn Store>, bus: &BusArgs) -> Result<Host, Failure> {
    Ok(with_bus(Host::builder(store), bus).await?.build())
}

#[cfg(feature = "nats")]
async fn with_bus(builder: HostBuilder, args: &BusArgs) -> Result<HostBuilder, Failure> {
    use opencode_host::live::{NatsBus, NatsError};

    let Some(url) = &args.bus else {
        return match args.bus_credentials_file {
            None => Ok(builder),
            Some(_) => Err(Failure::configuration(
                "credentials of NATS are given (--bus-credentials-file), but no NATS: give it with --bus",
            )),
        };
    };
    let mut bus = NatsBus::builder(url);
    if let Some(path) = &args.bus_credentials_file {
        let secret = crate::cli::read_text(path).map_err(|why| {
            let path = path.display();
            Failure::configuration(format!(
                "cannot read the credentials of NATS from {path}: {why}"
            ))
        })?;
        if let Some(warning) = secret.warning {
            tracing::warn!("{warning}");
        }
        bus = bus.credentials(secret.value.unwrap_or_default());
    }
    let connected = bus.connect().await.map_err(|error| {
        let advice = match &error {
            NatsError::Refused { .. } => ". Give them with --bus-credentials-file",
            NatsError::Address { .. } => " (--bus)",
            _ => "",
        };
        Failure::configuration(format!("{error}{advice}"))
    });
    Ok(builder.live_bus(connected?))
}

#[cfg(not(feature = "nats"))]
async fn with_bus(builder: HostBuilder, args: &BusArgs) -> Result<HostBuilder, Failure> {
    match args.bus {
        None => Ok(builder),
        Some(_) => Err(Failure::configuration(
            "this build speaks no NATS: leave out --bus, or build with the feature `nats`",
        )),
    }
}

fn built(
    store: Arc<dyn Store>,
    product: &Chat,
    options: HostOptions,
    budgets: &BudgetArgs,
) -> HostBuilder {
    bounded(Host::builder(store), budgets)
        .blobs(product.blobs().clone())
        .sandboxes(product.sandboxes().clone())
        .options(options)
}

/// With the budgets of the arguments, if there are any.
pub(crate) fn bounded(host: HostBuilder, budgets: &BudgetArgs) -> HostBuilder {
    match budgets.budget() {
        budget if budget.is_unlimited() => host,
        budget => host.budgets(budget),
    }
}

/// A worker on a host's turns.
pub(crate) fn worker(
    host: &Host,
    upstream: &Upstream,
    product: Chat,
    server: &ServerArgs,
    limits: &LimitArgs,
    webhooks: Option<Webhooks>,
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
        server_gone_after: server.server_gone_after,
        ..WorkerOptions::default()
    };
    let product = product
        .configured_by(upstream.own_configuration())
        .begun_on(server.begin_on_label.clone());
    let mut worker = Worker::builder(upstream.client.clone())
        .product(product)
        .sub_agents(upstream.sub_agents.clone())
        .options(options)
        .server(server.options()?);
    if let Some(webhooks) = webhooks {
        worker = worker.webhooks(webhooks);
    }
    Ok(worker.build(host)?)
}
