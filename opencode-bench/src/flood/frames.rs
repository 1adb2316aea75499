//! Events as they stand on the wire.

use serde_json::{Value, json};

pub(super) const CONNECTED: &[u8] =
    b"data: {\"payload\":{\"id\":\"evt_0\",\"type\":\"server.connected\",\"properties\":{}}}\n\n";

/// One event of a folder.
pub(super) fn event(directory: &str, kind: &str, properties: &Value, into: &mut Vec<u8>) {
    let payload = json!({"id": "evt_0", "type": kind, "properties": properties});
    let whole = json!({"directory": directory, "project": "global", "payload": payload});
    into.extend_from_slice(b"data: ");
    into.extend_from_slice(whole.to_string().as_bytes());
    into.extend_from_slice(b"\n\n");
}

/// The frame of a delta in two halves: between them stand its words, which need no escaping.
pub(super) fn delta(
    directory: &str,
    session: &str,
    message: &str,
    part: &str,
) -> (Vec<u8>, Vec<u8>) {
    const WORDS: &str = "0123456789abcdef";
    let mut frame = Vec::new();
    let properties = json!({
        "sessionID": session, "messageID": message, "partID": part, "field": "text", "delta": WORDS,
    });
    event(directory, "message.part.delta", &properties, &mut frame);
    let text = String::from_utf8_lossy(&frame).into_owned();
    match text.split_once(WORDS) {
        Some((before, after)) => (before.as_bytes().to_vec(), after.as_bytes().to_vec()),
        None => (frame, Vec::new()),
    }
}

/// The words of a delta that was made at this microsecond.
pub(super) fn words(made_us: u64, bytes: u64, into: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a vector does not fail.
    let _written = write!(into, "{made_us:016}");
    let filling = usize::try_from(bytes.saturating_sub(16)).unwrap_or(0);
    into.extend(b" word".iter().cycle().take(filling));
}
