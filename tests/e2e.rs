//! The program as its users meet it: a real server process, real files, real players.
#[path = "support/all.rs"]
mod support;

#[path = "e2e/archive.rs"]
mod archive;
#[path = "e2e/balancer.rs"]
mod balancer;
#[path = "e2e/browser.rs"]
mod browser;
#[path = "e2e/buckets.rs"]
mod buckets;
#[path = "e2e/chaos.rs"]
mod chaos;
#[path = "e2e/clips.rs"]
mod clips;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/codecs.rs"]
mod codecs;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/direct.rs"]
mod direct;
#[path = "e2e/edge.rs"]
mod edge;
#[path = "e2e/formats.rs"]
mod formats;
#[path = "e2e/kill.rs"]
mod kill;
#[path = "e2e/ladder.rs"]
mod ladder;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/live.rs"]
mod live;
#[path = "e2e/live_cues.rs"]
mod live_cues;
#[path = "e2e/live_formats.rs"]
mod live_formats;
#[path = "e2e/live_players.rs"]
mod live_players;
#[path = "e2e/live_validity.rs"]
mod live_validity;
#[path = "e2e/load.rs"]
mod load;
#[path = "e2e/matrix.rs"]
mod matrix;
#[path = "e2e/operations.rs"]
mod operations;
#[path = "e2e/pictures.rs"]
mod pictures;
#[path = "e2e/playback.rs"]
mod playback;
#[path = "e2e/players.rs"]
mod players;
#[path = "e2e/postgres.rs"]
mod postgres;
#[path = "e2e/privacy.rs"]
mod privacy;
#[path = "e2e/pull.rs"]
mod pull;
#[path = "e2e/push.rs"]
mod push;
#[path = "e2e/relays.rs"]
mod relays;
#[path = "e2e/replicas.rs"]
mod replicas;
#[path = "e2e/slate.rs"]
mod slate;
#[path = "e2e/soak.rs"]
mod soak;
#[path = "e2e/srt.rs"]
mod srt;
#[path = "e2e/srt_play.rs"]
mod srt_play;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/trim.rs"]
mod trim;
#[path = "e2e/upgrade.rs"]
mod upgrade;
#[path = "e2e/uploads.rs"]
mod uploads;
#[path = "e2e/whep.rs"]
mod whep;
#[path = "e2e/whip.rs"]
mod whip;
