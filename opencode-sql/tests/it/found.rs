//! What an earlier version has written is found by its words.

use opencode_host::store::{ConversationFilter, Page, Search, Store, Tenant};

/// Words, and the conversations of the database that they are found in.
const FOUND: [(&str, &[&str]); 5] = [
    ("sow", &["gar\\den"]),
    ("what grow", &["gar\\den"]),
    ("deep", &["well"]),
    ("pond", &["pond"]),
    ("half", &[]),
];

pub(crate) async fn are_found(store: &dyn Store) {
    // What was said before there were words is found by them; what has not been said is not.
    for (words, expected) in FOUND {
        let search = Search::new(words).unwrap();
        let filter = ConversationFilter::of(&Tenant::default()).search(search.clone());
        let found = store.conversations(&filter, &Page::newest(10)).await;
        let found = found.unwrap();
        let names = found
            .iter()
            .map(|summary| &*summary.conversation.name)
            .collect::<Vec<_>>();
        assert_eq!(names, *expected, "{words}");
    }
}
