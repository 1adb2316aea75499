//! Files of messages.

use futures_util::future::join_all;
use serde_json::json;

use super::Fixture;
use super::content::odd_text;
use crate::blobs::Digest;
use crate::clock::Clock as _;
use crate::id::{AttachmentId, MessageId};
use crate::store::{
    Attachment, AttachmentSource, Conversation, ConversationFilter, NewAttachment, NewTurn,
    NewUploads, Page, StoreError, Submitted,
};

impl dyn Fixture + '_ {
    fn file(&self, message: MessageId, name: &str, bytes: &str) -> NewAttachment {
        NewAttachment {
            id: AttachmentId::from_uuid(self.clock().new_uuid()),
            message,
            name: name.to_owned(),
            digest: Digest::of(bytes.as_bytes()),
            size: bytes.len() as u64,
            mime_type: "text/plain".to_owned(),
            source: AttachmentSource::Tool,
            trust: serde_json::Map::new(),
            place: None,
        }
    }

    /// A turn that brings files of this content.
    fn with_files(&self, conversation: &Conversation, bytes: &[&str], quota: u64) -> NewTurn {
        let mut new = self.new_turn(conversation, "Look");
        let files = bytes
            .iter()
            .enumerate()
            .map(|(number, bytes)| NewAttachment {
                source: AttachmentSource::Upload,
                ..self.file(new.user_message, &number.to_string(), bytes)
            });
        let files = files.collect();
        new.uploads = Some(NewUploads {
            said: "Look".to_owned(),
            files,
            quota: Some(quota),
        });
        new
    }

    async fn a_message(&self, conversation: &str) -> MessageId {
        let conversation = self.open(conversation).await;
        self.submit(&conversation, "Hello").await.message
    }
}

/// An attached file is kept as it is, and told with its message's conversation.
pub async fn a_file_is_kept(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let message = on.submit(&conversation, "Hello").await.message;
    let mut trust = serde_json::Map::new();
    trust.insert(odd_text(), json!([odd_text(), 1, null]));
    let new = NewAttachment {
        name: odd_text(),
        size: i64::MAX as u64,
        mime_type: odd_text(),
        source: AttachmentSource::Transform,
        trust,
        place: Some(odd_text()),
        ..on.file(message, "", "bytes")
    };
    let attached = on.store().attach(&new).await.unwrap();
    assert!(attached.created);
    let expected = new.attached(conversation.id, on.clock().now());
    assert_eq!(attached.attachment, expected);
    let elsewhere = on.another().await;
    assert_eq!(
        elsewhere.attachment(new.id).await.unwrap(),
        Some(expected.clone())
    );
    assert_eq!(elsewhere.attachments(message).await.unwrap(), [expected]);
}

/// A message has one file of a name: the first. Other messages have theirs.
pub async fn a_name_is_one_file(on: &dyn Fixture) {
    let (message, other) = (on.a_message("one").await, on.a_message("two").await);
    let first = on.file(message, "report.md", "first");
    let first = on.store().attach(&first).await.unwrap();
    let again = on.file(message, "report.md", "second");
    let again = on.store().attach(&again).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(again.attachment, first.attachment);
    // Names are told apart to the letter.
    for (message, name) in [
        (message, "Report.md"),
        (message, "report.md "),
        (other, "report.md"),
    ] {
        let file = on.file(message, name, "third");
        assert!(on.store().attach(&file).await.unwrap().created, "{name:?}");
    }
    let files = on.store().attachments(message).await.unwrap();
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["report.md", "Report.md", "report.md "]);
}

/// However many attach a name at once, in however many processes, one does.
pub async fn one_of_many_attaches_wins(on: &dyn Fixture) {
    let message = on.a_message("garden").await;
    let stores = [on.store(), on.another().await, on.another().await];
    for round in 0..10 {
        let name = format!("report-{round}.md");
        let files: Vec<_> = (0..12)
            .map(|number| on.file(message, &name, &number.to_string()))
            .collect();
        let attaching = files
            .iter()
            .enumerate()
            .map(|(number, file)| stores[number % stores.len()].attach(file));
        let attached: Vec<_> = join_all(attaching)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let created = attached.iter().filter(|attached| attached.created).count();
        assert_eq!(created, 1, "round {round}");
        assert!(
            attached
                .iter()
                .all(|other| other.attachment == attached[0].attachment),
            "all are told the one that is there"
        );
    }
    assert_eq!(on.store().attachments(message).await.unwrap().len(), 10);
}

