//! What nodes send each other over NATS: pieces of messages, as many as a payload holds, and who watches what.
//!
//! A payload of NATS is limited, to 1 MiB where its server says nothing else; a message may be larger. So each piece
//! says which message it is of, where in it, and how large the whole is.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::id::TurnId;
use crate::live::bus::{Interest, LiveMessage, MessagePlace, NodeId};

/// The most bytes that the line before a piece, or a line of what is watched, takes.
const LINE: usize = 192;

/// The smallest payload that is worth it.
pub(super) const SMALLEST: usize = 4 * LINE;

/// A piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) turn: TurnId,
    pub(super) place: MessagePlace,
    /// Where in the message's text it begins.
    pub(super) offset: usize,
    /// How long the text is.
    pub(super) total: usize,
    pub(super) bytes: &'a [u8],
}

/// The messages as payloads of at most `limit` bytes, which is not less than [`SMALLEST`].
pub(super) fn pack<'a>(
    messages: impl IntoIterator<Item = &'a LiveMessage>,
    limit: usize,
) -> Vec<Bytes> {
    let (mut payloads, mut payload) = (Vec::new(), Vec::new());
    for message in messages {
        let Ok(text) = message.text() else { continue };
        let (place, text) = (message.place(), text.as_bytes());
        let mut offset = 0;
        loop {
            if payload.len() + 2 * LINE > limit {
                payloads.push(Bytes::from(std::mem::take(&mut payload)));
            }
            let room = limit - payload.len() - LINE;
            let end = text.len().min(offset + room);
            let line = format!(
                "{} {} {} {offset} {} {}\n",
                message.turn,
                place.generation,
                place.number,
                text.len(),
                end - offset
            );
            payload.extend_from_slice(line.as_bytes());
            payload.extend_from_slice(&text[offset..end]);
            offset = end;
            if offset == text.len() {
                break;
            }
        }
    }
    if !payload.is_empty() {
        payloads.push(Bytes::from(payload));
    }
    payloads
}

/// The pieces in a payload; `None` where it is none of a node's.
pub(super) fn unpack(mut payload: &[u8]) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    while !payload.is_empty() {
        let (line, rest) = payload.split_at(payload.iter().position(|byte| *byte == b'\n')?);
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split(' ');
        let turn = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let place = MessagePlace {
            generation: number()?,
            number: number()?,
        };
        let mut size = || usize::try_from(number()?).ok();
        let (offset, total, length) = (size()?, size()?, size()?);
        let (bytes, rest) = rest[1..].split_at_checked(length)?;
        if offset.checked_add(length)? > total {
            return None;
        }
        pieces.push(Piece {
            turn,
            place,
            offset,
            total,
            bytes,
        });
        payload = rest;
    }
    Some(pieces)
}

/// That a node watches turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) node: NodeId,
    /// Where its messages go.
    pub(super) inbox: Uuid,
    pub(super) length: Duration,
    pub(super) interests: Vec<Interest>,
}

impl Said {
    /// As payloads of at most `limit` bytes.
    pub(super) fn pack(&self, limit: usize) -> Vec<Bytes> {
        let most = (limit / LINE).saturating_sub(1).max(1);
        let payload = |interests: &[Interest]| {
            let Self { node, inbox, .. } = self;
            let mut text = format!("{node} {inbox} {}\n", self.length.as_millis());
            for Interest { turn, asked } in interests {
                let _ = writeln!(text, "{turn} {asked}");
            }
            Bytes::from(text)
        };
        self.interests.chunks(most).map(payload).collect()
    }

    /// Reads a payload; `None` where it is none of a node's.
    pub(super) fn unpack(payload: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(payload).ok()?.lines();
        let mut words = lines.next()?.split(' ');
        let (node, inbox) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let length = Duration::from_millis(words.next()?.parse().ok()?);
        let interest = |line: &str| {
            let (turn, asked) = line.split_once(' ')?;
            Some(Interest {
                turn: turn.parse().ok()?,
                asked: asked.parse().ok()?,
            })
        };
        Some(Self {
            node,
            inbox,
            length,
            interests: lines.map(interest).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(number: u64, text: &str) -> LiveMessage {
        let place = MessagePlace {
            generation: 3,
            number,
        };
        LiveMessage::new(
            TurnId::from_uuid(Uuid::from_u128(7)),
            place,
            text.to_owned(),
        )
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            texts in prop::collection::vec(".{0,2000}", 0..8),
            limit in SMALLEST..5000,
        ) {
            let messages: Vec<_> = (1..).zip(&texts).map(|(number, text)| message(number, text)).collect();
            let payloads = pack(&messages, limit);
            let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
            for payload in &payloads {
                prop_assert!(payload.len() <= limit);
                for piece in unpack(payload).unwrap() {
                    if piece.offset == 0 {
                        found.push((piece.place.number, Vec::new()));
                    }
                    let (number, text) = found.last_mut().unwrap();
                    prop_assert_eq!((*number, text.len()), (piece.place.number, piece.offset));
                    text.extend_from_slice(piece.bytes);
                }
            }
            let sent: Vec<_> = (1..).zip(texts.into_iter().map(String::into_bytes)).collect();
            prop_assert_eq!(found, sent);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..200) {
            let _ = (unpack(&bytes), Said::unpack(&bytes));
            let packed = pack(&[message(1, "some words")], SMALLEST);
            let cut = &packed[0][..cut.min(packed[0].len())];
            let _ = (unpack(cut), Said::unpack(cut));
        }
    }

    #[test]
    fn who_watches_comes_out_as_it_went_in() {
        let interest = |number| Interest {
            turn: TurnId::from_uuid(Uuid::from_u128(number)),
            asked: u64::MAX,
        };
        let said = Said {
            node: NodeId::random(),
            inbox: Uuid::new_v4(),
            length: Duration::from_secs(30),
            interests: (0..100).map(interest).collect(),
        };
        let payloads = said.pack(SMALLEST);
        assert!(payloads.iter().all(|payload| payload.len() <= SMALLEST));
        let read: Vec<_> = payloads
            .iter()
            .map(|payload| Said::unpack(payload).unwrap())
            .collect();
        assert!(read.len() > 1);
        let found: Vec<_> = read
            .iter()
            .flat_map(|said| said.interests.clone())
            .collect();
        assert_eq!(found, said.interests);
        let heads = read.iter().map(|read| (read.node, read.inbox, read.length));
        assert!(
            heads
                .into_iter()
                .all(|head| head == (said.node, said.inbox, said.length))
        );
    }
}
