use super::*;
use crate::domain::ports::BlobStore;
use crate::storage::blobs::Blobs;
use crate::storage::conformance::upload_store::UploadStores;
use crate::storage::conformance::{Made, conformance_tests};

fn local() -> Made<UploadStores> {
    let dir = tempfile::tempdir().unwrap();
    let blobs: Arc<dyn BlobStore> = Arc::new(Blobs::local(dir.path()).unwrap());
    Made { port: UploadStores { uploads: Arc::new(LocalUploads::new(dir.path())), blobs }, _keep: Box::new(dir) }
}

conformance_tests!(upload_store, local();
    appends_follow_one_another, large_appends_keep_their_order, a_dropped_writer_leaves_what_it_wrote,
    a_dropped_checked_append_never_was, a_discarded_append_never_was, a_newer_writer_fences_an_older_one,
    the_offset_of_a_living_writer_moves_on,
    removing_is_repeatable, creating_again_keeps_the_bytes, an_empty_upload_is_an_empty_blob);
