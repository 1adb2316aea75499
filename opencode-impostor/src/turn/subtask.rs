//! Sub-agents: a session, a prompt and steps of its own within a tool call.

use serde_json::{Map, Value, json};

use super::{End, Turn, idle};
use crate::script::Subtask;
use crate::sessions::NewSession;
use crate::tools::Call;

impl Turn {
    /// Has a sub-agent do its steps in a session below this one.
    pub(super) async fn delegate(&mut self, call: &mut Call, subtask: Subtask) {
        let input = json!({
            "description": subtask.description, "prompt": subtask.prompt, "subagent_type": subtask.agent,
        });
        call.pending("task", input);
        let (child, user, model) = self.world.update(|state| {
        let child = state.create_session(NewSession {
            directory: call.directory.clone(),
            title: Some(format!("{} (@{} subagent)", subtask.description, subtask.agent)),
            parent: Some(call.session.clone()),
            permission: Some(state.rules_of_child(&call.session).into()),
            agent: Some(subtask.agent.clone().into()),
            version: call.world.config.dialect.version.clone(),
            ..NewSession::default()
        });
        let model = state.sessions[&call.session]
            .message(&call.message)
            .map(|message| {
                json!({"modelID": message.info["modelID"], "providerID": message.info["providerID"]})
            })
            .unwrap_or_default();
        (child, state.ids.ascending("msg"), model)
    });
        call.title = Some(subtask.description.clone());
        call.metadata = Map::from_iter([
            (
                "parentSessionId".to_owned(),
                Value::from(call.session.as_str()),
            ),
            ("sessionId".to_owned(), Value::from(child.as_str())),
            ("model".to_owned(), model.clone()),
        ]);
        call.running();

        let steps = self.world.update(|state| {
        state.touch_session(&child);
        let now = state.ids.now();
        state.put_message(
            &child,
            json!({
                "id": user, "role": "user", "sessionID": child, "time": {"created": now}, "agent": subtask.agent,
                "model": model,
            }),
        );
        let part = json!({
            "id": state.ids.ascending("prt"), "type": "text", "text": subtask.prompt, "messageID": user,
            "sessionID": child,
        });
        state.put_part(&child, part);
        state.touch_session(&child);
        state.ledger.model_run(&user);
        if subtask.steps.is_empty() {
            state
                .script
                .answer(&subtask.prompt)
                .unwrap_or_else(|| crate::standard::friendly(&subtask.prompt))
        } else {
            subtask.steps
        }
    });
        call.running();
        if let Some(mut inner) = Turn::new(&self.world, &child, &user, false) {
            let end = Box::pin(inner.run(steps)).await;
            self.world.update(|state| {
                if end != End::Failed {
                    idle(state, &child, &user, end == End::Done);
                }
            });
        }
        let said = self.world.quietly(|state| {
            let messages = state.sessions.get(&child).map(|found| &found.messages);
            messages
                .into_iter()
                .flatten()
                .rev()
                .flat_map(|message| message.parts.iter().rev())
                .find(|part| part["type"] == "text")
                .and_then(|part| part["text"].as_str())
                .unwrap_or_default()
                .to_owned()
        });
        let output = format!(
            "<task id=\"{child}\" state=\"completed\">\n<task_result>\n{said}\n</task_result>\n</task>"
        );
        call.completed(&output, &subtask.description, &call.metadata);
    }
}
