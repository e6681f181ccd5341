//! The command line: what each command is called and which arguments it takes. What a command does is in its own file.
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::domain::cluster::NodeName;
use crate::settings::{Settings, SettingsError};

pub mod admin;
pub mod bench;
pub mod client;
pub mod demo;
pub mod doctor;

/// Playhouse: a self-hosted video platform in one binary.
#[derive(Debug, Parser)]
#[command(name = "playhouse", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(ServeArgs),
    /// Upload a generated clip to a running server, or broadcast one live, and print where to watch it.
    Demo(DemoArgs),
    /// Put load on a running server by the real protocols, and say how it fares.
    Bench(BenchArgs),
    /// Administer servers: the certificates of a cluster, its nodes.
    Admin(AdminArgs),
    /// Check this machine: GStreamer elements, ports, disk, permissions; and PostgreSQL, if the catalog is there. Says what to install.
    Doctor(DoctorArgs),
    /// Decode outside bytes on behalf of a server, which starts this process by itself.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Where settings come from; later ones win: defaults, files, `PLAYHOUSE_SECTION__KEY` variables, flags.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsArgs {
    /// Settings file; config/playhouse.toml of the sources shows every key. Without it the defaults hold.
    #[arg(long, value_name = "FILE", env = "PLAYHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Settings of a node of a cluster, in the same form; cluster.toml of the sources shows those that a cluster needs.
    #[arg(long, value_name = "FILE", env = "PLAYHOUSE_CLUSTER")]
    pub cluster: Option<PathBuf>,
    /// Directory where everything is kept (server.data_dir).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl SettingsArgs {
    /// The settings that these arguments ask for.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::load([&self.config, &self.cluster].into_iter().flatten().map(PathBuf::as_path))?;
        if let Some(data) = &self.data {
            settings.server.data_dir.clone_from(data);
        }
        Ok(settings)
    }
}

/// Arguments of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Bind every listener to a free loopback port and write which to ports.json in the data directory.
    #[arg(long)]
    pub ephemeral_ports: bool,
}

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Address of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Sign in with this account instead of registering a new one.
    #[arg(long, requires = "password")]
    pub username: Option<String>,
    /// Its password.
    #[arg(long, env = "PLAYHOUSE_DEMO_PASSWORD", hide_env_values = true, requires = "username")]
    pub password: Option<String>,
    /// Upload this file instead of a generated clip.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Broadcast a picture with a clock over RTMP until interrupted, instead of uploading.
    #[arg(long, conflicts_with = "file")]
    pub live: bool,
    /// End the broadcast after this long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "live")]
    pub duration: Option<Duration>,
}

/// Arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What kind of load.
    #[command(subcommand)]
    pub load: Load,
}

/// The kinds of load.
#[derive(Debug, Clone, Subcommand)]
pub enum Load {
    /// Publish live streams over RTMP or RTMPS, a clip again and again at its own pace.
    Publishers(PublishersArgs),
    /// Watch a live stream by low-latency HLS, as players do.
    Viewers(ViewersArgs),
    /// Viewers of a live stream by WebRTC.
    Whep(WhepArgs),
}

/// Arguments of `bench publishers`.
#[derive(Debug, Clone, Args)]
pub struct PublishersArgs {
    /// Where to publish, without the key, e.g. `rtmp://127.0.0.1/live`.
    #[arg(long)]
    pub url: Option<String>,
    /// A stream key; may be repeated.
    #[arg(long)]
    pub key: Vec<String>,
    /// A file with a stream key a line.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Make the streams on the server with this address, instead of naming keys.
    #[arg(long, value_name = "URL", requires = "token", conflicts_with_all = ["url", "key", "keys"])]
    pub api: Option<String>,
    /// Access token of the account that makes them.
    #[arg(long, env = "PLAYHOUSE_BENCH_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Publishers; as many as there are keys, unless given.
    #[arg(long)]
    pub count: Option<usize>,
    /// What to send: an FLV or MP4 file with H.264 and AAC. Unless given, 720p is made with the rates below.
    #[arg(long, value_name = "FILE")]
    pub clip: Option<PathBuf>,
    /// Pictures per second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240), conflicts_with = "clip")]
    pub fps: u32,
    /// Kilobits per second of the pictures.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(50..), conflicts_with = "clip")]
    pub bitrate: u32,
    /// Pictures from one key frame to the next.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "clip")]
    pub gop: u32,
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Time over which they start, one after the other.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub ramp: Duration,
    /// Take any certificate, for RTMPS with a self-signed one.
    #[arg(long)]
    pub insecure: bool,
}

