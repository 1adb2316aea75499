//! Sizes and errors in words.

/// An error's words as a sentence.
pub(crate) fn sentence(error: &impl std::fmt::Display) -> String {
    let words = error.to_string();
    let mut chars = words.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).chain(['.']).collect())
        .unwrap_or_default()
}

/// A size in words.
pub(crate) fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if size < 1024 {
        return format!("{size} {}", if size == 1 { "byte" } else { "bytes" });
    }
    let (mut value, mut unit) = (size as f64 / 1024.0, 0);
    // What would round up to the next unit is said in it.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 9.95 {
        let tenths = format!("{value:.1}");
        format!("{} {}", tenths.trim_end_matches(".0"), UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_told_in_words() {
        for (size, said) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KB"),
            (1536, "1.5 KB"),
            (10 * 1024, "10 KB"),
            (1_048_000, "1 MB"),
            (50 << 20, "50 MB"),
            (2 << 30, "2 GB"),
            (u64::MAX, "16777216 TB"),
        ] {
            assert_eq!(bytes(size), said, "{size}");
        }
    }
}
