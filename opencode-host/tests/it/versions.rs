//! What versions of OpenCode do differently, acted out through the whole host.
//!
//! | what | versions | test |
//! | --- | --- | --- |
//! | `abort` and `children` need the folder | up to 1.15.4 | `turn::leaving::a_cancel_stops_the_model_and_its_sub_agents_on_every_version`, `turn::leaving::every_call_about_a_session_names_its_folder` |
//! | an idle of another folder | up to 1.15.4 | [`an_idle_of_another_folder_ends_nothing`] |
//! | calls that are never answered | 1.17.19, 1.18.33, 1.18.34 | [`calls_that_no_start_answers_cost_seconds`], `turn::calls`, `turn::answering::what_is_asked_is_seen_without_events`, `real::restarts` |
//! | rules ignored | 1.0.x | [`what_is_not_safe_to_prompt_is_not_prompted`], `rules::a_server_that_ignores_the_rules_is_not_prompted` |
//! | writes outside unasked | below 1.1.16 | [`what_is_not_safe_to_prompt_is_not_prompted`] |
//! | sub-agents lose the `ask` rules | all | `real::sub_agents`, `rules::sub_agents_are_off_where_something_is_asked_for` |
//! | an absent message is a 500 | 1.2.1 to 1.2.20 | `turn::faults::a_lost_answer_to_the_prompt_does_not_prompt_twice`, `steps` |
//! | a rejected permission in other words | 1.2.x | [`the_recorded_rejection_of_1_2_27_is_declined`], `turn::odd::a_rejected_permission_is_declined_whatever_the_words_and_the_finish` |
//! | silence about an unknown agent | up to 1.2.27 | `turn::names` |
//! | `metadata` is not kept | up to 1.14.48 | `turn::lost_sessions::a_session_whose_mint_was_not_answered_is_taken_up_on_every_version`, `steps` |
//! | odd finish words with tool calls | all | `turn::odd::a_message_with_tool_calls_is_not_the_end_whatever_word_it_ends_with`, `real::odd` |
//! | lone surrogates, deep input, odd records and numbers | all | `turn::odd`, `real::odd` |
//! | the history is a 500 | all | `turn::unreadable` |
//! | `retry.action`, `state.attachments` | from 1.18.3 on | `turn::odd::pictures_of_tools_and_what_helps_against_a_busy_provider_are_kept` |
//! | a second post runs again | 1.15.13 | [`a_lost_post_is_looked_for_and_made_again`] |
//! | message ids order the loop | up to 1.15.13 | [`clocks_that_differ_order_nothing`] |
//! | `/event` is silent | 1.14.48 | [`where_the_streams_are_silent_the_answer_is_fetched`], `turn::answering::what_is_asked_is_seen_without_events` |
//! | text without deltas | up to 1.1.65 | [`text_that_grows_without_deltas_is_shown`] |

use async_trait::async_trait;
use opencode_client::wire::PermissionReply;
use opencode_host::product::{HookError, Product, TurnContext};
use opencode_host::store::TurnStatus;
use opencode_host::turn::TurnResult;
use opencode_impostor::{
    Action, Calls, Dialect, Impostor, ImpostorBuilder, Ledger, Script, Step, Streamed,
};

use crate::hosting::{Hosting, PATIENCE, assert_ended, quick};

/// Its conversations work in another folder than the server.
#[derive(Debug)]
struct Elsewhere;

#[async_trait]
impl Product for Elsewhere {
    async fn directory(&self, _: &TurnContext) -> Result<Option<String>, HookError> {
        Ok(Some("/workspace/elsewhere".to_owned()))
    }
}

/// A host of a server of this version.
async fn of(version: &str, script: Script) -> Hosting {
    hosting(Impostor::builder().version(version).script(script)).await
}

async fn hosting(impostor: ImpostorBuilder) -> Hosting {
    Hosting::with_product(impostor.start().await.unwrap(), Elsewhere).await
}

#[tokio::test]
async fn an_idle_of_another_folder_ends_nothing() {
    for version in ["1.14.48", "1.15.4"] {
        let words = Streamed::new("Half and half").gate("hold");
        let test = of(version, Script::always([Step::Text(words)])).await;
        let turn = test.submit("go").await;
        let working = test.work(turn);
        test.shown(turn, "Half and half").await;
        // Somebody else's abort, which names no folder and stops nothing.
        let session = test.impostor.ledger().busy()[0].into();
        test.worker.client().abort(&session).await.unwrap();
        test.impostor.gate("hold").open();
        let result = test.finished(turn, working).await;
        assert_ended(&result, TurnStatus::Completed, None, "Half and half");
    }
}

#[tokio::test]
async fn calls_that_no_start_answers_cost_seconds() {
    for version in ["1.17.19", "1.18.33", "1.18.34"] {
        let script = Script::new()
            .once("one", [Step::text("Half"), Step::gate("hold")])
            .otherwise([Step::text("Fine.")]);
        let impostor = Impostor::builder().version(version).script(script);
        // Two calls in a row are not a server that is out of reach.
        let mut options = quick();
        options.limits.unreachable = PATIENCE;
        let test = Hosting::with(impostor.start().await.unwrap(), options, |host| host).await;
        for call in ["GET /session/status", "POST /session/:id/prompt_async"] {
            let faults = test.impostor.faults();
            faults.request(call, Calls::FirstOfLife(1), Action::Swallow);
        }
        let turn = test.submit("one").await;
        let working = test.work(turn);
        test.shown(turn, "Half").await;
        test.impostor.restart().await.unwrap();
        let result = test.finished(turn, working).await;
        assert_ended(&result, TurnStatus::Error, Some("interrupted"), "Half");
        let result = test.turn("two").await;
        assert_ended(&result, TurnStatus::Completed, None, "Fine.");
        test.assert_ran_once(&result, version);
    }
}

