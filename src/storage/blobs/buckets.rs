//! Buckets of S3 and Google Cloud Storage, from what an operator says of them.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::prefix::PrefixStore;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::{Area, Blobs};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where blobs are kept outside of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketOptions {
    /// Each area and its place, as `s3://bucket/prefix` or `gs://bucket/prefix`.
    pub areas: Vec<(&'static str, String)>,
    /// URL of the S3 server, unless it is that of AWS.
    pub s3_endpoint: Option<String>,
    /// Its region.
    pub s3_region: String,
    /// Access key and secret, unless the environment says them.
    pub s3_credentials: Option<(String, String)>,
    /// URL of the S3 server for clients that are given URLs of it, unless it is the same.
    pub s3_public_endpoint: Option<String>,
    /// Whether buckets are named in paths.
    pub s3_path_style: bool,
    /// Key file of a Google service account, unless the environment says one.
    pub gcs_service_account: Option<PathBuf>,
    /// A store that sends nothing for this long has failed.
    pub stall_timeout: Duration,
    /// How long failing requests are repeated.
    pub retry_timeout: Duration,
}

/// The bucket that uploads are in, for parts that clients store by themselves.
pub struct UploadBucket {
    /// What is in it.
    pub store: Arc<dyn ObjectStore>,
    /// Makes URLs of it for clients.
    pub signer: Arc<dyn Signer>,
}

/// A bucket cannot be used as it was described.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct InvalidBucket {
    place: String,
    reason: String,
}

impl BucketOptions {
    /// The blob store in these buckets. Nothing is asked of them yet.
    pub fn open(&self) -> Result<Blobs, InvalidBucket> {
        let area = |(name, place): &(&'static str, String)| Ok(Area { name, store: self.store(place)? });
        Ok(Blobs::in_buckets(self.areas.iter().map(area).collect::<Result<_, InvalidBucket>>()?))
    }

    /// The bucket of S3 at this place, for clients to store in.
    pub fn upload_bucket(&self, place: &str) -> Result<UploadBucket, InvalidBucket> {
        let invalid = |reason: String| InvalidBucket { place: place.to_owned(), reason };
        let url = Url::parse(place).map_err(|error| invalid(error.to_string()))?;
        let bucket = url.host_str().filter(|_| url.scheme() == "s3");
        let bucket = bucket.ok_or_else(|| invalid("is no bucket of S3".into()))?;
        let endpoint = self.s3_public_endpoint.as_ref().or(self.s3_endpoint.as_ref());
        let signer = self.s3(bucket, endpoint).map_err(|error| invalid(error.to_string()))?;
        let signer = PrefixStore::new(signer, url.path().trim_matches('/'));
        Ok(UploadBucket { store: self.store(place)?, signer: Arc::new(signer) })
    }

    fn store(&self, place: &str) -> Result<Arc<dyn ObjectStore>, InvalidBucket> {
        let invalid = |reason: String| InvalidBucket { place: place.to_owned(), reason };
        let url = Url::parse(place).map_err(|error| invalid(error.to_string()))?;
        let bucket = url.host_str().ok_or_else(|| invalid("names no bucket".into()))?;
        let store: Arc<dyn ObjectStore> = match url.scheme() {
            "s3" => Arc::new(self.s3(bucket, self.s3_endpoint.as_ref()).map_err(|error| invalid(error.to_string()))?),
            "gs" => self.gcs(bucket).map_err(|error| invalid(error.to_string()))?,
            _ => return Err(invalid("does not start with s3:// or gs://".into())),
        };
        let prefix = url.path().trim_matches('/');
        Ok(if prefix.is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
    }

    fn client(&self) -> ClientOptions {
        // How long a whole answer takes is a matter of its length and of who reads it.
        let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_TIMEOUT);
        options.with_read_timeout(self.stall_timeout).with_allow_http(true)
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig { retry_timeout: self.retry_timeout, ..RetryConfig::default() }
    }

    fn s3(&self, bucket: &str, endpoint: Option<&String>) -> object_store::Result<AmazonS3> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_region(&self.s3_region)
            .with_virtual_hosted_style_request(!self.s3_path_style)
            .with_client_options(self.client())
            .with_retry(self.retry());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = &self.s3_credentials {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        builder.build()
    }

    fn gcs(&self, bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(self.client())
            .with_retry(self.retry());
        if let Some(account) = &self.gcs_service_account {
            builder = builder.with_service_account_path(account.to_string_lossy());
        }
        Ok(Arc::new(builder.build()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(place: &str) -> BucketOptions {
        BucketOptions {
            areas: vec![("raw-uploads", place.to_owned())],
            s3_endpoint: None,
            s3_region: "us-east-1".into(),
            s3_credentials: Some(("id".into(), "secret".into())),
            s3_public_endpoint: None,
            s3_path_style: true,
            gcs_service_account: None,
            stall_timeout: Duration::from_secs(1),
            retry_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn places_are_buckets_with_a_prefix() {
        assert!(options("s3://bucket/a/b").open().is_ok() && options("s3://bucket").open().is_ok());
        for (place, reason) in [
            ("bucket/prefix", "relative URL"),
            ("file:///tmp", "names no bucket"),
            ("ftp://bucket/x", "does not start with"),
        ] {
            let refused = options(place).open().err().expect(place).to_string();
            assert!(refused.starts_with(place) && refused.contains(reason), "{refused}");
        }
    }
}
