//! The effects of a [`RowStore`]: taken, settled, and tried again.

use std::time::Duration;

use async_trait::async_trait;

use super::{Effect, Effects, RowStore, Rows, StoreResult, Tables, Take, Tried};
use crate::id::EffectId;

#[async_trait]
impl<T: Tables> Effects for RowStore<T> {
    async fn take_effect(&self, take: Take<'_>, lease: Duration) -> StoreResult<Option<Effect>> {
        let (mut on, now) = self.begin().await?;
        let due = match take {
            Take::Due(lane) => {
                let effects = on.effects().await?.into_iter();
                let due =
                    effects.filter(|effect| effect.is_due(now) && effect.kind.lane() == *lane);
                due.min_by_key(|effect| (effect.due_at, effect.id))
            }
            Take::This(id) => on.effect(id).await?.filter(|effect| effect.is_due(now)),
        };
        let Some(mut effect) = due else {
            return Ok(None);
        };
        effect.take(lease, now);
        on.set_effect(effect.id, Some(effect.clone())).await?;
        on.commit().await?;
        Ok(Some(effect))
    }

    async fn settle_effect(&self, taken: &Effect, tried: &Tried) -> StoreResult<()> {
        let (mut on, now) = self.begin().await?;
        let known = on.effect(taken.id).await?;
        if known.is_none_or(|known| known.attempts != taken.attempts) {
            return Ok(());
        }
        let kept = taken.clone().tried(tried, now);
        on.set_effect(taken.id, kept).await?;
        on.commit().await
    }

    async fn follow_effect(&self, taken: &Effect, with: &[Effect]) -> StoreResult<bool> {
        let (mut on, _) = self.begin().await?;
        let known = on.effect(taken.id).await?;
        let Some(known) = known.filter(|known| known.attempts == taken.attempts) else {
            return Ok(false);
        };
        let kept = Effect {
            kind: taken.kind.clone(),
            ..known
        };
        on.set_effect(taken.id, Some(kept)).await?;
        for effect in with {
            if on.effect(effect.id).await?.is_none() {
                on.set_effect(effect.id, Some(effect.clone())).await?;
            }
        }
        on.commit().await?;
        Ok(true)
    }

    async fn effects(&self, limit: u32) -> StoreResult<Vec<Effect>> {
        let mut effects = self.tables.begin_reading().await?.effects().await?;
        effects.truncate(limit as usize);
        Ok(effects)
    }

    async fn retry_effect(&self, id: EffectId) -> StoreResult<bool> {
        let (mut on, now) = self.begin().await?;
        let known = on.effect(id).await?;
        let Some(mut effect) = known.filter(Effect::is_given_up) else {
            return Ok(false);
        };
        effect.make_due(now);
        on.set_effect(id, Some(effect)).await?;
        on.commit().await?;
        Ok(true)
    }
}
