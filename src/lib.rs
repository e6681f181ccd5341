//! Playhouse: a self-hosted video platform in one clusterable binary. See `ARCHITECTURE.md`.
#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(missing_docs, unreachable_pub, clippy::mod_module_files)]

pub mod actors;
pub mod app;
pub mod cli;
pub mod cluster;
pub mod domain;
pub mod http;
pub mod logging;
pub mod media;
pub mod protocols;
pub mod settings;
pub mod storage;
pub mod system;
pub mod tls;
