//! Both databases keep every promise of a store.

mod sqlite {
    use crate::fixture::sqlite;

    opencode_host::store_conformance!(sqlite());
}

mod postgres {
    use crate::fixture::postgres;

    opencode_host::store_conformance!(postgres());
}
