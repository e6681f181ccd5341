//! Settings of servers that are one, and of where bytes are kept for all of them.
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, SettingsError};
use crate::cluster::wire::VERSIONS;
use crate::domain::cluster::{NodeName, Role};

section!(
    /// Blobs: what is uploaded, recorded and made.
    BlobSettings {
        /// Where originals are, as `s3://bucket/prefix` or `gs://bucket/prefix`; empty, here and below: in the data directory.
        raw_uploads: String = String::new(),
        /// Where everything made of them is.
        vod_abr: String = String::new(),
        /// Where originals are moved to: in a bucket, too, when they are in one, otherwise a directory; empty: they are not moved.
        archive: String = String::new(),
        /// How long originals stay where they were uploaded to once all is made of them; 0: for ever.
        originals_retention: HumanDuration = HumanDuration::secs(0),
        /// What becomes of them then.
        originals_then: OriginalsThen = OriginalsThen::Archive,
        /// How long they stay in the archive before they are deleted; 0: for ever.
        archive_retention: HumanDuration = HumanDuration::secs(0),
        /// URL of the S3 server; empty: that of AWS.
        s3_endpoint: String = String::new(),
        /// Its region.
        s3_region: String = "us-east-1".into(),
        /// Who asks; empty: as the environment says (`AWS_ACCESS_KEY_ID` and so on, or the machine's own role).
        s3_access_key_id: String = String::new(),
        /// Its secret.
        s3_secret_access_key: String = String::new(),
        /// URL of the S3 server for clients that store parts of uploads by themselves; empty: the same.
        s3_public_endpoint: String = String::new(),
        /// Whether buckets are named in the path of URLs instead of the host.
        s3_path_style: bool = true,
        /// Key file of a Google service account; empty: as the environment says.
        gcs_service_account: PathBuf = PathBuf::new(),
        /// A store that sends nothing for this long has failed; what can be is asked for again.
        stall_timeout: HumanDuration = HumanDuration::secs(10),
        /// How long failing requests are repeated.
        retry_timeout: HumanDuration = HumanDuration::secs(30),
        /// Whether clients may store parts of uploads in the bucket by themselves, by URLs that they are given.
        presigned_uploads: bool = false,
        /// Size of these parts; larger when a file would have more than ten thousand.
        presigned_part_size: ByteSize = ByteSize::mib(64),
        /// How long such a URL is good.
        presigned_ttl: HumanDuration = HumanDuration::secs(3600),
        /// When a request to complete such an upload is answered at the latest; what is not done by then goes on.
        presigned_answer_within: HumanDuration = HumanDuration::secs(20),
    }
);

/// What becomes of originals that have been kept for as long as was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginalsThen {
    /// They are moved to the archive.
    Archive,
    /// They are deleted.
    Delete,
}

/// Sizes of parts that every server of S3 takes, and copies by one request.
const PART_SIZES: std::ops::RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::gib(5);
/// Longest time that URLs can be signed for.
const PRESIGNED_TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What everything below a place begins with.
fn within(place: &str) -> String {
    format!("{}/", place.trim_end_matches('/'))
}

impl BlobSettings {
    /// Whether originals are in a bucket of S3.
    pub fn is_s3(&self) -> bool {
        self.raw_uploads.starts_with("s3://")
    }

    /// Whether blobs are in buckets.
    pub fn is_remote(&self) -> bool {
        !self.raw_uploads.is_empty()
    }

    /// The directory that originals are moved to, when they are in the data directory.
    pub fn archive_dir(&self) -> Option<PathBuf> {
        (!self.is_remote() && !self.archive.is_empty()).then(|| PathBuf::from(&self.archive))
    }

