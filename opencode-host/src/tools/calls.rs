//! The calls of one claim of a turn: each runs at most once.
//!
//! OpenCode gives each `tools/call` an id, unique for its client, and sends it again where it thinks that the answer was
//! lost. So a call that came already is not run again: whoever asks for it, while it runs or after, gets its one answer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ready::{Answer, ReadySet};
use super::tool::ToolCall;
use crate::telemetry::Telemetry;

/// The most calls of one turn.
const MOST: usize = 10_000;

/// How many answers are kept, should their calls be made again. Each may have as many bytes as its tool allows.
const KEPT: usize = 8;

/// What tells a call from others: the client that made it, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallKey {
    pub(super) client: Arc<str>,
    pub(super) id: String,
}

/// Whose turn it is, the tools that may be called in it, and the calls so far.
pub(super) struct Calls {
    pub(super) tools: Arc<ReadySet>,
    /// What every call is told.
    of: ToolCall,
    telemetry: Telemetry,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    calls: HashMap<CallKey, Call>,
    /// Those whose answers are kept, the oldest first.
    answered: VecDeque<CallKey>,
}

struct Call {
    /// Of the tool's name and the arguments.
    digest: [u8; 32],
    cancelled: CancellationToken,
    answer: watch::Receiver<Option<Arc<Answer>>>,
}

