//! A real server that is killed and started again in the middle of a turn.

use std::time::Instant;

use opencode_client::PermissionId;
use opencode_client::reply::{PersistedPart, ToolStatus};
use opencode_host::AnswerError;
use opencode_impostor::Round;

use super::*;

/// A turn ends seconds after its server answers again, whatever call the server swallows then (1.17.19 and later do
/// in the first moments). This is far more than those seconds, for machines that are busy, and far less than the two
/// minutes that a swallowed call takes by itself.
const SOON: Duration = Duration::from_secs(45);

impl Live<'_> {
    /// Restarts the server under a turn, and returns how the turn ended.
    async fn restarted_under(
        &self,
        turn: TurnId,
        working: tokio::task::JoinHandle<()>,
    ) -> TurnResult {
        self.upstream.restart().await;
        let answered = Instant::now();
        let result = self.finished(turn, working).await;
        assert!(answered.elapsed() < SOON, "{:?}", answered.elapsed());
        assert_eq!(
            (result.status, result.answer.reason.unwrap().as_str()),
            (TurnStatus::Error, "interrupted")
        );
        result
    }
}

#[tokio::test]
async fn on_one_server() {
    let script = shells().then(ModelScript::standard());
    let upstream = &Upstream::start(script, json!({}), &[]).await;
    let cases = cases![
        upstream;
        a_killed_and_restarted_server_interrupts_and_goes_on,
        a_shell_that_runs_and_a_request_that_waits_end_with_their_server,
    ];
    all_hold(1, cases).await;
}

async fn a_killed_and_restarted_server_interrupts_and_goes_on(upstream: &Upstream) {
    let live = Live::on(upstream).await;
    let (turn, working) = live.submit("go on [[slow]]").await;
    live.text(turn).await;
    let result = live.restarted_under(turn, working).await;
    assert!(
        result.answer.content.starts_with("slow"),
        "{:?}",
        result.answer.content
    );
    assert_eq!(
        upstream.model.runs("[[slow]]"),
        1,
        "the prompt was not run again"
    );
    let result = live.turn("please answer [[text]]").await;
    assert_ended(&result, TurnStatus::Completed, None, UNICODE_TEXT);
}

fn shells() -> ModelScript {
    let shell = |command: &str| {
        let call = json!({"command": command, "description": "Run it"});
        [Round::call("bash", call), Round::text("It ran.")]
    };
    ModelScript::new()
        .on("[[sleep]]", shell("echo begun > begun.txt; sleep 600"))
        .on("[[touch]]", shell("echo done > done.txt"))
}

async fn a_shell_that_runs_and_a_request_that_waits_end_with_their_server(upstream: &Upstream) {
    let rules = vec![PermissionRule::all("bash", PermissionAction::Ask)];
    let live = Live::with_rules(upstream, rules).await;

    let (turn, working) = live.submit("[[sleep]]").await;
    let asked = live.asked(turn).await;
    let once = PermissionReply::Once;
    let replied = live.host.reply_permission(turn, &asked.id, once, None);
    replied.await.unwrap();
    live.watch(turn, |change| {
        let Change::Tool { part, .. } = change else {
            return None;
        };
        matches!(part, PersistedPart::Tool(tool) if tool.status == ToolStatus::Running)
            .then_some(())
    })
    .await;
    live.restarted_under(turn, working).await;
    assert_eq!(upstream.model.runs("[[sleep]]"), 1, "it was not run again");

    let (turn, working) = live.submit("[[touch]]").await;
    let asked: PermissionId = live.asked(turn).await.id;
    live.restarted_under(turn, working).await;
    let late = live.host.reply_permission(turn, &asked, once, None).await;
    assert!(matches!(late, Err(AnswerError::NotWaiting)), "{late:?}");
    assert!(!live.directory().join("done.txt").exists());

    // The conversation goes on, and asks anew.
    let (turn, working) = live.submit("and again [[touch]]").await;
    let asked = live.asked(turn).await;
    let replied = live.host.reply_permission(turn, &asked.id, once, None);
    replied.await.unwrap();
    let result = live.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "It ran.");
    assert!(live.directory().join("done.txt").exists());
}
