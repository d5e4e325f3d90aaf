//! The supported releases: what tags and branches of the main project say.

use std::collections::BTreeMap;

use burrow_maintner::{Hash, Project, View};
use protocol_maintapi::{GoRelease, ListGoReleasesResponse};

use crate::api::{HEADS, Rules, Version};

/// Why there is no list of releases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleasesError {
    /// The log has nothing of the main project.
    #[error("{project} gerrit project not found")]
    NoMainProject {
        /// Its name.
        project: String,
    },
    /// There are fewer releases than are supported.
    #[error("there was a problem finding supported {name} releases")]
    TooFew {
        /// The project, as people call it.
        name: String,
    },
}

/// The main project.
pub(super) fn main_project<'v>(view: &'v View, rules: &Rules) -> Option<Project<'v>> {
    view.gerrit().project(&rules.main_project.server, &rules.main_project.project)
}

/// The supported releases, newest first. There are as many as the rules say, so at least one.
///
/// # Errors
/// See [`ReleasesError`].
pub fn supported(view: &View, rules: &Rules) -> Result<Vec<GoRelease>, ReleasesError> {
    let project = main_project(view, rules).ok_or_else(|| ReleasesError::NoMainProject { project: rules.main_project.project.clone() })?;
    // Highest patch of every version, and the branch of every version.
    let mut tags: BTreeMap<(i32, i32), (i32, &str, Hash)> = BTreeMap::new();
    let mut branches: BTreeMap<(i32, i32), (&str, Hash)> = BTreeMap::new();
    for (reference, hash) in project.references() {
        // A name that is not UTF-8 is none of a release.
        let Ok(reference) = std::str::from_utf8(reference.bytes()) else { continue };
        if let Some(tag) = reference.strip_prefix("refs/tags/") {
            let version = rules.releases.tags.version_of(tag).and_then(|text| Version::parse(text, rules.releases.zero_end));
            let Some(Version { major, minor, patch }) = version else { continue };
            let known = tags.get(&(major, minor)).is_some_and(|(known, ..)| patch <= *known);
            if !known {
                tags.insert((major, minor), (patch, tag, hash));
            }
        } else if let Some(branch) = reference.strip_prefix(HEADS)
            && let Some(Version { major, minor, .. }) = rules.releases.branches.version_of(branch).and_then(Version::parse_short)
        {
            branches.insert((major, minor), (branch, hash));
        }
    }
    let supported = usize::from(rules.releases.supported.get());
    let newest = tags.into_iter().rev().filter_map(|((major, minor), (patch, tag, tag_commit))| {
        let (branch, branch_commit) = branches.get(&(major, minor))?;
        Some(GoRelease {
            major,
            minor,
            patch,
            tag_name: tag.to_owned(),
            tag_commit: tag_commit.to_string(),
            branch_name: (*branch).to_owned(),
            branch_commit: branch_commit.to_string(),
        })
    });
    let releases: Vec<GoRelease> = newest.take(supported).collect();
    if releases.len() < supported { Err(ReleasesError::TooFew { name: rules.name.clone() }) } else { Ok(releases) }
}

/// The answer to `ListGoReleases`.
///
/// # Errors
/// See [`ReleasesError`].
pub fn list(view: &View, rules: &Rules) -> Result<ListGoReleasesResponse, ReleasesError> {
    Ok(ListGoReleasesResponse { releases: supported(view, rules)? })
}
