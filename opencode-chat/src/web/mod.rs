//! The pages: conversations in the browser, rendered here, live without reloads.
//!
//! Every page works without a script: forms are posted, links are followed, and
//! a reload shows how far an answer is. The script sends the same forms and
//! applies patches (`views::patch`): of a form's answer, and of the stream of a running
//! turn (`routes::events`).

mod address;
mod api;
mod app;
mod authority;
mod base_path;
mod board;
mod connections;
mod conversation_name;
mod fnv1a;
mod form;
mod gate;
mod in_words;
mod looks;
mod next_page;
mod origin;
mod peer;
mod problem;
mod reader;
mod routes;
mod shelf;
mod standing;
pub(crate) mod views;
mod visitor;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use opencode_host::Host as Turns;
use opencode_host::metrics::Metrics;
use opencode_host::product::Product;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use authority::Host;
pub use base_path::BasePath;
pub use shelf::purge;

use app::{App, MAX_BODY, Shared};
use board::Boards;
use form::beginnings::Beginnings;
use gate::Gate;
use looks::Seen;
use problem::Problem;
use routes::{
    account, answers, assets, conversation, events, file, health, home, list, metrics, options,
    prompts, versions,
};
use views::problem_page;
use visitor::Visitor;

use crate::people::Accounts;

/// Whole answers that are sent at once. Each is in memory meanwhile.
pub(crate) const WHOLES: usize = 4;

/// What the pages are served with.
#[derive(Clone, Debug)]
pub struct Site {
    /// The turns.
    pub host: Turns,
    /// Whose turns they are.
    pub product: Arc<dyn Product>,
    /// The path below which browsers see the pages.
    pub base: BasePath,
    /// A stand-in answers instead of OpenCode.
    pub stand_in: bool,
    /// The most bytes of a file that is uploaded.
    pub max_upload: u64,
    /// Names under which browsers reach the pages, beside this machine's own.
    pub allowed_hosts: Vec<Host>,
    /// Who may use the pages. As long as there is no user, or without it, whoever reaches them is the one local person.
    pub accounts: Option<Accounts>,
    /// Whoever reaches the pages over a network is taken for the one person.
    pub open_to_network: bool,
    /// Sub-agents ask for nothing.
    pub unasked: bool,
    /// Live streams at once. More are refused.
    pub streams: usize,
    /// Whole answers that are sent at once. More are refused.
    pub wholes: usize,
}

/// Live streams that a process with so many descriptors may serve at once.
pub(crate) fn streams(descriptors: usize) -> usize {
    connections::Bounds::of(descriptors).streams()
}

/// Serves the pages until `shutdown`, by a process with so many descriptors.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Site,
    descriptors: usize,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!("open http://{address}{}", site.base);
    let bounds = connections::Bounds::of(descriptors);
    let purging = tokio::spawn(shelf::keep_purging(site.host.clone(), shutdown.clone()));
    connections::serve(listener, router(site, shutdown.clone()), bounds, shutdown).await;
    if let Err(error) = purging.await {
        tracing::warn!(%error, "deleted conversations");
    }
    Ok(())
}

/// Serves `/metrics` and nothing else until `shutdown`, over a few connections.
pub(crate) async fn serve_metrics(
    listener: TcpListener,
    host: Turns,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let router = metrics::router(host, metrics).layer(middleware::from_fn(connections::room));
    connections::serve(listener, router, connections::Bounds::of(0), shutdown).await;
}

/// The pages of a site. Live streams and uploads end with `shutdown`.
pub fn router(site: Site, shutdown: CancellationToken) -> Router {
    let names = origin::Names::new(&site.allowed_hosts);
    let streams = Arc::new(Semaphore::new(site.streams));
    let seen_at = format!("{}/api", site.base);
    let api = api::router(site.host.clone(), seen_at, &streams, &shutdown);
    let accounts = site.accounts;
    let app = App {
        accounts: accounts.clone(),
        host: site.host,
        product: site.product,
        base: site.base,
        stand_in: site.stand_in,
        open_to_network: site.open_to_network,
        unasked: site.unasked,
        max_upload: site.max_upload,
        beginnings: Beginnings::default(),
        boards: Boards::default(),
        streams,
        large: Arc::default(),
        wholes: Arc::new(Semaphore::new(site.wholes)),
        seen: Seen::default(),
        shutdown,
        visitor: Visitor::local(),
    };
    let gate = Gate::new(accounts, app.base.clone());
    let base = app.base.clone();
    let pages = Router::new()
        .route("/", get(home::page))
        .route("/conversations", post(home::begin))
        .route("/conversations/list", get(list::list))
        .route("/conversations/events", get(list::events))
        .route("/conversations/{conversation}", get(conversation::page))
        .route(
            "/conversations/{conversation}/options",
            get(options::page).post(options::change),
        )
        .route("/conversations/{conversation}/turns", post(prompts::submit))
        .route(
            "/conversations/{conversation}/delete",
            get(conversation::confirm).post(conversation::delete),
        )
        .route(
            "/conversations/{conversation}/messages/{message}",
            get(conversation::whole),
        )
        .route(
            "/conversations/{conversation}/files/{file}/{name}",
            get(file::get),
        )
        .route("/turns/{turn}/events", get(events::stream))
        .route("/turns/{turn}/cancel", post(prompts::cancel))
        .route("/turns/{turn}/continue", post(prompts::go_on))
        .route("/turns/{turn}/again", post(versions::again))
        .route(
            "/turns/{turn}/edit",
            get(versions::ask).post(versions::edit),
        )
        .route("/turns/{turn}/choose", post(versions::choose))
        .route("/turns/{turn}/fork", post(versions::fork))
        .route(
            "/turns/{turn}/questions/{question}",
            post(answers::question),
        )
        .route(
            "/turns/{turn}/questions/{question}/reject",
            post(answers::reject),
        )
        .route(
            "/turns/{turn}/permissions/{permission}",
            post(answers::permission),
        )
        .route("/login", get(account::ask).post(account::sign_in))
        .route("/logout", post(account::sign_out))
        .route(
            "/password",
            get(account::password).post(account::change_password),
        )
        .route("/health", get(health::check))
        .route("/assets/{file}", get(assets::get))
        .nest_service("/api", api)
        .fallback(async || Problem::no_such_page())
        .method_not_allowed_fallback(async || Problem::no_such_action())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(origin::same_origin))
        .layer(middleware::from_fn_with_state(gate, gate::let_in))
        .layer(middleware::from_fn(connections::room))
        .layer(middleware::from_fn_with_state(names, origin::known_host))
        .layer(middleware::from_fn_with_state(
            app.base.clone(),
            problem_page::present,
        ))
        .layer(middleware::from_fn(origin::headers))
        .with_state(Shared::new(app));
    base.before(pages)
}
