//! What has come and was not read yet, bounded in bytes.
//!
//! What finds no room is left out. Whoever reads sees then that something is missing, and asks for the whole.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::frames::Piece;
use crate::id::TurnId;
use crate::live::bus::{LiveMessage, MAX_LIVE_MESSAGE, MessagePlace, Read};

/// The most bytes of text that are kept.
const MOST: usize = 64 << 20;

/// The most bytes that one call reads, but for the last message.
const MOST_READ: usize = 16 << 20;

/// What a message takes beside its text.
const MESSAGE: usize = 128;

/// A turn that was not read for so long is followed no more. Nodes look twice a second.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// What has come.
#[derive(Debug, Default)]
pub(super) struct Received {
    turns: HashMap<TurnId, OfTurn>,
    bytes: usize,
}

#[derive(Debug)]
struct OfTurn {
    messages: BTreeMap<MessagePlace, LiveMessage>,
    /// One that has not come in full.
    partial: Option<Partial>,
    read: Instant,
    arrived: Instant,
}

#[derive(Debug)]
struct Partial {
    place: MessagePlace,
    text: Vec<u8>,
}

impl Received {
    /// Takes a piece. Answers whether there is something to be read.
    pub(super) fn take(&mut self, piece: Piece<'_>, now: Instant) -> bool {
        let Piece { turn, place, .. } = piece;
        let is_too_large = piece.total > MAX_LIVE_MESSAGE;
        if is_too_large && piece.offset > 0 {
            return false;
        }
        let size = if is_too_large { 0 } else { piece.bytes.len() } + MESSAGE;
        if self.bytes + size > MOST {
            self.forget(|of| now < of.read + FORGOTTEN);
            if self.bytes + size > MOST {
                return false;
            }
        }
        let of = self.turns.entry(turn).or_insert_with(|| OfTurn::new(now));
        of.arrived = now;
        let before = of.size();
        let has_come = if is_too_large {
            of.partial = None;
            let message = LiveMessage::too_large(turn, place, piece.total);
            of.messages.insert(place, message);
            true
        } else {
            of.take(turn, piece)
        };
        self.bytes = self.bytes + of.size() - before;
        has_come
    }

    /// The messages behind what was read, which are not kept from then on.
    pub(super) fn read(&mut self, turns: &[Read], now: Instant) -> Vec<LiveMessage> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for Read { turn, after } in turns {
            let Some(of) = self.turns.get_mut(turn) else {
                continue;
            };
            let before = of.size();
            of.read = now;
            of.messages = of.messages.split_off(after);
            of.messages.remove(after);
            self.bytes = self.bytes + of.size() - before;
            for message in of.messages.values() {
                if bytes >= MOST_READ {
                    return found;
                }
                bytes += message.size();
                found.push(message.clone());
            }
            if of.messages.is_empty() && of.partial.is_none() {
                self.turns.remove(turn);
            }
        }
        found
    }

    /// Forgets the turns of which nothing has come for so long.
    pub(super) fn sweep(&mut self, age: Duration, now: Instant) {
        self.forget(|of| now < of.arrived + age);
    }

    fn forget(&mut self, keep: impl Fn(&OfTurn) -> bool) {
        self.turns.retain(|_, of| keep(of));
        self.bytes = self.turns.values().map(OfTurn::size).sum();
    }
}

impl OfTurn {
    fn new(now: Instant) -> Self {
        Self {
            messages: BTreeMap::new(),
            partial: None,
            read: now,
            arrived: now,
        }
    }

    fn size(&self) -> usize {
        let messages: usize = self.messages.values().map(LiveMessage::size).sum();
        let partial = self.partial.as_ref().map_or(0, |of| of.text.len());
        messages + partial + self.messages.len() * MESSAGE
    }

    /// Answers whether a message is there in full.
    fn take(&mut self, turn: TurnId, piece: Piece<'_>) -> bool {
        let place = piece.place;
        let known = self.partial.take().filter(|known| known.place == place);
        let mut text = match (piece.offset, known) {
            (0, _) => Vec::with_capacity(piece.bytes.len()),
            (offset, Some(known)) if known.text.len() == offset => known.text,
            // A piece was lost.
            _ => return false,
        };
        text.extend_from_slice(piece.bytes);
        if text.len() < piece.total {
            self.partial = Some(Partial { place, text });
            return false;
        }
        // Bytes that are no text are passed over.
        let Ok(text) = String::from_utf8(text) else {
            return false;
        };
        self.messages
            .insert(place, LiveMessage::new(turn, place, text));
        true
    }
}
