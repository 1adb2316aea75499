//! One prompt being answered: model steps, each an assistant message of its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::json_text::text_of;
use crate::script::{Deltas, ProviderError, Retry, Step, Streamed};
use crate::sessions::no_tokens;
use crate::standard;
use crate::state::{State, World};
use crate::tools;

mod streaming;
mod subtask;

pub(crate) use streaming::garbage_frame;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The model stopped.
    Done,
    /// A rejected question stopped the loop.
    Stopped,
    /// An error ended it, and idle was sent.
    Failed,
    /// The client aborted it.
    Aborted,
    /// A tape was played; it said all there is to say.
    Replayed,
}

/// A turn under way.
pub(crate) struct Turn {
    pub(crate) world: Arc<World>,
    pub(crate) session: String,
    pub(crate) directory: String,
    user: String,
    prompt: String,
    /// The open assistant message.
    message: Option<String>,
    /// Whether it has its step-start.
    stepped: bool,
    after_tool: bool,
    /// The step that comes next is a tool.
    before_tool: bool,
    steps_done: usize,
    calls: usize,
    /// How messages with tool calls finish; `None`: not at all.
    tools_finish: Option<String>,
    first_of_session: bool,
}

/// Answers one user message. The caller sends the idle that follows.
pub(crate) async fn answer(
    world: &Arc<World>,
    session: &str,
    user: &str,
    first_of_session: bool,
) -> End {
    let steps = world.update(|state| {
        state.ledger.model_run(user);
        let prompt = prompt_text(state, session, user);
        state
            .script
            .answer(&prompt)
            .unwrap_or_else(|| standard::friendly(&prompt))
    });
    let Some(mut turn) = Turn::new(world, session, user, first_of_session) else {
        return End::Failed;
    };
    turn.run(steps).await
}

fn prompt_text(state: &State, session: &str, user: &str) -> String {
    state
        .sessions
        .get(session)
        .and_then(|found| found.message(user))
        .map(|message| text_of(&message.parts))
        .unwrap_or_default()
}

impl Turn {
    pub(crate) fn new(
        world: &Arc<World>,
        session: &str,
        user: &str,
        first_of_session: bool,
    ) -> Option<Self> {
        world.quietly(|state| {
            Some(Self {
                world: world.clone(),
                session: session.to_owned(),
                directory: state.sessions.get(session)?.directory.clone(),
                user: user.to_owned(),
                prompt: prompt_text(state, session, user),
                message: None,
                stepped: false,
                after_tool: false,
                before_tool: false,
                steps_done: 0,
                calls: 0,
                tools_finish: Some("tool-calls".into()),
                first_of_session,
            })
        })
    }

    /// Does the steps, and closes what they left open.
    pub(crate) async fn run(&mut self, steps: Vec<Step>) -> End {
        self.world.update(|state| {
            state.set_status(&self.session, Some(json!({"type": "busy"})));
        });
        let mut steps = steps.into_iter().peekable();
        while let Some(step) = steps.next() {
            self.before_tool = steps.peek().is_some_and(Step::is_tool);
            if let Some(end) = self.step(step).await {
                return end;
            }
            tokio::task::yield_now().await;
        }
        // After a tool the real loop asks the model once more.
        if self.message.is_some() || self.steps_done == 0 {
            self.part_of_step();
            self.close(Some("stop"));
        }
        End::Done
    }

