//! What a browser or a program shows to say who it is: random, and kept as a hash.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A new one: 244 random bits, behind a beginning that tells what it is for.
pub(super) fn new(beginning: &str) -> String {
    let (first, second) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
    format!("{beginning}{first}{second}")
}

/// What is kept of it. It is random: a fast hash cannot be tried through.
pub(super) fn hash(secret: &str) -> String {
    format!("{:x}", Sha256::digest(secret))
}
