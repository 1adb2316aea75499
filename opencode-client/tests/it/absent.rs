//! Looking for a message that is not there.

use opencode_client::wire::{NewSession, Prompt};
use opencode_client::{Client, Error, MessageId};
use opencode_impostor::{Action, Calls, Impostor, Script, Step};

#[tokio::test]
async fn an_absent_message_is_absent_on_every_version() {
    for version in ["1.1.16", "1.2.1", "1.2.20", "1.2.27", "1.18.33"] {
        let script = Script::always([Step::text("Fine.")]);
        let impostor = Impostor::builder().script(script).version(version);
        let impostor = impostor.start().await.unwrap();
        let client = Client::builder(impostor.url()).build().unwrap();
        let session = client.create_session(&NewSession::default()).await.unwrap();
        let absent = MessageId::from("msg_000000000001AAAAAAAAAAAAAA");
        assert_eq!(client.message(&session.id, &absent).await.unwrap(), None);
        let ids = client.mint_prompt_ids(&session.id, 7).await.unwrap();
        assert_eq!(
            client.message(&session.id, &ids.message).await.unwrap(),
            None
        );
        // More messages than a first page has.
        let mut newest = ids;
        for _ in 0..4 {
            client
                .prompt(&session.id, &newest, &Prompt::text("go"))
                .await
                .unwrap();
            newest = client.mint_prompt_ids(&session.id, 7).await.unwrap();
            let found = client.message(&session.id, &newest.message).await.unwrap();
            assert_eq!(found, None, "{version}");
        }
        let listed = client
            .messages(&session.id, 100, None)
            .await
            .unwrap()
            .messages;
        for message in &listed {
            let found = client.message(&session.id, &message.info.id).await.unwrap();
            assert_eq!(found.unwrap().info.id, message.info.id, "{version}");
        }
        assert_eq!(client.message(&session.id, &absent).await.unwrap(), None);
    }
}

/// Where the look fails for a reason of its own, nothing is known of the message. A list that knows it wins.
#[tokio::test]
async fn a_look_that_fails_is_no_absence() {
    let look = "GET /session/:id/message/:id";
    let impostor = Impostor::scripted(Script::always([Step::text("Fine.")]))
        .await
        .unwrap();
    let client = Client::builder(impostor.url()).build().unwrap();
    let session = client.create_session(&NewSession::default()).await.unwrap();
    let ids = client.mint_prompt_ids(&session.id, 7).await.unwrap();
    client
        .prompt(&session.id, &ids, &Prompt::text("go"))
        .await
        .unwrap();
    let missing = Action::error(
        500,
        "UnknownError",
        "Error: Message not found: msg_1\n    at x",
    );
    let fault = impostor.faults().request(look, Calls::All, missing);
    let found = client.message(&session.id, &ids.message).await.unwrap();
    assert_eq!(found.unwrap().info.id, ids.message);
    impostor.faults().remove(fault);
    for broken in [
        Action::html(500),
        Action::error(500, "UnknownError", "disk full"),
    ] {
        let fault = impostor.faults().request(look, Calls::All, broken);
        let looked = client.message(&session.id, &ids.message).await;
        assert!(matches!(looked, Err(Error::Server { .. })), "{looked:?}");
        impostor.faults().remove(fault);
    }
}
