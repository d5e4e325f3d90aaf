//! Changes that want a try run, and what to run.
//!
//! Which changes those are follows from the votes in the corpus. What a voter wrote into a comment is not in the corpus, and what the newest patch set is Gerrit
//! knows first; so Gerrit is asked about each such change, once for each state of it. What it says of votes is believed, too.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use burrow_maintner::{Change, Hash, Project, Reading, Time, View};
use futures_util::future::BoxFuture;
use protocol_maintapi::{GerritTryWorkItem, GoRelease, MajorMinor, TryVoteMessage};

use crate::api::releases::main_project;
use crate::api::{HEADS, Rules, TryWorkRules, Version, shown};

/// Path that Gerrit gives comments on a whole patch set.
const WHOLE_PATCH_SET: &str = "/PATCHSET_LEVEL";

/// What is asked of a Gerrit server's REST interface, as anybody who has no account.
pub trait GerritApi: Send + Sync + std::fmt::Debug {
    /// A change with its newest patch set, its messages and its votes: `GET /changes/PROJECT~NUMBER` with `CURRENT_REVISION`, `MESSAGES`, `DETAILED_ACCOUNTS` and
    /// `DETAILED_LABELS`. `None`: there is none that everybody may see.
    fn change<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<Option<ChangeDetail>, GerritFailure>>;

    /// Published comments, by path: `GET /changes/PROJECT~NUMBER/comments`. Of a change that is not there (any more), none.
    fn comments<'a>(&'a self, project: &'a str, number: i32) -> BoxFuture<'a, Result<BTreeMap<String, Vec<ChangeComment>>, GerritFailure>>;
}

/// Gerrit did not answer, or not as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{project}~{number}: {reason}")]
pub struct GerritFailure {
    /// Project that was asked about.
    pub project: String,
    /// Number of the change.
    pub number: i32,
    /// What went wrong.
    pub reason: String,
}

/// A change, as Gerrit has it now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeDetail {
    /// Neither submitted nor abandoned.
    pub open: bool,
    /// Commit and number of its newest patch set.
    pub current: Option<(String, i32)>,
    /// What was said about it, oldest first.
    pub messages: Vec<ChangeMessage>,
    /// Values of all votes, by label. `None`: Gerrit did not say; then the corpus is believed.
    pub votes: Option<BTreeMap<String, Vec<i32>>>,
}

/// Something that was said about a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeMessage {
    /// Account of who said it.
    pub author: Option<i64>,
    /// When.
    pub time: Time,
    /// Text, from `Patch Set` on.
    pub text: String,
    /// Number of the patch set.
    pub patch_set: i32,
}

/// A comment on a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeComment {
    /// Account of who wrote it.
    pub author: Option<i64>,
    /// When.
    pub updated: Time,
    /// Text.
    pub text: String,
    /// Number of the patch set it is on.
    pub patch_set: i32,
}

/// A change that wants a try run as far as the corpus knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    /// Its project on the server.
    pub project: String,
    /// Its number.
    pub number: i32,
    /// Head of its meta reference: its state.
    pub meta: Hash,
}

/// A change's state when its votes were counted: head of its meta reference, and how many references it had. (Votes are taken away by a patch set that
/// differs, so the patch sets that are known count, too.)
type Counted = (Hash, usize);

/// The candidates of a view, with what is needed to find those of a later one faster.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// Where in the history they were looked for.
    pub position: u64,
    /// The changes, by project and number.
    pub list: Arc<[Candidate]>,
    /// For each open change, by place of its project and number: its state when its votes were counted, and whether they ask for a run.
    verdicts: Arc<HashMap<(usize, i32), (Counted, bool)>>,
}

impl Candidates {
    /// Looks for them: among all open changes on the main project's server that are not private.
    #[must_use]
    pub fn find(view: &View, rules: &Rules, before: &Candidates) -> Candidates {
        let mut verdicts = HashMap::new();
        let mut list = Vec::new();
        let Some(main) = main_project(view, rules) else { return Candidates { position: view.position(), ..Candidates::default() } };
        // Projects keep their place.
        for (place, project) in view.gerrit().projects().enumerate().filter(|(_, project)| project.server() == main.server()) {
            // A name that is not UTF-8 cannot be asked about.
            let Ok(name) = std::str::from_utf8(project.project().bytes()) else { continue };
            for change in project.open_changes(Reading::Ours) {
                let key = (place, change.number());
                let state: Counted = (change.meta().hash(), change.patch_sets().len());
                let known = before.verdicts.get(&key).filter(|(counted, _)| *counted == state);
                let asks = known.map_or_else(|| asks(change, &rules.try_work), |(_, asks)| *asks);
                verdicts.insert(key, (state, asks));
                if asks {
                    list.push(Candidate { project: name.to_owned(), number: change.number(), meta: state.0 });
                }
            }
        }
        list.sort();
        Candidates { position: view.position(), list: list.into(), verdicts: Arc::new(verdicts) }
    }
}

/// Whether the votes in the corpus ask for a run.
fn asks(change: Change<'_>, rules: &TryWorkRules) -> bool {
    let votes = change.votes(Reading::Ours);
    let of = |label| votes.of(label).map(|(_, vote)| i32::from(vote)).collect::<Vec<_>>();
    wanted(&of(&rules.ask), &of(&rules.result))
}

/// Somebody asks, and there is no result.
fn wanted(ask: &[i32], result: &[i32]) -> bool {
    ask.contains(&1) && result.iter().all(|vote| *vote == 0)
}

