//! Files of messages.

use opencode_host::blobs::Digest;
use opencode_host::id::{AttachmentId, ConversationId, MessageId};
use opencode_host::store::{Attached, Attachment, NewAttachment, StoreError, StoreResult};

use crate::columns::{Columns, escape, json, word};
use crate::engine::{Handle, Row, Sql, args, sql};
use crate::failure::SqlResult;

macro_rules! columns {
    () => {
        "id, message, conversation, name, digest, size, mime_type, source, trust, place, created_at"
    };
}

/// The message's row gives the conversation. A second file of a name changes nothing.
const ADD: Sql = sql!(
    "INSERT INTO opencode_attachments (",
    columns!(),
    ") SELECT $1, m.id, m.conversation, $3, $4, $5, $6, $7, $8, $9, $10 FROM opencode_messages AS m WHERE m.id = $2 \
     ON CONFLICT (message, name) DO NOTHING"
);
pub(crate) const BY_NAME: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_attachments WHERE message = $1 AND name = $2"
);
pub(crate) const BY_ID: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_attachments WHERE id = $1"
);
pub(crate) const OF_MESSAGE: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_attachments WHERE message = $1 ORDER BY seq"
);
pub(crate) const NEWEST: Sql = sql!(
    "SELECT ",
    columns!(),
    " FROM opencode_attachments WHERE conversation = $1 ORDER BY seq DESC LIMIT $2"
);
/// No database adds up what would be too large for a number: the quota sees to that.
pub(crate) const UPLOADED: Sql = sql!(
    "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS size, $1 AS conversation FROM opencode_attachments \
     WHERE conversation = $1 AND source = 'upload'"
);
/// The digests are one parameter, so that any number is one statement.
pub(crate) const IN_USE: Sql = Sql {
    sqlite: "SELECT value AS digest FROM json_each($1) \
             WHERE EXISTS (SELECT 1 FROM opencode_attachments AS a WHERE a.digest = value)",
    postgres: "SELECT w.digest FROM json_array_elements_text(CAST($1 AS json)) AS w(digest) \
               WHERE EXISTS (SELECT 1 FROM opencode_attachments AS a WHERE a.digest = w.digest)",
};
const REMOVE: Sql = sql!(
    "DELETE FROM opencode_attachments WHERE id = $1 RETURNING ",
    columns!()
);

fn read(row: &impl Row) -> StoreResult<Attachment> {
    let columns = Columns::new(row, "attachments", "id")?;
    let mut file = NewAttachment::new(
        columns.id("id")?,
        columns.id("message")?,
        columns.text("name")?,
        columns.id("digest")?,
        columns.count("size")?,
        columns.text("mime_type")?,
        columns.word("source")?,
    );
    file.trust = columns.json("trust")?;
    file.place = columns.optional_text("place")?;
    Ok(file.attached(columns.id("conversation")?, columns.time("created_at")?))
}

pub(crate) async fn attach(on: &mut impl Handle, new: &NewAttachment) -> SqlResult<Attached> {
    let now = on.now().await?;
    let args = args![
        new.id.to_string(),
        new.message,
        escape(&new.name),
        new.digest.to_string(),
        new.size,
        escape(&new.mime_type),
        word(new.source)?,
        json(&new.trust)?,
        new.place.as_deref().map(|place| escape(place).into_owned()),
        now,
    ];
    let created = on.execute(ADD, args).await? == 1;
    let row = on
        .row(BY_NAME, args![new.message, escape(&new.name)])
        .await?;
    let missing = || StoreError::NotFound {
        what: "message",
        id: new.message.to_string(),
    };
    let attachment = read(&row.ok_or_else(missing)?)?;
    Ok(if created {
        Attached::new(attachment)
    } else {
        Attached::known(attachment)
    })
}

pub(crate) async fn by_id(on: &mut impl Handle, id: AttachmentId) -> SqlResult<Option<Attachment>> {
    let row = on.row(BY_ID, args![id.to_string()]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

pub(crate) async fn of_message(
    on: &mut impl Handle,
    message: MessageId,
) -> SqlResult<Vec<Attachment>> {
    let rows = on.rows(OF_MESSAGE, args![message]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

pub(crate) async fn uploaded_bytes(
    on: &mut impl Handle,
    conversation: ConversationId,
) -> SqlResult<u64> {
    match on.row(UPLOADED, args![conversation]).await? {
        Some(row) => Ok(Columns::new(&row, "attachments", "conversation")?.count("size")?),
        None => Ok(0),
    }
}

pub(crate) async fn newest(
    on: &mut impl Handle,
    conversation: ConversationId,
    limit: u32,
) -> SqlResult<Vec<Attachment>> {
    let rows = on.rows(NEWEST, args![conversation, limit]).await?;
    Ok(rows.iter().map(read).collect::<StoreResult<_>>()?)
}

pub(crate) async fn in_use(on: &mut impl Handle, digests: &[Digest]) -> SqlResult<Vec<Digest>> {
    let rows = on.rows(IN_USE, args![json(digests)?]).await?;
    let digests = rows
        .iter()
        .map(|row| Columns::new(row, "attachments", "digest")?.id("digest"));
    Ok(digests.collect::<StoreResult<_>>()?)
}

pub(crate) async fn remove(
    on: &mut impl Handle,
    id: AttachmentId,
) -> SqlResult<Option<Attachment>> {
    let row = on.row(REMOVE, args![id.to_string()]).await?;
    Ok(row.as_ref().map(read).transpose()?)
}
