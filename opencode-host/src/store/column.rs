//! Values of several fields in a column, as JSON.
//!
//! What an agent's tools are given may nest deeper than serde_json reads by default. Text that is JSON never holds the
//! character NUL as such, which Postgres cannot store.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{StoreError, StoreResult};

/// Writes a value.
///
/// # Errors
/// [`StoreError::Unexpected`] for a value that JSON cannot hold.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Unexpected(format!("cannot be written as JSON: {error}")))
}

/// The deepest nesting that is read. What a server sends may nest as deep as
/// serde_json reads by default, which is 128, and stands in rows a few levels deeper.
const MAX_NESTING: usize = 256;

/// Reads what [`to_json`] has written.
///
/// # Errors
/// What is wrong with the text, for [`StoreError::Corrupt`].
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).or_else(|error| {
        // The error of too deep a nesting has no kind of its own.
        if !error.to_string().starts_with("recursion limit exceeded") {
            return Err(error.to_string());
        }
        if nesting(json) > MAX_NESTING {
            return Err(format!("nests deeper than {MAX_NESTING} levels"));
        }
        let mut deep = serde_json::Deserializer::from_str(json);
        deep.disable_recursion_limit();
        T::deserialize(&mut deep).map_err(|error| error.to_string())
    })
}

/// How deep arrays and objects nest, in text that is JSON or else refused later.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for levels in [1, 127, 128, 129, MAX_NESTING] {
            let value: serde_json::Value = from_json(&nested(levels)).unwrap();
            assert_eq!(value.to_string(), nested(levels));
        }
        for levels in [MAX_NESTING + 1, 1_000_000] {
            assert!(
                from_json::<serde_json::Value>(&nested(levels))
                    .unwrap_err()
                    .contains("deeper")
            );
        }
        assert_eq!(nesting(r#"{"[[[": "]\"[[\\", "b": [1, {}]}"#), 3);
        assert!(from_json::<serde_json::Value>(&"[".repeat(200)).is_err());
    }
}
