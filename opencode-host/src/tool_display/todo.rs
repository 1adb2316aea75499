//! The plan inside a todo tool.

use serde_json::Value;

/// How far one item of the plan is.
///
/// The order of the variants is the order in which a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TodoStatus {
    /// Being worked on.
    InProgress,
    /// Not begun, or without a status.
    Pending,
    /// Done.
    Completed,
    /// Anything else, `cancelled` among them.
    Other,
}

impl TodoStatus {
    /// The status as OpenCode spells it; `other` for what is none of its three main ones.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Other => "other",
        }
    }

    fn of(status: Option<&str>) -> Self {
        match status {
            // Models also write it with a hyphen.
            Some("in_progress" | "in-progress") => Self::InProgress,
            Some("pending") | None => Self::Pending,
            Some("completed") => Self::Completed,
            Some(_) => Self::Other,
        }
    }
}

/// One item of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Todo<'a> {
    /// What is to be done.
    pub content: &'a str,
    /// How far it is.
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
                    status: TodoStatus::of(todo.get("status").and_then(Value::as_str)),
                    priority: todo.get("priority").and_then(Value::as_str),
                })
            })
            .collect();
        // Stable: equal statuses keep the agent's order.
        list.sort_by_key(|todo| todo.status);
        list
    }
}
