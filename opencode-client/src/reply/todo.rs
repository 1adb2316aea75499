use serde_json::{Map, json};

use super::part::{Content, Provenance, Slot};
use super::tool_part::{ToolPart, ToolStatus};
use super::{Change, Reply};
use crate::wire::Todo;

/// The most lines of a plan that are kept.
const MAX_TODOS: usize = 1000;

impl Reply {
    /// The plan changed: refreshes the newest plan in the reply, or makes one
    /// that exists on the stream only. `todo.updated` is a bus event, never a
    /// part of a message.
    pub(super) fn todo_updated(&mut self, todos: &[Todo]) {
        if !self.state.prompt_seen {
            // A late word about an earlier turn.
            return;
        }
        let todos = &todos[..todos.len().min(MAX_TODOS)];
        let at = if let Some(at) = self.newest_tool(ToolPart::is_todo) {
            if let Content::Tool(tool) = &mut self.slots[at].content {
                tool.metadata
                    .get_or_insert_default()
                    .insert("todos".to_owned(), json!(todos));
            }
            at
        } else if !self.has_room_for_part() {
            return;
        } else {
            let tool = ToolPart {
                tool: "todowrite".to_owned(),
                status: ToolStatus::Completed,
                metadata: Some(Map::from_iter([("todos".to_owned(), json!(todos))])),
                provenance: Some(Provenance::TodoUpdated),
                ..ToolPart::default()
            };
            self.slots
                .push(Slot::new(None, None, Content::Tool(Box::new(tool))));
            self.slots.len() - 1
        };
        self.fit_tool(at);
        self.announce(at);
        self.emit(&Change::Todos {
            todos: todos.to_vec(),
        });
    }
}
