//! The `playhouse` program: reads the command line and runs one command.
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use playhouse::cli::{Cli, Command, ServeArgs, admin, bench, demo, doctor};
use playhouse::{app, logging, media};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Demo(args) => runtime().and_then(|runtime| runtime.block_on(demo::run(&args))),
        Command::Bench(args) => match runtime().and_then(|runtime| runtime.block_on(bench::run(&args))) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Admin(args) => runtime().and_then(|runtime| runtime.block_on(admin::run(&args))),
        Command::Doctor(args) => return doctor::run(&args),
        Command::Worker(args) => media::pipelines::worker::run(args.live).map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("playhouse: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<()> {
    let settings = args.settings.load()?;
    logging::init(&settings.log)?;
    runtime()?.block_on(app::serve(settings, args.ephemeral_ports))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
