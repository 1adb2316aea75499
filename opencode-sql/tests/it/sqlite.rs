//! SQLite keeps every promise of a store.

mod conformance {
    use crate::fixture::sqlite;

    opencode_host::store_conformance!(sqlite());
}
