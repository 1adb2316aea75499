//! The tool steps: their parts, their files, what they wait for.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::faults::Record;
use crate::files;
use crate::mcp_call;
use crate::script::{Permission, Question, Step, Todo, Tool};
use crate::state::{Answer, Ask, World};

/// Whether the turn goes on after a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Stop,
}

/// What 1.2.27 says of a rejected permission.
const REJECTED_BY_NAME: &str = r#"PermissionRejectedError({"_tag":"PermissionRejectedError"})"#;

/// One tool part: pending, running, then completed or error.
pub(crate) struct Call {
    pub(crate) world: Arc<World>,
    pub(crate) session: String,
    pub(crate) directory: String,
    pub(crate) message: String,
    part: String,
    as_called: String,
    tool: String,
    input: Value,
    pub(crate) title: Option<String>,
    pub(crate) metadata: Map<String, Value>,
    start: u64,
}

impl Call {
    /// The tool call of this number, in a message of a session.
    pub(crate) fn new(
        world: Arc<World>,
        session: &str,
        directory: &str,
        message: String,
        number: usize,
    ) -> Self {
        let (part, start) = world.quietly(|state| (state.ids.ascending("prt"), state.ids.now()));
        Self {
            world,
            session: session.to_owned(),
            directory: directory.to_owned(),
            message,
            part,
            as_called: format!("call_{number}"),
            tool: String::new(),
            input: json!({}),
            title: None,
            metadata: Map::new(),
            start,
        }
    }

    fn put(&self, state: &Value) {
        self.world.update(|world| {
            world.put_part(
                &self.session,
                json!({
                    "id": self.part, "messageID": self.message, "sessionID": self.session, "type": "tool",
                    "tool": self.tool, "callID": self.as_called, "state": state,
                }),
            );
        });
    }

    pub(crate) fn pending(&mut self, tool: &str, input: Value) {
        tool.clone_into(&mut self.tool);
        self.put(&json!({"status": "pending", "input": {}, "raw": ""}));
        self.input = input;
        self.start = self.world.quietly(|state| state.ids.now());
    }

    pub(crate) fn running(&self) {
        let mut state =
            json!({"status": "running", "input": self.input, "time": {"start": self.start}});
        if let Some(title) = &self.title {
            state["title"] = title.as_str().into();
        }
        if !self.metadata.is_empty() {
            state["metadata"] = Value::Object(self.metadata.clone());
        }
        self.put(&state);
    }

    fn time(&self) -> Value {
        let end = self.world.quietly(|state| state.ids.now());
        json!({"start": self.start, "end": end})
    }

    pub(crate) fn completed(&self, output: &str, title: &str, metadata: &Map<String, Value>) {
        self.completed_with(output, title, metadata, &[]);
    }

    fn completed_with(
        &self,
        output: &str,
        title: &str,
        metadata: &Map<String, Value>,
        attachments: &[Value],
    ) {
        let mut metadata = metadata.clone();
        metadata.entry("truncated").or_insert_with(|| false.into());
        let mut state = json!({
            "status": "completed", "input": self.input, "output": output, "title": title, "metadata": metadata,
            "time": self.time(),
        });
        if !attachments.is_empty() {
            // The server gives each an id of its own.
            let attachments = attachments.iter().cloned().map(|mut file| {
                file["id"] = self.world.update(|state| state.ids.ascending("prt")).into();
                file["messageID"] = self.message.as_str().into();
                file["sessionID"] = self.session.as_str().into();
                file
            });
            state["attachments"] = attachments.collect();
        }
        self.put(&state);
    }

    fn failed(&self, error: &str) {
        self.put(&json!({
            "status": "error", "input": self.input, "error": error, "time": self.time(),
        }));
    }

    fn complete(&mut self, tool: &Tool) {
        if self.tool == "bash" {
            // The shell's output is shown while it runs.
            for output in ["", tool.output.as_str()] {
                self.metadata.insert("output".into(), output.into());
                self.running();
            }
        }
        let title = tool.title.as_deref().unwrap_or(&tool.tool);
        self.completed_with(&tool.output, title, &tool.metadata, &tool.attachments);
    }

