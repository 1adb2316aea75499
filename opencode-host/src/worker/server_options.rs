//! The server that a worker serves, as other workers know it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use crate::store::{BadServerName, ServerLabel, ServerName};

/// The OpenCode server that a worker serves: its name among the servers of the store, and what is said of it.
///
/// A conversation is placed on one server, and from then on its turns run there: its session is there. So servers with
/// data folders of their own have names of their own, and all workers of a server give it the same one. The default, for an
/// application with one server, is the name `default`; its address may change.
///
/// ```
/// # use std::num::NonZeroU32;
/// # use opencode_host::ServerOptions;
/// # fn example() -> Result<(), opencode_host::store::BadServerName> {
/// let server = ServerOptions::new("eu-1")?
///     .labels(["eu", "gpu"])?
///     .capacity(NonZeroU32::new(64).unwrap());
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerOptions {
    pub(super) name: ServerName,
    pub(super) labels: BTreeSet<ServerLabel>,
    pub(super) capacity: Option<NonZeroU32>,
}

impl ServerOptions {
    /// The server of this name.
    ///
    /// # Errors
    /// [`BadServerName`] where it has other characters than `[A-Za-z0-9._-]`, none, or more than 64.
    pub fn new(name: impl Into<String>) -> Result<Self, BadServerName> {
        Ok(Self {
            name: ServerName::new(name)?,
            ..Self::default()
        })
    }

    /// What it has in common with others, for [`Placement::Label`](crate::placement::Placement::Label). None by default.
    ///
    /// # Errors
    /// [`BadServerName`] for a label that is no name.
    pub fn labels(
        mut self,
        labels: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, BadServerName> {
        let labels = labels.into_iter().map(ServerLabel::new);
        self.labels = labels.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// How many turns may run on it at once, over all its workers; no bound by default. One that has so many turns, running
    /// and queued, gets no new conversations. A turn that waits for a person counts. Where its workers differ in it, each
    /// claims by its own, and the one that spoke last decides what is placed.
    #[must_use]
    pub fn capacity(self, capacity: NonZeroU32) -> Self {
        Self {
            capacity: Some(capacity),
            ..self
        }
    }

    /// Its name.
    pub fn name(&self) -> &ServerName {
        &self.name
    }
}
