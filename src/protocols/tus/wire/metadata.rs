//! `Upload-Metadata` (tus 1.0, creation): comma-separated pairs of a key and a Base64 value.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::WireError;
use crate::domain::video::{InvalidField, Privacy, VideoDetails};

/// Most pairs.
const PAIRS_MAX: usize = 64;
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 128;
/// Longest file name kept, characters.
pub const FILE_NAME_CHARS_MAX: usize = 255;
const FIELD: &str = "Upload-Metadata";

/// What a client says of its file. Values are bytes: only the ones used here must be text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Reads the field's value; an empty one is no metadata.
    pub fn parse(value: &str) -> Result<Self, WireError> {
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            if pairs.len() >= PAIRS_MAX {
                return Err(WireError::invalid(FIELD, format!("has more than {PAIRS_MAX} pairs")));
            }
            let (key, encoded) = pair.split_once(' ').unwrap_or((pair, ""));
            if key.len() > KEY_BYTES_MAX {
                return Err(WireError::invalid(FIELD, format!("has a key longer than {KEY_BYTES_MAX} bytes")));
            }
            if pairs.iter().any(|(known, _)| known == key) {
                return Err(WireError::invalid(FIELD, format!("has the key {key} twice")));
            }
            let decoded = STANDARD.decode(encoded.trim());
            let decoded =
                decoded.map_err(|_| WireError::invalid(FIELD, format!("the value of {key} is not Base64")))?;
            pairs.push((key.to_owned(), decoded));
        }
        Ok(Self { pairs })
    }

    /// The value of a key as text; empty ones count as absent.
    pub fn text(&self, key: &str) -> Result<Option<&str>, WireError> {
        let Some((_, value)) = self.pairs.iter().find(|(known, _)| known == key) else { return Ok(None) };
        let text = std::str::from_utf8(value)
            .map_err(|_| WireError::invalid(FIELD, format!("the value of {key} is not UTF-8")))?;
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    /// The file's name: `filename`, or `name` as some clients have it. Directories are cut off.
    pub fn file_name(&self) -> Result<Option<String>, WireError> {
        let name = match self.text("filename")? {
            Some(name) => Some(name),
            None => self.text("name")?,
        };
        Ok(name.and_then(clean_file_name))
    }

    /// The file's type: `filetype`, or `type` as some clients have it.
    pub fn file_type(&self) -> Result<Option<String>, WireError> {
        let kind = match self.text("filetype")? {
            Some(kind) => Some(kind),
            None => self.text("type")?,
        };
        Ok(kind.map(|kind| kind.chars().take(127).collect()))
    }

    /// What is said of the video. The title falls back to the file's name, the privacy to public.
    pub fn details(&self, file_name: Option<&str>) -> Result<VideoDetails, MetadataError> {
        let privacy = match self.text("privacy")? {
            None => Privacy::Public,
            Some(text) => privacy(text)?,
        };
        let details = VideoDetails {
            title: title(self.text("title")?, file_name),
            description: self.text("description")?.unwrap_or_default().to_owned(),
            category: self.text("category")?.map(|category| category.trim().to_owned()),
            tags: tags(self.text("tags")?.unwrap_or_default()),
            privacy,
        };
        details.validate()?;
        Ok(details)
    }
}

/// Why metadata cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The field.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What it says of the video.
    #[error(transparent)]
    Field(#[from] InvalidField),
}

/// A file's name without directories and control characters, shortened; `None` when nothing is left.
pub fn clean_file_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next()?;
    let name: String = name.chars().filter(|c| !c.is_control()).take(FILE_NAME_CHARS_MAX).collect();
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

/// The given title, or the file's name, or what is left to say.
pub fn title(given: Option<&str>, file_name: Option<&str>) -> String {
    let given = given.map(str::trim).filter(|title| !title.is_empty());
    given.or(file_name).unwrap_or("Untitled").to_owned()
}

/// `public`, `unlisted` or `private`.
pub fn privacy(text: &str) -> Result<Privacy, InvalidField> {
    Privacy::parse(text.trim())
        .ok_or_else(|| InvalidField { field: "privacy", message: "must be public, unlisted or private".to_owned() })
}

/// Tags as a JSON array of texts, or separated by commas. Empty ones are left out.
pub fn tags(text: &str) -> Vec<String> {
    let from_json =
        text.trim_start().starts_with('[').then(|| serde_json::from_str::<Vec<String>>(text).ok()).flatten();
    let tags = from_json.unwrap_or_else(|| text.split(',').map(str::to_owned).collect());
    tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}
