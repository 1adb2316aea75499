//! The pages: conversations in the browser, rendered here, live without reloads.
//!
//! Every page works without a script: forms are posted, links are followed, and
//! a reload shows how far an answer is. The script sends the same forms and
//! applies [`patch::Patch`]es: of a form's answer, and of the stream of a running
//! turn ([`events`]).

mod answers;
mod assets;
mod authority;
mod base_path;
mod connections;
mod conversation;
pub(crate) mod escape;
mod events;
mod failure;
mod fields;
mod files;
mod guard;
mod health;
mod home;
mod layout;
mod live;
mod markdown;
mod message;
mod multipart;
mod name;
mod part;
mod patch;
mod problem;
mod prompts;
mod request;
mod submission;
#[cfg(test)]
mod tests;
mod tool;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use opencode_host::Host as Turns;
use opencode_host::product::Product;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use authority::Host;
pub(crate) use base_path::BasePath;

use crate::upstream::Kind;

/// The largest form, in bytes.
const MAX_BODY: usize = 2 << 20;

/// Whole answers that are sent at once. Each is in memory meanwhile.
const WHOLES: usize = 4;

/// What every page has at hand.
#[derive(Clone, Debug)]
struct App {
    host: Turns,
    product: Arc<dyn Product>,
    base: BasePath,
    /// A stand-in answers instead of OpenCode.
    stand_in: bool,
    /// Whoever reaches the pages over a network is taken for the one person.
    open_to_network: bool,
    /// Sub-agents ask for nothing.
    unasked: bool,
    /// The most bytes of a file that is uploaded.
    max_upload: u64,
    beginnings: home::Beginnings,
    /// Live streams that there may be still.
    streams: Arc<Semaphore>,
    /// Held while a large answer is in memory to be shown.
    large: Arc<Mutex<()>>,
    /// Whole answers that may still be sent at once.
    wholes: Arc<Semaphore>,
    /// What files turned out to be.
    seen: files::Seen,
    shutdown: CancellationToken,
}

/// What the pages are served with.
#[derive(Debug)]
pub(crate) struct Site {
    /// The turns.
    pub(crate) host: Turns,
    /// Whose turns they are.
    pub(crate) product: Arc<dyn Product>,
    /// The path below which browsers see the pages.
    pub(crate) base: BasePath,
    /// What answers them.
    pub(crate) upstream: Kind,
    /// The most bytes of a file that is uploaded.
    pub(crate) max_upload: u64,
    /// How many descriptors this process may have open.
    pub(crate) descriptors: usize,
    /// Names under which browsers reach the pages, beside this machine's own.
    pub(crate) allowed_hosts: Vec<Host>,
    /// Whoever reaches the pages over a network is taken for the one person.
    pub(crate) open_to_network: bool,
    /// Sub-agents ask for nothing.
    pub(crate) unasked: bool,
}

/// Serves the pages until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    site: Site,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let bounds = connections::Bounds::of(site.descriptors);
    tracing::info!("open http://{address}{}", site.base);
    let app = App {
        host: site.host,
        product: site.product,
        base: site.base,
        stand_in: site.upstream == Kind::Impostor,
        open_to_network: site.open_to_network,
        unasked: site.unasked,
        max_upload: site.max_upload,
        beginnings: home::Beginnings::default(),
        streams: Arc::new(Semaphore::new(bounds.streams())),
        large: Arc::default(),
        wholes: Arc::new(Semaphore::new(WHOLES)),
        seen: files::Seen::default(),
        shutdown: shutdown.clone(),
    };
    let pages = router(app, guard::Names::new(&site.allowed_hosts));
    connections::serve(listener, pages, bounds, shutdown).await;
    Ok(())
}

fn router(app: App, names: guard::Names) -> Router {
    let base = app.base.clone();
    let pages = Router::new()
        .route("/", get(home::page))
        .route("/conversations", post(home::begin))
        .route("/conversations/{conversation}", get(conversation::page))
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
            get(files::get),
        )
        .route("/turns/{turn}/events", get(events::stream))
        .route("/turns/{turn}/cancel", post(prompts::cancel))
        .route("/turns/{turn}/retry", post(prompts::retry))
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
        .route("/health", get(health::check))
        .route("/assets/{file}", get(assets::get))
        .fallback(async || problem::Problem::no_such_page())
        .method_not_allowed_fallback(async || problem::Problem::no_such_action())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard::same_origin))
        .layer(middleware::from_fn(connections::room))
        .layer(middleware::from_fn_with_state(names, guard::known_host))
        .layer(middleware::from_fn_with_state(
            app.base.clone(),
            problem::present,
        ))
        .layer(middleware::from_fn(guard::headers))
        .with_state(app);
    base.before(pages)
}