/// Without its message no file is attached, and no name is longer than the bound.
pub async fn a_file_needs_its_message(on: &dyn Fixture) {
    let unknown = MessageId::from_uuid(on.clock().new_uuid());
    let refused = on.store().attach(&on.file(unknown, "a", "a")).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::NotFound {
                what: "message",
                ..
            })
        ),
        "{refused:?}"
    );
    let message = on.a_message("garden").await;
    let long = on.file(message, &"é".repeat(255), "a");
    on.store().attach(&long).await.unwrap();
    let longer = on.file(message, &"é".repeat(256), "a");
    let refused = on.store().attach(&longer).await;
    assert!(
        matches!(refused, Err(StoreError::TooLong { limit: 255, .. })),
        "{refused:?}"
    );
    assert_eq!(on.store().attachments(message).await.unwrap().len(), 1);
}

/// The files of a submit are on the person's message, which shows the person's
/// words; a repeated submit adds none.
pub async fn a_submit_brings_its_files(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let mut new = on.new_turn(&conversation, "What sold best?\n\n1 file was uploaded.");
    new.client_key = Some("key".to_owned());
    let file = NewAttachment {
        source: AttachmentSource::Upload,
        ..on.file(new.user_message, "sales.csv", "a,b")
    };
    new.uploads = Some(NewUploads {
        said: "What sold best?".to_owned(),
        files: vec![file.clone()],
        quota: None,
    });
    let Submitted { turn, created } = on.store().submit(&new).await.unwrap();
    assert!(created);
    let expected = [file.attached(conversation.id, on.clock().now())];
    assert_eq!(
        on.store().attachments(new.user_message).await.unwrap(),
        expected
    );
    assert_eq!(on.store().attachments(new.message).await.unwrap(), []);
    assert_eq!(
        on.message(new.user_message).await.answer.content,
        "What sold best?"
    );
    assert_eq!(turn.prompt.text, new.prompt.text);
    let summary = on
        .store()
        .conversations(&ConversationFilter::default(), &Page::newest(1))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(summary.excerpt.as_deref(), Some("What sold best?"));

    let mut again = on.new_turn(&conversation, "What sold best?");
    again.client_key = new.client_key.clone();
    again.uploads = Some(NewUploads {
        said: "Other words".to_owned(),
        files: vec![on.file(again.user_message, "other.csv", "c")],
        quota: None,
    });
    assert!(!on.store().submit(&again).await.unwrap().created);
    assert_eq!(
        on.store().attachments(new.user_message).await.unwrap(),
        expected
    );
}

/// What a conversation's uploads may have together is not passed; what is refused leaves nothing behind, and a
/// repeated submit counts once.
pub async fn uploads_have_a_quota(on: &dyn Fixture) {
    let conversation = on.open("garden").await;
    let submit = async |key: &str, bytes: &[&str]| {
        let new = on.with_files(&conversation, bytes, 10);
        let new = NewTurn {
            client_key: Some(key.to_owned()),
            ..new
        };
        on.store().submit(&new).await
    };
    let used = async || on.store().uploaded_bytes(conversation.id).await.unwrap();
    assert_eq!(used().await, 0);
    submit("one", &["1234", "12"]).await.unwrap();
    assert_eq!(used().await, 6);
    for _ in 0..2 {
        let again = submit("one", &["1234", "12"]).await.unwrap();
        assert!(!again.created, "known, so it adds nothing");
    }
    let refused = submit("two", &["1", "1234"]).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::QuotaExceeded {
                used: 6,
                adding: 5,
                allowed: 10
            }
        ),
        "{refused:?}"
    );
    assert!(!refused.is_transient());
    let messages = on.store().messages(Some(conversation.id), None, 10).await;
    assert_eq!(messages.unwrap().len(), 2, "nothing of the refused one");
    assert_eq!(used().await, 6);
    // Up to the last byte; nothing is always allowed, and another conversation has its own.
    submit("two", &["1234"]).await.unwrap();
    assert_eq!(used().await, 10);
    submit("none", &[]).await.unwrap();
    assert!(submit("three", &["1"]).await.is_err());
    let other = on.open("other").await;
    let elsewhere = on.with_files(&other, &["1"], 10);
    on.store().submit(&elsewhere).await.unwrap();
    // What an agent makes does not count, and what is detached no more.
    let message = on.submit(&other, "Hello").await.message;
    on.store()
        .attach(&on.file(message, "made.md", "made"))
        .await
        .unwrap();
    assert_eq!(on.store().uploaded_bytes(other.id).await.unwrap(), 1);
    let upload = on
        .store()
        .attachments(elsewhere.user_message)
        .await
        .unwrap()
        .remove(0);
    on.store().detach(upload.id).await.unwrap();
    assert_eq!(on.store().uploaded_bytes(other.id).await.unwrap(), 0);
}

