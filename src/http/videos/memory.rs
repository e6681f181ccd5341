//! Hot records: videos that are asked for again and again, and who made them.
//!
//! Only videos at rest are remembered: one that is still being made is asked about because it changes. Every change this
//! room makes goes through [`Videos::forget`], so it is seen at once; a video that others change (work on it,
//! other nodes) is forgotten when the change feed tells of it. The time to live is for what is not told of, and for when the feed is late.
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::domain::account::User;
use crate::domain::ids::{UserId, VideoId};
use crate::domain::ports::{Catalog, CatalogError};
use crate::domain::video::{Video, VideoStatus};
use crate::http::memory::Memory;

/// How long counts may go unseen, and steps made elsewhere when the change feed is late.
const VIDEO_TTL: Duration = Duration::from_secs(1);
/// Videos remembered; a record takes a few KiB.
const VIDEOS_MAX: u64 = 5_000;
/// How long a name changed elsewhere may go unseen.
const AUTHOR_TTL: Duration = Duration::from_secs(10);
/// Authors remembered; about 200 bytes each.
const AUTHORS_MAX: u64 = 20_000;

/// Who made a video, as shown with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Author {
    user_id: UserId,
    username: String,
    display_name: String,
}

/// The memory of videos and their authors.
pub(crate) struct Videos {
    videos: Memory<VideoId, Arc<Video>>,
    authors: Memory<UserId, Arc<Author>>,
}

impl Default for Videos {
    fn default() -> Self {
        Self { videos: Memory::new(VIDEOS_MAX, VIDEO_TTL), authors: Memory::new(AUTHORS_MAX, AUTHOR_TTL) }
    }
}

impl Videos {
    /// The video with this id.
    pub(crate) async fn find(&self, catalog: &dyn Catalog, id: &VideoId) -> Result<Option<Arc<Video>>, CatalogError> {
        if let Some(video) = self.videos.get(id) {
            return Ok(Some(video));
        }
        let ticket = self.videos.ticket();
        let Some(video) = catalog.video(id).await?.map(Arc::new) else { return Ok(None) };
        if matches!(video.status, VideoStatus::Playable | VideoStatus::Ready | VideoStatus::Failed) {
            self.videos.remember(ticket, id.clone(), Arc::clone(&video));
        }
        Ok(Some(video))
    }

    /// Who made what belongs to this account; `None` when it is gone.
    pub(crate) async fn author(&self, catalog: &dyn Catalog, id: &UserId) -> Result<Option<Arc<Author>>, CatalogError> {
        if let Some(author) = self.authors.get(id) {
            return Ok(Some(author));
        }
        let ticket = self.authors.ticket();
        let Some(user) = catalog.user(id).await? else { return Ok(None) };
        let author = Arc::new(Author::of(user));
        self.authors.remember(ticket, id.clone(), Arc::clone(&author));
        Ok(Some(author))
    }

    /// This video was changed or deleted.
    pub(crate) fn forget(&self, id: &VideoId) {
        self.videos.forget(id);
    }

    /// This account's names were changed.
    pub(crate) fn forget_author(&self, id: &UserId) {
        self.authors.forget(id);
    }
}

impl Author {
    fn of(user: User) -> Self {
        Self { user_id: user.id, username: user.username, display_name: user.display_name }
    }
}
