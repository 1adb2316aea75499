//! What sub-agents of a real server may do unasked.

use opencode_host::sub_agents::SubAgents;
use opencode_impostor::Round;

use super::*;

/// Agents that hand on to the next, the last of whom runs the shell. Their prompts are marked as of this case.
pub(super) fn delegating(of: &str) -> ModelScript {
    let delegate = |agent: &str, next: &str| {
        let task = json!({
            "description": "look",
            "prompt": format!("please [[{of} {next}]]"),
            "subagent_type": "general",
        });
        let rounds = [Round::call("task", task), Round::text("All done.")];
        (format!("[[{of} {agent}]]"), rounds)
    };
    let shell = json!({"command": "id > proof.txt", "description": "Who am I"});
    let mut script = ModelScript::new().on(
        format!("[[{of} child]]"),
        [Round::call("bash", shell), Round::text("Looked.")],
    );
    for (agent, next) in [
        ("nested", "child"),
        ("grandchild", "nested"),
        ("parent", "child"),
    ] {
        let (marker, rounds) = delegate(agent, next);
        script = script.on(marker, rounds);
    }
    script
}

fn bash_is_asked_for() -> Vec<PermissionRule> {
    vec![PermissionRule::all("bash", PermissionAction::Ask)]
}

impl Live<'_> {
    fn proof(&self) -> bool {
        self.directory().join("proof.txt").exists()
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
    let upstream = Upstream::start(delegating("asks"), config, &[]).await;
    let live = Live::on(&upstream).await;
    let prompt = "[[asks parent]]";
    let result = live.answered(prompt, PermissionReply::Reject).await;
    assert!(!live.proof(), "{result:?}");
    let result = live.answered(prompt, PermissionReply::Once).await;
    assert!(live.proof(), "{result:?}");
}

#[tokio::test]
async fn a_sub_agent_of_a_sub_agent_asks_too() {
    let config = json!({
        "permission": {"bash": "ask"},
        "subagent_depth": 2,
        "agent": {"general": {"permission": {"task": "allow"}}},
    });
    let upstream = Upstream::start(delegating("asks"), config, &[]).await;
    let live = Live::on(&upstream).await;
    let prompt = "[[asks grandchild]]";
    let result = live.answered(prompt, PermissionReply::Reject).await;
    assert!(!live.proof(), "{result:?}");
    let between = upstream.model.runs("[[asks nested]]");
    assert!(between >= 1, "nobody was in between");
    let result = live.answered(prompt, PermissionReply::Once).await;
    assert!(live.proof(), "{result:?}");
}

pub(super) async fn on_a_given_server_sub_agents_are_off_where_something_is_asked_for(
    upstream: &Upstream,
) {
    let live = Live::with_rules(upstream, bash_is_asked_for()).await;
    let result = live.turn("[[off parent]]").await;
    assert_eq!(result.status, TurnStatus::Completed, "{result:?}");
    assert!(!live.proof(), "{result:?}");
    assert_eq!(upstream.model.runs("[[off child]]"), 0, "{result:?}");
}

/// Why they are off: what the rules want asked is not asked for in a sub-agent's session.
pub(super) async fn sub_agents_that_are_allowed_by_name_run_unasked_as_the_warning_says(
    upstream: &Upstream,
) {
    let live = Live::adjusted(upstream, bash_is_asked_for(), |builder| {
        builder.sub_agents(SubAgents::Unasked)
    });
    let live = live.await;
    let result = live.turn("[[unasked parent]]").await;
    assert_ended(&result, TurnStatus::Completed, None, "All done.");
    assert!(live.proof(), "{result:?}");
    let reported = live.recorder.named("reported");
    let warned = |fields: &&serde_json::Map<String, Value>| {
        let error = fields["error"].as_str();
        error.unwrap().contains("ask for nothing")
    };
    assert_eq!(reported.iter().filter(warned).count(), 1, "{reported:?}");
}
