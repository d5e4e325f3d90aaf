//! Is this commit in that one's history, and what does a reference point at?

use burrow_maintner::{Hash, View};
use protocol_maintapi::{GetRefRequest, GetRefResponse, HasAncestorRequest, HasAncestorResponse};

/// Why a history is not searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AncestorError {
    /// The commit's name does not have 40 digits.
    #[error("invalid Commit")]
    Commit,
    /// The ancestor's name does not have 40 digits.
    #[error("invalid Ancestor")]
    Ancestor,
}

/// Whether a commit is in another's history. No commit is in its own.
///
/// # Errors
/// A name that cannot be one. A commit that is not known is not an error.
pub fn has_ancestor(view: &View, request: &HasAncestorRequest) -> Result<HasAncestorResponse, AncestorError> {
    if request.commit.len() != 40 {
        return Err(AncestorError::Commit);
    }
    if request.ancestor.len() != 40 {
        return Err(AncestorError::Ancestor);
    }
    let find = |hex| Hash::parse(hex).and_then(|hash| view.git().mentioned(&hash));
    let Some(commit) = find(&request.commit) else {
        return Ok(HasAncestorResponse { has_ancestor: false, unknown_commit: true });
    };
    let has_ancestor = find(&request.ancestor).is_some_and(|ancestor| commit.has_ancestor(ancestor));
    Ok(HasAncestorResponse { has_ancestor, unknown_commit: false })
}

/// The log has nothing of such a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown gerrit project")]
pub struct UnknownProject;

/// What a reference points at; empty if there is none of that name. References of changes are not among them.
///
/// # Errors
/// The project is not known.
pub fn reference(view: &View, request: &GetRefRequest) -> Result<GetRefResponse, UnknownProject> {
    let project = view.gerrit().project(&request.gerrit_server, &request.gerrit_project).ok_or(UnknownProject)?;
    Ok(GetRefResponse { value: project.reference(&request.r#ref).map(|hash| hash.to_string()).unwrap_or_default() })
}
