//! Events as they stand on the wire.

use serde_json::Value;

pub(super) const CONNECTED: &[u8] =
    b"data: {\"payload\":{\"id\":\"evt_0\",\"type\":\"server.connected\",\"properties\":{}}}\n\n";

/// One event of a folder, its fields in the order that a real server has them in.
pub(super) fn event(directory: &str, kind: &str, properties: &str, into: &mut Vec<u8>) {
    let directory = Value::from(directory);
    let whole = format!(
        "data: {{\"directory\":{directory},\"project\":\"global\",\"payload\":{{\"id\":\"evt_202c86137002\",\
         \"type\":\"{kind}\",\"properties\":{properties}}}}}\n\n"
    );
    into.extend_from_slice(whole.as_bytes());
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
    let properties = format!(
        "{{\"sessionID\":\"{session}\",\"messageID\":{message},\"partID\":{part},\"field\":\"text\",\
         \"delta\":\"{WORDS}\"}}",
        message = Value::from(message),
        part = Value::from(part),
    );
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
