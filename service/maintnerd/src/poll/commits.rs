//! From git objects to mutations.

use burrow_gerrit::{FileStat, Oid, RawCommit, Repository};
use burrow_maintner::Hash;
use protocol_mutlog::schema::{GerritMutation, GitCommit, GitDiffTree, GitDiffTreeFile, GitMutation, GitRepo, Mutation};

use super::{Desk, PollError};

/// Bytes that are written to the log at once, about.
const AT_ONCE: usize = 4 << 20;

/// What commits belong to.
#[derive(Debug, Clone)]
pub(crate) enum Owner {
    /// A Gerrit project: `host/project`.
    Gerrit(Vec<u8>),
    /// A plain repository, by its name in the log.
    Git(Vec<u8>),
}

impl Owner {
    fn mutation(&self, commit: GitCommit) -> Mutation {
        match self {
            Owner::Gerrit(project) => {
                let gerrit = GerritMutation { project: project.clone(), commits: vec![commit], ..Default::default() };
                Mutation { gerrit: Some(gerrit), ..Default::default() }
            }
            Owner::Git(name) => {
                let repo = GitRepo { go_repo: name.clone(), ..Default::default() };
                Mutation { git: Some(GitMutation { repo: Some(repo), commit: Some(commit), ..Default::default() }), ..Default::default() }
            }
        }
    }
}

/// The corpus' name of a commit; `None`: its hash is of another kind than the log can hold.
pub(crate) fn hash(id: &Oid) -> Option<Hash> {
    id.as_bytes().try_into().ok().map(Hash)
}

/// git's name of a commit of the corpus.
pub(crate) fn oid(hash: Hash) -> Option<Oid> {
    hash.to_string().parse().ok()
}

/// Writes commits in their order, one mutation each. Whatever was written when this fails or is dropped is the beginning of the list.
pub(crate) async fn write(desk: &Desk, repository: &Repository, commits: Vec<RawCommit>, owner: &Owner) -> Result<(), PollError> {
    let total = commits.len();
    let mut left = commits.into_iter();
    let mut ready: Vec<Mutation> = Vec::new();
    let mut done = 0;
    loop {
        // Numbers of lines are counted while the disk takes what was counted before.
        let committing = async {
            if ready.is_empty() {
                return Ok(());
            }
            desk.commit(&ready).await.map(drop)
        };
        let ((next, failed), committed) = tokio::join!(count(repository, &mut left, owner), committing);
        committed?;
        if total > 1_000 {
            done += next.len();
            desk.board.doing(format!("writes commits: {done} of {total}"));
        }
        if let Some(error) = failed {
            desk.commit(&next).await?;
            return Err(error.into());
        }
        if next.is_empty() {
            return Ok(());
        }
        ready = next;
    }
}

/// The next few commits as mutations; and why it ends before them.
async fn count(repository: &Repository, left: &mut std::vec::IntoIter<RawCommit>, owner: &Owner) -> (Vec<Mutation>, Option<burrow_gerrit::GitError>) {
    let (mut ready, mut bytes) = (Vec::new(), 0);
    for commit in left.by_ref() {
        let files = match repository.numstat(commit.id).await {
            Ok(files) => files,
            Err(error) => return (ready, Some(error)),
        };
        bytes += commit.raw.len() + 200 + files.iter().map(|file| file.path.len() + 16).sum::<usize>();
        ready.push(owner.mutation(git_commit(&commit, &files)));
        if bytes >= AT_ONCE {
            break;
        }
    }
    (ready, None)
}

fn git_commit(commit: &RawCommit, files: &[FileStat]) -> GitCommit {
    let file = files.iter().map(|file| GitDiffTreeFile {
        file: file.path.to_vec(),
        added: file.added,
        deleted: file.deleted,
        binary: file.binary,
        ..Default::default()
    });
    GitCommit {
        sha1: commit.id.to_string().into_bytes(),
        raw: commit.raw.to_vec(),
        diff_tree: Some(GitDiffTree { file: file.collect(), ..Default::default() }),
        ..Default::default()
    }
}
