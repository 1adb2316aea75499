use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use super::{Blobs, OpenError};

impl Blobs {
    /// Opens the blobs at a URL: `file://FOLDER` (relative to the working folder
    /// where FOLDER does not start with `/`; made when there is none), `memory://`
    /// (gone with this value), or, with the feature `s3`, `s3://BUCKET/PREFIX`
    /// (keys, region and endpoint from the usual `AWS_…` variables:
    /// `AWS_ENDPOINT_URL` names another service than Amazon's).
    ///
    /// # Errors
    /// See [`OpenError`]. A store elsewhere is not contacted yet: [`Blobs::check`] does.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        if let Some(folder) = url.strip_prefix("file://") {
            return Self::in_folder(folder);
        }
        if matches!(url, "memory:" | "memory://" | "memory:///") {
            return Ok(Self::new(Arc::new(InMemory::new()), "memory://"));
        }
        #[cfg(feature = "s3")]
        if url.starts_with("s3://") {
            return Self::in_bucket(url);
        }
        Err(OpenError::Unknown(url.to_owned()))
    }

    /// Opens the blobs in a folder of this machine, made (for this user alone) when there is none.
    ///
    /// # Errors
    /// [`OpenError::Folder`].
    pub fn in_folder(folder: impl AsRef<Path>) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        let named = folder.display().to_string();
        if named.is_empty() {
            return Err(OpenError::Unknown("file://".to_owned()));
        }
        let make = || {
            use std::os::unix::fs::DirBuilderExt as _;
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)?;
            folder.canonicalize()
        };
        let folder = make().map_err(|error| OpenError::Folder(named.clone(), error))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| OpenError::Settings(named.clone(), error))?;
        // A row says that the bytes are there: they must survive what the database survives.
        let store = store.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            location: format!("file://{}", folder.display()),
            folder: Some(folder),
        })
    }

    #[cfg(feature = "s3")]
    fn in_bucket(url: &str) -> Result<Self, OpenError> {
        use std::time::Duration;

        use object_store::RetryConfig;
        use object_store::aws::AmazonS3Builder;
        use object_store::prefix::PrefixStore;

        // What follows is reached over TLS; another user of the process may have chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let rest = url.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(OpenError::Unknown(url.to_owned()));
        }
        // A person waits for what is uploaded and downloaded.
        let retry = RetryConfig {
            max_retries: 5,
            retry_timeout: Duration::from_secs(20),
            ..RetryConfig::default()
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .build()
            .map_err(|error| OpenError::Settings(url.to_owned(), error))?;
        let prefix = object_store::path::Path::from(prefix.trim_matches('/'));
        Ok(Self::new(Arc::new(PrefixStore::new(store, prefix)), url))
    }
}
