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