    /// A tool that there is not.
    fn unknown(&mut self, name: &str) {
        let error = format!("Model tried to call unavailable tool '{name}'.");
        self.pending(name, json!({"tool": name, "error": error}));
        // From here on the server calls it by another name.
        "invalid".clone_into(&mut self.tool);
        self.running();
        let output = format!("The arguments provided to the tool are invalid: {error}");
        self.completed(&output, "Invalid Tool", &Map::new());
    }

    /// Does what a tool does to files.
    fn change(&self, change: &files::Change) {
        match change.apply(&self.directory) {
            Ok(done) => {
                self.world.update(|state| {
                    for (path, event) in &done.changed {
                        state.emit_directory(
                            &self.directory,
                            "file.edited",
                            &json!({"file": path}),
                        );
                        let watched = json!({"file": path, "event": event});
                        state.emit_directory(&self.directory, "file.watcher.updated", &watched);
                    }
                });
                self.completed(&done.output, &done.title, &done.metadata);
            }
            Err(error) => self.failed(&error),
        }
    }
}

/// What a tool step does to files, when it does something to files.
fn change_of(directory: &str, step: &Step) -> Option<files::Change> {
    match step {
        Step::WriteFile(file) => Some(files::Change::write(directory, file)),
        Step::Edit(edit) => Some(files::Change::edit(directory, edit)),
        Step::ApplyPatch(patch) => Some(files::Change::patch(directory, patch)),
        _ => None,
    }
}

/// Starts a tool step that waits for nobody: pending, running.
pub(crate) fn begin(call: &mut Call, step: &Step) {
    match step {
        Step::Tool(tool) => call.pending(&tool.tool, tool.input.clone()),
        Step::ToolError(tool) => call.pending(&tool.tool, tool.input.clone()),
        step => match change_of(&call.directory, step) {
            Some(change) => call.pending(change.tool, change.input),
            None => return,
        },
    }
    call.running();
}

/// Does a tool step to its end. A sub-agent is the turn's own affair.
pub(crate) async fn finish(mut call: Call, step: Step) -> Verdict {
    if let Some(change) = change_of(&call.directory, &step) {
        call.change(&change);
        return Verdict::GoOn;
    }
    match step {
        Step::Tool(tool) => call.complete(&tool),
        Step::ToolError(tool) => call.failed(&tool.error),
        Step::UnknownTool(name) => call.unknown(&name),
        Step::Mcp(asked) => {
            call.pending(&asked.tool, asked.input.clone());
            call.running();
            match mcp_call::call(&call.world, &call.directory, &asked).await {
                Some(Ok(output)) => call.completed(&output, "", &Map::new()),
                Some(Err(error)) => call.failed(&error),
                None => call.unknown(&asked.tool),
            }
        }
        Step::Todos(todos) => write_todos(&mut call, &todos),
        Step::Question(question) => return ask(&mut call, &question).await,
        Step::Permission(permission) => return ask_permission(&mut call, &permission).await,
        // Not a tool: a mistake in the script, shown where it can be seen.
        other => {
            call.pending("invalid", json!({}));
            call.failed(&format!(
                "the script has a step here that is not a tool: {other:?}"
            ));
        }
    }
    Verdict::GoOn
}

fn write_todos(call: &mut Call, todos: &[Todo]) {
    let list = json!(todos);
    call.pending("todowrite", json!({"todos": list}));
    call.world.update(|state| {
        if let Some(found) = state.sessions.get_mut(&call.session) {
            found.todos = list.clone();
        }
        state.emit(&call.session, "todo.updated", &json!({"todos": list}));
    });
    call.running();
    let open = todos
        .iter()
        .filter(|todo| todo.status != "completed")
        .count();
    let output = serde_json::to_string_pretty(todos).unwrap_or_default();
    let metadata = Map::from_iter([("todos".to_owned(), list)]);
    call.completed(&output, &format!("{open} todos"), &metadata);
}

