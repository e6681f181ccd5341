//! A source's bytes for GStreamer: an `appsrc` in random-access mode over an [`ExtentReader`], because a source may lie
//! in several files and `filesrc` knows only one.
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer_app as gst_app;

use crate::media::source::ExtentReader;

/// Pushed when a demuxer does not say how much it wants.
const DEFAULT_CHUNK_BYTES: u32 = 64 << 10;
/// Most pushed at once, whatever a file's structure asks for.
const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// Makes the element. `on_read` is told of every read: the number of bytes.
pub(super) fn random_access(reader: ExtentReader, on_read: impl Fn(u64) + Send + Sync + 'static) -> gst_app::AppSrc {
    let bytes = reader.length_bytes();
    let reader = Arc::new(Mutex::new(reader));
    let seeking = Arc::clone(&reader);
    let callbacks = gst_app::AppSrcCallbacks::builder()
        .need_data(move |source, wanted| {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            push_next(source, &mut reader, wanted, &on_read);
        })
        .seek_data(move |_, offset| {
            let mut reader = seeking.lock().unwrap_or_else(PoisonError::into_inner);
            reader.seek(SeekFrom::Start(offset)).is_ok()
        })
        .build();
    gst_app::AppSrc::builder()
        .stream_type(gst_app::AppStreamType::RandomAccess)
        .format(gst::Format::Bytes)
        .size(i64::try_from(bytes).unwrap_or(i64::MAX))
        .callbacks(callbacks)
        .build()
}

fn push_next(source: &gst_app::AppSrc, reader: &mut ExtentReader, wanted: u32, on_read: &impl Fn(u64)) {
    let wanted = if wanted == 0 || wanted == u32::MAX { DEFAULT_CHUNK_BYTES } else { wanted.min(CHUNK_BYTES_MAX) };
    let mut chunk = Vec::new();
    let offset = reader.stream_position().unwrap_or(u64::MAX);
    let read = reader.take(u64::from(wanted)).read_to_end(&mut chunk);
    match read {
        Ok(0) => drop(source.end_of_stream()),
        Ok(read) => {
            on_read(read as u64);
            let mut buffer = gst::Buffer::from_mut_slice(chunk);
            if let Some(buffer) = buffer.get_mut() {
                // tsdemux finds its packets by these.
                buffer.set_offset(offset);
                buffer.set_offset_end(offset.saturating_add(read as u64));
            }
            // Refused only while flushing or stopping.
            let _ = source.push_buffer(buffer);
        }
        Err(error) => {
            gst::element_error!(source, gst::ResourceError::Read, ["{error}"]);
            let _ = source.end_of_stream();
        }
    }
}
