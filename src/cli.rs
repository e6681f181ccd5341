//! The command line: what each command is called and which arguments it takes. What a command does is in its own file.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Settings, SettingsError};

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
    /// Upload a generated clip to a running server and print where to watch it.
    Demo(DemoArgs),
    /// Check this machine: GStreamer elements, ports, disk, permissions. Says what to install.
    Doctor(DoctorArgs),
    /// Decode outside bytes on behalf of a server, which starts this process by itself.
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// Where settings come from; later ones win: defaults, file, `PLAYHOUSE_SECTION__KEY` variables, flags.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsArgs {
    /// Settings file; config/playhouse.toml of the sources shows every key. Without it the defaults hold.
    #[arg(long, value_name = "FILE", env = "PLAYHOUSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Directory where everything is kept (server.data_dir).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

impl SettingsArgs {
    /// The settings that these arguments ask for.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let mut settings = Settings::load(self.config.as_deref())?;
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
pub struct WorkerArgs {}

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
    fn a_demo_account_needs_both_name_and_password() {
        assert!(Cli::try_parse_from(["playhouse", "demo", "--username", "ann"]).is_err());
        assert!(Cli::try_parse_from(["playhouse", "demo", "--username", "ann", "--password", "x"]).is_ok());
    }
}
