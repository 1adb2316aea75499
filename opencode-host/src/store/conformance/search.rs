//! Conversations that are found by their words.

use serde_json::json;

use super::Fixture;
use super::sample::finish;
use crate::clock::Clock as _;
use crate::id::{ConversationId, MessageId};
use crate::store::{
    Conversation, ConversationFilter, MAX_SEARCHED_CHARS, Metadata, NewFork, NewTurn, Page, Search,
    Tenant, Turn, TurnStatus,
};

impl dyn Fixture + '_ {
    /// A turn whose agent has said this, settled.
    async fn said(&self, conversation: &Conversation, prompt: &str, answer: &str) -> Turn {
        let turn = self.submit(conversation, prompt).await;
        let lease = self.claim_only(turn.id).await.unwrap().lease;
        let (store, ended) = (self.store(), finish(TurnStatus::Completed, answer));
        let _ = store.finish(&lease, &ended).await.unwrap();
        assert!(store.settle(&lease).await.unwrap());
        turn
    }

    /// The names of the conversations that are found.
    async fn finds(&self, words: &str) -> Vec<String> {
        self.finds_of(&Tenant::default(), words).await
    }

    async fn finds_of(&self, tenant: &Tenant, words: &str) -> Vec<String> {
        let filter = ConversationFilter::of(tenant).search(Search::new(words).unwrap());
        self.all(&filter, &Page::newest(100)).await
    }

    async fn all(&self, filter: &ConversationFilter, page: &Page) -> Vec<String> {
        let found = self.store().conversations(filter, page).await.unwrap();
        let names = found.into_iter().map(|found| found.conversation.name);
        names.collect()
    }

    async fn messages_with(&self, conversation: ConversationId, words: &str) -> Vec<MessageId> {
        let search = Search::new(words).unwrap();
        let found = self.store().found(conversation, &search, 10).await;
        found.unwrap()
    }
}

/// A conversation is found by all words of one message that is shown and complete, by beginnings of words, and by what it
/// is called and what is noted at it; one that is deleted is not.
pub async fn words_are_found_where_they_are_shown(on: &dyn Fixture) {
    let garden = on.open("Garden plans").await;
    let other = on.open("other").await;
    let first = on
        .said(&garden, "Where do tomatoes grow?", "In full sun, Émile.")
        .await;
    on.said(&other, "Hello", "A tomato has no garden.").await;
    assert_eq!(on.finds("tomat").await, ["other", "Garden plans"]);
    assert_eq!(on.finds("GROW tomatoes").await, ["Garden plans"]);
    assert_eq!(on.finds("emile sun").await, ["Garden plans"]);
    // In two messages, in none, in the name and a message.
    for nowhere in ["tomatoes sun", "potato", "plans tomatoes", "omatoes"] {
        assert_eq!(on.finds(nowhere).await, [""; 0], "{nowhere}");
    }
    let asked = [first.user_message];
    assert_eq!(on.messages_with(garden.id, "tomatoes").await, asked);
    assert_eq!(on.messages_with(other.id, "sun").await, []);
    assert_eq!(on.messages_with(garden.id, "plans").await, []);

    // By its name, and by what is noted at it.
    assert_eq!(on.finds("garden plan").await, ["Garden plans"]);
    let store = on.store();
    let note = async |value| {
        let noted = Metadata::try_from(value).unwrap();
        store.set_metadata(other.id, &noted).await.unwrap();
    };
    note(json!({ "title": "Überraschung", "n": 7 })).await;
    assert_eq!(on.finds("uber").await, ["other"]);
    note(json!({ "title": "Surprise" })).await;
    assert_eq!(on.finds("uber").await, [""; 0]);
    assert_eq!(on.finds("surprise").await, ["other"]);

    // What is not shown is not found, until it is shown again.
    let again = NewTurn {
        instead_of: Some(first.id),
        ..on.new_turn(&garden, "Where do carrots grow?")
    };
    let again = store.submit(&again).await.unwrap().turn;
    assert_eq!(on.finds("tomatoes").await, [""; 0]);
    assert_eq!(on.messages_with(garden.id, "tomatoes").await, []);
    assert_eq!(on.finds("carrots").await, ["Garden plans"]);
    let lease = on.claim_only(again.id).await.unwrap().lease;
    on.complete(&lease).await;
    store.choose(first.id).await.unwrap();
    assert_eq!(on.finds("tomatoes").await, ["Garden plans"]);
    assert_eq!(on.finds("carrots").await, [""; 0]);

    // A fork is found by what it begins with, and outlives the other.
    let id = ConversationId::from_uuid(on.clock().new_uuid());
    let fork = NewFork::new(id, first.id, "fork");
    let _ = store.fork(&fork).await.unwrap();
    assert_eq!(on.finds("tomatoes").await, ["fork", "Garden plans"]);
    store.delete_conversation(garden.id, None).await.unwrap();
    assert_eq!(on.finds("tomatoes").await, ["fork"]);
    assert_eq!(on.finds("garden plans").await, [""; 0]);
    assert_eq!(on.messages_with(garden.id, "tomatoes").await, []);
}