    fn validate_archive(&self) -> Result<(), SettingsError> {
        let refuse = |key, message: &str| Err(SettingsError::OutOfRange { key, message: message.to_owned() });
        let is_bucket = self.archive.contains("://");
        if !self.archive.is_empty() && is_bucket != self.is_remote() {
            return refuse("blobs.archive", "must be in a bucket if blobs.raw_uploads is, otherwise a directory");
        }
        if self.archive_dir().is_some_and(|dir| !dir.is_absolute()) {
            return refuse("blobs.archive", "must be an absolute path");
        }
        let overlaps = |other: &String| {
            let (one, other) = (within(&self.archive), within(other));
            one.starts_with(&other) || other.starts_with(&one)
        };
        if is_bucket && [&self.raw_uploads, &self.vod_abr].into_iter().any(overlaps) {
            return refuse("blobs.archive", "must be neither in nor around blobs.raw_uploads or blobs.vod_abr");
        }
        let has_end = !self.originals_retention.0.is_zero();
        if has_end && self.originals_then == OriginalsThen::Archive && self.archive.is_empty() {
            return refuse("blobs.originals_retention", "needs blobs.archive, or blobs.originals_then = \"delete\"");
        }
        if !self.archive_retention.0.is_zero() && self.archive.is_empty() {
            return refuse("blobs.archive_retention", "needs blobs.archive");
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.raw_uploads.is_empty() != self.vod_abr.is_empty() {
            let message = "and blobs.vod_abr are both in buckets, or both in the data directory".to_owned();
            return Err(SettingsError::OutOfRange { key: "blobs.raw_uploads", message });
        }
        let refuse = |key, message: &str| Err(SettingsError::OutOfRange { key, message: message.to_owned() });
        self.validate_archive()?;
        if self.presigned_uploads && !self.is_s3() {
            return refuse("blobs.presigned_uploads", "needs blobs.raw_uploads in a bucket of S3 (s3://…)");
        }
        if !PART_SIZES.contains(&self.presigned_part_size) {
            return refuse("blobs.presigned_part_size", "must be from 64 KiB to 5 GiB");
        }
        if self.presigned_ttl.0 < Duration::from_secs(1) || self.presigned_ttl.0 > PRESIGNED_TTL_MAX {
            return refuse("blobs.presigned_ttl", "must be from 1s to 7 days");
        }
        Ok(())
    }
}

section!(
    /// What a node keeps near of blobs in buckets, to deliver it.
    EdgeSettings {
        /// Disk for it; 0: nothing is kept there.
        disk: ByteSize = ByteSize::gib(10),
        /// What has been kept for this long is read again.
        ttl: HumanDuration = HumanDuration::secs(7 * 24 * 3600),
        /// Segments that are fetched ahead of each viewer.
        look_ahead: u32 = 2,
        /// Whether one node reads each blob for all of a cluster.
        shield: bool = true,
        /// Only nodes of this zone read for others; empty: all that deliver.
        shield_zone: String = String::new(),
        /// One that sends nothing for this long is not waited for.
        shield_timeout: HumanDuration = HumanDuration::secs(2),
    }
);

section!(
    /// An outside CDN before the media.
    CdnSettings {
        /// What URLs of media start with; empty: what all others start with.
        base_url: String = String::new(),
        /// Who is told when something it may keep has changed, by `POST`; empty: nobody.
        purge_url: String = String::new(),
        /// Bearer token for that.
        purge_token: String = String::new(),
    }
);

impl CdnSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        for (key, url) in [("cdn.base_url", &self.base_url), ("cdn.purge_url", &self.purge_url)] {
            let is_url = url.is_empty() || url.starts_with("http://") || url.starts_with("https://");
            if !is_url {
                let message = "must be empty or start with http:// or https://".to_owned();
                return Err(SettingsError::OutOfRange { key, message });
            }
        }
        Ok(())
    }
}

section!(
    /// Several servers as one.
    ClusterSettings {
        /// This node's name; empty: this server is alone, and nothing below counts.
        node: String = String::new(),
        /// Address to listen on for other nodes.
        address: IpAddr = IpAddr::from([0, 0, 0, 0]),
        /// UDP port of it.
        port: u16 = 4700,
        /// How other nodes reach it, as `host:port`; empty: the address and port above.
        advertised: String = String::new(),
        /// Nodes that are asked for all others, as `host:port`.
        seeds: Vec<String> = Vec::new(),
        /// Certificate of the cluster's own authority, PEM.
        authority: PathBuf = PathBuf::new(),
        /// This node's certificate, PEM.
        certificate: PathBuf = PathBuf::new(),
        /// Its key, PEM.
        key: PathBuf = PathBuf::new(),
        /// What this node does.
        roles: Vec<Role> = Role::ALL.to_vec(),
        /// Where it is, e.g. a data centre.
        zone: String = String::new(),
        /// How viewers reach this very node, as `https://host`; empty: only as all others, by `server.public_url`.
        public_url: String = String::new(),
        /// A node that has not renewed its row of the catalog for this long has lost what it alone could do.
        lease_term: HumanDuration = HumanDuration::secs(5),
        /// How often nodes tell one another that they live.
        gossip_interval: HumanDuration = HumanDuration::millis(200),
        /// Largest request that nodes send one another as a message.
        message_bytes_max: ByteSize = ByteSize::mib(4),
        /// Nodes that one node tells of a live stream which is watched there; it sends more to these.
        relay_fan_out: usize = 8,
        /// Newest version of the protocol between nodes that this one speaks; 0: the newest that it knows.
        protocol_max: u16 = 0,
    }
);

impl ClusterSettings {
    /// The node's name; `None` for a server that is alone.
    pub fn name(&self) -> Option<NodeName> {
        self.node.parse().ok()
    }

