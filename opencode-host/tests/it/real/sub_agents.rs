//! What sub-agents of a real server may do unasked.

use opencode_host::sub_agents::SubAgents;
use opencode_impostor::Round;

use super::*;

/// Agents that hand on to the next, the last of whom runs the shell.
fn delegating() -> ModelScript {
    let task = |marker: &str| {
        json!({
            "description": "look",
            "prompt": format!("please {marker}"),
            "subagent_type": "general",
        })
    };
    let shell = json!({"command": "id > proof.txt", "description": "Who am I"});
    let delegate = |marker: &str| [Round::call("task", task(marker)), Round::text("All done.")];
    ModelScript::new()
        .on(
            "[[child]]",
            [Round::call("bash", shell), Round::text("Looked.")],
        )
        .on("[[nested]]", delegate("[[child]]"))
        .on("[[grandchild]]", delegate("[[nested]]"))
        .on("[[parent]]", delegate("[[child]]"))
}

fn bash_is_asked_for() -> Vec<PermissionRule> {
    vec![PermissionRule::all("bash", PermissionAction::Ask)]
}

impl Live {
    fn proof(&self) -> bool {
        self.server.directory().join("proof.txt").exists()
    }

    /// A turn whose shell call is asked for, and answered so.
    async fn answered(&self, prompt: &str, reply: PermissionReply) -> TurnResult {
        let (turn, working) = self.submit(prompt).await;
        let asked = self.asked(turn).await;
        assert_eq!(asked.permission, "bash");
        assert!(!self.proof(), "nobody has said yes");
        let replied = self.host.reply_permission(turn, &asked.id, reply, None);
        replied.await.unwrap();
        self.finished(turn, working).await
    }
}

#[tokio::test]
async fn a_sub_agent_asks_where_the_servers_own_configuration_asks() {
    let config = json!({"permission": {"bash": "ask"}});
    let live = Live::playing(delegating(), Vec::new(), config, |host| host).await;
    let result = live.answered("[[parent]]", PermissionReply::Reject).await;
    assert!(!live.proof(), "{result:?}");
    let result = live.answered("[[parent]]", PermissionReply::Once).await;
    assert!(live.proof(), "{result:?}");
}

#[tokio::test]
async fn a_sub_agent_of_a_sub_agent_asks_too() {
    let config = json!({
        "permission": {"bash": "ask"},
        "subagent_depth": 2,
        "agent": {"general": {"permission": {"task": "allow"}}},
    });
    let live = Live::playing(delegating(), Vec::new(), config, |host| host).await;
    let result = live
        .answered("[[grandchild]]", PermissionReply::Reject)
        .await;
    assert!(!live.proof(), "{result:?}");
    assert!(live.model.runs("[[nested]]") >= 1, "nobody was in between");
    let result = live.answered("[[grandchild]]", PermissionReply::Once).await;
    assert!(live.proof(), "{result:?}");
}

#[tokio::test]
async fn on_a_given_server_sub_agents_are_off_where_something_is_asked_for() {
    let live = Live::playing(delegating(), bash_is_asked_for(), json!({}), |host| host).await;
    let result = live.turn("[[parent]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert!(!live.proof(), "{result:?}");
    assert_eq!(live.model.runs("[[child]]"), 0, "{result:?}");
}

/// Why they are off: what the rules want asked is not asked for in a sub-agent's session.
#[tokio::test]
async fn sub_agents_that_are_allowed_by_name_run_unasked_as_the_warning_says() {
    let live = Live::playing(delegating(), bash_is_asked_for(), json!({}), |host| {
        host.sub_agents(SubAgents::Unasked)
    });
    let live = live.await;
    let result = live.turn("[[parent]]").await;
    assert_ended(&result, TurnStatus::Completed, None, "All done.");
    assert!(live.proof(), "{result:?}");
    let reported = live.recorder.named("reported");
    let warned = |fields: &&serde_json::Map<String, Value>| {
        let error = fields["error"].as_str();
        error.unwrap().contains("ask for nothing")
    };
    assert_eq!(reported.iter().filter(warned).count(), 1, "{reported:?}");
}
