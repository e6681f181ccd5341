//! A whole ladder: its rungs encoded by ffmpeg, put into spans, and given back to ffmpeg through both manifests. Every
//! rendition must decode to what its clip decodes to, without a warning.
use std::fs;
use std::path::{Path, PathBuf};

use super::wire::render_mpd;
use crate::domain::asset::{Asset, AssetTrack, TrackKind};
use crate::domain::trim::Cut;
use crate::media::resolve::Resolver;
use crate::media::testing::run;
use crate::media::view::View;
use crate::protocols::hls::tests::write_all;
use crate::protocols::testing::{Made, PICTURES, SOUND, X264, decoded, ladder};

const SECONDS: &str = "-t 13";

fn rung(name: &str, size: &str) -> Made<'static> {
    let name: &'static str = String::leak(name.to_owned());
    let arguments = format!("{PICTURES} {SECONDS} -vf scale={size} {X264} -sc_threshold 0");
    Made { name, arguments, language: "und", is_default: true }
}

fn sound(name: &'static str, language: &'static str, channels: u16) -> Made<'static> {
    let tone = if language == "eng" { SOUND.to_owned() } else { SOUND.replace("440", "550") };
    let arguments = format!("{tone} {SECONDS} -c:a aac -ac {channels}");
    Made { name, arguments, language, is_default: language == "eng" }
}

async fn a_ladder(dir: &Path) -> (Asset, Resolver) {
    let tracks = [
        rung("v360-2", "640:360"),
        rung("v240-2", "426:240"),
        rung("v144-2", "256:144"),
        sound("a0-2", "eng", 2),
        sound("a1-2", "deu", 2),
        sound("a0s-2", "eng", 6),
    ];
    ladder(dir, &tracks).await
}

/// Names of the asset's tracks of a kind, in the order of a manifest's streams, and how many streams it has.
fn streams(manifest: &Path, kind: &str) -> usize {
    let entries = ["-v", "error", "-select_streams", kind, "-show_entries", "stream=index", "-of", "csv=p=0"];
    let (out, complaints) = run("ffprobe", &[&entries[..], &[manifest.to_str().unwrap()]].concat());
    assert_eq!(complaints, "");
    let indexes: std::collections::BTreeSet<&str> = out.lines().filter(|line| !line.is_empty()).collect();
    indexes.len()
}

fn clip_of(dir: &Path, track: &str) -> PathBuf {
    dir.join(format!("{track}.mp4"))
}

/// Every stream of a kind must decode to what the clip of one of these tracks decodes to, and each track must be there.
/// ffmpeg has a stream for each variant, even where several share a playlist.
fn check_all(dir: &Path, manifest: &Path, kind: &str, expected: Vec<&AssetTrack>) {
    let clip = |track: &&AssetTrack| decoded(&clip_of(dir, &track.name), &format!("0:{kind}:0")).0;
    let clips: Vec<Vec<String>> = expected.iter().map(clip).collect();
    let mut found = vec![false; clips.len()];
    for stream in 0..streams(manifest, kind) {
        let (got, complaints) = decoded(manifest, &format!("0:{kind}:{stream}"));
        assert_eq!(complaints, "", "{} {kind}:{stream}", manifest.display());
        // An encoder's first frames of sound decode differently after what lies before them.
        let is_it = |want: &Vec<String>| if kind == "a" { got.ends_with(&want[2..]) } else { got == *want };
        let track = clips.iter().position(is_it);
        let track = track.unwrap_or_else(|| panic!("{} {kind}:{stream} is no rendition", manifest.display()));
        found[track] = true;
    }
    assert!(found.iter().all(|found| *found), "{} {kind}: {found:?}", manifest.display());
}

fn of_kind(asset: &Asset, kind: TrackKind) -> Vec<&AssetTrack> {
    asset.tracks.iter().filter(|track| track.kind == kind).collect()
}

#[tokio::test]
async fn every_rendition_of_both_manifests_decodes_like_its_clip() {
    let dir = tempfile::tempdir().unwrap();
    let (asset, resolver) = a_ladder(dir.path()).await;
    let starts = |track: &AssetTrack| track.segments.iter().map(|segment| segment.start).collect::<Vec<_>>();
    let rungs = of_kind(&asset, TrackKind::Video);
    assert!(rungs.iter().all(|rung| starts(rung) == starts(rungs[0])), "the ladder is aligned");
    let out = dir.path().join("out");
    let master = write_all(&asset, &resolver, &out).await;
    let description = out.join("manifest.mpd");
    fs::write(&description, render_mpd(&asset, View::default(), Cut::NONE)).unwrap();
    check_all(dir.path(), &master, "v", rungs.clone());
    check_all(dir.path(), &master, "a", of_kind(&asset, TrackKind::Audio));
    check_all(dir.path(), &description, "a", of_kind(&asset, TrackKind::Audio));

    // In the description, key frames are one more stream of pictures.
    let count = rungs.len();
    assert_eq!(streams(&description, "v"), count + 1);
    for (stream, rung) in rungs.iter().enumerate() {
        let (got, complaints) = decoded(&description, &format!("0:v:{stream}"));
        assert_eq!(complaints, "", "{}", rung.name);
        assert_eq!(got, decoded(&clip_of(dir.path(), &rung.name), "0:v:0").0, "{}", rung.name);
    }
    let (key_frames, complaints) = decoded(&description, &format!("0:v:{count}"));
    assert_eq!(complaints, "");
    let (all, _) = decoded(&clip_of(dir.path(), "v144-2"), "0:v:0");
    assert_eq!(key_frames, all.iter().step_by(50).cloned().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_view_is_the_same_timeline_with_less_to_choose_from() {
    let dir = tempfile::tempdir().unwrap();
    let (asset, resolver) = a_ladder(dir.path()).await;
    let out = dir.path().join("out");
    write_all(&asset, &resolver, &out).await;
    let view = View { only: Some(240), ..View::default() };
    let description = out.join("narrow.mpd");
    fs::write(&description, render_mpd(&asset, view, Cut::NONE)).unwrap();
    let (got, complaints) = decoded(&description, "0:v:0");
    assert_eq!((got, complaints), (decoded(&clip_of(dir.path(), "v240-2"), "0:v:0").0, String::new()));
    assert_eq!(streams(&description, "v"), 2, "the rung and its key frames");
}
