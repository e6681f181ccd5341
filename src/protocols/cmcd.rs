//! Common Media Client Data (CTA-5004): what players say of themselves with their requests.
pub mod wire;
