//! A tenant's share of the servers: how often its turns are next, how many run at once, and how many begin in a period.
//!
//! Turns of tenants take turns: the next one is of the tenant that has used the least of the server, by its weight. A
//! tenant that had nothing queued for a while has no claim to what it did not use: it goes on from where the others are.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ServerName, StoreError, StoreResult, Tenant};
use crate::clock::Timestamp;

/// How much of a server one turn of a tenant of weight 1 uses.
const TURN: i64 = 1_000_000_000;

/// A tenant's share of the servers, over all workers. The default has weight 1 and no bounds.
///
/// ```
/// # use std::{num::NonZeroU32, time::Duration};
/// # use opencode_host::store::{Rate, TenantShare};
/// let trial = TenantShare::default()
///     .concurrency(NonZeroU32::new(2).unwrap())
///     .rate(Rate::new(NonZeroU32::new(50).unwrap(), Duration::from_secs(3600)));
/// let paid = TenantShare::default().weight(NonZeroU32::new(3).unwrap());
/// # let _ = (trial, paid);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantShare {
    /// How many of its turns begin while one of a tenant of weight 1 does, as long as both have turns queued. Default 1.
    pub weight: NonZeroU32,
    /// Maximum number of its turns that run at once, over all servers; further ones wait. A turn that waits for a person is
    /// not counted; with its answer it goes on at once, so that there can be more for a while. Default: no bound.
    pub concurrency: Option<NonZeroU32>,
    /// How many of its turns may begin in a period; further ones wait for the next period. Default: no bound.
    pub rate: Option<Rate>,
}

/// How many turns may begin in a period. A period begins with the first turn that begins when none runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rate {
    /// The turns.
    pub turns: NonZeroU32,
    /// The length of the period. At least a millisecond.
    pub per: Duration,
}

impl Rate {
    /// So many turns in each period of this length.
    pub const fn new(turns: NonZeroU32, per: Duration) -> Self {
        Self { turns, per }
    }

    fn period(self) -> Duration {
        self.per.max(Duration::from_millis(1))
    }
}

impl Default for TenantShare {
    fn default() -> Self {
        Self {
            weight: NonZeroU32::MIN,
            concurrency: None,
            rate: None,
        }
    }
}

impl TenantShare {
    /// This share, with a weight.
    #[must_use]
    pub const fn weight(self, weight: NonZeroU32) -> Self {
        Self { weight, ..self }
    }

    /// This share, with at most so many turns at once.
    #[must_use]
    pub const fn concurrency(self, turns: NonZeroU32) -> Self {
        Self {
            concurrency: Some(turns),
            ..self
        }
    }

    /// This share, with a rate.
    #[must_use]
    pub const fn rate(self, rate: Rate) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    /// Refuses a rate whose period is shorter than a millisecond.
    ///
    /// # Errors
    /// [`StoreError::Configuration`].
    pub fn check(&self) -> StoreResult<()> {
        match self.rate {
            Some(rate) if rate.per < Duration::from_millis(1) => {
                let why = format!(
                    "{} turns in {:?} are no rate: give the period a millisecond at least",
                    rate.turns, rate.per
                );
                Err(StoreError::Configuration(why))
            }
            _ => Ok(()),
        }
    }

    /// Whether another turn may run beside so many.
    pub fn has_room(&self, running: u64) -> bool {
        self.concurrency
            .is_none_or(|most| running < u64::from(most.get()))
    }

    /// Whether anything but its weight holds a turn up.
    pub fn is_bounded(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }
}

/// How many turns of a tenant have begun in the running period of its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RatePeriod {
    /// When the period began.
    pub began: Timestamp,
    /// The turns that have begun in it.
    pub turns: u32,
}

impl RatePeriod {
    /// A period in which so many turns have begun.
    pub fn new(began: Timestamp, turns: u32) -> Self {
        Self { began, turns }
    }

    /// Begins a turn.
    pub fn begin(&mut self, rate: Rate, now: Timestamp) {
        if !self.runs(rate, now) {
            *self = Self::new(now, 0);
        }
        self.turns = self.turns.saturating_add(1);
    }

    /// When the next period begins, where this one's turns are used up.
    pub fn free_at(&self, rate: Rate) -> Option<Timestamp> {
        (self.turns >= rate.turns.get()).then(|| self.began.after(rate.period()))
    }

    /// Whether another turn may begin.
    pub fn has_room(&self, rate: Rate, now: Timestamp) -> bool {
        self.free_at(rate).is_none() || !self.runs(rate, now)
    }

