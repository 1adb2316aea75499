//! Sizes of files on the command line.

use std::fmt;
use std::str::FromStr;

/// A number of bytes: `1048576`, `500K`, `50M`, `1.5G`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "give a number of bytes above 0, such as 1048576, 500K, 50M or 2G".to_owned();
        let plain = text.trim().to_ascii_uppercase();
        // `50M`, `50MB` and `50MiB` are the same.
        let plain = plain
            .strip_suffix("IB")
            .or(plain.strip_suffix('B'))
            .unwrap_or(&plain);
        let unit = UNITS.iter().find_map(|(unit, shift)| {
            let number = plain.strip_suffix(*unit)?;
            Some((number, *shift))
        });
        let (number, shift) = unit.unwrap_or((plain, 0));
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let bytes = number * 2_f64.powi(shift.cast_signed());
        // Whole numbers of this size are exact.
        if (1.0..=2_f64.powi(53)).contains(&bytes) {
            Ok(Self(bytes as u64))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, shift): &&(char, u32)| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        match UNITS.iter().rev().find(whole) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read_and_said() {
        for (text, bytes, said) in [
            ("1048576", 1 << 20, "1M"),
            ("1", 1, "1"),
            ("500k", 500 << 10, "500K"),
            ("50M", 50 << 20, "50M"),
            ("50 MiB", 50 << 20, "50M"),
            ("50mb", 50 << 20, "50M"),
            ("1.5G", 3 << 29, "1536M"),
            ("2T", 2 << 40, "2T"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, said), "{text}");
        }
        for bad in ["", "0", "-1", "M", "50X", "1e400", "NaN", "inf", "99999T"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
