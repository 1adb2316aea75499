//! Values that tell whether they were changed since they were saved.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

/// A value with a stamp that no other value has, and that changes whenever the value may have changed.
#[derive(Clone, Debug)]
pub(super) struct Tracked<T> {
    value: T,
    stamp: u64,
}

fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl<T> Tracked<T> {
    pub(super) fn new(value: T) -> Self {
        let stamp = fresh();
        Self { value, stamp }
    }

    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Changes the value, or not, which `change` answers.
    pub(super) fn change_if(&mut self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let changed = change(&mut self.value);
        if changed {
            self.stamp = fresh();
        }
        changed
    }
}

impl Tracked<String> {
    /// Appends: the beginning is as it was, and so is the stamp.
    pub(super) fn push_str(&mut self, text: &str) {
        self.value.push_str(text);
    }

    /// Is this text from now on.
    pub(super) fn set(&mut self, text: &str) {
        match text.strip_prefix(self.value.as_str()) {
            Some(more) => self.push_str(more),
            None => *self = Self::new(text.to_owned()),
        }
    }

    /// Cuts the text to so many bytes, which end a character.
    pub(super) fn truncate(&mut self, length: usize) {
        self.change_if(|text| {
            let is_longer = text.len() > length;
            text.truncate(length);
            is_longer
        });
    }
}

impl<T: Default> Default for Tracked<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: PartialEq> PartialEq for Tracked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.stamp = fresh();
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_grows_keeps_its_stamp_and_all_else_does_not() {
        let mut text = Tracked::new("one".to_owned());
        let stamp = text.stamp();
        text.push_str(" two");
        text.set("one two three");
        text.truncate(100);
        assert_eq!((text.as_str(), text.stamp()), ("one two three", stamp));
        assert_eq!(text.clone().stamp(), stamp);
        let mut changed = Vec::new();
        text.truncate(3);
        changed.push(text.stamp());
        text.set("two");
        changed.push(text.stamp());
        text.make_ascii_uppercase();
        changed.push(text.stamp());
        assert!(changed.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(!changed.contains(&stamp));
        assert_ne!(Tracked::new(1).stamp(), Tracked::new(1).stamp());
    }
}
