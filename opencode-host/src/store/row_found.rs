//! Whether what is looked for is found in a conversation.

use super::{ConversationFilter, ConversationSummary, Rows, StoreResult, title_words};

/// How many messages are looked for at a time.
const PAGE: u32 = 64;

/// Whether the words that a filter looks for are in the conversation: in a message, or in its title.
pub(super) async fn is_found(
    on: &mut impl Rows,
    summary: &ConversationSummary,
    filter: &ConversationFilter,
) -> StoreResult<bool> {
    let Some(search) = &filter.search else {
        return Ok(true);
    };
    let conversation = &summary.conversation;
    if search.is_among(&title_words(&conversation.name, &conversation.metadata)) {
        return Ok(true);
    }
    let mut after = 0;
    loop {
        let page = on.message_index(Some(conversation.id), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        after = last.place;
        for entry in page.iter().filter(|entry| !entry.hidden) {
            let row = on.message(entry.message()?).await?;
            if row.is_some_and(|row| row.message.has(search)) {
                return Ok(true);
            }
        }
    }
}
