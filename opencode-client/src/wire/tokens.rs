//! How many tokens a message or a step took.

use crate::tolerant::Fields;

/// Token counts of one message or step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Sent to the model.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Of these, spent on reasoning.
    pub reasoning: u64,
    /// Read from and written to the provider's cache.
    pub cache: CacheTokens,
}

/// Tokens the provider served from, or stored in, its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheTokens {
    /// Served from the cache.
    pub read: u64,
    /// Stored in the cache.
    pub write: u64,
}

/// Token counts as far as the server said them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
}

impl Counts {
    pub(super) fn take(fields: &mut Fields<'_>) -> Self {
        let Some(mut tokens) = fields.inside("tokens") else {
            return Self::default();
        };
        let (input, output) = (tokens.count("input"), tokens.count("output"));
        let reasoning = tokens.count("reasoning");
        let cache = tokens.inside("cache");
        let (read, write) = cache.map_or((None, None), |mut cache| {
            (cache.count("read"), cache.count("write"))
        });
        Self {
            input,
            output,
            reasoning,
            read,
            write,
        }
    }

    /// The counts, and `other` where nothing was said.
    pub(super) fn or(self, other: Tokens) -> Tokens {
        Tokens {
            input: self.input.unwrap_or(other.input),
            output: self.output.unwrap_or(other.output),
            reasoning: self.reasoning.unwrap_or(other.reasoning),
            cache: CacheTokens {
                read: self.read.unwrap_or(other.cache.read),
                write: self.write.unwrap_or(other.cache.write),
            },
        }
    }
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.reasoning = self.reasoning.saturating_add(other.reasoning);
        self.cache.read = self.cache.read.saturating_add(other.cache.read);
        self.cache.write = self.cache.write.saturating_add(other.cache.write);
    }
}