    /// Does one step; `Some` when the turn is over.
    async fn step(&mut self, step: Step) -> Option<End> {
        if step.is_tool() {
            return self.tool_step(step).await;
        }
        match step {
            Step::Text(text) => self.stream("text", &text).await,
            Step::Reasoning(text) => self.stream("reasoning", &text).await,
            Step::Echo => {
                let text = Streamed::new(self.prompt.clone());
                self.stream("text", &text).await;
            }
            Step::Deltas(deltas) => self.deltas(deltas).await,
            Step::Empty => self.part_of_step(),
            Step::Finish(reason) => {
                if self.message.is_none() {
                    self.part_of_step();
                }
                self.close(Some(&reason));
            }
            Step::ToolsFinish(word) => self.tools_finish = word,
            Step::NewMessage => self.close_tools(),
            Step::Gate(gate) => self.world.pass(&gate).await,
            Step::Sleep(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::RawEvent(event) => self
                .world
                .update(|state| state.emit(&self.session, &event.kind, &event.properties)),
            Step::RawFrame(text) => self.raw(text.into_bytes()),
            Step::Garbage(garbage) => self.raw(garbage_frame(garbage)),
            Step::Flood(flood) => self
                .world
                .update(|state| state.flood(&self.directory, flood.events, flood.size)),
            Step::DropStreams(path) => {
                self.world.update(|state| state.bus.cut(path.as_deref()));
            }
            Step::ProviderError(error) => {
                self.provider_error(&error);
                return Some(End::Failed);
            }
            Step::Retry(retry) => self.retry(&retry).await,
            Step::Hang => {
                self.open();
                std::future::pending::<()>().await;
            }
            Step::Loop(text) => loop {
                self.stream("text", &text).await;
                self.close(Some("stop"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            },
            Step::Endless(size) => {
                self.deltas(Deltas {
                    count: usize::MAX,
                    size,
                    ..Deltas::default()
                })
                .await;
            }
            Step::BreakHistory => self.world.update(|state| {
                if let Some(found) = state.sessions.get_mut(&self.session) {
                    found.broken = true;
                }
            }),
            Step::Kill => {
                self.world.life().cancel();
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        None
    }

    async fn tool_step(&mut self, step: Step) -> Option<End> {
        let steps = match step {
            Step::Parallel(steps) => steps,
            step => vec![step],
        };
        self.part_of_step();
        // Tools of one message overlap, and the text before them is whole only once they run.
        let mut calls = Vec::new();
        for step in steps {
            self.calls += 1;
            let message = self.open();
            let mut call = tools::Call::new(
                self.world.clone(),
                &self.session,
                &self.directory,
                message,
                self.calls,
            );
            tools::begin(&mut call, &step);
            calls.push((call, step));
        }
        self.world.update(|state| state.finish_live(&self.session));
        for (call, step) in calls {
            let mut call = call;
            let verdict = match step {
                Step::Subtask(subtask) => {
                    // Boxed, because a sub-agent runs steps of its own.
                    Box::pin(self.delegate(&mut call, subtask)).await;
                    tools::Verdict::GoOn
                }
                Step::Mcp(mut asked) => {
                    self.fill_in(&mut asked.input);
                    tools::finish(call, Step::Mcp(asked)).await
                }
                step => tools::finish(call, step).await,
            };
            if verdict == tools::Verdict::Stop {
                self.close_tools();
                return Some(End::Stopped);
            }
        }
        self.after_tool = true;
        None
    }

    /// The id of the open assistant message; opens one when there is none.
    pub(crate) fn open(&mut self) -> String {
        if self.after_tool {
            self.close_tools();
        }
        if let Some(message) = &self.message {
            return message.clone();
        }
        let message = self.world.update(|state| {
            let id = state.ids.ascending("msg");
            let info = self.assistant_info(state, &id);
            if self.steps_done > 0 {
                state.set_status(&self.session, Some(json!({"type": "busy"})));
            }
            state.put_message(&self.session, info);
            summarize(state, &self.session, &self.user);
            state.set_status(&self.session, Some(json!({"type": "busy"})));
            if self.steps_done == 0 {
                self.name_session(state);
            }
            id
        });
        self.message = Some(message.clone());
        self.stepped = false;
        message
    }

    /// A session without a title of its own gets one from its first prompt.
    fn name_session(&self, state: &mut State) {
        let Some(found) = state.sessions.get_mut(&self.session) else {
            return;
        };
        let unnamed = found.info["title"]
            .as_str()
            .is_some_and(|title| title.starts_with("New session - "));
        if self.first_of_session && unnamed && found.parent.is_none() {
            let title: String = self.prompt.chars().take(50).collect();
            found.info.insert("title".into(), title.into());
            state.touch_session(&self.session);
        }
    }

    fn assistant_info(&self, state: &State, id: &str) -> Value {
        let user = state
            .sessions
            .get(&self.session)
            .and_then(|found| found.message(&self.user))
            .map(|message| message.info.clone())
            .unwrap_or_default();
        let mut info = json!({
            "id": id, "parentID": self.user, "role": "assistant", "mode": user["agent"], "agent": user["agent"],
            "path": {"cwd": self.directory, "root": "/"}, "cost": 0, "tokens": no_tokens(),
            "modelID": user["model"]["modelID"], "providerID": user["model"]["providerID"],
            "time": {"created": state.ids.now()}, "sessionID": self.session,
        });
        if let Some(variant) = user["model"].get("variant") {
            info["variant"] = variant.clone();
        }
        info
    }

    /// Makes sure that a model step is open which may take another part.
    fn part_of_step(&mut self) {
        let message = self.open();
        if !self.stepped {
            self.stepped = true;
            self.world.update(|state| {
                let id = state.ids.ascending("prt");
                let part = json!({
                    "id": id, "messageID": message, "sessionID": self.session, "type": "step-start",
                });
                state.put_part(&self.session, part);
            });
        }
    }

    /// Ends an assistant message that called tools.
    fn close_tools(&mut self) {
        let word = self.tools_finish.clone();
        self.close(word.as_deref());
    }

    /// Ends the open assistant message.
    fn close(&mut self, reason: Option<&str>) {
        self.after_tool = false;
        let Some(message) = self.message.take() else {
            return;
        };
        self.steps_done += 1;
        let config = &self.world.config;
        self.world.update(|state| {
            state.finish_live(&self.session);
            let (input, output) = (config.input_tokens, config.output_tokens);
            let tokens = json!({
                "total": input + output, "input": input, "output": output, "reasoning": 0,
                "cache": {"write": 0, "read": 0},
            });
            let id = state.ids.ascending("prt");
            let mut part = json!({
                "id": id, "messageID": message, "sessionID": self.session, "type": "step-finish", "tokens": tokens,
                "cost": config.cost,
            });
            if let Some(reason) = reason {
                part["reason"] = reason.into();
            }
            state.put_part(&self.session, part);
            let now = state.ids.now();
            let Some(found) = state.sessions.get_mut(&self.session) else {
                return;
            };
            add_usage(&mut found.info, config.cost, input, output);
            let Some(mut info) = found.message(&message).map(|found| found.info.clone()) else {
                return;
            };
            info["cost"] = config.cost.into();
            info["tokens"] = tokens;
            info["time"]["completed"] = now.into();
            if let Some(reason) = reason {
                info["finish"] = reason.into();
            }
            // The real server sends the finished message twice.
            state.put_message(&self.session, info.clone());
            state.put_message(&self.session, info);
        });
    }

    fn fill(&self, text: &str) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        text.replace("{{prompt}}", &self.prompt)
            .replace("{{directory}}", &self.directory)
            .replace("{{session}}", &self.session)
    }

    /// The same for each text in arguments.
    fn fill_in(&self, input: &mut Value) {
        match input {
            Value::String(text) => *text = self.fill(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.fill_in(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.fill_in(value)),
            _ => {}
        }
    }

    fn provider_error(&mut self, error: &ProviderError) {
        self.open();
        let mut data = json!({"message": error.message, "isRetryable": false});
        if let Some(status) = error.status_code {
            data["statusCode"] = status.into();
        }
        if let Some(url) = &error.url {
            data["metadata"] = json!({"url": url});
        }
        let error = json!({"name": error.name, "data": data});
        self.world.update(|state| {
            state.emit(&self.session, "session.error", &json!({"error": error}));
            state.set_status(&self.session, None);
            close_with_error(state, &self.session, &error);
            state.set_status(&self.session, None);
        });
    }

    async fn retry(&mut self, retry: &Retry) {
        self.open();
        for attempt in 1..=retry.attempts {
            self.world.update(|state| {
                let next = state.ids.now() + retry.next_ms;
                let mut status = json!({
                    "type": "retry", "attempt": attempt, "message": retry.message, "next": next,
                });
                if let Some(action) = &retry.action {
                    status["action"] = action.clone();
                }
                state.set_status(&self.session, Some(status));
            });
            tokio::time::sleep(Duration::from_millis(retry.next_ms)).await;
        }
        self.world.update(|state| {
            state.set_status(&self.session, Some(json!({"type": "busy"})));
        });
    }
}

fn add_usage(info: &mut serde_json::Map<String, Value>, cost: f64, input: u64, output: u64) {
    let sum = info["cost"].as_f64().unwrap_or(0.0) + cost;
    info.insert("cost".into(), sum.into());
    let tokens = &mut info["tokens"];
    tokens["input"] = (tokens["input"].as_u64().unwrap_or(0) + input).into();
    tokens["output"] = (tokens["output"].as_u64().unwrap_or(0) + output).into();
}

/// The session's and the prompt's summary of file changes: always empty, as for a folder outside Git.
fn summarize(state: &mut State, session: &str, user: &str) {
    let Some(found) = state.sessions.get_mut(session) else {
        return;
    };
    found.info.insert(
        "summary".into(),
        json!({"additions": 0, "deletions": 0, "files": 0}),
    );
    let prompt = found.message(user).map(|message| message.info.clone());
    state.touch_session(session);
    state.emit(session, "session.diff", &json!({"diff": []}));
    if let Some(mut prompt) = prompt {
        prompt["summary"] = json!({"diffs": []});
        state.put_message(session, prompt);
    }
}

/// The end of a turn: idle, and the late events that follow it.
pub(crate) fn idle(state: &mut State, session: &str, user: &str, busy_first: bool) {
    if busy_first {
        state.set_status(session, Some(json!({"type": "busy"})));
    }
    state.set_status(session, None);
    summarize(state, session, user);
}

/// Ends the unfinished assistant message with an error: its text is stored, its open tools fail.
pub(crate) fn close_with_error(state: &mut State, session: &str, error: &Value) {
    state.finish_live(session);
    let now = state.ids.now();
    let Some(found) = state.sessions.get(session) else {
        return;
    };
    let Some(message) = found.messages.iter().rev().find(|message| {
        message.info["role"] == "assistant" && message.info["time"].get("completed").is_none()
    }) else {
        return;
    };
    let mut info = message.info.clone();
    let open_tools: Vec<Value> = message
        .parts
        .iter()
        .filter(|part| {
            matches!(
                part["state"]["status"].as_str(),
                Some("pending" | "running")
            )
        })
        .cloned()
        .collect();
    for mut part in open_tools {
        part["state"] = json!({
            "status": "error", "input": part["state"]["input"], "error": "Tool execution aborted",
            "metadata": {"interrupted": true}, "time": {"start": now, "end": now},
        });
        state.put_part(session, part);
    }
    info["time"]["completed"] = now.into();
    info["error"] = error.clone();
    state.put_message(session, info);
}
