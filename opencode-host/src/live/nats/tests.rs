//! What is read of addresses and credentials, and what is kept of what comes.

use super::frames::Piece;
use super::*;
use crate::live::bus::{MAX_LIVE_MESSAGE, MessagePlace};

fn read(url: &str) -> Result<(Vec<String>, Option<String>, String), String> {
    let read = addresses(url).map_err(|error| error.to_string())?;
    Ok((read.urls, read.credentials, read.place))
}

#[test]
fn addresses_are_told_without_their_credentials() {
    let (urls, credentials, place) =
        read("nats://us%40er:p+%3Aw@one:4222/, tls://two:4333").unwrap();
    assert_eq!(urls, ["nats://one:4222", "tls://two:4333"]);
    assert_eq!(credentials.as_deref(), Some("us@er:p+:w"));
    assert_eq!(place, "one:4222, two:4333");
    assert_eq!(
        read("nats://token@one").unwrap().1.as_deref(),
        Some("token")
    );
    assert_eq!(read("nats://one").unwrap().1, None);
    for wrong in [
        "",
        "one:4222",
        "http://one",
        "nats://s3cret@one/path",
        "s3cret@",
        "nats://",
    ] {
        let error = read(wrong).unwrap_err();
        assert!(error.contains("nats://HOST:PORT"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn credentials_that_are_none_are_an_error_that_does_not_tell_them() {
    for wrong in ["", "two\nlines", "-----BEGIN NATS USER JWT-----\nhush"] {
        let bus = NatsBus::builder("nats://127.0.0.1:1").credentials(wrong);
        let error = bus.connect().await.unwrap_err();
        assert!(matches!(error, NatsError::Credentials(_)), "{error:?}");
        assert!(!error.to_string().contains("hush"));
    }
}

fn piece(turn: u128, number: u64, (offset, total): (usize, usize), bytes: &[u8]) -> Piece<'_> {
    Piece {
        turn: TurnId::from_uuid(Uuid::from_u128(turn)),
        place: MessagePlace {
            generation: 1,
            number,
        },
        offset,
        total,
        bytes,
    }
}

fn all(turn: u128) -> [Read; 1] {
    [Read {
        turn: TurnId::from_uuid(Uuid::from_u128(turn)),
        after: MessagePlace::default(),
    }]
}

fn texts(found: &[LiveMessage]) -> Vec<Result<&str, usize>> {
    found.iter().map(LiveMessage::text).collect()
}

#[test]
fn a_message_that_lost_a_piece_is_left_out_and_a_large_one_is_not_kept() {
    let (mut received, now) = (Received::default(), Instant::now());
    assert!(!received.take(piece(1, 1, (0, 6), b"abc"), now));
    assert!(received.take(piece(1, 1, (3, 6), b"def"), now));
    assert!(!received.take(piece(1, 2, (0, 9), b"abc"), now));
    assert!(!received.take(piece(1, 2, (6, 9), b"ghi"), now));
    assert!(!received.take(piece(1, 3, (0, 2), b"\xff\xfe"), now));
    assert!(received.take(piece(1, 4, (0, 10 << 20), b"x"), now));
    assert!(!received.take(piece(1, 4, (1, 10 << 20), b"x"), now));
    assert!(received.take(piece(1, 5, (0, 0), b""), now));
    let found = received.read(&all(1), now);
    assert_eq!(texts(&found), [Ok("abcdef"), Err(10 << 20), Ok("")]);
    assert_eq!(received.read(&all(2), now), []);
}

/// Turns that are read get their room back from those that are not.
#[test]
fn what_is_kept_is_bounded_and_what_is_read_goes_on() {
    let (mut received, now) = (Received::default(), Instant::now());
    let text = vec![b'x'; MAX_LIVE_MESSAGE];
    let of = |turn, number| piece(turn, number, (0, MAX_LIVE_MESSAGE), &text);
    let kept = (1..=100).filter(|number| received.take(of(1, *number), now));
    assert_eq!(kept.count(), 15);
    assert!(!received.take(of(2, 1), now));
    // A call reads some; what was read is gone with the next.
    let found = received.read(&all(1), now);
    assert_eq!(found.len(), 4);
    let after = [Read {
        after: found[3].place(),
        ..all(1)[0]
    }];
    assert_eq!(received.read(&after, now)[0].place().number, 5);
    assert!(received.take(of(2, 1), now));
    // Nobody reads the first one any more.
    let later = now + Duration::from_secs(6);
    received.read(&all(2), later);
    let kept = (2..=100).filter(|number| received.take(of(2, *number), later));
    assert_eq!(kept.count(), 14);
    assert_eq!(received.read(&all(1), later), []);
    received.sweep(KEPT, later + KEPT);
    assert_eq!(received.read(&all(2), later), []);
}

#[test]
fn what_is_said_holds_for_a_time_and_is_said_again_where_it_came_from() {
    let (mut interests, now) = (Interests::default(), Instant::now());
    let (here, there, inbox) = (NodeId::random(), NodeId::random(), Uuid::new_v4());
    let turn = TurnId::from_uuid(Uuid::from_u128(1));
    let said = |node, asked, inbox, seconds| Said {
        node,
        inbox,
        length: Duration::from_secs(seconds),
        interests: vec![Interest { turn, asked }],
    };
    interests.hear(&said(there, 1, inbox, 30), now);
    interests.hear(&said(there, 2, inbox, 10_000_000), now);
    interests.hear(&said(here, 1, Uuid::new_v4(), 30), now);
    let asked = |found: Vec<(NodeId, Interest)>| -> Vec<u64> {
        found.iter().map(|(_, interest)| interest.asked).collect()
    };
    assert_eq!(asked(interests.watched(here, &[turn], now)), [2]);
    assert_eq!(interests.inboxes(turn, now).len(), 2);
    assert_eq!(interests.of_inbox(inbox, now), [said(there, 2, inbox, 600)]);
    let later = now + Duration::from_secs(30);
    assert_eq!(interests.inboxes(turn, later).len(), 1);
    interests.sweep(now + Duration::from_secs(600));
    assert!(interests.watched(here, &[turn], now).is_empty());
}
