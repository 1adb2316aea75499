//! What a caller has to know.

use std::fmt;

use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// A secret for one claim of a turn: it tells whose call it is, and keeps everybody else out. Never shown.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Makes one up, of 244 random bits.
    pub(super) fn random() -> Self {
        let half = || Uuid::new_v4().simple();
        Self(format!("{}{}", half(), half()))
    }

    /// The secret, for the one who is to call.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }

    /// Whether this is it. Takes as long whatever of it is wrong.
    pub(super) fn is(&self, presented: &str) -> bool {
        self.0.as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone_and_is_not_shown() {
        let token = Token::random();
        assert!(token.is(token.secret()));
        assert!(!token.is(Token::random().secret()));
        assert!(!token.is(&token.secret()[1..]) && !token.is(""));
        assert_eq!(token.secret().len(), 64);
        assert!(!format!("{token:?}").contains(&token.secret()[..8]));
    }
}
