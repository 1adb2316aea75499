//! Identifiers as OpenCode makes them: a prefix, twelve hex digits of time and counter, fourteen base62 characters.
//!
//! The hex is the low 48 bits of `epoch_ms * 0x1000 + counter`, so the ids of one maker ascend. Session ids hold the
//! complement, so that newer sessions sort first (seen on 1.18.33). The tails come from a fixed seed: two runs that
//! make the same calls at the same time make the same ids.

use std::time::{SystemTime, UNIX_EPOCH};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LOW_48: u64 = 0xFFFF_FFFF_FFFF;

/// Milliseconds since the epoch, by the machine's clock.
pub(crate) fn epoch_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Mints ids that ascend strictly, whatever the machine's clock does.
#[derive(Debug)]
pub(crate) struct Ids {
    last_ms: u64,
    counter: u64,
    random: u64,
    skew_ms: i64,
}

impl Ids {
    /// A mint whose clock is `skew_ms` ahead of (or, negative, behind) the machine's.
    pub(crate) fn new(skew_ms: i64) -> Self {
        Self {
            last_ms: 0,
            counter: 0,
            random: 0x5EED,
            skew_ms,
        }
    }

    /// The server's idea of now, in milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        epoch_ms().saturating_add_signed(self.skew_ms)
    }

    /// The next id with `prefix` (`msg`, `prt`, `evt`, `que`, `per`).
    pub(crate) fn ascending(&mut self, prefix: &str) -> String {
        let stamp = self.stamp();
        format!("{prefix}_{:012x}{}", stamp & LOW_48, self.tail())
    }

    /// The next session id.
    pub(crate) fn session(&mut self) -> String {
        let stamp = self.stamp();
        format!("ses_{:012x}{}", !stamp & LOW_48, self.tail())
    }

    fn stamp(&mut self) -> u64 {
        let now = self.now();
        if now > self.last_ms {
            self.last_ms = now;
            self.counter = 0;
        }
        self.counter += 1;
        // More than 4095 ids in a millisecond carry over into the next one, and stay ascending.
        if self.counter > 0xFFF {
            self.last_ms += 1;
            self.counter = 1;
        }
        self.last_ms.wrapping_mul(0x1000).wrapping_add(self.counter)
    }

    fn tail(&mut self) -> String {
        (0..14)
            .map(|_| {
                // SplitMix64: small, and good enough to keep tails apart.
                self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = self.random;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                BASE62[((z ^ (z >> 31)) % 62) as usize] as char
            })
            .collect()
    }
}

/// The twelve hex digits of a `msg_…` or `prt_…` id, as a number; `None` when the id has another shape.
pub(crate) fn order(id: &str) -> Option<u64> {
    let hex = id.get(4..16)?;
    u64::from_str_radix(hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Ids, order};

    #[test]
    fn ids_ascend_and_have_the_length_of_the_real_ones() {
        let mut ids = Ids::new(0);
        let many: Vec<String> = (0..10_000).map(|_| ids.ascending("msg")).collect();
        assert!(many.windows(2).all(|pair| pair[0][..16] < pair[1][..16]));
        assert_eq!(many[0].len(), "msg_202c805cc001nTL6Z3LOkj8cIc".len());
        assert!(order(&many[0]) < order(&many[1]));
    }

    #[test]
    fn newer_sessions_sort_first() {
        let mut ids = Ids::new(0);
        let (first, second) = (ids.session(), ids.session());
        assert!(second < first);
    }
}
