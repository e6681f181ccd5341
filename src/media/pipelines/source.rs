//! A source's bytes for GStreamer: an `appsrc` in random-access mode over an [`ExtentReader`], because a source may lie
//! in several files and `filesrc` knows only one.
use std::io::{Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::worker::Reporter;
use crate::media::source::ExtentReader;

/// Pushed when a demuxer does not say how much it wants.
const DEFAULT_CHUNK_BYTES: u32 = 64 << 10;
/// How many times the whole source may be read and still count as progress.
const READS_MAX: u64 = 3;
/// Most pushed at once, whatever a file's structure asks for.
const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// Makes the element. Bytes read are progress, as long as they are not read over and over: a file that makes a demuxer do
/// that is for the watchdog. Returns the counter of bytes read too, those read twice counted twice.
pub(super) fn random_access(reader: ExtentReader, reporter: &Arc<Reporter>) -> (gst_app::AppSrc, Arc<AtomicU64>) {
    let bytes = reader.length_bytes();
    let bytes_max = bytes.saturating_mul(READS_MAX).saturating_add(1 << 20);
    let read = Arc::new(AtomicU64::new(0));
    let (counter, reporter) = (Arc::clone(&read), Arc::clone(reporter));
    let on_read = move |count: u64| {
        let read = counter.fetch_add(count, Ordering::Relaxed) + count;
        if read <= bytes_max {
            reporter.progress(read.min(bytes), bytes);
        }
    };
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
    let source = gst_app::AppSrc::builder()
        .stream_type(gst_app::AppStreamType::RandomAccess)
        .format(gst::Format::Bytes)
        .size(i64::try_from(bytes).unwrap_or(i64::MAX))
        .callbacks(callbacks)
        .build();
    (source, read)
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
