//! Text that arrives in pieces, and other things that go down the event streams.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::Turn;
use crate::json_text::quoted;
use crate::script::{Deltas, Garbage, Streamed};
use crate::sessions::Live;
use crate::state::State;

/// Readers may be this many frames behind before a benchmark's deltas wait for them.
const BACKLOG: usize = 8192;

impl Turn {
    pub(super) async fn stream(&mut self, kind: &str, text: &Streamed) {
        let pieces = text.pieces(|piece| self.fill(piece));
        self.begin_live(kind);
        let gate_after = text.gate_after.unwrap_or(pieces.len());
        for (sent, piece) in pieces.iter().enumerate() {
            if let Some(gate) = text.gate.as_deref().filter(|_| sent == gate_after) {
                self.world.pass(gate).await;
            }
            if text.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(text.delay_ms)).await;
            }
            self.delta(piece);
        }
        if let Some(gate) = text.gate.as_deref().filter(|_| gate_after >= pieces.len()) {
            self.world.pass(gate).await;
        }
        if !self.before_tool {
            self.world.update(|state| state.finish_live(&self.session));
        }
    }

    pub(super) async fn deltas(&mut self, deltas: Deltas) {
        self.begin_live("text");
        let mut piece = "x".repeat(deltas.size);
        let every = Duration::from_millis(deltas.every_ms.max(1));
        let mut ticks = tokio::time::interval(every);
        for sent in 0..deltas.count {
            if deltas.every_ms > 0 {
                ticks.tick().await;
            }
            if deltas.stamped {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let mut stamp = format!("{:016}", now.unwrap_or_default().as_micros());
                stamp.truncate(deltas.size);
                piece.replace_range(..stamp.len(), &stamp);
            }
            self.delta(&piece);
            if sent % 64 == 63 {
                tokio::task::yield_now().await;
                self.let_readers_catch_up().await;
            }
        }
        self.world.update(|state| state.finish_live(&self.session));
    }

    /// Waits while a reader is far behind, unless it has stopped reading.
    async fn let_readers_catch_up(&self) {
        let mut backlog = self.world.quietly(|state| state.bus.backlog());
        let mut stuck = 0;
        while backlog > BACKLOG && stuck < 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let now = self.world.quietly(|state| state.bus.backlog());
            stuck = if now < backlog { 0 } else { stuck + 1 };
            backlog = now;
        }
    }

    fn begin_live(&mut self, kind: &str) {
        self.part_of_step();
        let message = self.open();
        self.world.update(|state| {
            let now = state.ids.now();
            let part = json!({
                "id": state.ids.ascending("prt"), "messageID": message, "sessionID": self.session, "type": kind,
                "text": "", "time": {"start": now},
            });
            state.put_part(&self.session, part.clone());
            if let Some(found) = state.sessions.get_mut(&self.session) {
                found.live = Some(Live {
                    part,
                    text: String::new(),
                });
            }
        });
    }

    fn delta(&self, piece: &str) {
        let grows = !self.world.config.dialect.deltas;
        self.world
            .quietly(|state| state.delta(&self.session, piece, grows));
    }

    pub(super) fn raw(&self, bytes: Vec<u8>) {
        self.world
            .update(|state| state.bus.publish_raw(&bytes.into()));
    }
}

pub(crate) fn garbage_frame(garbage: Garbage) -> Vec<u8> {
    match garbage {
        Garbage::MalformedJson => {
            b"data: {\"type\":\"message.part.delta\",\"properties\":{\n\n".to_vec()
        }
        Garbage::InvalidUtf8 => b"data: {\"type\":\"x\",\"text\":\"\xff\xfe\xc3\"}\n\n".to_vec(),
        Garbage::NotAnObject => b"data: [1,2,3]\n\n".to_vec(),
        Garbage::Huge(bytes) => {
            let head = "data: {\"type\":\"message.part.updated\",\"properties\":{\"sessionID\":\"ses_somebodyelse\",\"filler\":\"";
            let tail = "\"}}\n\n";
            let filler = "x".repeat(bytes.saturating_sub(head.len() + tail.len()));
            format!("{head}{filler}{tail}").into_bytes()
        }
    }
}

impl State {
    /// Text for the part that is being streamed.
    pub(crate) fn delta(&mut self, session: &str, piece: &str, grows: bool) {
        let Some(live) = self
            .sessions
            .get_mut(session)
            .and_then(|found| found.live.as_mut())
        else {
            return;
        };
        live.text.push_str(piece);
        if grows {
            let mut part = live.part.clone();
            part["text"] = live.text.as_str().into();
            let at = self.ids.now();
            self.emit(
                session,
                "message.part.updated",
                &json!({"part": part, "time": at}),
            );
            return;
        }
        let (message, part) = (&live.part["messageID"], &live.part["id"]);
        let properties = format!(
            r#"{{"sessionID":"{session}","messageID":{message},"partID":{part},"field":"text","delta":{}}}"#,
            quoted(piece)
        );
        self.emit_text(session, "message.part.delta", properties, Some("assistant"));
    }

    /// Stores and sends the whole of the part that was being streamed.
    pub(crate) fn finish_live(&mut self, session: &str) {
        let now = self.ids.now();
        let Some(live) = self
            .sessions
            .get_mut(session)
            .and_then(|found| found.live.take())
        else {
            return;
        };
        let mut part = live.part;
        part["text"] = live.text.into();
        part["time"]["end"] = now.into();
        self.put_part(session, part);
    }

    /// Events of a session that nobody asked for.
    pub(crate) fn flood(&mut self, directory: &str, events: usize, size: usize) {
        let stranger = self.ids.session();
        let text = "f".repeat(size);
        for _ in 0..events {
            let properties = json!({
                "sessionID": stranger, "messageID": "msg_000000000001flood000000000",
                "partID": "prt_000000000001flood000000000", "field": "text", "delta": text,
            });
            self.emit_directory(directory, "message.part.delta", &properties);
        }
    }
}