/// Arguments of `bench viewers`.
#[derive(Debug, Clone, Args)]
pub struct ViewersArgs {
    /// The stream's multivariant playlist.
    #[arg(long)]
    pub url: String,
    /// Viewers.
    #[arg(long, default_value_t = 1)]
    pub count: usize,
    /// One HTTP/2 connection a viewer, instead of HTTP/1.1.
    #[arg(long)]
    pub http2: bool,
    /// Take any certificate, for HTTPS with a self-signed one.
    #[arg(long)]
    pub insecure: bool,
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Time over which they start, one after the other.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub ramp: Duration,
}

/// Arguments of `bench whep`.
#[derive(Debug, Clone, Args)]
pub struct WhepArgs {
    /// The stream's WHEP endpoint, with a bearer token before `@` perhaps.
    #[arg(long)]
    pub url: String,
    /// Viewers.
    #[arg(long, default_value_t = 1)]
    pub count: usize,
    /// Take any certificate, for HTTPS with a self-signed one.
    #[arg(long)]
    pub insecure: bool,
    /// How long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Time over which they start, one after the other.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub ramp: Duration,
}

/// Arguments of `admin`.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// What to do.
    #[command(subcommand)]
    pub task: AdminTask,
}

/// What administrators do.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminTask {
    /// Make the certificates of a cluster.
    #[command(subcommand)]
    Cluster(ClusterTask),
    /// Show the nodes of a cluster, as one of them sees it.
    Nodes(NodesArgs),
}

/// What is done about a cluster's certificates.
#[derive(Debug, Clone, Subcommand)]
pub enum ClusterTask {
    /// Make the authority of a new cluster: whoever has its key can make nodes, so keep the directory where no node is.
    Init {
        /// Directory for it, which is made.
        dir: PathBuf,
    },
    /// Make the certificate of a node, in the directory of the authority.
    AddNode {
        /// Directory of the authority.
        dir: PathBuf,
        /// Name of the node: lower-case letters, digits and hyphens.
        name: NodeName,
    },
}

/// Arguments of `admin nodes`.
#[derive(Debug, Clone, Args)]
pub struct NodesArgs {
    /// Address of a node.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Account of an administrator.
    #[arg(long, default_value = "admin")]
    pub username: String,
    /// Its password.
    #[arg(long, env = "PLAYHOUSE_ADMIN_PASSWORD", hide_env_values = true)]
    pub password: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `doctor`.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// Where settings come from.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `worker`. The socket to the server is its standard input.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkerArgs {
    /// Encode the rungs of one live stream.
    #[arg(long)]
    pub live: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_a_data_directory_and_ephemeral_ports() {
        let cli = Cli::try_parse_from(["playhouse", "serve", "--data", "/d", "--ephemeral-ports"]).unwrap();
        let Command::Serve(args) = cli.command else { panic!("not serve: {cli:?}") };
        assert!(args.ephemeral_ports);
        assert_eq!(args.settings.data.as_deref(), Some(std::path::Path::new("/d")));
    }

    #[test]
    fn loads_are_named_with_their_rates() {
        let args = "playhouse bench publishers --url rtmp://h/live --key a --key b --fps 25 --duration 10s";
        let cli = Cli::try_parse_from(args.split(' ')).unwrap();
        let Command::Bench(BenchArgs { load: Load::Publishers(args) }) = cli.command else { panic!("{cli:?}") };
        assert_eq!((args.key.len(), args.fps, args.duration), (2, 25, Duration::from_secs(10)));
        for bad in ["bench", "bench viewers", "bench publishers --api http://h", "demo --live --file x"] {
            assert!(Cli::try_parse_from(format!("playhouse {bad}").split(' ')).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_demo_account_needs_both_name_and_password() {
        assert!(Cli::try_parse_from(["playhouse", "demo", "--username", "ann"]).is_err());
        assert!(Cli::try_parse_from(["playhouse", "demo", "--username", "ann", "--password", "x"]).is_ok());
    }
}