    /// One that begins later than now was begun by a clock that was put back since.
    fn runs(&self, rate: Rate, now: Timestamp) -> bool {
        self.turns > 0 && self.began <= now && now < self.began.after(rate.period())
    }
}

/// How far a tenant's use of a server has come: where its last turn began and ended, in the order of all tenants' turns
/// there. The tenant that has come the least far is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShareUsed {
    /// Where its last turn ended.
    pub to: i64,
    /// Where its last turn began.
    pub from: i64,
}

impl ShareUsed {
    /// A tenant's use of a server.
    pub fn new(from: i64, to: i64) -> Self {
        Self { to, from }
    }

    /// Begins a turn, where the last one to begin on the server, of whatever tenant, began at `newest`: nobody begins
    /// before that, so that what was not used is gone.
    #[must_use]
    pub fn next(self, share: &TenantShare, newest: i64) -> Self {
        let from = self.to.max(newest);
        let length = (TURN / i64::from(share.weight.get())).max(1);
        Self::new(from, from.saturating_add(length))
    }
}

/// What a [`RowStore`](super::RowStore) keeps of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TenantRow {
    /// The tenant.
    pub tenant: Tenant,
    /// Its share; `None` where the application has said nothing.
    pub share: Option<TenantShare>,
    /// The running period of its rate.
    #[serde(default)]
    pub period: RatePeriod,
    /// Its use of each server; the empty name is for turns that were claimed for none.
    #[serde(default)]
    pub used: BTreeMap<String, ShareUsed>,
}

impl TenantRow {
    /// A tenant of which nothing is known.
    pub fn new(tenant: &Tenant) -> Self {
        Self {
            tenant: tenant.clone(),
            share: None,
            period: RatePeriod::default(),
            used: BTreeMap::new(),
        }
    }

    /// Its use of a server.
    pub(super) fn used_of(&self, server: Option<&ServerName>) -> ShareUsed {
        let name = server.map_or("", ServerName::as_str);
        self.used.get(name).copied().unwrap_or_default()
    }

    /// Begins a turn on a server.
    pub(super) fn begin(
        &mut self,
        server: Option<&ServerName>,
        share: &TenantShare,
        newest: i64,
        now: Timestamp,
    ) {
        let used = self.used_of(server).next(share, newest);
        let name = server.map_or("", ServerName::as_str);
        self.used.insert(name.to_owned(), used);
        if let Some(rate) = share.rate {
            self.period.begin(rate, now);
        }
    }
}

/// What a store says that keeps no shares.
pub(super) fn no_shares() -> StoreError {
    let why = "this store keeps no shares of tenants: implement the tenants' methods of `Rows`, or give no tenant a share \
               of its own";
    StoreError::Configuration(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn a_period_is_used_up_and_the_next_one_begins() {
        let rate = Rate::new(number(2), Duration::from_secs(1));
        let mut period = RatePeriod::default();
        assert!(period.has_room(rate, Timestamp(5000)));
        period.begin(rate, Timestamp(5000));
        assert_eq!(period.free_at(rate), None);
        period.begin(rate, Timestamp(5400));
        assert_eq!(period.free_at(rate), Some(Timestamp(6000)));
        assert!(!period.has_room(rate, Timestamp(5999)));
        assert!(period.has_room(rate, Timestamp(6000)));
        // The clock was put back: what begins later than now bounds nothing.
        assert!(period.has_room(rate, Timestamp(4999)));
        period.begin(rate, Timestamp(7000));
        assert_eq!(period, RatePeriod::new(Timestamp(7000), 1));
    }

    #[test]
    fn what_was_not_used_is_gone() {
        let share = TenantShare::default();
        let idle = ShareUsed::default();
        let next = idle.next(&share, 7 * TURN);
        assert_eq!(next, ShareUsed::new(7 * TURN, 8 * TURN));
        // One that is ahead stays there.
        let heavy = share.weight(number(4));
        let ahead = next.next(&heavy, 7 * TURN);
        assert_eq!(ahead, ShareUsed::new(8 * TURN, 8 * TURN + TURN / 4));
        let most = ShareUsed::default().next(&share.weight(NonZeroU32::MAX), 0);
        assert_eq!(most.to, 1, "each turn counts");
    }

    #[test]
    fn a_rate_needs_a_period() {
        let none = TenantShare::default().rate(Rate::new(number(1), Duration::ZERO));
        let refused = none.check().unwrap_err().to_string();
        assert!(refused.contains("1 turns in 0ns are no rate"), "{refused}");
    }
}
