//! A store on a database whose schema is the newest one.

use opencode_host::store::StoreResult;

use crate::engine::Engine;
use crate::store::SqlStore;
use crate::words_due::write_words;

/// The store, once what its database had before is found by its words.
pub(crate) async fn ready<E: Engine>(engine: E) -> StoreResult<SqlStore<E>> {
    write_words(&engine).await?;
    Ok(SqlStore(engine))
}