/// Of submits that fit alone, and not together, those that fit are taken, whole, whatever the process.
pub async fn a_quota_is_kept_by_many_at_once(on: &dyn Fixture) {
    let stores = [on.store(), on.another().await, on.another().await];
    for round in 0..5 {
        let conversation = on.open(&format!("garden {round}")).await;
        let new: Vec<_> = (0..6)
            .map(|_| on.with_files(&conversation, &["123", "123"], 13))
            .collect();
        let submitting = new
            .iter()
            .enumerate()
            .map(|(number, new)| stores[number % stores.len()].submit(new));
        let outcomes = join_all(submitting).await;
        let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(taken, 2, "round {round}: {outcomes:?}");
        for (new, outcome) in new.iter().zip(&outcomes) {
            let files = on.store().attachments(new.user_message).await.unwrap();
            assert_eq!(files.len(), if outcome.is_ok() { 2 } else { 0 });
            assert!(matches!(
                outcome,
                Ok(Submitted { created: true, .. }) | Err(StoreError::QuotaExceeded { .. })
            ));
        }
        let used = on.store().uploaded_bytes(conversation.id).await.unwrap();
        assert_eq!(used, 12);
    }
}

/// The newest files of one conversation come first, as many as were asked for.
pub async fn the_newest_files_come_first(on: &dyn Fixture) {
    let conversation = on.open("one").await;
    let messages = [
        on.submit(&conversation, "1").await.message,
        on.submit(&conversation, "2").await.message,
    ];
    let elsewhere = on.a_message("two").await;
    for number in 0..5 {
        for message in [messages[number % 2], elsewhere] {
            let file = on.file(message, &number.to_string(), "x");
            on.store().attach(&file).await.unwrap();
        }
    }
    for (limit, expected) in [
        (0, &[][..]),
        (2, &["4", "3"]),
        (9, &["4", "3", "2", "1", "0"]),
    ] {
        let files = on.store().newest_attachments(conversation.id, limit).await;
        let names: Vec<_> = files.unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, expected, "limit {limit}");
    }
}

/// A digest is in use while a row names it.
pub async fn digests_in_use_are_told(on: &dyn Fixture) {
    let message = on.a_message("garden").await;
    let [one, two, three] = ["1", "2", "3"].map(|bytes| Digest::of(bytes.as_bytes()));
    let mut files: Vec<Attachment> = Vec::new();
    for (name, bytes) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let file = on.file(message, name, bytes);
        files.push(on.store().attach(&file).await.unwrap().attachment);
    }
    let used = async |asked: &[Digest]| {
        let mut used = on.store().digests_in_use(asked).await.unwrap();
        used.sort_unstable();
        used
    };
    let mut both = [one, two];
    both.sort_unstable();
    assert_eq!(used(&[three, two, one]).await, both);
    assert_eq!(used(&[three]).await, []);
    assert_eq!(used(&[]).await, []);
    on.store().detach(files[0].id).await.unwrap();
    assert_eq!(used(&[one]).await, [one], "another file has the same bytes");
    on.store().detach(files[1].id).await.unwrap();
    assert_eq!(used(&[one, two]).await, [two]);
}

/// A detached file is gone, once, and its name is free again.
pub async fn a_file_is_detached_once(on: &dyn Fixture) {
    let message = on.a_message("garden").await;
    let file = on.file(message, "chart.html", "forged");
    let attached = on.store().attach(&file).await.unwrap().attachment;
    assert_eq!(on.store().detach(file.id).await.unwrap(), Some(attached));
    assert_eq!(on.store().detach(file.id).await.unwrap(), None);
    assert_eq!(on.store().attachment(file.id).await.unwrap(), None);
    let real = on.file(message, "chart.html", "real");
    assert!(on.store().attach(&real).await.unwrap().created);
}

/// A deleted conversation takes its files with it, and no others.
pub async fn deletion_takes_files(on: &dyn Fixture) {
    let conversation = on.open("one").await;
    let message = on.submit(&conversation, "1").await.message;
    let spared = on.a_message("two").await;
    let gone = on.file(message, "a", "1");
    for file in [&gone, &on.file(spared, "a", "2")] {
        on.store().attach(file).await.unwrap();
    }
    on.store()
        .delete_conversation(conversation.id, None)
        .await
        .unwrap();
    assert_eq!(on.store().attachment(gone.id).await.unwrap(), None);
    assert_eq!(on.store().digests_in_use(&[gone.digest]).await.unwrap(), []);
    assert_eq!(on.store().attachments(spared).await.unwrap().len(), 1);
}