    pub(super) fn validate(&self, has_postgres: bool, has_buckets: bool) -> Result<(), SettingsError> {
        let refuse = |key, message: String| Err(SettingsError::OutOfRange { key, message });
        if self.node.is_empty() {
            return Ok(());
        }
        if self.protocol_max != 0 && !VERSIONS.contains(&self.protocol_max) {
            let (oldest, newest) = (VERSIONS.start(), VERSIONS.end());
            return refuse(
                "cluster.protocol_max",
                format!("must be 0, or a version that this program speaks: {oldest} to {newest}"),
            );
        }
        if self.relay_fan_out == 0 {
            return refuse("cluster.relay_fan_out", "must be 1 or more".into());
        }
        if let Err(error) = self.node.parse::<NodeName>() {
            return refuse("cluster.node", error.to_string());
        }
        for (key, path) in [
            ("cluster.authority", &self.authority),
            ("cluster.certificate", &self.certificate),
            ("cluster.key", &self.key),
        ] {
            if path.as_os_str().is_empty() {
                return refuse(key, "must be set: `playhouse admin cluster init` makes the files".into());
            }
        }
        if !has_postgres {
            return refuse("catalog.postgres", "must be set: nodes share one catalog".into());
        }
        if !has_buckets {
            return refuse("blobs.raw_uploads", "and blobs.vod_abr must be set: nodes share what they store".into());
        }
        if self.roles.is_empty() {
            return refuse("cluster.roles", "must name at least one".into());
        }
        if !(self.public_url.is_empty()
            || self.public_url.starts_with("http://")
            || self.public_url.starts_with("https://"))
        {
            return refuse("cluster.public_url", "must be empty or start with http:// or https://".into());
        }
        if self.lease_term.0.as_millis() < 2000 || self.gossip_interval.0.is_zero() {
            return refuse("cluster.lease_term", "must be at least 2s, and cluster.gossip_interval above zero".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is refused of these settings of blobs, if anything.
    fn refused(given: &[(&str, &str)]) -> Option<String> {
        let mut settings = serde_json::to_value(BlobSettings::default()).unwrap();
        for (key, value) in given {
            settings[*key] = serde_json::from_str(value).unwrap_or_else(|_| (*value).into());
        }
        let settings: BlobSettings = serde_json::from_value(settings).unwrap();
        settings.validate().err().map(|error| error.to_string())
    }

    const BUCKETS: [(&str, &str); 2] = [("raw_uploads", "s3://a/raw"), ("vod_abr", "s3://a/made")];

    #[test]
    fn parts_are_stored_by_clients_in_s3_alone() {
        let on = ("presigned_uploads", "true");
        assert_eq!(refused(&[BUCKETS[0], BUCKETS[1], on]), None);
        let elsewhere = refused(&[("raw_uploads", "gs://a/raw"), ("vod_abr", "gs://a/made"), on]);
        for refusal in [elsewhere, refused(&[on])] {
            assert!(refusal.unwrap().starts_with("blobs.presigned_uploads"));
        }
        assert!(refused(&[("presigned_ttl", "8d")]).unwrap().starts_with("blobs.presigned_ttl"));
        assert!(refused(&[("presigned_part_size", "1 KiB")]).unwrap().starts_with("blobs.presigned_part_size"));
    }

    #[test]
    fn the_protocol_is_one_that_this_program_speaks() {
        let refused = |protocol_max| {
            let settings = ClusterSettings { node: "one".into(), protocol_max, ..ClusterSettings::default() };
            let refusal = settings.validate(false, false).unwrap_err().to_string();
            refusal.starts_with("cluster.protocol_max").then_some(refusal)
        };
        assert_eq!([0, 1, 3].map(refused), [None, None, None]);
        assert!(refused(4).unwrap().contains("a version that this program speaks: 1 to 3"));
    }

    #[test]
    fn an_archive_is_a_place_of_its_own() {
        assert_eq!(
            refused(&[("archive", "/mnt/originals"), ("originals_retention", "30d"), ("archive_retention", "1y")]),
            None
        );
        for archive in ["s3://a/raw", "s3://a/raw/old", "s3://a", "s3://a/made/"] {
            let refusal = refused(&[BUCKETS[0], BUCKETS[1], ("archive", archive)]);
            assert!(refusal.unwrap().contains("neither in nor around"), "{archive}");
        }
        for archive in ["s3://a/raw-old", "s3://b", "gs://c/raw"] {
            assert_eq!(refused(&[BUCKETS[0], BUCKETS[1], ("archive", archive)]), None, "{archive}");
        }
        assert!(refused(&[("archive", "s3://a/old")]).unwrap().contains("a directory"));
        assert!(refused(&[BUCKETS[0], BUCKETS[1], ("archive", "/mnt")]).unwrap().contains("in a bucket"));
        assert!(refused(&[("archive", "originals")]).unwrap().contains("absolute"));
        assert!(refused(&[("originals_retention", "1d")]).unwrap().contains("needs blobs.archive"));
        assert_eq!(refused(&[("originals_retention", "1d"), ("originals_then", "delete")]), None);
        assert!(refused(&[("archive_retention", "1d")]).unwrap().contains("needs blobs.archive"));
    }
}
