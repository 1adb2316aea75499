//! Records that are not as they should be: in events, in lists, or in both.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Calls;

/// A record that is sent otherwise than it is kept. See [`Fault::Odd`](super::Fault::Odd).
///
/// ```
/// use opencode_impostor::{Calls, Fault, OddRecord, Oddity, raw_json};
///
/// let second_part = Fault::Odd(OddRecord::new(Oddity::PartWithoutId).which(Calls::Nth(2)).in_lists());
/// let cost = Fault::Odd(OddRecord::new(Oddity::Cost(raw_json("1e999"))));
/// assert_eq!(
///     serde_json::from_str::<Fault>(
///         r#"{"odd": {"what": "part_without_id", "which": {"nth": 2}, "seen": "lists"}}"#
///     )
///     .unwrap(),
///     second_part,
/// );
/// # assert_ne!(cost, second_part);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OddRecord {
    /// What is odd.
    pub what: Oddity,
    /// Which records, counted from when the fault is set and in order of their first appearance. Default: all.
    #[serde(default)]
    pub which: Calls,
    /// Where. Default: everywhere.
    #[serde(default)]
    pub seen: Seen,
    /// Only messages of this role, and their parts. Default: `assistant`.
    #[serde(default = "assistant")]
    pub role: String,
    /// Only parts of this type: `text`, `tool`, `step-finish`. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
}

fn assistant() -> String {
    "assistant".into()
}

impl OddRecord {
    /// All records of the assistant, in events and lists.
    pub fn new(what: Oddity) -> Self {
        Self {
            what,
            which: Calls::All,
            seen: Seen::Everywhere,
            role: assistant(),
            part: None,
        }
    }

    /// Only these records.
    pub fn which(mut self, which: Calls) -> Self {
        self.which = which;
        self
    }

    /// Only in events.
    pub fn in_events(mut self) -> Self {
        self.seen = Seen::Events;
        self
    }

    /// Only in what `GET` answers.
    pub fn in_lists(mut self) -> Self {
        self.seen = Seen::Lists;
        self
    }

    /// Only messages of this role, and their parts.
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = role.into();
        self
    }

    /// Only parts of this type.
    pub fn part(mut self, kind: impl Into<String>) -> Self {
        self.part = Some(kind.into());
        self
    }
}

/// Where a record is odd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// In events and in answers.
    #[default]
    Everywhere,
    /// In events alone.
    Events,
    /// In answers alone.
    Lists,
}

/// What is odd about a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// A message's `info` is `null`.
    NullInfo,
    /// A message's `info` lacks `sessionID`.
    MessageWithoutSession,
    /// A message's `info` has nothing but `id`, `sessionID`, `role`, `parentID`, `cost` and `tokens`.
    BareMessage,
    /// A part lacks `id`.
    PartWithoutId,
    /// A part lacks `type`.
    PartWithoutType,
    /// A part lacks `sessionID`.
    PartWithoutSession,
    /// `tokens` holds `input` and `output` alone, in messages and `step-finish` parts.
    BareTokens,
    /// Each number of `tokens` is this instead, in messages and `step-finish` parts: `null`, `50.5`, `-1`, `"NaN"`,
    /// or [`raw_json`](crate::raw_json)`("1e999")`.
    Tokens(Value),
    /// `cost` is this instead, in messages and `step-finish` parts.
    Cost(Value),
    /// A record lacks the field at this JSON pointer.
    Without {
        /// Of which records.
        of: Record,
        /// `/time/created`
        at: String,
    },
    /// A record has this at a JSON pointer instead, when it has the field at all.
    With {
        /// Of which records.
        of: Record,
        /// `/state/input`; `""` is the whole record.
        at: String,
        /// What stands there.
        value: Value,
    },
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The `info` of a message.
    Message,
    /// A part of a message.
    Part,
    /// A question or a permission request.
    Request,
}

impl Oddity {
    fn is_of(&self, record: Record) -> bool {
        match self {
            Self::NullInfo | Self::MessageWithoutSession | Self::BareMessage => {
                record == Record::Message
            }
            Self::PartWithoutId | Self::PartWithoutType | Self::PartWithoutSession => {
                record == Record::Part
            }
            Self::BareTokens | Self::Tokens(_) | Self::Cost(_) => record != Record::Request,
            Self::Without { of, .. } | Self::With { of, .. } => record == *of,
        }
    }

    fn alter(&self, record: &mut Value) {
        match self {
            Self::NullInfo => *record = Value::Null,
            Self::MessageWithoutSession | Self::PartWithoutSession => remove(record, "/sessionID"),
            Self::PartWithoutId => remove(record, "/id"),
            Self::PartWithoutType => remove(record, "/type"),
            Self::BareMessage => keep(
                record,
                &["id", "sessionID", "role", "parentID", "cost", "tokens"],
            ),
            Self::BareTokens => keep(&mut record["tokens"], &["input", "output"]),
            Self::Tokens(value) => fill(&mut record["tokens"], value),
            Self::Cost(value) => record["cost"] = value.clone(),
            Self::Without { at, .. } => remove(record, at),
            Self::With { at, value, .. } => {
                if let Some(field) = record.pointer_mut(at) {
                    *field = value.clone();
                }
            }
        }
    }

    /// Whether the record has what this changes.
    fn fits(&self, record: &Value) -> bool {
        match self {
            Self::BareTokens | Self::Tokens(_) => record.get("tokens").is_some(),
            Self::Cost(_) => record.get("cost").is_some(),
            Self::Without { at, .. } | Self::With { at, .. } => record.pointer(at).is_some(),
            _ => true,
        }
    }
}

fn remove(record: &mut Value, pointer: &str) {
    let Some((of, name)) = pointer.rsplit_once('/') else {
        return;
    };
    if let Some(object) = record.pointer_mut(of).and_then(Value::as_object_mut) {
        object.remove(name);
    }
}

fn keep(record: &mut Value, names: &[&str]) {
    if let Some(object) = record.as_object_mut() {
        object.retain(|name, _| names.contains(&name.as_str()));
    }
}

fn fill(tokens: &mut Value, value: &Value) {
    match tokens {
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, value)),
        number => *number = value.clone(),
    }
}

/// Applies one [`OddRecord`] and counts its records.
#[derive(Debug, Default)]
pub(super) struct Counter {
    numbers: HashMap<String, u64>,
}

impl Counter {
    pub(super) fn apply(
        &mut self,
        odd: &OddRecord,
        (kind, seen): (Record, Seen),
        role: &str,
        (id, record): (&str, &mut Value),
    ) {
        let elsewhere = odd.seen != Seen::Everywhere && odd.seen != seen;
        let other_part = kind == Record::Part
            && odd
                .part
                .as_deref()
                .is_some_and(|part| record["type"] != part);
        if !odd.what.is_of(kind)
            || (kind != Record::Request && odd.role != role)
            || other_part
            || !odd.what.fits(record)
        {
            return;
        }
        let next = self.numbers.len() as u64 + 1;
        let number = *self.numbers.entry(id.to_owned()).or_insert(next);
        if !elsewhere && odd.which.includes(number) {
            odd.what.alter(record);
        }
    }
}
