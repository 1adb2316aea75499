//! What goes into a store is bounded by the host, whatever the store.

use opencode_client::wire::Prompt;
use opencode_host::store::{MAX_KEY_CHARS, StoreError, Tenant};
use opencode_host::{SubmitError, SubmitOptions};
use opencode_impostor::Impostor;

use crate::hosting::Hosting;

#[tokio::test]
async fn names_and_keys_are_bounded_before_the_store() {
    let test = Hosting::new(Impostor::start().await.unwrap()).await;
    let (longest, too_long) = ("ä".repeat(MAX_KEY_CHARS), "ä".repeat(MAX_KEY_CHARS + 1));
    // The store itself takes anything.
    test.store
        .open_conversation(&Tenant::default(), &too_long)
        .await
        .unwrap();
    let opened = test
        .host
        .open_conversation(&Tenant::default(), &longest)
        .await
        .unwrap();
    assert_eq!(opened.name, longest);
    let refused = test
        .host
        .open_conversation(&Tenant::default(), &too_long)
        .await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { .. })),
        "{refused:?}"
    );

    for (key, is_taken) in [(longest, true), (too_long, false)] {
        let options = SubmitOptions {
            client_key: Some(key),
            ..SubmitOptions::default()
        };
        let prompt = Prompt::text("Hello");
        let submitted = test.host.submit(opened.id, prompt, options).await;
        match submitted {
            Ok(submitted) => assert!(is_taken && submitted.created),
            Err(SubmitError::Store(StoreError::TooLong { what, .. })) => {
                assert_eq!((is_taken, what), (false, "client key"));
            }
            Err(other) => panic!("{other}"),
        }
    }
}
