use opencode_host::store::StoreError;

/// Why a piece of work on the database did not come about.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the caller is told.
    Store(StoreError),
    /// It collided with another transaction and left no trace: worth running
    /// again at once.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite has one writer")
    )]
    Conflict(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// What the caller is told when running it again did not help.
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Conflict(what) => StoreError::Unavailable(what),
        }
    }
}

/// What a piece of work on the database answers.
pub(crate) type SqlResult<T> = Result<T, Failure>;
