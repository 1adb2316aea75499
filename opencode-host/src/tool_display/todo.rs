//! The plan inside a todo tool.

use opencode_client::wire::TodoStatus;
use serde_json::Value;

/// One item of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Todo<'a> {
    /// What is to be done.
    pub content: &'a str,
    /// How far it is; pending where the agent does not say.
    pub status: TodoStatus,
    /// `high`, `medium` or `low`, when given.
    pub priority: Option<&'a str>,
}

impl<'a> Todo<'a> {
    /// The items of a list, in the order they are shown; entries without text are left out.
    pub(super) fn list(todos: &'a Value) -> Vec<Self> {
        let mut list: Vec<Self> = todos
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|todo| {
                Some(Self {
                    content: todo.get("content")?.as_str()?,
                    status: todo
                        .get("status")
                        .and_then(Value::as_str)
                        .map(TodoStatus::from)
                        .unwrap_or_default(),
                    priority: todo.get("priority").and_then(Value::as_str),
                })
            })
            .collect();
        // Stable: equal statuses keep the agent's order.
        list.sort_by_key(|todo| match todo.status {
            TodoStatus::InProgress => 0,
            TodoStatus::Pending => 1,
            TodoStatus::Completed => 2,
            TodoStatus::Other(_) => 3,
        });
        list
    }
}
