//! First prompts that are on their way: one at a time for each new conversation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// First prompts that are being said, by the names of their conversations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beginnings(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Beginnings {
    /// Waits until nobody else begins the conversation of this name, and keeps others waiting.
    pub(crate) async fn alone(&self, name: &str) -> OwnedMutexGuard<()> {
        let one = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, one| Arc::strong_count(one) > 1);
            Arc::clone(all.entry(name.to_owned()).or_default())
        };
        one.lock_owned().await
    }
}
