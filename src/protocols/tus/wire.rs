//! Header fields of resumable uploads. Every value from outside is bounded and refused or ignored as its text says.
use http::header::{AsHeaderName, HeaderMap};

pub mod chunk;
pub mod digest;
pub mod draft;
pub mod metadata;
pub mod v1;

/// Longest header value that is looked into, bytes; metadata with a long description fits.
pub const VALUE_BYTES_MAX: usize = 48 * 1024;

/// A header field that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is needed and not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is there and makes no sense.
    #[error("{field}: {message}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong, for a person.
        message: String,
    },
    /// It says two different things, or contradicts another field.
    #[error("{field}: {message}")]
    Contradiction {
        /// The field.
        field: &'static str,
        /// What contradicts what, for a person.
        message: String,
    },
    /// A digest algorithm that is not known here.
    #[error("{field}: unknown algorithm; known are {known}")]
    UnknownAlgorithm {
        /// The field.
        field: &'static str,
        /// Names of the known ones.
        known: &'static str,
    },
}

impl WireError {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into() }
    }

    /// The field it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field) => field,
            Self::Invalid { field, .. } | Self::Contradiction { field, .. } | Self::UnknownAlgorithm { field, .. } => {
                field
            }
        }
    }
}

/// Which protocol a request to an upload speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// tus 1.0.
    Tus,
    /// A tus version other than 1.0.0.
    OtherTus,
    /// The IETF draft.
    Draft(draft::Interop),
    /// It does not say; only the upload itself can tell.
    Unmarked,
}

/// Tells the dialect of a request from its header fields.
pub fn dialect(headers: &HeaderMap) -> Dialect {
    if let Some(version) = headers.get("tus-resumable") {
        return if version.as_bytes() == b"1.0.0" { Dialect::Tus } else { Dialect::OtherTus };
    }
    match draft::interop(headers) {
        Some(interop) => Dialect::Draft(interop),
        None => Dialect::Unmarked,
    }
}

/// The one value of a field, as text. Several values, or bytes that are no text, are an error.
pub(crate) fn text<'a>(
    headers: &'a HeaderMap,
    name: impl AsHeaderName + Copy,
    field: &'static str,
) -> Result<Option<&'a str>, WireError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(WireError::Contradiction { field, message: "sent more than once".into() });
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(WireError::invalid(field, format!("longer than {VALUE_BYTES_MAX} bytes")));
    }
    let text = value.to_str().map_err(|_| WireError::invalid(field, "has bytes other than visible ASCII"))?;
    Ok(Some(text.trim()))
}

/// A non-negative decimal number of digits only, as every length and offset is.
pub(crate) fn number(field: &'static str, text: &str) -> Result<u64, WireError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(WireError::invalid(field, "must be a number of bytes in decimal digits"));
    }
    text.parse().map_err(|_| WireError::invalid(field, "is too large"))
}

/// The number in a field, when it is there.
pub(crate) fn optional_number(
    headers: &HeaderMap,
    name: &'static str,
    field: &'static str,
) -> Result<Option<u64>, WireError> {
    text(headers, name, field)?.map(|value| number(field, value)).transpose()
}

/// The media type of the body, lower case and without parameters.
pub fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    (!essence.is_empty() && essence.len() <= 127).then(|| essence.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
