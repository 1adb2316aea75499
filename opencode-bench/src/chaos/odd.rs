//! What the server says oddly for a while: nothing of it may change how a turn ends.

use opencode_impostor::{Fault, List, OddRecord, Oddity, Record, raw_json};
use serde_json::{Value, json};

use crate::dice::Dice;

/// One of many.
pub(crate) fn oddity(dice: &mut Dice) -> Fault {
    let odd = |what| Fault::Odd(OddRecord::new(what));
    let stray = |among, record| Fault::Stray { among, record };
    let without = |of, at: &str| {
        OddRecord::new(Oddity::Without {
            of,
            at: at.to_owned(),
        })
    };
    match dice.below(14) {
        0 => odd(Oddity::MessageWithoutSession),
        1 => odd(Oddity::PartWithoutSession),
        2 => odd(Oddity::PartWithoutId),
        3 => Fault::Odd(OddRecord::new(Oddity::PartWithoutType).part("step-start")),
        4 => Fault::Odd(OddRecord::new(Oddity::NullInfo).in_events()),
        5 => odd(Oddity::BareTokens),
        6 => odd(Oddity::Tokens(Value::Null)),
        7 => odd(Oddity::Tokens(json!(50.5))),
        8 => odd(Oddity::Cost(raw_json("1e999"))),
        9 => Fault::Odd(without(Record::Part, "/messageID").in_lists()),
        10 => Fault::Odd(without(Record::Message, "/role")),
        11 => stray(*dice.of(&[List::Messages, List::Parts]), Value::Null),
        12 => stray(*dice.of(&[List::Sessions, List::Requests]), json!({})),
        _ => Fault::RepeatMessages,
    }
}
