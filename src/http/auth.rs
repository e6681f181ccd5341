//! Who asks: passwords, access tokens, sign-ins, and the extractor handlers use.
pub(crate) mod keys;
pub(crate) mod logins;
pub(crate) mod passwords;
mod viewer;

pub use viewer::Viewer;
