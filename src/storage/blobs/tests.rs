use super::*;
use crate::storage::conformance::{Made, conformance_tests};

fn local() -> Made<Arc<dyn BlobStore>> {
    let dir = tempfile::tempdir().unwrap();
    Made { port: Arc::new(Blobs::local(dir.path()).unwrap()), _keep: Box::new(dir) }
}

conformance_tests!(blobs, local();
    what_is_put_is_read, ranges_outside_are_not_found, streams_are_the_range_in_order, deleting_is_repeatable,
    lists_hold_what_is_below_a_prefix, a_finished_file_is_adopted, keys_name_nothing_outside);
