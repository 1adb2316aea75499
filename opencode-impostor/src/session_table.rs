//! Sessions made, deleted, forgotten and looked up.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::sessions::{NewSession, Session, no_tokens};
use crate::state::State;

const SLUGS: [&str; 6] = [
    "happy-eagle",
    "misty-island",
    "brave-cactus",
    "jolly-star",
    "neon-rocket",
    "swift-otter",
];

impl State {
    /// Makes a session and says so. Returns its id.
    pub(crate) fn create_session(&mut self, new: NewSession) -> String {
        let id = self.ids.session();
        self.create_session_as(&id, new);
        id
    }

    /// As [`State::create_session`], with an id that was minted before.
    pub(crate) fn create_session_as(&mut self, id: &str, new: NewSession) {
        let now = self.ids.now();
        let directory = new.directory;
        let mut info = Map::new();
        info.insert("id".into(), id.into());
        info.insert("slug".into(), SLUGS[self.order.len() % SLUGS.len()].into());
        info.insert("projectID".into(), "global".into());
        info.insert("directory".into(), directory.clone().into());
        info.insert("path".into(), directory.trim_start_matches('/').into());
        info.insert("cost".into(), 0.into());
        info.insert("tokens".into(), no_tokens());
        info.insert(
            "title".into(),
            new.title
                .unwrap_or_else(|| format!("New session - {now}"))
                .into(),
        );
        info.insert("version".into(), new.version.into());
        info.insert("time".into(), json!({"created": now, "updated": now}));
        for (name, value) in [
            ("parentID", new.parent.clone().map(Value::from)),
            ("permission", new.permission),
            ("agent", new.agent),
            ("model", new.model),
            ("metadata", new.metadata),
        ] {
            if let Some(value) = value {
                info.insert(name.into(), value);
            }
        }
        self.sessions.insert(
            id.to_owned(),
            Session {
                id: id.to_owned(),
                directory,
                parent: new.parent,
                info: info.clone(),
                messages: Vec::new(),
                status: None,
                todos: json!([]),
                pending: VecDeque::new(),
                run: None,
                live: None,
                seq: 0,
                tape_prompts: 0,
                broken: false,
            },
        );
        self.order.push(id.to_owned());
        self.emit(id, "session.created", &json!({"info": info}));
    }

    /// Removes a session and its children; false when there is none.
    pub(crate) fn delete_session(&mut self, id: &str) -> bool {
        let Some(found) = self.sessions.get(id) else {
            return false;
        };
        let info = found.to_json();
        if let Some(run) = &found.run {
            run.cancel();
        }
        for child in self.children(id) {
            self.delete_session(&child);
        }
        self.emit(id, "session.deleted", &json!({"info": info}));
        self.forget_session(id);
        self.ledger.session_deleted(id);
        true
    }

    /// Drops a session without a word.
    pub(crate) fn forget_session(&mut self, id: &str) {
        self.sessions.remove(id);
        self.order.retain(|known| known != id);
        self.questions.retain(|_, ask| ask.session != id);
        self.permissions.retain(|_, ask| ask.session != id);
        self.ledger.set_busy(id, false);
    }

    /// Ids of the sessions that sub-agents of this one work in, oldest first.
    pub(crate) fn children(&self, id: &str) -> Vec<String> {
        self.order
            .iter()
            .filter(|child| {
                self.sessions
                    .get(*child)
                    .is_some_and(|session| session.parent.as_deref() == Some(id))
            })
            .cloned()
            .collect()
    }

    /// The rules that a sub-agent's session gets: of its parent's only what denies, and what is said of other folders.
    /// An `ask` is lost (seen on 1.18.33, there in `deriveSubagentSessionPermission`).
    pub(crate) fn rules_of_child(&self, parent: &str) -> Vec<Value> {
        let rules = self
            .sessions
            .get(parent)
            .and_then(|found| found.info.get("permission")?.as_array());
        let inherited = rules
            .into_iter()
            .flatten()
            .filter(|rule| rule["action"] == "deny" || rule["permission"] == "external_directory");
        let own = json!({"permission": "task", "pattern": "*", "action": "deny"});
        inherited.cloned().chain([own]).collect()
    }

    /// What the server's rules, and after them the session's, say of a permission: the last rule that fits wins.
    pub(crate) fn rule_for(
        &self,
        server: &[Value],
        id: &str,
        permission: &str,
        pattern: &str,
    ) -> Option<String> {
        let of_session = self.sessions.get(id)?.info.get("permission");
        let of_session = of_session.and_then(Value::as_array).into_iter().flatten();
        server
            .iter()
            .chain(of_session)
            .rev()
            .find(|rule| {
                wildcard(rule["permission"].as_str().unwrap_or_default(), permission)
                    && wildcard(rule["pattern"].as_str().unwrap_or_default(), pattern)
            })
            .and_then(|rule| rule["action"].as_str())
            .map(str::to_owned)
    }
}

/// Whether `text` is what `pattern` means; `*` stands for anything.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(wildcard("*", "bash"));
        assert!(wildcard("echo *", "echo hi"));
        assert!(wildcard("*.md", "a/b.md"));
        assert!(wildcard("a*b*c", "axxbyyc"));
        assert!(!wildcard("echo", "echo hi"));
        assert!(!wildcard("a*b*c", "axxcyyb"));
    }
}
