//! What a turn looks like in the terminal.

use std::collections::HashMap;
use std::path::Path;

use opencode_client::reply::{Change, PersistedPart, View};
use opencode_host::live::Cursor;
use opencode_host::outcome::Reason;
use opencode_host::store::TurnStatus;
use opencode_host::tool_display::ToolDisplay;
use opencode_host::turn::TurnResult;
use opencode_host::visible::{Stream, line};
use serde_json::json;

use crate::attached;
use crate::ndjson::{self, ResultLine};
use crate::terminal;

/// Prints changes: NDJSON for programs, or the text as it comes for people.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    /// The reply as it is.
    view: View,
    /// How many bytes of each text part are on the screen.
    shown: HashMap<String, usize>,
    /// What was last said of each tool.
    tools: HashMap<String, String>,
    /// How many of each tool's attachments were told.
    attached: HashMap<String, usize>,
    /// The text under way: what an agent writes must not steer the terminal.
    text: Stream,
    /// The cursor stands at the start of a line.
    at_line_start: bool,
    any_text: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            view: View::default(),
            shown: HashMap::new(),
            tools: HashMap::new(),
            attached: HashMap::new(),
            text: Stream::default(),
            at_line_start: true,
            any_text: false,
        }
    }

    /// One change.
    pub(crate) fn change(&mut self, cursor: Cursor, change: &Change<'_>) {
        if self.json {
            let mut line = json!(change);
            line["cursor"] = json!(cursor);
            ndjson::print(&line);
            return;
        }
        let seen = self.view.revision();
        self.view.apply(change);
        self.show(seen);
        match change {
            Change::Retry {
                attempt,
                message,
                action,
                ..
            } => {
                self.note(&format!(
                    "the provider gave no answer ({}); try {attempt} follows",
                    line(message)
                ));
                if let Some(action) = action {
                    self.note(&line(&action.to_string()).to_string());
                }
            }
            Change::ServerUnreachable { message } => self.note(message),
            Change::ServerReachable => self.note("OpenCode answers again."),
            Change::Todos { todos } => {
                for todo in todos {
                    let mark = match todo.status.as_str() {
                        "completed" => "x",
                        "in_progress" => ">",
                        _ => " ",
                    };
                    self.note(&format!("[{mark}] {}", line(&todo.content)));
                }
            }
            _ => {}
        }
    }

    /// The reply as a whole.
    pub(crate) fn snapshot(&mut self, cursor: Cursor, view: View) {
        if self.json {
            let parts: Vec<_> = view.parts().collect();
            ndjson::print(&json!({ "type": "snapshot", "parts": parts, "cursor": cursor }));
            return;
        }
        self.view = view;
        self.show(0);
    }

    /// Prints what is new since a revision.
    fn show(&mut self, seen: u64) {
        // Clones share their parts.
        let view = self.view.clone();
        for part in view.parts().filter(|part| part.changed > seen) {
            self.part(part.part_id.as_str(), &part.part);
        }
    }

    /// The end.
    pub(crate) fn result(&mut self, result: &TurnResult) {
        if self.json {
            ndjson::print(&ResultLine::of(result));
            return;
        }
        self.rest(&result.answer.parts);
        if !self.any_text && result.status == TurnStatus::Completed {
            self.text(&result.answer.content);
        }
        self.end_line();
        for file in &result.artifacts {
            self.note(&format!("file {} ({} bytes)", line(&file.name), file.size));
        }
        match result.status {
            TurnStatus::Completed if result.answer.reason == Some(Reason::Oversized) => {
                self.note("the answer is larger than is kept: the rest is left out")
            }
            TurnStatus::Completed if result.answer.truncated => {
                self.note("the model ran out of room: the text is cut")
            }
            TurnStatus::Completed => {}
            TurnStatus::Cancelled if self.any_text => self.note("cancelled; what had come is kept"),
            TurnStatus::Cancelled => self.note(&result.answer.content),
            TurnStatus::Error | TurnStatus::Failed => match &result.answer.error {
                Some(error) => {
                    let code = error
                        .status_code
                        .map(|code| format!(" (status {code})"))
                        .unwrap_or_default();
                    let name = line(&error.name);
                    self.note(&format!("error: {name}: {}{code}", error.message));
                    if error.status_code == Some(401) {
                        self.note("the model's provider refused the credentials: try `opencode auth login`");
                    }
                }
                None => self.note(&result.answer.content),
            },
        }
    }

    /// Prints what of the answer's texts is not on the screen: of a turn that ran elsewhere, the last of them may not have been
    /// saved before its end.
    fn rest(&mut self, answer: &[PersistedPart]) {
        let view = self.view.clone();
        let is_text = |part: &PersistedPart| matches!(part, PersistedPart::Text { .. });
        let mut known = view.parts().filter(|part| is_text(&part.part));
        for (at, part) in answer.iter().filter(|part| is_text(part)).enumerate() {
            // The texts of an answer have no names of their own.
            match known.next() {
                Some(known) => self.part(known.part_id.as_str(), part),
                None => self.part(&format!("text {at}"), part),
            }
        }
    }

    /// A file of the answer that was saved.
    pub(crate) fn saved(&mut self, path: &Path) {
        if !self.json {
            self.note(&format!("saved {}", line(&path.to_string_lossy())));
        }
    }

    fn part(&mut self, id: &str, part: &PersistedPart) {
        match part {
            PersistedPart::Text { content } => {
                let shown = self.shown.get(id).copied();
                if shown.is_none() && !content.is_empty() {
                    self.new_part();
                }
                // What the server took back is on the screen already; only what is new is added.
                if let Some(rest) = content
                    .get(shown.unwrap_or(0)..)
                    .filter(|rest| !rest.is_empty())
                {
                    self.shown.insert(id.to_owned(), content.len());
                    self.text(rest);
                }
            }
            PersistedPart::Reasoning { .. } => {}
            PersistedPart::Tool(tool) => {
                let line = ToolDisplay::of(tool).to_string();
                // A call whose arguments are still being written has nothing to say.
                let ready = tool.input.is_some() || tool.status.is_terminal();
                if ready && self.tools.get(id) != Some(&line) {
                    self.note(&line);
                    self.tools.insert(id.to_owned(), line);
                }
                let told = self.attached.entry(id.to_owned()).or_default();
                let new = tool.attachments.iter().skip(*told);
                let new: Vec<String> = new.map(attached::words).collect();
                *told += new.len();
                for words in new {
                    self.note(&format!("attached {words}"));
                }
            }
        }
    }

    fn new_part(&mut self) {
        self.end_line();
        if self.any_text {
            terminal::write("\n");
        }
    }

    fn text(&mut self, text: &str) {
        let shown = self.text.push(text);
        self.write(&shown);
    }

    fn write(&mut self, shown: &str) {
        if shown.is_empty() {
            return;
        }
        terminal::write(shown);
        self.at_line_start = shown.ends_with('\n');
        self.any_text = true;
    }

    /// Something beside the answer: on stderr, so that the answer can be piped.
    fn note(&mut self, note: &str) {
        self.end_line();
        terminal::tell(format_args!("· {note}"));
    }

    fn end_line(&mut self) {
        let rest = self.text.finish();
        self.write(&rest);
        if !self.at_line_start {
            terminal::write("\n");
            self.at_line_start = true;
        }
    }
}
