//! Licence expressions as crates write them: SPDX, and the older `MIT/Apache-2.0`.

use anyhow::{Result, bail};

/// True when the licences of `allowed` are enough to use what is under `expression`.
///
/// # Errors
/// When it is not an expression.
pub(crate) fn is_allowed(expression: &str, allowed: &[String]) -> Result<bool> {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut parser = Parser {
        words: spaced.split_whitespace().peekable(),
        allowed,
    };
    let answer = parser.any()?;
    match parser.words.next() {
        None => Ok(answer),
        Some(word) => bail!("`{word}` is not expected in `{expression}`"),
    }
}

/// One function per rule of the grammar; AND binds tighter than OR.
struct Parser<'a, I: Iterator<Item = &'a str>> {
    words: std::iter::Peekable<I>,
    allowed: &'a [String],
}

impl<'a, I: Iterator<Item = &'a str>> Parser<'a, I> {
    /// `all { OR all }`
    fn any(&mut self) -> Result<bool> {
        let mut answer = self.all()?;
        while self.words.next_if_eq(&"OR").is_some() {
            answer |= self.all()?;
        }
        Ok(answer)
    }

    /// `one { AND one }`
    fn all(&mut self) -> Result<bool> {
        let mut answer = self.one()?;
        while self.words.next_if_eq(&"AND").is_some() {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    /// `( any )` or `licence [ WITH exception ]`
    fn one(&mut self) -> Result<bool> {
        match self.words.next() {
            Some("(") => {
                let answer = self.any()?;
                match self.words.next() {
                    Some(")") => Ok(answer),
                    _ => bail!("a `)` is missing"),
                }
            }
            Some(licence) if is_name(licence) => {
                if self.words.next_if_eq(&"WITH").is_none() {
                    return Ok(self.allows(licence));
                }
                match self.words.next() {
                    // An exception only ever adds a permission to its licence.
                    Some(exception) if is_name(exception) => Ok(self
                        .allows(&format!("{licence} WITH {exception}"))
                        || self.allows(licence)),
                    _ => bail!("an exception is missing after WITH"),
                }
            }
            Some(word) => bail!("`{word}` is not a licence"),
            None => bail!("a licence is missing"),
        }
    }

    fn allows(&self, licence: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == licence)
    }
}

fn is_name(word: &str) -> bool {
    !matches!(word, "OR" | "AND" | "WITH" | "(" | ")")
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-.+:".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str) -> bool {
        let allowed = ["MIT", "ISC", "Apache-2.0", "GPL-2.0 WITH Classpath"].map(String::from);
        is_allowed(expression, &allowed).unwrap()
    }

    #[test]
    fn one_of_several_is_enough_for_or() {
        assert!(allowed("MIT"));
        assert!(allowed("GPL-3.0 OR MIT"));
        assert!(allowed("GPL-3.0/MIT"));
        assert!(allowed("MIT / GPL-3.0"));
        assert!(!allowed("GPL-3.0 OR AGPL-3.0"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("mit-like"));
    }

    #[test]
    fn and_wants_all_and_binds_tighter() {
        assert!(allowed("MIT AND ISC"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(allowed("MIT OR ISC AND GPL-3.0"));
        assert!(allowed("GPL-3.0 AND ISC OR MIT"));
        assert!(!allowed("(MIT OR ISC) AND GPL-3.0"));
        assert!(allowed("(MIT OR GPL-3.0) AND (ISC OR GPL-3.0)"));
        assert!(!allowed("((MIT)) AND (GPL-3.0 OR (AGPL-3.0))"));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(allowed("GPL-2.0 WITH Classpath"));
        assert!(!allowed("GPL-2.0"));
        assert!(!allowed("GPL-2.0 WITH LLVM-exception"));
        assert!(allowed(
            "GPL-3.0 OR Apache-2.0 WITH LLVM-exception OR AGPL-3.0"
        ));
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for wrong in [
            "",
            "OR",
            "MIT OR",
            "OR MIT",
            "MIT ISC",
            "(MIT",
            "MIT)",
            "()",
            "MIT AND",
            "MIT WITH",
            "MIT WITH AND ISC",
            "M,T",
        ] {
            assert!(is_allowed(wrong, &[]).is_err(), "{wrong}");
        }
    }
}
