//! Other servers, as owners of streams name them.
use crate::domain::live::Live;
use crate::domain::live::push::SealedText;
use crate::http::problem::Problem;
use crate::http::state::HttpState;
use crate::protocols::outlet::{Outlet, Way};

/// A server's URL that has been looked at.
pub(super) struct Remote {
    /// With what is secret in it.
    pub(super) url: SealedText,
    /// Without that.
    pub(super) shown: String,
}

impl Remote {
    /// A URL that the stream goes to, or comes from, and the key that services tell beside it.
    pub(super) fn of(
        state: &HttpState,
        live: &Live,
        (url, key): (&str, Option<&str>),
        way: Way,
    ) -> Result<Self, Problem> {
        let invalid = |detail: String| Problem::invalid_field("/url", "invalid", detail);
        let url = match key.map(str::trim) {
            Some(key) if !key.is_empty() => Outlet::with_key(url.trim(), key),
            _ => url.trim().to_owned(),
        };
        let outlet = Outlet::parse(&url, way).map_err(|error| invalid(error.to_string()))?;
        let own = state.actors.lives.keys().open(&live.key);
        if own.is_some_and(|own| url.contains(own.as_str())) || url.contains(live.playback_id.as_str()) {
            return Err(invalid("leads back to this stream".to_owned()));
        }
        let shown = outlet.shown();
        let url = state.actors.lives.keys().store_url(&url).map_err(|_| {
            tracing::error!("a URL cannot be sealed");
            Problem::internal()
        })?;
        Ok(Self { url, shown })
    }
}