#[tokio::test]
async fn what_is_not_safe_to_prompt_is_not_prompted() {
    for version in ["1.0.0", "1.0.185", "1.1.11", "1.1.15"] {
        let test = of(version, Script::always([Step::text("never said")])).await;
        let result = test.turn("go").await;
        assert_ended(
            &result,
            TurnStatus::Error,
            Some("unsafe_server"),
            &result.answer.content,
        );
        let ledger = test.impostor.ledger();
        assert!(ledger.prompt_posts().is_empty(), "{version}");
        assert!(ledger.sessions_alive().is_empty(), "{version}");
    }
    let test = of("1.1.16", Script::always([Step::text("Fine.")])).await;
    assert_ended(&test.turn("go").await, TurnStatus::Completed, None, "Fine.");
}

impl Hosting {
    /// Whatever was posted, and however often: one message of the person's, one run of the model.
    fn assert_ran_once(&self, result: &TurnResult, version: &str) {
        let prompt = result.prompt.as_ref().unwrap().as_str();
        let runs = self.impostor.ledger().model_runs(prompt);
        assert_eq!(runs, 1, "{version}");
        let messages = self
            .impostor
            .messages(result.session.as_ref().unwrap().as_str());
        let named = messages
            .iter()
            .filter(|message| message["info"]["id"] == prompt);
        assert_eq!(named.count(), 1, "{version}");
    }
}

#[tokio::test]
async fn a_lost_post_is_looked_for_and_made_again() {
    for version in ["1.1.65", "1.2.27", "1.15.13", "1.18.34"] {
        for heard in [false, true] {
            let test = of(version, Script::always([Step::text("Once.")])).await;
            let faults = test.impostor.faults();
            let post = "POST /session/:id/prompt_async";
            if heard {
                faults.lose_response(post, Calls::Nth(1));
            } else {
                faults.lose_request(post, Calls::Nth(1));
            }
            let result = test.turn("go").await;
            assert_ended(&result, TurnStatus::Completed, None, "Once.");
            test.assert_ran_once(&result, version);
        }
    }
}

#[tokio::test]
async fn the_recorded_rejection_of_1_2_27_is_declined() {
    let tape = "v1.2.27-permission-rejected-other-words";
    let test = Hosting::new(Impostor::tape(tape).await.unwrap()).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    let asked = |ledger: &Ledger| ledger.permissions().first().map(|id| (*id).to_owned());
    let asked = test.impostor.wait_until(asked).await.unwrap();
    let asked = asked.as_str().into();
    let reject = PermissionReply::Reject;
    let replied = test.host.reply_permission(turn, &asked, reject, None);
    replied.await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(
        (result.status, result.answer.reason.unwrap().as_str()),
        (TurnStatus::Cancelled, "declined"),
        "{:?}",
        result.answer.error
    );
    let error = result.answer.tool_calls()[0].error.clone().unwrap();
    assert!(error.contains("PermissionRejectedError"), "{error}");
}

#[tokio::test]
async fn clocks_that_differ_order_nothing() {
    for version in ["1.2.27", "1.15.13", "1.18.33"] {
        for skew in [-3_600_000, 3_600_000] {
            let impostor = Impostor::builder()
                .version(version)
                .clock_skew_ms(skew)
                .script(Script::always([Step::text("Once.")]));
            let test = hosting(impostor).await;
            for _ in 0..2 {
                let result = test.turn("go").await;
                assert_ended(&result, TurnStatus::Completed, None, "Once.");
                test.assert_ran_once(&result, version);
            }
            test.impostor.assert_clean();
        }
    }
}

#[tokio::test]
async fn where_the_streams_are_silent_the_answer_is_fetched() {
    let test = of("1.14.48", Script::always([Step::text("Fine.")])).await;
    let result = test.turn("over the stream of the server").await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    assert_eq!(test.impostor.ledger().streams_opened("/event"), 0);
    drop(test);

    let dialect = Dialect {
        global_event: false,
        ..Dialect::of("1.14.48")
    };
    let impostor = Impostor::builder().dialect(dialect);
    let test = hosting(impostor.script(Script::always([Step::text("Fine.")]))).await;
    let result = test.turn("over the stream of the folder").await;
    assert_ended(&result, TurnStatus::Completed, None, "Fine.");
    assert_eq!(test.impostor.ledger().streams_opened("/event"), 1);
    assert_eq!(test.recorder.count("response.recovered_from_exchange"), 1);
}

#[tokio::test]
async fn text_that_grows_without_deltas_is_shown() {
    let chunks = ["The first half", " and the second"];
    let grows = Streamed {
        chunks: Some(chunks.map(str::to_owned).to_vec()),
        ..Streamed::default()
    };
    let script = Script::always([Step::Text(grows.gate("hold").gate_after(1))]);
    let test = of("1.1.65", script).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "The first half").await;
    test.impostor.gate("hold").open();
    let result = test.finished(turn, working).await;
    assert_ended(
        &result,
        TurnStatus::Completed,
        None,
        "The first half and the second",
    );
}
