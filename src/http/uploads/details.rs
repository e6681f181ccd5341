//! What JSON and form bodies say of a video.
use serde::Deserialize;

use crate::domain::video::VideoDetails;
use crate::http::problem::Problem;
use crate::protocols::tus::wire::metadata;

/// Tags, as a list or as one text separated by commas.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Tags {
    /// A list.
    List(Vec<String>),
    /// One text.
    Text(String),
}

/// What a client says of a video; whatever is left out has a default.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct DetailsBody {
    pub(crate) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) category: Option<String>,
    pub(super) tags: Option<Tags>,
    pub(super) privacy: Option<String>,
    pub(super) file_name: Option<String>,
    pub(super) file_type: Option<String>,
    pub(super) digest: Option<String>,
}

impl DetailsBody {
    /// The file's name, cleaned.
    pub(super) fn clean_file_name(&self) -> Option<String> {
        self.file_name.as_deref().and_then(metadata::clean_file_name)
    }

    /// The details; the title falls back to the file's name, the privacy to public.
    pub(crate) fn details(&self, file_name: Option<&str>) -> Result<VideoDetails, Problem> {
        let title = self.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        if title.or(file_name).is_none() {
            return Err(Problem::invalid_field("/title", "required", "Give a title or a file name."));
        }
        let tags = match &self.tags {
            None => Vec::new(),
            Some(Tags::Text(text)) => metadata::tags(text),
            Some(Tags::List(tags)) => tags.iter().map(|tag| tag.trim().to_owned()).collect(),
        };
        let category = self.category.as_deref().map(str::trim).filter(|category| !category.is_empty());
        let details = VideoDetails {
            title: metadata::title(title, file_name),
            description: self.description.clone().unwrap_or_default(),
            category: category.map(str::to_owned),
            tags,
            privacy: metadata::privacy(self.privacy.as_deref().unwrap_or("public"))?,
        };
        details.validate()?;
        Ok(details)
    }

    /// The digest of the whole file, as stored.
    pub(super) fn stored_digest(&self) -> Result<Option<String>, Problem> {
        self.digest.as_deref().map(stored_digest).transpose()
    }
}

/// A digest as clients write it, as stored.
pub(super) fn stored_digest(text: &str) -> Result<String, Problem> {
    use crate::protocols::tus::wire::digest::Checksum;
    let checksum = Checksum::from_text("digest", text);
    checksum
        .map(|checksum| checksum.to_stored())
        .map_err(|error| Problem::invalid_field("/digest", "invalid", error.to_string()))
}
