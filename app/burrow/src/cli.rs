//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Burrow builds and tests every commit of your repositories, on every kind of machine you have.
#[derive(Debug, Parser)]
#[command(name = "burrow", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
First steps:
  burrow up                       a sample project, built; open http://127.0.0.1:8080
  burrow up --repo .              your repository, built as its go.mod, Cargo.toml, package.json or Makefile says
  burrow build                    the commit that is checked out here, in this terminal

Exit status: 0 all is well, 1 a build failed, 2 wrong arguments or configuration, 3 this machine, the network or a service failed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: coordinator, workers and pages, with all state in one folder
    Up(UpArgs),
    /// Build one commit here and now; the exit status is the verdict
    Build(BuildArgs),
    /// Run the coordinator alone, as a configuration file says
    Coordinator(CoordinatorArgs),
    /// Keep a project's history of issues, reviews and commits, and serve it
    Maintnerd(crate::maintnerd::MaintnerdArgs),
    /// Mirror git repositories to other places, and serve them to builders
    Gitmirror(crate::gitmirror::GitmirrorArgs),
    /// Try whether an alarm works
    Drill(crate::gitmirror::DrillArgs),
    /// Take webhooks and mail, and hand out what they tell of as events
    Pubsubhelper(crate::pubsubhelper::PubsubhelperArgs),
    /// Keep benchmark results, and find them again; send results to such a store
    Perfdata(crate::perfdata::PerfdataArgs),
    /// Compare, draw and watch benchmark results
    Perf(crate::perf::PerfArgs),
    /// Check and explain a configuration
    Config(ConfigArgs),
    /// Enrol, list, drain and revoke machines of a running coordinator
    Machine(MachineArgs),
    /// Say why a build is in the state it is in
    Why(WhyArgs),
    /// Build failures again, chosen by builder, commit, log or flakiness
    Retrybuilds(RetrybuildsArgs),
    /// Ask a maintner log: issues, changes, commits, numbers; follow a maintnerd
    Godata(crate::godata::args::GodataArgs),
    /// Make, convert, verify and read mutation logs on this disk
    Mutlog(crate::mutlog::MutlogArgs),
    /// Compare benchmark results: medians, intervals, what changed; a gate for automatic checks
    Benchstat(crate::benchstat::BenchstatArgs),
    /// Run benchmarks of several commands or revisions alternately and compare them
    Bench(crate::bench::BenchArgs),
    /// Run the worker (the same program as `buildlet`)
    #[command(hide = true, disable_help_flag = true)]
    Buildlet {
        /// Arguments of the worker.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Where state is and where pages are.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    /// Folder that holds all state [default: ./.burrow, or `data` of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the pages; port 0 takes a free one [default: 127.0.0.1:8080, or `listen` of the configuration]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// PostgreSQL address for the rows [default: an SQLite file in the data folder]
    #[arg(long, value_name = "URL", env = "BURROW_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow up                                       the sample project
  burrow up --repo . --workers 4                  this repository, four builds at a time
  burrow up --repo https://example.org/a.git --repo ../b
  burrow up --config farm.toml --data /var/lib/burrow

Without --repo and --config, burrow.toml of this folder is used; without that, a sample project is made.
Ctrl-C finishes the running builds and stops; Ctrl-C again stops at once. Nothing is lost either way.")]
pub(crate) struct UpArgs {
    /// Folder or address of a git repository to build; may be given several times
    #[arg(long = "repo", value_name = "DIR|URL", conflicts_with = "config")]
    pub(crate) repos: Vec<String>,
    /// Configuration file, or folder of *.toml files
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Builds at a time on this machine [default: half the processors, at least 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Where archives and clones of what is built are served [default: 127.0.0.1:8585, or a free port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) mirror_listen: Option<std::net::SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow build                            HEAD of the repository in this folder
  burrow build ../lib --rev v1.2.0        a tag of another one
  burrow build --builder linux-amd64-race
  burrow build --json > results.json

Commits are built: what is not committed is not part of it (and is pointed out).
Exit status: 0 all builds passed, 1 a build failed, 2 wrong arguments or configuration, 3 a build could not be run to its end.")]
pub(crate) struct BuildArgs {
    /// Folder in a git repository
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What to build: a commit, branch or tag
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    pub(crate) rev: String,
    /// Only this builder; may be given several times [default: all that build the repository]
    #[arg(long = "builder", value_name = "NAME")]
    pub(crate) builders: Vec<String>,
    /// Configuration with the builders [default: found by looking at the repository]
    #[arg(long, value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Builds at a time [default: half the processors, at least 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) workers: Option<u16>,
    /// Keep rows and logs in this folder (later: `burrow up --data DIR`) [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Results as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  burrow coordinator --config /etc/burrow --data /var/lib/burrow

The configuration is read again when it changes; a faulty one is reported and the old one stays in force.
SIGTERM stops at once and leaves running builds to their workers; the next start takes them up again.")]
pub(crate) struct CoordinatorArgs {
    /// Configuration file, or folder of *.toml files
    #[arg(long, value_name = "PATH")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read a configuration and report everything that is wrong with it
    #[command(after_help = "Example:\n  burrow config check farm.toml\n\nExit status: 0 it is right, 2 it is not.")]
    Check {
        /// File, or folder of *.toml files
        #[arg(default_value = "burrow.toml")]
        config: PathBuf,
    },
    /// Say what a builder is made of, or why it does or does not build a branch of a repository
    #[command(after_help = "Examples:\n  burrow config explain linux-amd64\n  burrow config explain linux-amd64 app release-1 --config farm.toml")]
    Explain {
        /// Builder
        builder: String,
        /// Repository; with it the decision is explained
        repo: Option<String>,
        /// Branch [default: the repository's main branch]
        branch: Option<String>,
        /// Branch of the base repository that it is built against [default: as the branch]
        base: Option<String>,
        /// File, or folder of *.toml files
        #[arg(long, value_name = "PATH", default_value = "burrow.toml")]
        config: PathBuf,
    },
    /// Print which builders build which repositories
    #[command(after_help = "Example:\n  burrow config table env/example.toml")]
    Table {
        /// File, or folder of *.toml files
        #[arg(default_value = "burrow.toml")]
        config: PathBuf,
    },
    /// Print what changes from one configuration to another
    #[command(
        after_help = "Example:\n  burrow config diff farm.toml farm-new.toml\n\nExit status: 0 nothing changes, 1 something does, 2 one of them is wrong."
    )]
    Diff {
        /// The old one
        old: PathBuf,
        /// The new one
        new: PathBuf,
    },
}

/// Which coordinator is meant.
#[derive(Debug, Args)]
pub(crate) struct CoordinatorAt {
    /// Address of the running coordinator's pages
    #[arg(long, value_name = "URL", env = "BURROW_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) coordinator: String,
    /// File with the administrator's token (needed beyond this machine)
    #[arg(long, value_name = "FILE", env = "BURROW_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data folder to read when no coordinator answers
    #[arg(long, value_name = "DIR", default_value = "./.burrow")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    #[command(subcommand)]
    pub(crate) command: MachineCommand,
    #[command(flatten)]
    pub(crate) at: CoordinatorAt,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// Make a token with which one machine may join, once, within a day
    #[command(after_help = "Example:\n  burrow machine enroll --host-type linux-amd64\nprints the command to run on that machine.")]
    Enroll {
        /// Kind of machine it may join as
        #[arg(long, value_name = "TYPE")]
        host_type: String,
    },
    /// List all machines
    List,
    /// Give a machine no new builds
    Drain {
        /// Its name
        machine: String,
    },
    /// Give a machine builds again
    Undrain {
        /// Its name
        machine: String,
    },
    /// Lock a machine out: its key is worth nothing any more
    Revoke {
        /// Its name
        machine: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  burrow why 1234")]
pub(crate) struct WhyArgs {
    /// Number of the build
    pub(crate) build: i64,
    #[command(flatten)]
    pub(crate) at: CoordinatorAt,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow retrybuilds --redo-flaky                                 print what looks flaky
  burrow retrybuilds --redo-flaky --dry-run=false                 and build it again
  burrow retrybuilds --builder linux-amd64 --hash 1f2e            one builder, one commit
  burrow retrybuilds --substr 'connection reset by peer'
  burrow retrybuilds --builder-prefix https://build.example.org --key key.txt --loghash 9ab1

Selectors are looked at in this order: --loghash, --substr, --redo-flaky, --builder (with --hash).
A single dash before a flag is understood too. With --key or --masterkey the classic /clear-results is used, which Go's dashboards know.")]
pub(crate) struct RetrybuildsArgs {
    /// Print what would be built again, and do nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub(crate) dry_run: bool,
    /// Only failures of this builder
    #[arg(long, default_value = "")]
    pub(crate) builder: String,
    /// Only commits whose hash begins so
    #[arg(long, default_value = "")]
    pub(crate) hash: String,
    /// Failures whose log's hash begins so
    #[arg(long, default_value = "")]
    pub(crate) loghash: String,
    /// Failures whose log holds this text
    #[arg(long, default_value = "")]
    pub(crate) substr: String,
    /// Failures that look flaky
    #[arg(long)]
    pub(crate) redo_flaky: bool,
    /// File with the rules for flaky logs [default: built in, see env/flaky.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// Branch whose failures are listed
    #[arg(long, default_value = "master")]
    pub(crate) branch: String,
    /// Repository whose failures are listed [default: the main one]
    #[arg(long, default_value = "")]
    pub(crate) repo: String,
    /// Address of the dashboard
    #[arg(long, value_name = "URL", env = "BURROW_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) builder_prefix: String,
    /// File with a builder's key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// File with the master key
    #[arg(long, value_name = "FILE")]
    pub(crate) masterkey: Option<PathBuf>,
    /// Send the master key itself instead of the builder's key made from it (acts for revoked builders)
    #[arg(long, requires = "masterkey")]
    pub(crate) sendmaster: bool,
    /// File with the administrator's token (needed beyond this machine, without --key)
    #[arg(long, value_name = "FILE", env = "BURROW_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Why, for the history of the builds
    #[arg(long, default_value = "retrybuilds")]
    pub(crate) reason: String,
}

/// `retrybuilds` was written with single dashes before its flags; scripts go on working.
pub(crate) fn tolerate_single_dashes(args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_some_and(|arg| arg == "benchstat") {
        return crate::benchstat::single_dashes(args);
    }
    if args.get(1).is_none_or(|arg| arg != "retrybuilds") {
        return args;
    }
    let double = |arg: OsString| match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => OsString::from(format!("-{text}")),
        _ => arg,
    };
    // The word after a flag may be a value that begins with a dash, but no flag of this command takes such values.
    args.into_iter().map(double).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn old_flags_of_retrybuilds_are_understood() {
        let line = ["burrow", "retrybuilds", "-redo-flaky", "-dry-run=false", "-builder", "linux-amd64", "--branch=main"];
        let cli = Cli::try_parse_from(tolerate_single_dashes(line.iter().map(OsString::from).collect())).unwrap();
        let Command::Retrybuilds(args) = cli.command else { panic!("another command") };
        assert!(args.redo_flaky && !args.dry_run);
        assert_eq!((args.builder.as_str(), args.branch.as_str()), ("linux-amd64", "main"));
        let cli = Cli::try_parse_from(["burrow", "retrybuilds", "--builder", "x"]).unwrap();
        let Command::Retrybuilds(args) = cli.command else { panic!("another command") };
        assert!(args.dry_run, "nothing is done unless it is asked for");
    }

    #[test]
    fn other_commands_keep_their_dashes() {
        let line: Vec<OsString> = ["burrow", "build", "-x"].iter().map(OsString::from).collect();
        assert_eq!(tolerate_single_dashes(line.clone()), line);
    }
}
