//! Postgres keeps every promise of a store.

mod conformance {
    use crate::fixture::postgres;

    opencode_host::store_conformance!(postgres());
}
