//! Pictures of a video: still ones of several moments, of which one stands for the video, and the sheets of small ones that
//! a player shows over its seek bar.
use serde::{Deserialize, Serialize};

use crate::domain::asset::BlobKey;

text_enum!(
    /// What a still picture is of. Each moment has its picture in several sizes and formats.
    ThumbnailMoment {
        /// Of the first pictures, made before anything else.
        Early = "early",
        /// The best candidate that analysis found.
        C1 = "c1",
        /// The second best.
        C2 = "c2",
        /// The third best.
        C3 = "c3",
        /// The fourth best.
        C4 = "c4",
        /// Of a time that the owner chose, or a picture of their own.
        Custom = "custom",
    }
);

impl ThumbnailMoment {
    /// Candidates, best first.
    pub const CANDIDATES: [Self; 4] = [Self::C1, Self::C2, Self::C3, Self::C4];

    /// Whether it was found by analysis.
    pub fn is_candidate(self) -> bool {
        Self::CANDIDATES.contains(&self)
    }

    /// Whether new pictures of `self` take the place of those of `other`: candidates are found together and replaced
    /// together.
    pub fn replaces(self, other: Self) -> bool {
        self == other || (self.is_candidate() && other.is_candidate())
    }
}

/// One still picture of a video, in one size and format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// Name in URLs: never used again for another picture.
    pub name: String,
    /// What it is of.
    pub moment: ThumbnailMoment,
    /// When that is shown, milliseconds from the start; 0 for a picture of the owner's own.
    pub at_ms: u64,
    /// Where its bytes lie.
    pub key: BlobKey,
    /// Content type, e.g. `image/jpeg`.
    pub content_type: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Thumbnail {
    /// The name in URLs of a picture stored under this key: the last two parts of `…/<generation>/<file>`, so that a later
    /// picture of the same moment has another one.
    pub fn name_of(key: &BlobKey) -> String {
        let mut parts = key.as_str().rsplit('/');
        let (file, place) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{place}-{file}")
    }
}

/// One sheet of small pictures: rows of them, read like a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryboardSheet {
    /// Name in URLs: never used again for another sheet.
    pub name: String,
    /// Where its bytes (JPEG) lie.
    pub key: BlobKey,
}

/// Small pictures at regular times, laid out on sheets. The last sheet may have fewer rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storyboard {
    /// The sheets, in order.
    pub sheets: Vec<StoryboardSheet>,
    /// Width of one small picture in pixels.
    pub width: u32,
    /// Height of one small picture in pixels.
    pub height: u32,
    /// Pictures in a row; never 0.
    pub columns: u32,
    /// Rows of a full sheet; never 0.
    pub rows: u32,
    /// Distance in time from one picture to the next, milliseconds; never 0. The first is of the start.
    pub interval_ms: u32,
    /// How many pictures there are on all sheets.
    pub num_tiles: u32,
}

impl Storyboard {
    /// The place of a small picture: index of its sheet, and its left and upper edge there. `None` when there is none.
    pub fn place(&self, tile: u32) -> Option<(usize, u32, u32)> {
        let (columns, per_sheet) = (self.columns.max(1), self.columns.max(1).checked_mul(self.rows.max(1))?);
        let sheet = (tile / per_sheet) as usize;
        if tile >= self.num_tiles || sheet >= self.sheets.len() {
            return None;
        }
        let within = tile % per_sheet;
        let (x, y) = ((within % columns).checked_mul(self.width)?, (within / columns).checked_mul(self.height)?);
        Some((sheet, x, y))
    }
}

/// The moment whose pictures stand for the video: the one its owner chose, else the best candidate, else the early one.
pub(super) fn shown_moment(pictures: &[Thumbnail], chosen: Option<ThumbnailMoment>) -> Option<ThumbnailMoment> {
    let order = [ThumbnailMoment::C1, ThumbnailMoment::Early];
    let has = |moment: &ThumbnailMoment| pictures.iter().any(|picture| picture.moment == *moment);
    chosen.into_iter().chain(order).find(has).or_else(|| pictures.first().map(|picture| picture.moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(moment: ThumbnailMoment) -> Thumbnail {
        Thumbnail {
            name: moment.to_string(),
            moment,
            at_ms: 0,
            key: BlobKey::new(moment.as_str()),
            content_type: "image/jpeg".into(),
            width: 320,
            height: 180,
        }
    }

    #[test]
    fn the_owners_choice_comes_before_the_best_and_the_first() {
        use ThumbnailMoment::{C1, C2, Custom, Early};
        let all = [Early, C1, C2, Custom].map(picture);
        assert_eq!(shown_moment(&all, Some(C2)), Some(C2));
        assert_eq!(shown_moment(&all, None), Some(C1));
        assert_eq!(shown_moment(&all[..1], Some(C2)), Some(Early), "what was chosen is not there");
        assert_eq!(shown_moment(&all[3..], None), Some(Custom));
        assert_eq!(shown_moment(&[], Some(C2)), None);
    }

    #[test]
    fn small_pictures_are_read_like_a_page() {
        let sheet = |n: u32| StoryboardSheet { name: format!("s{n}.jpg"), key: BlobKey::new(format!("s{n}")) };
        let board = Storyboard {
            sheets: vec![sheet(0), sheet(1)],
            width: 160,
            height: 90,
            columns: 3,
            rows: 2,
            interval_ms: 1000,
            num_tiles: 8,
        };
        let places = [0, 2, 3, 5, 6, 7, 8].map(|tile| board.place(tile));
        let expected = [
            Some((0, 0, 0)),
            Some((0, 320, 0)),
            Some((0, 0, 90)),
            Some((0, 320, 90)),
            Some((1, 0, 0)),
            Some((1, 160, 0)),
            None,
        ];
        assert_eq!(places, expected);
        assert_eq!(Storyboard { columns: 0, rows: u32::MAX, ..board }.place(7), Some((0, 0, 630)));
    }

    #[test]
    fn names_tell_generations_apart() {
        let name = |key: &str| Thumbnail::name_of(&BlobKey::new(key));
        assert_eq!(name("vod-abr/vid_x/2/c1-640x360.webp"), "2-c1-640x360.webp");
        assert_eq!(name("loose.jpg"), "-loose.jpg");
    }
}
