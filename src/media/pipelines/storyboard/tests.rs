use std::path::Path;

use super::*;
use crate::media::pipelines::testing::{output, reporter};
use crate::media::testing::{make_clip, run};
use crate::media::work::SourceFile;

fn reader_of(tile: &Tile) -> ExtentReader {
    ExtentReader::new(vec![tile.picture.clone()])
}

/// Tiles one behind the other in one file, each brighter than the last.
fn tiles(dir: &Path, num: u32) -> Vec<Tile> {
    let source = "-f lavfi -i color=black:size=48x26:rate=1,geq=lum='16+16*N':cb=128:cr=128 -c:v mjpeg -q:v 2";
    let file = make_clip(dir, "tiles.mjpeg", &format!("{source} -pix_fmt yuvj420p -frames:v {num} -f mjpeg"));
    let bytes = std::fs::read(&file).unwrap();
    let starts: Vec<usize> = (0..bytes.len() - 2).filter(|at| bytes[*at..*at + 3] == [0xff, 0xd8, 0xff]).collect();
    assert_eq!(starts.len(), num as usize);
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let tile = |(index, (start, end)): (usize, (&usize, usize))| Tile {
        at_ms: index as u64 * 1000,
        picture: SourceFile::local(file.clone(), *start as u64, (end - start) as u64),
    };
    starts.iter().zip(ends).enumerate().map(tile).collect()
}

#[test]
fn tiles_are_laid_out_row_by_row_and_the_last_sheet_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let tiles = tiles(dir.path(), 8);
    let layout = Layout { columns: 3, rows: 2 };
    let made = storyboard(&output(dir.path()), &tiles, layout, reader_of, &reporter());
    let Ok(Answer::StoryboardMade { sheets, width, height }) = made else { panic!("{made:?}") };
    assert_eq!((width, height, sheets.len()), (48, 26, 2));
    let sizes: Vec<_> = sheets.iter().map(|sheet| imagesize::size(&sheet.path).unwrap()).collect();
    assert_eq!(sizes.iter().map(|size| (size.width, size.height)).collect::<Vec<_>>(), [(144, 52), (144, 26)]);
    let gray = dir.path().join("sheet.gray");
    let sheet = sheets[0].path.to_str().unwrap();
    let arguments = ["-v", "error", "-y", "-i", sheet, "-vf", "format=gray", "-f", "rawvideo", gray.to_str().unwrap()];
    run("ffmpeg", &arguments);
    let pixels = std::fs::read(gray).unwrap();
    let middles: Vec<u8> = (0..6).map(|index| pixels[(13 + index / 3 * 26) * 144 + 24 + index % 3 * 48]).collect();
    assert!(middles.windows(2).all(|pair| pair[1] > pair[0] + 10), "{middles:?}");
}

#[test]
fn without_tiles_there_are_no_sheets_and_damaged_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { columns: 3, rows: 2 };
    let made = storyboard(&output(dir.path()), &[], layout, reader_of, &reporter());
    assert!(matches!(made, Ok(Answer::StoryboardMade { sheets, .. }) if sheets.is_empty()));
    let mut tiles = tiles(dir.path(), 1);
    tiles[0].picture.bytes = 20;
    assert!(storyboard(&output(dir.path()), &tiles, layout, reader_of, &reporter()).is_err());
}
