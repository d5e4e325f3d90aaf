//! What can be typed behind `burrow godata`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::when::When;
use super::which::{ChangeName, IssueName, Vote};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow godata issues --repo golang/go --label NeedsFix --milestone Go1.21
  burrow godata issue golang/go#7
  burrow godata changes --project go.googlesource.com/go --vote Code-Review=+2
  burrow godata stats --json
  burrow godata --log /var/maintner stats             a log on this disk, no network
  burrow godata --server https://ci.example/logs watch

The first call downloads the whole log (Go's: 2 GB and more) into a cache and reads it; later
ones bring what is new and start from a snapshot. Times are UTC.
Exit status: 0 fine (also when nothing matches), 2 wrong arguments, 3 the log cannot be had or read.")]
pub(crate) struct GodataArgs {
    /// Answers as lines of JSON, an object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(subcommand)]
    pub(crate) command: GodataCommand,
}

/// Where the log comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the log is")]
pub(crate) struct SourceArgs {
    /// Address of a maintnerd's index; without a path, its /logs
    #[arg(long, global = true, value_name = "URL", env = "BURROW_MAINTNER", default_value = burrow_godata::DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Cache folder; programs of the Go project may use it, too [default: in the user's cache folder, one for each server]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// File with the token for a server that wants one
    #[arg(long, global = true, value_name = "FILE", env = "BURROW_MAINTNER_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Do not ask the server: use what the cache has
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Read this log instead: a folder of maintner-*.mutlog or of numbered segments, or files of one in their order; no network and no cache then
    #[arg(long, global = true, value_name = "DIR|FILE")]
    pub(crate) log: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GodataCommand {
    /// List issues and pull requests of GitHub
    Issues(IssuesArgs),
    /// Show everything about one issue or pull request, in the order in which it happened
    #[command(after_help = "\
Examples:
  burrow godata issue golang/go#7
  burrow godata issue https://github.com/golang/go/issues/7 --json")]
    Issue {
        /// Which, as owner/name#N or as the address of its page
        #[arg(value_name = "OWNER/NAME#N")]
        issue: IssueName,
    },
    /// List changes (CLs) of Gerrit
    Changes(ChangesArgs),
    /// Show everything about one change: patch sets, what happened, what was said, votes
    #[command(after_help = "\
Examples:
  burrow godata change go.googlesource.com/go~33776
  burrow godata change https://go-review.googlesource.com/c/go/+/33776 --json")]
    Change {
        /// Which, as host/project~N or as the address of its page
        #[arg(value_name = "HOST/PROJECT~N")]
        change: ChangeName,
    },
    /// List git commits
    Commits(CommitsArgs),
    /// Count everything, and say how big the log and this program are
    #[command(after_help = "Examples:\n  burrow godata stats\n  burrow godata stats --json --limit 5")]
    Stats {
        /// At most so many repositories and so many projects, those with most first
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Write all that the corpus holds as sorted lines of JSON with one SHA-256 over them (docs/maintner-dump.md)
    Dump(DumpArgs),
    /// Bring the log into the cache, with the names by which programs of the Go project know what never changes
    #[command(after_help = "\
Examples:
  burrow godata sync
  burrow godata sync --server https://ci.example/logs --dir ~/.cache/golang-maintner")]
    Sync,
    /// Print every new mutation as it arrives, until Ctrl-C
    #[command(after_help = "Examples:\n  burrow godata watch\n  burrow godata watch --json --limit 10")]
    Watch {
        /// End after so many mutations
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
}

/// Whether something is to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Open,
    Closed,
    All,
}

/// How issues are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Number,
    Created,
    Updated,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow godata issues --repo golang/go --label NeedsFix --not-label help-wanted --milestone none
  burrow godata issues --repo golang/go --author rsc --state all --sort updated --limit 20
  burrow godata issues --repo golang/go --text 'race detector' --updated-since 30d --comments
  burrow godata issues --repo golang/go --assignee bradfitz --json

Newest first. Names of labels, milestones and people may be written in small letters or capitals.
DATE is 2023-01-31, 2023-01-31T08:00:00Z, or 7d or 12h for so long ago.")]
pub(crate) struct IssuesArgs {
    /// Only of this repository, owner/name; may be given several times [default: all]
    #[arg(long = "repo", value_name = "OWNER/NAME")]
    pub(crate) repos: Vec<String>,
    /// Only with this label; given several times: with all of them
    #[arg(long = "label", value_name = "LABEL")]
    pub(crate) labels: Vec<String>,
    /// Only without this label; given several times: without any of them
    #[arg(long = "not-label", value_name = "LABEL")]
    pub(crate) not_labels: Vec<String>,
    /// Open, closed, or both
    #[arg(long, value_enum, default_value = "open")]
    pub(crate) state: State,
    /// Only with this milestone, by its title; `none`: only without any
    #[arg(long, value_name = "TITLE|none")]
    pub(crate) milestone: Option<String>,
    /// Only by this author
    #[arg(long, value_name = "LOGIN")]
    pub(crate) author: Option<String>,
    /// Only assigned to this user
    #[arg(long, value_name = "LOGIN")]
    pub(crate) assignee: Option<String>,
    /// Only pull requests
    #[arg(long, conflicts_with = "issues_only")]
    pub(crate) pull_requests: bool,
    /// No pull requests
    #[arg(long)]
    pub(crate) issues_only: bool,
    /// Only those made then or later
    #[arg(long, value_name = "DATE")]
    pub(crate) since: Option<When>,
    /// Only those changed then or later
    #[arg(long, value_name = "DATE")]
    pub(crate) updated_since: Option<When>,
    /// Only with all these words somewhere in title, text or comments
    #[arg(long, value_name = "WORDS")]
    pub(crate) text: Option<String>,
    /// What decides the order
    #[arg(long, value_enum, default_value = "number")]
    pub(crate) sort: Sort,
    /// Oldest first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// With texts and comments
    #[arg(long)]
    pub(crate) comments: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// Which states of a change are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChangeState {
    /// New, or a draft.
    Open,
    New,
    Draft,
    Merged,
    Abandoned,
    All,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow godata changes --project go.googlesource.com/go --vote Code-Review=+2 --vote Run-TryBot=+1
  burrow godata changes --owner gopher@golang.org --status all --limit 10
  burrow godata changes --hashtag wait-release --branch master --since 90d
  burrow godata changes --references golang/go#7 --status all --json

Newest first. A change is shown when its metadata and a patch set are known. Private changes are
marked, and work in progress. DATE is 2023-01-31, 2023-01-31T08:00:00Z, or 7d or 12h for so long ago.")]
pub(crate) struct ChangesArgs {
    /// Only of this project, host/project; may be given several times [default: all]
    #[arg(long = "project", value_name = "HOST/PROJECT")]
    pub(crate) projects: Vec<String>,
    /// State; open is new or a draft
    #[arg(long, value_enum, default_value = "open")]
    pub(crate) status: ChangeState,
    /// Only for this branch
    #[arg(long, value_name = "BRANCH")]
    pub(crate) branch: Option<String>,
    /// Only by this owner: the mail address of the first patch set's author, or a number of an account
    #[arg(long, value_name = "MAIL|ID")]
    pub(crate) owner: Option<String>,
    /// Only with this hashtag; given several times: with all of them
    #[arg(long = "hashtag", value_name = "TAG")]
    pub(crate) hashtags: Vec<String>,
    /// Only where somebody votes so; given several times: all of them
    #[arg(long = "vote", value_name = "LABEL=+2")]
    pub(crate) votes: Vec<Vote>,
    /// Only work in progress
    #[arg(long)]
    pub(crate) wip: bool,
    /// Only those made then or later
    #[arg(long, value_name = "DATE")]
    pub(crate) since: Option<When>,
    /// Only those whose newest patch set mentions this issue
    #[arg(long, value_name = "OWNER/NAME#N")]
    pub(crate) references: Option<IssueName>,
    /// Oldest first
    #[arg(long)]
    pub(crate) reverse: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow godata commits --project go.googlesource.com/go --limit 20
  burrow godata commits --project go.googlesource.com/go --branch release-branch.go1.20 --since 90d
  burrow godata commits --project go.googlesource.com/go --since 2023-02-01 --until 2023-02-28
  burrow godata commits --author rsc@golang.org --path src/cmd/go/ --json

With a project: the history of one branch, newest first, by first parents. Without: every commit in
the log, patch sets and metadata of changes among them, by time of commit.
DATE is 2023-01-31, 2023-01-31T08:00:00Z, or 7d or 12h for so long ago.")]
pub(crate) struct CommitsArgs {
    /// The history of this project, host/project
    #[arg(long, value_name = "HOST/PROJECT")]
    pub(crate) project: Option<String>,
    /// Of this branch, or of any reference [default: HEAD]
    #[arg(long, value_name = "BRANCH", requires = "project")]
    pub(crate) branch: Option<String>,
    /// Only by authors with this in their `Name <mail>`
    #[arg(long, value_name = "TEXT")]
    pub(crate) author: Option<String>,
    /// Only those that touch a file whose path begins so
    #[arg(long, value_name = "PREFIX")]
    pub(crate) path: Option<String>,
    /// Only those committed then or later
    #[arg(long, value_name = "DATE")]
    pub(crate) since: Option<When>,
    /// Only those committed then or earlier; a day counts to its end
    #[arg(long, value_name = "DATE")]
    pub(crate) until: Option<When>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// Whose idea of a log a dump shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhichReading {
    /// The reference's, with its faults.
    Reference,
    /// Burrow's.
    Ours,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  burrow godata dump --out corpus.jsonl
  burrow godata dump --out /dev/null                  only the number of lines and the digest
  burrow godata dump --reading ours > corpus.jsonl")]
pub(crate) struct DumpArgs {
    /// Whose reading
    #[arg(long, value_enum, default_value = "reference")]
    pub(crate) reading: WhichReading,
    /// Write the lines there [default: standard output; the digest goes to standard error then]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
