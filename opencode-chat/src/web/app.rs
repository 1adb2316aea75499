//! What every page has at hand.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use opencode_host::Host as Turns;
use opencode_host::product::Product;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use super::base_path::BasePath;
use super::board::Boards;
use super::form::beginnings::Beginnings;
use super::looks::Seen;
use super::problem::Problem;
use super::visitor::Visitor;
use crate::people::Accounts;

/// The largest form, in bytes.
pub(crate) const MAX_BODY: usize = 2 << 20;

/// What every page has at hand.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) host: Turns,
    pub(crate) product: Arc<dyn Product>,
    pub(crate) base: BasePath,
    /// Who may use the pages.
    pub(crate) accounts: Option<Accounts>,
    /// A stand-in answers instead of OpenCode.
    pub(crate) stand_in: bool,
    /// Whoever reaches the pages over a network is taken for the one person.
    pub(crate) open_to_network: bool,
    /// Sub-agents ask for nothing.
    pub(crate) unasked: bool,
    /// The most bytes of a file that is uploaded.
    pub(crate) max_upload: u64,
    pub(crate) beginnings: Beginnings,
    /// How the conversations stand.
    pub(crate) boards: Boards,
    /// Live streams that there may be still.
    pub(crate) streams: Arc<Semaphore>,
    /// Held while a large answer is in memory to be shown.
    pub(crate) large: Arc<Mutex<()>>,
    /// Whole answers that may still be sent at once.
    pub(crate) wholes: Arc<Semaphore>,
    /// What files turned out to be.
    pub(crate) seen: Seen,
    pub(crate) shutdown: CancellationToken,
    /// Who asks.
    pub(crate) visitor: Visitor,
}

/// The same, before it is known who asks. Pages take [`Mine`], so that none forgets it.
#[derive(Clone, Debug)]
pub(crate) struct Shared(App);

impl Shared {
    pub(crate) fn new(app: App) -> Self {
        Self(app)
    }

    /// The turns of everybody.
    pub(crate) fn host(&self) -> &Turns {
        &self.0.host
    }

    pub(crate) fn accounts(&self) -> Option<&Accounts> {
        self.0.accounts.as_ref()
    }

    pub(crate) fn base(&self) -> &BasePath {
        &self.0.base
    }

    /// As this visitor has it.
    pub(crate) fn of(&self, visitor: &Visitor) -> App {
        App {
            visitor: visitor.clone(),
            ..self.0.clone()
        }
    }
}

/// What every page has at hand, as whoever asks has it.
#[derive(Clone, Debug)]
pub(crate) struct Mine(pub(crate) App);

impl FromRequestParts<Shared> for Mine {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let visitor = parts.extensions.get::<Visitor>();
        let visitor = visitor.ok_or_else(Problem::signed_out)?;
        Ok(Self(shared.of(visitor)))
    }
}
