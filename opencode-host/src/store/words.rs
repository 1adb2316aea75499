//! The words by which states are stored, shown to programs and read back: those that serde uses.

use std::fmt;
use std::str::FromStr;

use super::{AttachmentSource, MessageRole, MessageStatus, OnBusy, TurnStatus};

/// A word that is none of those a column or a request may hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {what}")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
}

macro_rules! words {
    ($($type:ident ($what:literal) { $($variant:ident = $word:literal),+ })+) => {
        $(impl $type {
            /// The word for it, as it is stored and as programs read it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    other => Err(UnknownWord { what: $what, word: other.to_owned() }),
                }
            }
        })+

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn a_word_is_the_one_that_serde_uses_and_reads_back() {
                $($({
                    let value = $type::$variant;
                    assert_eq!(serde_json::to_value(value).unwrap(), $word);
                    assert_eq!(value.to_string().parse(), Ok(value));
                })+
                let unknown = "Completed?".parse::<$type>().unwrap_err();
                assert_eq!(unknown.to_string(), concat!("\"Completed?\" is no ", $what));)+
            }
        }
    };
}

words! {
    TurnStatus ("turn status") {
        Completed = "completed", Cancelled = "cancelled", Error = "error", Failed = "failed"
    }
    MessageStatus ("message status") {
        Pending = "pending", Completed = "completed", Cancelled = "cancelled", Error = "error"
    }
    MessageRole ("message role") { User = "user", Assistant = "assistant" }
    OnBusy ("way to meet a busy conversation") {
        Enqueue = "enqueue", Reject = "reject", Interrupt = "interrupt"
    }
    AttachmentSource ("source of a file") {
        Upload = "upload", Tool = "tool", Sandbox = "sandbox", Transform = "transform"
    }
}
