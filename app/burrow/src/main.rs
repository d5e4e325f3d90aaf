//! The `burrow` executable: subcommands, arguments, wiring. What things do is in the services and libraries.

mod bench;
mod benchstat;
mod build;
mod cli;
mod client;
mod config;
mod failure;
mod gitmirror;
mod godata;
mod machine;
mod maintnerd;
mod mirroring;
mod mutlog;
mod perf;
mod perfdata;
mod progress;
mod pubsubhelper;
mod retrybuilds;
mod serve;
mod settings;
mod summary;
mod tls;
mod why;

use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // The worker has its own arguments and must start fast: nothing of the rest is touched for it.
    if args.get(1).is_some_and(|arg| arg == "buildlet") {
        return burrow_buildlet::main(args.into_iter().skip(2));
    }
    let cli = Cli::parse_from(cli::tolerate_single_dashes(args));
    match run(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(args) => in_runtime(SERVING, Box::pin(serve::up(args))),
        Command::Coordinator(args) => in_runtime(SERVING, Box::pin(serve::coordinator(args))),
        Command::Build(args) => in_runtime(WORKING, Box::pin(build::run(args))),
        Command::Why(args) => in_runtime(WORKING, Box::pin(why::run(args))),
        Command::Machine(args) => in_runtime(WORKING, Box::pin(machine::run(args))),
        Command::Maintnerd(args) => in_runtime(SERVING, Box::pin(maintnerd::run(args))),
        Command::Gitmirror(args) => in_runtime(SERVING, Box::pin(gitmirror::run(args))),
        Command::Drill(args) => in_runtime("error", Box::pin(gitmirror::drill(args))),
        Command::Pubsubhelper(args) => in_runtime(SERVING, Box::pin(pubsubhelper::run(args))),
        Command::Perf(args) => in_runtime(SERVING, Box::pin(perf::run(args))),
        Command::Perfdata(args) => in_runtime(SERVING, Box::pin(perfdata::run(args))),
        Command::Config(args) => config::run(args),
        Command::Retrybuilds(args) => retrybuilds::run(args),
        Command::Godata(args) => in_runtime(godata::LOGGED, Box::pin(godata::run(args))),
        Command::Mutlog(args) => mutlog::run(args),
        Command::Bench(args) => in_runtime(WORKING, Box::pin(bench::execute(args))),
        Command::Benchstat(args) => Ok(benchstat::run(&args)),
        Command::Buildlet { .. } => Err(Failure::usage("buildlet is started as `burrow buildlet` with nothing before it")),
    }
}

/// What is logged unless `RUST_LOG` says otherwise: by those that serve, their own doings; by those that a person waits for, only trouble.
const SERVING: &str = "warn,burrow=info,burrow_coordinator=info,burrow_gitmirror=info,burrow_maintnerd=info,burrow_perf=info,burrow_perfdata=info,burrow_perfstore=info,burrow_pool=info,burrow_pubsubhelper=info,burrow_events=info,burrow_mail=info";
const WORKING: &str = "warn";

/// The work comes boxed, so that it is compiled once and not for each kind of runtime.
fn in_runtime(log: &str, work: Pin<Box<dyn Future<Output = Result<ExitCode, Failure>>>>) -> Result<ExitCode, Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| log.into());
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().compact().with_env_filter(filter).with_target(false).with_ansi(colours).with_writer(progress::LogWriter::default).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::infrastructure(format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // A blocking call that hangs (a dead network drive) must not hold up the exit; everything that matters is on disk by now.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