/// Whether Gerrit has the change still waiting for a run.
pub fn still_wanted(detail: &ChangeDetail, rules: &TryWorkRules) -> bool {
    let Some(votes) = &detail.votes else { return detail.open };
    let of = |label: &str| votes.get(label).map_or(&[][..], Vec::as_slice);
    detail.open && wanted(of(&rules.ask), of(&rules.result))
}

/// Why a change that wants a try run gets none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The corpus has no such change (any more).
    #[error("the change is not known")]
    NoChange,
    /// The release that its branch belongs to has no branch in the main project.
    #[error("branch {branch:?} doesn't exist")]
    NoBranch {
        /// That branch.
        branch: String,
    },
}

/// What to run for a change. `releases` are the supported ones.
///
/// # Errors
/// See [`Unfit`].
pub fn item(
    view: &View,
    rules: &Rules,
    releases: &[GoRelease],
    candidate: &Candidate,
    detail: &ChangeDetail,
    comments: &BTreeMap<String, Vec<ChangeComment>>,
) -> Result<GerritTryWorkItem, Unfit> {
    let main = main_project(view, rules).ok_or(Unfit::NoChange)?;
    let project = view.gerrit().project(&rules.main_project.server, &candidate.project).ok_or(Unfit::NoChange)?;
    let change = project.change(candidate.number).ok_or(Unfit::NoChange)?;
    let branch = shown(change.branch());
    let mut item = GerritTryWorkItem {
        project: candidate.project.clone(),
        change_id: shown(change.change_id(Reading::Ours)),
        commit: change.commit(Reading::Ours).hash().to_string(),
        author_email: change.owner().map(|owner| shown(owner.email())).unwrap_or_default(),
        try_message: try_messages(&rules.try_work, detail, comments.get(WHOLE_PATCH_SET).map_or(&[], Vec::as_slice)),
        ..GerritTryWorkItem::default()
    };
    if let Some((commit, version)) = &detail.current {
        // Gerrit knows of a new patch set before the corpus does.
        (item.commit, item.version) = (commit.clone(), *version);
    }
    for (version, head) in targets(rules, main, releases, &candidate.project, &branch)? {
        item.go_version.push(version);
        if let Some((branch, commit)) = head {
            item.go_branch.push(branch);
            item.go_commit.push(commit);
        }
    }
    item.branch = branch;
    Ok(item)
}

/// A version of the main project to test with; for other projects also its branch and that branch's head.
type Target = (MajorMinor, Option<(String, String)>);

fn targets(rules: &Rules, main: Project<'_>, releases: &[GoRelease], project: &str, branch: &str) -> Result<Vec<Target>, Unfit> {
    // What will be released next is taken for the newest release's successor.
    let development = releases.first().map_or(MajorMinor::default(), |newest| MajorMinor { major: newest.major, minor: newest.minor.saturating_add(1) });
    if project == rules.main_project.project {
        let of_branch = rules.releases.branches.version_of(branch).and_then(Version::parse_short);
        return Ok(vec![(of_branch.map_or(development, short), None)]);
    }
    let head = |branch: &str| main.reference(&format!("{HEADS}{branch}")).map(|hash| hash.to_string());
    // A tag's rules, as it is a release that is named; but not a patch of it.
    let version_of = |text| Version::parse(text, rules.releases.zero_end).filter(|version| version.patch == 0);
    if let Some(version) = rules.try_work.internal_branches.iter().find_map(|pattern| pattern.version_of(branch).and_then(version_of)) {
        let branch = rules.releases.branches.with(version);
        let commit = head(&branch).ok_or_else(|| Unfit::NoBranch { branch: branch.clone() })?;
        return Ok(vec![(short(version), Some((branch, commit)))]);
    }
    let mut targets = vec![(development, Some((rules.main_branch.clone(), head(&rules.main_branch).unwrap_or_default())))];
    let all = |rule: &super::BranchRule| rule.project == project && branch.starts_with(&rule.branch_prefix);
    if branch == rules.main_branch || rules.try_work.all_releases.iter().any(all) {
        targets.extend(
            releases
                .iter()
                .map(|release| (MajorMinor { major: release.major, minor: release.minor }, Some((release.branch_name.clone(), release.branch_commit.clone())))),
        );
    }
    Ok(targets)
}

fn short(version: Version) -> MajorMinor {
    MajorMinor { major: version.major, minor: version.minor }
}

/// What voters asked for in comments. Only comments that came with a vote count: that their writers may vote shows that they may ask for try runs.
fn try_messages(rules: &TryWorkRules, detail: &ChangeDetail, comments: &[ChangeComment]) -> Vec<TryVoteMessage> {
    let vote = format!("{}+1", rules.ask);
    let mut found: Vec<TryVoteMessage> = Vec::new();
    for message in &detail.messages {
        let first_line = message.text.split('\n').next().unwrap_or_default();
        if !first_line.starts_with("Patch Set ") || !first_line.contains(&vote) {
            continue;
        }
        for comment in comments {
            let same = comment.updated == message.time && comment.author == message.author && comment.author.is_some();
            if !same || (rules.comment_of_same_patch_set && comment.patch_set != message.patch_set) {
                continue;
            }
            // With older patch sets than the newest that was asked for nobody is concerned any more.
            if found.last().is_some_and(|newest| message.patch_set < newest.version) {
                continue;
            }
            if let (Some(wish), Some(author_id)) = (comment.text.split('\n').find_map(|line| line.strip_prefix(rules.line.as_str())), comment.author) {
                found.push(TryVoteMessage { message: wish.to_owned(), author_id, version: message.patch_set });
            }
        }
    }
    found
}