async fn ask(call: &mut Call, question: &Question) -> Verdict {
    let options: Vec<Value> = question
        .options
        .iter()
        .map(|label| json!({"label": label, "description": label}))
        .collect();
    let mut asked =
        json!({"question": question.question, "header": question.header, "options": options});
    if question.multiple {
        asked["multiple"] = true.into();
    }
    let questions = json!([asked]);
    call.pending("question", json!({"questions": questions}));
    let id = call.world.update(|state| {
        let id = state.ids.ascending("que");
        let body = json!({
            "id": id, "sessionID": call.session, "questions": questions,
            "tool": {"messageID": call.message, "callID": call.as_called},
        });
        let sent = state.as_sent(Record::Request, "", body.clone());
        state.emit(&call.session, "question.asked", &sent);
        state.questions.insert(
            id.clone(),
            Ask {
                session: call.session.clone(),
                body,
                answer: None,
            },
        );
        state.ledger.questions.insert(id.clone());
        id
    });
    call.running();
    let answer = call
        .world
        .until(|state| {
            let answer = state.questions.get(&id)?.answer.clone()?;
            state.questions.remove(&id);
            Some(answer)
        })
        .await;
    let Answer::Labels(answers) = answer else {
        call.failed("The user dismissed this question");
        return Verdict::Stop;
    };
    let labels: Vec<&str> = answers[0]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let output = format!(
        "User has answered your questions: \"{}\"=\"{}\". You can now continue with the user's answers in mind.",
        question.question,
        labels.join(", ")
    );
    let metadata = Map::from_iter([("answers".to_owned(), answers)]);
    call.completed(&output, "Asked 1 question", &metadata);
    Verdict::GoOn
}

async fn ask_permission(call: &mut Call, permission: &Permission) -> Verdict {
    let tool = &permission.tool;
    call.pending(&tool.tool, tool.input.clone());
    let dialect = &call.world.config.dialect;
    let asked = if permission.permission == "external_directory" {
        dialect.asks_outside
    } else {
        dialect.keeps_rules
    };
    if !asked {
        call.running();
        call.complete(tool);
        return Verdict::GoOn;
    }
    if permission.by_rules {
        let pattern = permission.patterns.first().map_or("*", String::as_str);
        let server = &call.world.config.permission;
        let rule = call.world.quietly(|state| {
            state.rule_for(server, &call.session, &permission.permission, pattern)
        });
        match rule.as_deref() {
            Some("ask") => {}
            Some("deny") => {
                call.running();
                call.failed(
                    "The user has specified a rule which prevents you from using this specific tool call.",
                );
                return Verdict::GoOn;
            }
            _ => {
                call.running();
                call.complete(tool);
                return Verdict::GoOn;
            }
        }
    }
    call.running();
    let id = call.world.update(|state| {
        let id = state.ids.ascending("per");
        let always = if permission.always.is_empty() {
            &permission.patterns
        } else {
            &permission.always
        };
        let body = json!({
            "id": id, "sessionID": call.session, "permission": permission.permission,
            "patterns": permission.patterns, "metadata": permission.metadata, "always": always,
            "tool": {"messageID": call.message, "callID": call.as_called},
        });
        let sent = state.as_sent(Record::Request, "", body.clone());
        state.emit(&call.session, "permission.asked", &sent);
        state.permissions.insert(
            id.clone(),
            Ask {
                session: call.session.clone(),
                body,
                answer: None,
            },
        );
        state.ledger.permissions.insert(id.clone());
        id
    });
    let answer = call
        .world
        .until(|state| {
            let answer = state.permissions.get(&id)?.answer.clone()?;
            state.permissions.remove(&id);
            Some(answer)
        })
        .await;
    match answer {
        Answer::Rejected(Some(why)) => {
            let said = "The user rejected permission to use this specific tool call with the following feedback:";
            call.failed(&if dialect.rejection_by_name {
                format!(
                    "PermissionCorrectedError({})",
                    json!({"_tag": "PermissionCorrectedError", "feedback": why})
                )
            } else {
                format!("{said} {why}")
            });
            Verdict::GoOn
        }
        // Without a word of feedback the loop stops.
        Answer::Rejected(None) => {
            call.failed(if dialect.rejection_by_name {
                REJECTED_BY_NAME
            } else {
                "The user rejected permission to use this specific tool call."
            });
            Verdict::Stop
        }
        Answer::Allowed(_) | Answer::Labels(_) => {
            call.complete(tool);
            Verdict::GoOn
        }
    }
}
