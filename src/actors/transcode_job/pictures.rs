//! Still pictures of the best moments and sheets of small ones, out of what chunks have left.
use super::effects::{Carried, Made, Shared};
use crate::domain::ladder::{
    Candidate, LadderPlan, MadeTiles, RungCodec, Unit, UnitResult, best_moments, display_size, main_picture,
};
use crate::domain::video::{Storyboard, StoryboardSheet, Thumbnail, ThumbnailMoment};
use crate::media::work::{Output, PictureFormat, SourceFile, StillsTask, Task, Tile};

/// Widest still picture, pixels.
const STILL_WIDTH_MAX: u32 = 1280;
/// Smallest still picture: what lists show.
const STILL_WIDTH_SMALL: u32 = 320;
/// Small pictures in a row of a sheet, and rows.
const SHEET: (u32, u32) = (10, 10);

fn plan_of(carried: &Carried) -> Option<&LadderPlan> {
    carried.ladder.as_ref()?.plan.as_ref()
}

/// Small pictures of all chunks, in order.
fn tiles<'a>(results: &'a [(Unit, UnitResult)]) -> Vec<&'a MadeTiles> {
    let of_unit = |(_, result): &'a (Unit, UnitResult)| match result {
        UnitResult::Pictures { tiles, .. } => tiles.as_ref(),
        UnitResult::Sound { .. } => None,
    };
    let mut found: Vec<&MadeTiles> = results.iter().filter_map(of_unit).collect();
    found.sort_by_key(|made| made.tiles.first().map(|tile| tile.at_ms));
    found
}

impl Carried {
    fn moments(&self, plan: &LadderPlan) -> Vec<(ThumbnailMoment, Candidate)> {
        let of_unit = |(_, result): &(Unit, UnitResult)| match result {
            UnitResult::Pictures { candidates, .. } => candidates.clone(),
            UnitResult::Sound { .. } => Vec::new(),
        };
        let best = best_moments(self.results.iter().flat_map(of_unit).collect(), plan.pictures_ms());
        ThumbnailMoment::CANDIDATES.into_iter().zip(best).collect()
    }

    /// `None` when no good moment is known.
    pub(super) fn stills_task(&self, source: Vec<SourceFile>, output: Output) -> Option<StillsTask> {
        let plan = plan_of(self)?;
        let moments: Vec<_> =
            self.moments(plan).into_iter().map(|(moment, best)| (moment.to_string(), best.at_ms)).collect();
        let (_, video) = main_picture(self.media.as_ref()?)?;
        let (width, height) = display_size(video);
        let fitted = |width_max: u32| {
            let width_max = width_max.min(width);
            let scaled = u64::from(height) * u64::from(width_max) / u64::from(width.max(1));
            (width_max, u32::try_from(scaled).unwrap_or(u32::MAX).max(1))
        };
        let rungs = plan.rungs_in(RungCodec::H264).into_iter().filter_map(|rung| plan.rungs.get(rung));
        let mut sizes: Vec<(u32, u32)> = [STILL_WIDTH_MAX, STILL_WIDTH_SMALL].map(fitted).into();
        sizes.extend(
            rungs
                .map(|rung| (rung.width, rung.height))
                .filter(|(width, _)| (STILL_WIDTH_SMALL..STILL_WIDTH_MAX).contains(width)),
        );
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        let is_remuxed = plan.start_ns == super::source::ORIGIN_NS;
        let treatment = plan.treatment.clone()?;
        (!moments.is_empty()).then_some(StillsTask {
            source,
            output,
            treatment,
            start_ns: if is_remuxed { 0 } else { plan.start_ns },
            moments,
            sizes,
            formats: vec![PictureFormat::Jpeg, PictureFormat::Webp, PictureFormat::Avif],
        })
    }

    /// `None` when there are no small pictures.
    pub(super) fn storyboard_task(&self, shared: &Shared, output: Output) -> Option<Task> {
        let mut small = Vec::new();
        for made in tiles(&self.results) {
            let place = shared.place(&made.blob.key, 0)?;
            small.extend(made.tiles.iter().map(|tile| Tile {
                at_ms: tile.at_ms,
                picture: SourceFile { first: tile.first, bytes: tile.bytes, ..place.clone() },
            }));
        }
        (!small.is_empty()).then_some(Task::Storyboard { output, tiles: small, columns: SHEET.0, rows: SHEET.1 })
    }

    /// Takes the still pictures that are to be stored.
    pub(super) fn made_stills(&mut self) -> Made {
        let stills = std::mem::take(&mut self.stills);
        let moments = plan_of(self).map(|plan| self.moments(plan)).unwrap_or_default();
        let mut thumbnails = Vec::new();
        for still in &stills {
            let moment = moments.iter().find(|(moment, _)| moment.as_str() == still.moment);
            thumbnails.extend(moment.map(|(moment, best)| Thumbnail {
                name: Thumbnail::name_of(&still.file.key),
                moment: *moment,
                at_ms: best.at_ms,
                key: still.file.key.clone(),
                content_type: still.content_type.clone(),
                width: still.width,
                height: still.height,
            }));
        }
        thumbnails.sort_by_key(|picture| (picture.moment.as_str(), std::cmp::Reverse(picture.width)));
        self.thumbnails = thumbnails;
        Made { files: stills.into_iter().map(|still| still.file).collect(), asset: None }
    }

    /// Takes the sheets that are to be stored.
    pub(super) fn made_storyboard(&mut self) -> Made {
        let (sheets, width, height) = self.sheets.take().unwrap_or_default();
        let sheet = |file: &crate::media::work::OutputFile| StoryboardSheet {
            name: Thumbnail::name_of(&file.key),
            key: file.key.clone(),
        };
        let interval = plan_of(self).and_then(super::attempt::tile_plan).map_or(1, |tiles| tiles.interval_ms);
        let num_tiles = tiles(&self.results).iter().map(|made| made.tiles.len()).sum::<usize>();
        self.storyboard = Some(Storyboard {
            sheets: sheets.iter().map(sheet).collect(),
            width,
            height,
            columns: SHEET.0,
            rows: SHEET.1,
            interval_ms: interval,
            num_tiles: u32::try_from(num_tiles).unwrap_or(u32::MAX),
        });
        Made { files: sheets, asset: None }
    }

    /// Blobs of small pictures, of no use once they are on sheets.
    pub(super) fn tile_blobs(&self) -> Vec<crate::domain::asset::BlobKey> {
        tiles(&self.results).into_iter().map(|made| made.blob.key.clone()).collect()
    }
}
