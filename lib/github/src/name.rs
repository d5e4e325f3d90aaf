//! Names of repositories.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `owner/name`. GitHub compares names without regard to case, and so does `==` here; they are kept and shown as they were written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName {
    owner: String,
    name: String,
}

/// The text is not `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a repository: owner/name is expected")]
pub struct BadRepoName(pub String);

impl RepoName {
    /// From its two parts.
    ///
    /// # Errors
    /// [`BadRepoName`] for characters that GitHub does not allow. They would change the address that is asked.
    pub fn new(owner: &str, name: &str) -> Result<RepoName, BadRepoName> {
        let fits = |part: &str| !part.is_empty() && part.len() <= 100 && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits(owner) && fits(name) && ![".", ".."].contains(&owner) && ![".", ".."].contains(&name) {
            Ok(RepoName { owner: owner.to_owned(), name: name.to_owned() })
        } else {
            Err(BadRepoName(format!("{owner}/{name}").chars().take(220).collect()))
        }
    }

    /// User or organisation.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Name within the owner's repositories.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl PartialEq for RepoName {
    fn eq(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner) && self.name.eq_ignore_ascii_case(&other.name)
    }
}
impl Eq for RepoName {}

impl std::hash::Hash for RepoName {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.owner.to_ascii_lowercase().hash(state);
        self.name.to_ascii_lowercase().hash(state);
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepoName {
    type Err = BadRepoName;

    fn from_str(text: &str) -> Result<Self, BadRepoName> {
        let (owner, name) = text.split_once('/').ok_or_else(|| BadRepoName(text.chars().take(220).collect()))?;
        RepoName::new(owner, name)
    }
}

impl TryFrom<String> for RepoName {
    type Error = BadRepoName;

    fn try_from(text: String) -> Result<Self, BadRepoName> {
        text.parse()
    }
}

impl From<RepoName> for String {
    fn from(name: RepoName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_an_address() {
        for bad in ["", "a", "a/", "/b", "a/b/c", "a/..", "../b", "a/b?x", "a/b#", "a b/c", "a/b%2f"] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad:?}");
        }
        let name: RepoName = "Golang/vscode-go.x_y".parse().unwrap();
        assert_eq!((name.owner(), name.name(), name.to_string().as_str()), ("Golang", "vscode-go.x_y", "Golang/vscode-go.x_y"));
        assert_eq!(name, "golang/VSCODE-GO.X_Y".parse().unwrap());
    }
}
