//! What the tests of manifests share: clips made by ffmpeg, indexed or put into spans, their objects as files, and what
//! ffmpeg decodes of them.
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::hls::paths::object_name;
use crate::domain::asset::{Asset, AssetTrack, BlobKey, Extent, TIMELINE_ORIGIN_SECS, Ticks, TrackKind};
use crate::domain::ports::{BlobStore, MediaObject, SegmentSource};
use crate::media::codecs::aac::EsDescriptor;
use crate::media::frames::{CodecConfig, Frame, TrackConfig};
use crate::media::grid::GridSettings;
use crate::media::index::{IndexRequest, IndexSettings, MovieIndex, index_movie};
use crate::media::records::read_records;
use crate::media::resolve::Resolver;
use crate::media::source::ExtentReader;
use crate::media::spans::{SpanSettings, SpanWriter};
use crate::media::testing::{blobs_in, empty_asset, make_clip, run};
use crate::media::work::SourceFile;

pub(crate) const PICTURES: &str = "-f lavfi -i testsrc2=s=320x180:r=25";
pub(crate) const SOUND: &str = "-f lavfi -i sine=440:r=48000";
pub(crate) const X264: &str = "-c:v libx264 -preset ultrafast -bf 3 -b_strategy 0 -g 50 -pix_fmt yuv420p";

fn request(source: Vec<Extent>) -> IndexRequest {
    let Asset { video_id, playback_id, .. } = empty_asset();
    let table_prefix = BlobKey::new("vod");
    IndexRequest { video_id, playback_id, generation: 1, source, table_prefix, settings: IndexSettings::default() }
}

/// Indexes a file that lies in the blob directory.
pub(crate) fn index(clip: &Path) -> MovieIndex {
    let bytes = fs::metadata(clip).unwrap().len();
    let key = BlobKey::new(clip.file_name().unwrap().to_str().unwrap());
    let mut reader = ExtentReader::new(vec![SourceFile::local(clip, 0, bytes)]);
    index_movie(&mut reader, &request(vec![Extent { key, bytes }])).unwrap()
}

/// Writes all objects of an asset below a directory, as a server would give them.
pub(crate) async fn write_objects(asset: &Asset, source: &dyn SegmentSource, out: &Path) {
    let asset = &Arc::new(asset.clone());
    for track in &asset.tracks {
        let dir = out.join(&track.name);
        fs::create_dir_all(&dir).unwrap();
        for object in objects(track) {
            let bytes = source.resolve(asset, &track.name, object).await.unwrap();
            fs::write(dir.join(object_name(object)), bytes).unwrap();
        }
    }
}

fn objects(track: &AssetTrack) -> Vec<MediaObject> {
    let segments = (0..track.segments.len() as u32).map(MediaObject::Segment);
    let key_frames = (0..track.key_frames.len() as u32).map(MediaObject::KeyFrame);
    [MediaObject::Init].into_iter().chain(segments).chain(key_frames).collect()
}

/// Hashes of all decoded frames of one kind of stream, in order, and what ffmpeg complained of. No rotation is applied.
pub(crate) fn decoded(input: &Path, stream: &str) -> (Vec<String>, String) {
    let input = input.to_str().unwrap();
    let arguments = ["-v", "warning", "-noautorotate", "-i", input, "-map", stream, "-fps_mode", "passthrough"];
    let (out, complaints) = run("ffmpeg", &[&arguments[..], &["-f", "framemd5", "-"]].concat());
    let hash = |line: &str| line.rsplit(',').next().unwrap_or_default().trim().to_owned();
    (out.lines().filter(|line| !line.starts_with('#')).map(hash).collect(), complaints)
}

/// All frames of an indexed clip, times from zero on, as a demuxer would give them.
pub(crate) fn frames_of(clip: &Path) -> (Asset, Vec<(usize, Frame)>) {
    let playable = index(clip).playable.unwrap();
    let bytes = fs::read(clip).unwrap();
    let mut frames = Vec::new();
    for (index, (track, table)) in playable.asset.tracks.iter().zip(&playable.tables).enumerate() {
        let origin = i64::from(TIMELINE_ORIGIN_SECS) * i64::from(track.timescale);
        for record in read_records(&table.bytes) {
            let payload = Bytes::copy_from_slice(&bytes[record.offset as usize..][..record.bytes as usize]);
            let (dts, pts) = (record.dts as i64 - origin, record.pts() - origin);
            let frame = Frame { dts, pts, duration: record.duration, keyframe: record.keyframe, payload };
            frames.push((
                Ticks { value: dts, timescale: track.timescale }.rescale(90_000),
                record.offset,
                index,
                frame,
            ));
        }
    }
    frames.sort_by_key(|(at, offset, _, _)| (*at, *offset));
    (playable.asset, frames.into_iter().map(|(_, _, index, frame)| (index, frame)).collect())
}

/// The configuration behind an indexed track, read back from its initialisation segment.
pub(crate) fn config_of(track: &AssetTrack) -> TrackConfig {
    let at = |kind: &[u8]| track.init.windows(4).position(|window| window == kind).unwrap() + 4;
    let codec = match track.kind {
        TrackKind::Video => CodecConfig::H264 { avcc: track.init.slice(at(b"avcC")..) },
        TrackKind::Audio => {
            let esds = EsDescriptor::parse(&track.init[at(b"esds") + 4..]).unwrap();
            CodecConfig::Aac { config: esds.specific.unwrap() }
        }
    };
    TrackConfig::new(codec, track.timescale)
}

/// One track of a ladder: its name, and ffmpeg's arguments for a clip that has it alone.
pub(crate) struct Made<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: String,
    pub(crate) language: &'a str,
    /// Whether players should choose it by themselves.
    pub(crate) is_default: bool,
}

/// Encodes every track by ffmpeg and puts it into spans, as encoders' chunks are: an asset of all of them, and the way to
/// its bytes. All must be of one length, with key frames at the same times.
pub(crate) async fn ladder(dir: &Path, made: &[Made<'_>]) -> (Asset, Resolver) {
    let blobs = blobs_in(dir);
    let mut asset = empty_asset();
    for one in made {
        let track = into_spans(dir, one, &*blobs).await;
        asset.tracks.push(track);
    }
    (asset, Resolver::new(blobs, 64 << 20))
}

async fn into_spans(dir: &Path, made: &Made<'_>, blobs: &dyn BlobStore) -> AssetTrack {
    let clip = make_clip(dir, &format!("{}.mp4", made.name), &made.arguments);
    let (asset, frames) = frames_of(&clip);
    let mut config = config_of(&asset.tracks[0]);
    config.language = made.language.to_owned();
    config.default = made.is_default;
    let work = dir.join(format!("{}.work", made.name));
    fs::create_dir_all(&work).unwrap();
    let settings = SpanSettings {
        dir: work,
        prefix: BlobKey::new(made.name),
        generation: 2,
        start: Ticks { value: 0, timescale: 1 },
        grid: GridSettings::default(),
        span_ms: 8000,
        bits_per_sec_max: 50_000_000,
    };
    let mut writer = SpanWriter::new(vec![config], settings).unwrap();
    frames.into_iter().for_each(|(track, frame)| writer.push(track, frame).unwrap());
    let mut written = writer.finish().unwrap();
    for span in &written.spans {
        blobs.adopt(&span.key, &span.path).await.unwrap();
    }
    for table in written.tables {
        blobs.put(&table.key, table.bytes).await.unwrap();
    }
    AssetTrack { name: made.name.to_owned(), ..written.tracks.remove(0) }
}
