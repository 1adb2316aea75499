//! Files of messages, over [`Rows`].

use super::{Attached, NewAttachment, Rows, StoreError, StoreResult};
use crate::clock::Timestamp;

pub(super) async fn attach(
    on: &mut impl Rows,
    new: &NewAttachment,
    now: Timestamp,
) -> StoreResult<Attached> {
    let files = on.files(new.message).await?;
    if let Some(known) = files.into_iter().find(|file| file.name == new.name) {
        return Ok(Attached::known(known));
    }
    let message = on.message(new.message).await?;
    let row = message.ok_or_else(|| StoreError::not_found("message", new.message))?;
    let file = new.attached(row.message.conversation, now);
    on.add_file(file.clone()).await?;
    Ok(Attached::new(file))
}
