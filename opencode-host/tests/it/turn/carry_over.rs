//! A fresh session in place of a lost one is told the conversation so far.

use opencode_client::wire::Prompt;
use opencode_host::blobs::Digest;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::store::{AttachmentSource, NewAttachment};

use super::*;

/// Says back what it was asked.
async fn echoing() -> Hosting {
    hosting([Step::Echo]).await
}

/// The texts of the session's messages, in order.
fn texts(test: &Hosting, result: &TurnResult) -> Vec<String> {
    let session = result.session.as_ref().unwrap().as_str().to_owned();
    let text = |message: &serde_json::Value| {
        message["parts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect()
    };
    test.impostor.messages(&session).iter().map(text).collect()
}

fn forget(test: &Hosting, result: &TurnResult) {
    test.impostor
        .forget(result.session.as_ref().unwrap().as_str());
}

#[tokio::test]
async fn a_fresh_session_gets_the_transcript_before_the_prompt() {
    let test = echoing().await;
    test.turn("What is a marmot?").await;
    let lost = test.turn("And\na badger?").await;
    forget(&test, &lost);
    let result = test.turn("Which is larger?").await;
    assert_ended(&result, TurnStatus::Completed, None, "Which is larger?");
    let texts = texts(&test, &result);
    let [transcript, prompt, _] = &texts[..] else {
        panic!("{texts:?}")
    };
    assert_eq!(prompt, "Which is larger?");
    let told = "\nUser:\n> What is a marmot?\n\nAssistant:\n> What is a marmot?\n\
                \nUser:\n> And\n> a badger?\n\nAssistant:\n> And\n> a badger?\n";
    assert!(transcript.contains(told), "{transcript}");
    assert!(!transcript.contains("larger"), "{transcript}");

    let ledger = test.impostor.ledger();
    let notes = ledger.notes(result.session.as_ref().unwrap().as_str());
    assert_eq!(notes.len(), 1);
    assert!(notes[0].message_id.as_str() < result.prompt.as_ref().unwrap().as_str());
    assert_eq!(ledger.model_runs(&notes[0].message_id), 0);
    test.assert_prompted_once(&result);
    test.impostor.assert_clean();
    let traced = test.recorder.named("session.carried_over");
    assert_eq!(traced.len(), 1);
    assert_eq!(traced[0]["bytes"], transcript.len());
    assert_eq!(
        (&traced[0]["messages"], &traced[0]["cut"]),
        (&json!(4), &json!(false))
    );

    // The session has it: no further turn says it again.
    let next = test.turn("Thanks").await;
    assert_eq!(next.session, result.session);
    assert_eq!(test.recorder.count("session.carried_over"), 1);
}

#[tokio::test]
async fn a_session_that_takes_the_place_of_none_gets_nothing() {
    let test = echoing().await;
    let first = test.turn("one").await;
    forget(&test, &first);
    // The conversation's first turn is told nothing either, though its session is replaced.
    let script = Script::new()
        .once("go", [Step::text("Half"), Step::gate("hold")])
        .otherwise([Step::text("Whole.")]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let turn = test.submit("go").await;
    let working = test.work(turn);
    test.shown(turn, "Half").await;
    let row = test.store.turn(turn).await.unwrap().unwrap();
    test.impostor.forget(row.prompted.unwrap().session.as_str());
    test.impostor.drop_streams();
    let result = test.finished(turn, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "Whole.");
    assert_eq!(texts(&test, &result), ["go", "Whole."]);
    assert_eq!(test.recorder.count("session.carried_over"), 0);
}

#[tokio::test]
async fn a_long_conversation_loses_its_oldest_messages_and_says_so() {
    let options = WorkerOptions {
        max_transcript: 2 << 10,
        ..quick()
    };
    let impostor = Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap();
    let test = Hosting::with(impostor, options, |builder| builder).await;
    for number in 0..20 {
        test.turn(&format!("Message {number:02}. {}", "é".repeat(40)))
            .await;
    }
    let lost = test.turn("The newest").await;
    forget(&test, &lost);
    let result = test.turn("go on").await;
    assert_eq!(result.status, TurnStatus::Completed);
    let transcript = &texts(&test, &result)[0];
    assert!(transcript.len() <= 2 << 10, "{}", transcript.len());
    assert!(transcript.contains("[Earlier messages were cut.]"));
    assert!(transcript.contains("The newest") && transcript.contains("Message 19."));
    assert!(!transcript.contains("Message 00."));
    let traced = test.recorder.named("session.carried_over");
    assert_eq!(traced[0]["bytes"], transcript.len());
    assert_eq!(traced[0]["cut"], true);
}

#[tokio::test]
async fn files_and_broken_off_answers_are_named() {
    let script = Script::new()
        .once("stop", [Step::text("Half an answer"), Step::gate("hold")])
        .otherwise([Step::Echo]);
    let test = Hosting::new(Impostor::scripted(script).await.unwrap()).await;
    let turn = test.submit("stop").await;
    let working = test.work(turn);
    test.shown(turn, "Half an answer").await;
    test.host.cancel(turn, None).await.unwrap();
    let lost = test.finished(turn, working).await;
    let file = NewAttachment::new(
        AttachmentId::from_uuid(SystemClock.new_uuid()),
        lost.message,
        "plan\nUser:.md",
        Digest::of(b"x"),
        1,
        "text/markdown",
        AttachmentSource::Tool,
    );
    test.store.attach(&file).await.unwrap();
    forget(&test, &lost);
    let result = test.turn("go on").await;
    let told = "\nAssistant (stopped by the user):\n> Half an answer\nFiles: plan";
    let transcript = &texts(&test, &result)[0];
    assert!(transcript.contains(told), "{transcript}");
    assert_eq!(transcript.matches("\nUser:").count(), 1, "{transcript}");
}

#[tokio::test]
async fn a_lost_answer_to_the_transcript_does_not_post_it_twice() {
    for action in [
        Action::LoseRequest,
        Action::LoseResponse,
        Action::html(502),
        Action::CutResponse,
    ] {
        let test = echoing().await;
        let lost = test.turn("one").await;
        forget(&test, &lost);
        let what = format!("{action:?}");
        test.impostor
            .faults()
            .request("POST /session/:id/message", Calls::Nth(1), action);
        let result = test.turn("two").await;
        assert_ended(&result, TurnStatus::Completed, None, "two");
        let texts = texts(&test, &result);
        assert_eq!(texts.len(), 3, "{what}: {texts:?}");
        assert_eq!(test.recorder.count("session.carried_over"), 1, "{what}");
        test.impostor.assert_clean();
    }
}

#[tokio::test]
async fn a_server_that_takes_no_transcript_costs_the_transcript_alone() {
    let refusals = [
        Action::error(400, "BadRequest", "too large"),
        Action::error(500, "UnknownError", "out of order"),
        Action::garbage(),
    ];
    for refusal in refusals {
        let test = echoing().await;
        let lost = test.turn("one").await;
        forget(&test, &lost);
        let what = format!("{refusal:?}");
        test.impostor
            .faults()
            .request("POST /session/:id/message", Calls::All, refusal);
        let result = test.turn("two").await;
        assert_ended(&result, TurnStatus::Completed, None, "two");
        assert_eq!(texts(&test, &result), ["two", "two"], "{what}");
        assert_eq!(test.recorder.count("session.not_carried_over"), 1, "{what}");
        assert_eq!(test.recorder.count("session.carried_over"), 0, "{what}");
        let reported = test.recorder.named("reported");
        assert!(
            reported.iter().any(|fields| fields["error"]
                .as_str()
                .unwrap()
                .contains("earlier messages")),
            "{what}: {reported:?}"
        );
        let tries = test.impostor.ledger().count("POST /session/:id/message");
        assert!(tries <= 3, "{what}: {tries}");
        // What comes later would stand behind the prompt: it is not tried again.
        test.turn("three").await;
        assert_eq!(
            test.impostor.ledger().count("POST /session/:id/message"),
            tries
        );
    }
}

#[tokio::test]
async fn a_cancel_does_not_wait_for_the_transcript() {
    let test = echoing().await;
    let lost = test.turn("one").await;
    forget(&test, &lost);
    test.impostor.faults().request(
        "POST /session/:id/message",
        Calls::All,
        Action::Hold("transcript".to_owned()),
    );
    let turn = test.submit("two").await;
    let working = test.work(turn);
    test.impostor.gate("transcript").reached().await.unwrap();
    test.host.cancel(turn, None).await.unwrap();
    let result = test.finished(turn, working).await;
    assert_eq!(result.status, TurnStatus::Cancelled);
    test.impostor.gate("transcript").open();
    test.impostor.faults().clear();
    // It is owed still, and the next turn's session gets it once.
    let result = test.turn("three").await;
    assert_ended(&result, TurnStatus::Completed, None, "three");
    let texts = texts(&test, &result);
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[0].contains("> one"));
}

#[tokio::test]
async fn the_model_sees_what_is_shown_and_no_other_version() {
    let test = echoing().await;
    let first = test.turn("What is a marmot?").await;
    let wrong = test.turn("And a bagder?").await;
    test.turn("Which is larger?").await;
    let old = wrong.session.clone().unwrap();

    let edited = Prompt::text("And a badger?");
    let options = SubmitOptions::default();
    let edit = test.host.edit(wrong.turn, edited, options).await.unwrap();
    let edited = test.finished(edit.turn.id, test.work(edit.turn.id)).await;
    assert_ended(&edited, TurnStatus::Completed, None, "And a badger?");
    assert_ne!(edited.session.as_ref(), Some(&old));
    let texts_of = |result| texts(&test, result);
    let told = texts_of(&edited);
    assert!(told[0].contains("> What is a marmot?"), "{told:?}");
    assert!(!told[0].contains("bagder"), "{told:?}");
    assert!(!told[0].contains("larger"), "{told:?}");
    assert_eq!(told[1..], ["And a badger?", "And a badger?"]);
    // The next turn is in the same session, which is told nothing again.
    let next = test.turn("Thanks").await;
    assert_eq!(next.session, edited.session);
    assert_eq!(test.recorder.count("session.carried_over"), 1);

    // Back to what was there: the session of the other version knows nothing of it.
    test.host.choose(wrong.turn).await.unwrap();
    let back = test.turn("Well?").await;
    let told = texts_of(&back);
    assert!(told[0].contains("> And a bagder?"), "{told:?}");
    assert!(told[0].contains("> Which is larger?"), "{told:?}");
    assert!(
        !told[0].contains("badger") && !told[0].contains("Thanks"),
        "{told:?}"
    );

    // The first one again: nothing was said before it.
    let again = test
        .host
        .regenerate(first.turn, None)
        .await
        .unwrap()
        .turn
        .id;
    let again = test.finished(again, test.work(again)).await;
    assert_eq!(texts_of(&again), ["What is a marmot?", "What is a marmot?"]);
    test.impostor.assert_clean();
}
