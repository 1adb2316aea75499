//! Where blobs are: a folder, or a bucket of an S3 service.

use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "s3")]
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

#[cfg(feature = "s3")]
use object_store::{
    ClientConfigKey, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    prefix::PrefixStore,
};

use super::Blobs;
use crate::blobs::OpenError;

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
            return Self::in_bucket_of_builder(url, AmazonS3Builder::from_env());
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
            .map_err(|error| OpenError::Settings(named.clone(), error.into()))?;
        // A row says that the bytes are there: they must survive what the database survives.
        let store = store.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            location: format!("file://{}", folder.display()),
            folder: Some(folder),
        })
    }

    /// Opens the blobs in `s3://BUCKET/PREFIX` with these settings instead of the environment's: names as in
    /// the environment, in lower case, such as `aws_endpoint_url` or `aws_access_key_id`. A service that is
    /// spoken to over plain HTTP needs `aws_allow_http`.
    ///
    /// # Errors
    /// [`OpenError::Settings`] for a name that is none, or a setting that is missing; [`OpenError::Unknown`].
    #[cfg(feature = "s3")]
    pub fn in_bucket<'a>(
        url: &str,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OpenError> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in settings {
            let key = name.parse();
            let key = key.map_err(|error: object_store::Error| {
                OpenError::Settings(url.to_owned(), error.into())
            })?;
            builder = builder.with_config(key, value);
        }
        Self::in_bucket_of_builder(url, builder)
    }

    #[cfg(feature = "s3")]
    fn in_bucket_of_builder(url: &str, builder: AmazonS3Builder) -> Result<Self, OpenError> {
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
        // A download takes as long as the person's line, so there is no limit to the whole; there is one to the
        // silence within, unless the settings have another (`AWS_READ_TIMEOUT`).
        let silence = AmazonS3ConfigKey::Client(ClientConfigKey::ReadTimeout);
        let whole = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        let builder = match builder.get_config_value(&silence) {
            Some(_) => builder,
            None => builder.with_config(silence, "30 seconds"),
        };
        let store = builder
            .with_config(whole, "1 day")
            .with_bucket_name(bucket)
            .with_retry(retry)
            .build()
            .map_err(|error| OpenError::Settings(url.to_owned(), error.into()))?;
        let prefix = object_store::path::Path::from(prefix.trim_matches('/'));
        Ok(Self::new(Arc::new(PrefixStore::new(store, prefix)), url))
    }
}