/// Words of a search are words, whatever they mean to a database; what goes with them is passed over.
pub async fn words_are_no_query(on: &dyn Fixture) {
    let plain = on.open("plain").await;
    on.said(
        &plain,
        "not near or and null",
        "it's a \\ \"quote\" 100%_x\0y",
    )
    .await;
    for words in [
        "NOT near",
        "OR AND",
        "\"quote\"",
        "'quote'",
        "quote*",
        "it:quote",
        "quote:*",
        "(quote",
        "quote & s",
        "it's",
        "-null",
        "^not",
        "NEAR(or)",
        "100%",
        "x\\",
        "\\ y",
        "null'; --",
    ] {
        assert_eq!(on.finds(words).await, ["plain"], "{words}");
    }
    for nowhere in ["quote OR missing", "%", "_", "near* missing", "q%e"] {
        if let Ok(search) = Search::new(nowhere) {
            let filter = ConversationFilter::default().search(search);
            let found = on.all(&filter, &Page::newest(9)).await;
            assert_eq!(found, [""; 0], "{nowhere}");
        }
    }
    let longest: String = ('a'..='z').cycle().take(500).collect();
    assert_eq!(on.finds(&longest).await, [""; 0]);
    let many: Vec<_> = (0..120).map(|number| number.to_string()).collect();
    assert_eq!(on.finds(&many.join(" ")).await, [""; 0]);
}

/// Words are found in scripts without spaces, with accents and without, and as wide or narrow letters.
pub async fn words_of_other_scripts_are_found(on: &dyn Fixture) {
    for (name, text) in [
        ("Japanese", "私は東京都に住んでいます。"),
        ("Chinese", "我们在北京学习中文"),
        ("Korean", "서울에서 왔어요"),
        ("Russian", "Привет, мир"),
        ("Arabic", "مرحبا بالعالم"),
        ("Thai", "ฉันรักภาษาไทย"),
        ("German", "Straße über Größe"),
        ("wide", "ＯｐｅｎＣｏｄｅ ﾃｽﾄ"),
    ] {
        let conversation = on.open(name).await;
        on.said(&conversation, text, "Hi").await;
    }
    for (words, name) in [
        ("東京", "Japanese"),
        ("京都に", "Japanese"),
        ("住", "Japanese"),
        ("北京 中文", "Chinese"),
        ("文", "Chinese"),
        ("서울", "Korean"),
        ("МИР", "Russian"),
        ("مرحبا", "Arabic"),
        ("ภาษา", "Thai"),
        ("strasse grosse uber", "German"),
        ("opencode テスト", "wide"),
    ] {
        assert_eq!(on.finds(words).await, [name], "{words}");
    }
    assert_eq!(on.finds("京東").await, [""; 0]);
}

/// Nobody finds what is another tenant's; who asks for all tenants finds all.
pub async fn what_is_found_is_the_tenants(on: &dyn Fixture) {
    let store = on.store();
    for tenant in ["one", "two", "\0'; --"] {
        let tenant = Tenant::from(tenant);
        let opened = store.open_conversation(&tenant, "garden").await.unwrap();
        on.said(&opened, "A secret tomato", "Hi").await;
    }
    for (tenant, found) in [
        ("one", 1),
        ("two", 1),
        ("\0'; --", 1),
        ("three", 0),
        ("", 0),
    ] {
        for words in ["tomato", "garden"] {
            let found_by = on.finds_of(&tenant.into(), words).await.len();
            assert_eq!(found_by, found, "{tenant} {words}");
        }
    }
    let all = ConversationFilter::default().search(Search::new("tomato").unwrap());
    assert_eq!(on.all(&all, &Page::newest(9)).await.len(), 3);
}

/// What is found is a list as all are: in pages, from either end, with what else the filter asks for.
pub async fn what_is_found_comes_in_pages(on: &dyn Fixture) {
    for number in 0..70 {
        let conversation = on.open(&number.to_string()).await;
        on.clock().advance(std::time::Duration::from_millis(1));
        let words = if number % 2 == 0 { "even" } else { "odd" };
        on.said(&conversation, words, "Hi").await;
    }
    let filter = ConversationFilter::default().search(Search::new("even").unwrap());
    let store = on.store();
    let (mut page, mut names) = (Page::newest(8), Vec::new());
    loop {
        let found = store.conversations(&filter, &page).await.unwrap();
        let Some(last) = found.last() else { break };
        page = page.after(last.cursor());
        names.extend(found.into_iter().map(|found| found.conversation.name));
    }
    let mut expected: Vec<_> = (0..70).step_by(2).map(|n: u32| n.to_string()).collect();
    assert_eq!(on.all(&filter, &Page::oldest(99)).await, expected);
    expected.reverse();
    assert_eq!(names, expected);
    let busy = filter.clone().busy(true);
    assert_eq!(on.all(&busy, &Page::newest(9)).await, [""; 0]);
    let conversation = on.open("2").await;
    on.submit(&conversation, "more").await;
    assert_eq!(on.all(&busy, &Page::newest(9)).await, ["2"]);
    // The newest message comes first.
    let again = on.submit(&conversation, "even more").await;
    let found = on.messages_with(conversation.id, "even").await;
    assert_eq!((found.len(), found[0]), (2, again.user_message));
}

/// A long text is found by the words of its beginning, whatever its end.
pub async fn a_long_text_is_found_by_its_beginning(on: &dyn Fixture) {
    let conversation = on.open("long").await;
    let mut text = "beginning \\\\ ".to_owned();
    let han = ('\u{4e00}'..='\u{9fff}').cycle().step_by(7);
    text.extend(han.take(MAX_SEARCHED_CHARS));
    text.push_str(" theend \\");
    on.said(&conversation, "Hi", &text).await;
    assert_eq!(on.finds("beginning").await, ["long"]);
    assert_eq!(on.finds("theend").await, [""; 0]);
    let edge = format!("{}\\\\", "x ".repeat(MAX_SEARCHED_CHARS / 2));
    let conversation = on.open("edge").await;
    on.said(&conversation, "Hi", &edge[1..]).await;
    assert_eq!(on.finds("x").await, ["edge"]);
}