impl Calls {
    /// The calls of a turn. They are wanted until `of.cancelled` says otherwise.
    pub(super) fn new(tools: Arc<ReadySet>, of: ToolCall, telemetry: Telemetry) -> Self {
        Self {
            tools,
            of,
            telemetry,
            made: Mutex::default(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a call, which is run if it comes for the first time. Goes on where the caller leaves.
    pub(super) async fn answer(
        self: &Arc<Self>,
        key: CallKey,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Arc<Answer> {
        let mut answer = match self.begin(key, tool, arguments) {
            Ok(answer) => answer,
            Err(refused) => return Arc::new(Err(refused.to_owned())),
        };
        let answered = answer.wait_for(Option::is_some).await;
        let answered = answered.ok().and_then(|answered| answered.clone());
        answered.unwrap_or_else(|| Arc::new(Err("the call was cut off".to_owned())))
    }

    /// Begins a call, unless it has begun already.
    fn begin(
        self: &Arc<Self>,
        key: CallKey,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<watch::Receiver<Option<Arc<Answer>>>, &'static str> {
        let digest = digest(tool, &arguments);
        let mut made = self.made();
        if let Some(call) = made.calls.get(&key) {
            if call.digest != digest {
                return Err("another call has this one's id, so it was not run");
            }
            return Ok(call.answer.clone());
        }
        if self.of.cancelled.is_cancelled() {
            return Err("the turn of this call is over, so it was not run");
        }
        if made.calls.len() >= MOST {
            return Err("there were too many calls in this turn, so it was not run");
        }
        let (answered, answer) = watch::channel(None);
        let cancelled = self.of.cancelled.child_token();
        let call = Call {
            digest,
            cancelled: cancelled.clone(),
            answer: answer.clone(),
        };
        made.calls.insert(key.clone(), call);
        drop(made);
        let of = ToolCall {
            id: Uuid::new_v4(),
            cancelled,
            ..self.of.clone()
        };
        let (calls, tool) = (Arc::clone(self), tool.to_owned());
        tokio::spawn(async move {
            let running = calls.tools.call(&tool, arguments, of, &calls.telemetry);
            let answer = Arc::new(running.await);
            answered.send_replace(Some(answer));
            calls.keep(key);
        });
        Ok(answer)
    }

    /// Keeps an answer, and lets go of the oldest where there are many.
    fn keep(&self, key: CallKey) {
        let mut made = self.made();
        made.answered.push_back(key);
        if made.answered.len() <= KEPT {
            return;
        }
        let oldest = made.answered.pop_front();
        if let Some(call) = oldest.and_then(|oldest| made.calls.get_mut(&oldest)) {
            let gone = "this call was made before, and its answer is not kept any more";
            let gone = Arc::new(Err(gone.to_owned()));
            call.answer = watch::channel(Some(gone)).1;
        }
    }

    /// OpenCode waits for a call no more.
    pub(super) fn give_up(&self, key: &CallKey) {
        if let Some(call) = self.made().calls.get(key) {
            call.cancelled.cancel();
        }
    }

    /// No call is wanted any more.
    pub(super) fn stop(&self) {
        self.of.cancelled.cancel();
    }
}

fn digest(tool: &str, arguments: &Map<String, Value>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(tool);
    digest.update([0]);
    digest.update(Value::Object(arguments.clone()).to_string());
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use tokio::sync::mpsc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{ConversationId, TurnId};
    use crate::store::{Conversation, Metadata, Tenant};
    use crate::tools::{Tool, ToolSet};

    #[derive(serde::Deserialize, JsonSchema)]
    struct Number {
        number: u64,
    }

    fn call_of_nobody() -> ToolCall {
        let id = ConversationId::from_uuid(Uuid::nil());
        ToolCall {
            conversation: Conversation::new(id, &Tenant::default(), "test", Timestamp(0)),
            turn: TurnId::from_uuid(Uuid::nil()),
            metadata: Metadata::default(),
            id: Uuid::nil(),
            cancelled: CancellationToken::new(),
        }
    }

    /// A tool that returns the id of its call, and tells the number it was called with.
    fn calls() -> (Arc<Calls>, mpsc::UnboundedReceiver<u64>) {
        let (tell, told) = mpsc::unbounded_channel();
        let count = Tool::new(
            "count",
            "Counts.",
            async move |args: Number, call: ToolCall| {
                tell.send(args.number)?;
                Ok(call.id.to_string())
            },
        );
        let ready = ReadySet::of(ToolSet::new().tool(count)).unwrap().unwrap();
        let calls = Calls::new(Arc::new(ready), call_of_nobody(), Telemetry::default());
        (Arc::new(calls), told)
    }

    fn key(client: &str, id: u64) -> CallKey {
        CallKey {
            client: client.into(),
            id: id.to_string(),
        }
    }

    async fn answer(calls: &Arc<Calls>, key: CallKey, number: u64) -> Answer {
        let arguments = serde_json::json!({"number": number});
        let Value::Object(arguments) = arguments else {
            unreachable!()
        };
        let answering = calls.answer(key, "count", arguments);
        Answer::clone(&*answering.await)
    }

    fn all(told: &mut mpsc::UnboundedReceiver<u64>) -> Vec<u64> {
        std::iter::from_fn(|| told.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn a_call_is_the_same_by_its_client_and_its_id() {
        let (calls, mut told) = calls();
        let first = answer(&calls, key("a", 1), 7).await;
        assert!(first.is_ok());
        assert_eq!(answer(&calls, key("a", 1), 7).await, first);
        assert_ne!(answer(&calls, key("a", 2), 7).await, first);
        assert_ne!(answer(&calls, key("b", 1), 7).await, first);
        assert_eq!(all(&mut told), [7, 7, 7]);
        let other = answer(&calls, key("a", 1), 8).await.unwrap_err();
        assert!(other.contains("another call has this one's id"), "{other}");
        assert!(all(&mut told).is_empty());
    }

    #[tokio::test]
    async fn a_call_whose_answer_is_not_kept_any_more_is_not_run_again() {
        let (calls, mut told) = calls();
        let count = KEPT as u64 + 1;
        for id in 0..count {
            answer(&calls, key("a", id), id).await.unwrap();
        }
        assert_eq!(all(&mut told).len(), KEPT + 1);
        let kept = async |id| answer(&calls, key("a", id), id).await;
        let gone = kept(0).await.unwrap_err();
        assert!(gone.contains("is not kept any more"), "{gone}");
        for id in 1..count {
            kept(id).await.unwrap();
        }
        assert!(all(&mut told).is_empty());
    }

    #[tokio::test]
    async fn behind_the_end_of_its_turn_nothing_runs() {
        let (calls, mut told) = calls();
        let before = answer(&calls, key("a", 1), 7).await;
        calls.stop();
        assert_eq!(answer(&calls, key("a", 1), 7).await, before);
        let late = answer(&calls, key("a", 2), 7).await.unwrap_err();
        assert!(late.contains("is over"), "{late}");
        assert_eq!(all(&mut told), [7]);
    }

    #[tokio::test]
    async fn a_turn_makes_so_many_calls_and_no_more() {
        let (calls, _told) = calls();
        let (_, answered) = watch::channel(None);
        for id in 0..MOST as u64 {
            let call = Call {
                digest: [0; 32],
                cancelled: CancellationToken::new(),
                answer: answered.clone(),
            };
            calls.made().calls.insert(key("a", id), call);
        }
        let many = answer(&calls, key("b", 0), 7).await.unwrap_err();
        assert!(many.contains("too many calls"), "{many}");
    }
}
