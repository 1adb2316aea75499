//! Waiting until nothing is owed any more of what follows turns.

use std::time::{Duration, Instant};

use opencode_host::store::Effect;

use crate::crew::Crew;
use crate::worker::Patient;

/// A worker that was killed holds what it had taken up for some 40 s; then it may fail a few times.
const LONGEST: Duration = Duration::from_secs(150);

/// Waits, with workers that nothing befalls any more. Answers what is left of what `can_be_done`, which is nothing where
/// all is well.
pub(crate) async fn settled(
    crew: &mut Crew,
    store: &Patient,
    can_be_done: impl Fn(&Effect) -> bool,
) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + LONGEST;
    loop {
        crew.bury()?;
        let mut left = store
            .ask(|store| async move { store.effects(100).await })
            .await?;
        left.retain(&can_be_done);
        let given_up = left.iter().any(|effect| effect.is_given_up());
        if left.is_empty() || given_up || Instant::now() > until {
            let left = left.iter();
            return Ok(left
                .map(|effect| format!("it is still owed: {effect:?}"))
                .collect());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
