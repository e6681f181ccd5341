//! Actors: one file per actor, the supervisors, and the typed handles others use. Media bytes never ride a mailbox.
//!
//! The tree: [`node_root`] starts one supervisor per family and restarts it when it fails; each family's supervisor
//! ([`supervisor::Supervisor`]) starts its children by key when they are asked for and restarts them by
//! [`crate::domain::restart::RestartPolicy`].
mod backoff;
pub mod describe;
pub mod dispatcher;
pub mod edges;
pub mod janitor;
pub mod limits;
pub mod live_ingest;
pub mod live_keys;
pub mod live_ladder;
mod live_metrics;
pub mod live_picture;
pub mod live_priority;
pub mod live_pull;
pub mod live_push;
mod live_realtime;
mod live_recording;
pub mod live_relay;
mod live_sound;
mod live_transcode;
mod live_worker;
pub mod lives;
pub mod media_tokens;
pub mod node_root;
pub mod nodes;
pub mod peer_frames;
pub mod playback;
mod playback_copies;
pub mod playback_derived;
pub mod playback_session;
pub mod remote;
pub mod reply;
pub mod supervisor;
pub mod thumbnails;
pub mod transcode_job;
pub mod transcode_peers;
pub mod transcode_worker;
pub mod transcodes;
mod upload_effects;
pub mod upload_lease;
pub mod upload_session;
pub mod uploads;
