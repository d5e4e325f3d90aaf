//! GitHub issues that a commit's message mentions (`spec/maintner.md` §4.4).

use memchr::{memchr, memchr_iter, memrchr};

use crate::commit::integer;

/// An issue of a repository; names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssueRef {
    /// Owner of the repository.
    pub owner: String,
    /// Name of the repository.
    pub repo: String,
    /// Number.
    pub number: i32,
}

impl std::fmt::Display for IssueRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}#{}", self.owner, self.repo, self.number)
    }
}

fn word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

fn name(byte: &u8) -> bool {
    word(byte) || *byte == b'-'
}

/// Mentions in order, each once: `owner/repo#7` anywhere from the line of the first `#` on; `#7` alone only in Go's main repository, where it means
/// `golang/go#7`.
pub(crate) fn references(project: &[u8], message: &[u8]) -> Vec<IssueRef> {
    let mut found = Vec::new();
    let Some(first) = memchr(b'#', message) else { return found };
    let line = message.get(..first).and_then(|before| memrchr(b'\n', before)).map_or(0, |end| end + 1);
    let text = message.get(line..).unwrap_or(&[]);
    // What an earlier mention has used up is not looked at again.
    let mut used = 0;
    for at in memchr_iter(b'#', text) {
        let behind = text.get(at + 1..).unwrap_or(&[]);
        let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if at < used || digits == 0 || behind.get(digits).is_some_and(word) {
            continue;
        }
        let named = repository(text.get(used..at).unwrap_or(&[]));
        used = at + 1 + digits;
        let number = behind.get(..digits).and_then(integer).and_then(|number| i32::try_from(number).ok());
        let (Some(number), Some((owner, repo))) = (number, named.or((project == b"go.googlesource.com/go").then(|| ("golang".to_owned(), "go".to_owned()))))
        else {
            continue;
        };
        let reference = IssueRef { owner, repo, number };
        if !found.contains(&reference) {
            found.push(reference);
        }
    }
    found
}

/// `owner/repo` at the end of a text. The owner begins at a word boundary.
fn repository(text: &[u8]) -> Option<(String, String)> {
    let repo_start = text.iter().rposition(|byte| !name(byte)).map_or(0, |other| other + 1);
    let (before, repo) = text.split_at_checked(repo_start)?;
    let before = before.strip_suffix(b"/")?;
    let owner_start = before.iter().rposition(|byte| !name(byte)).map_or(0, |other| other + 1);
    let owner = before.get(owner_start..)?;
    // A boundary lies before the first word character, wherever the dashes are.
    let owner = owner.get(owner.iter().position(word)?..)?;
    if repo.is_empty() {
        return None;
    }
    let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    Some((lower(owner), lower(repo)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(project: &str, message: &str) -> Vec<String> {
        references(project.as_bytes(), message.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mentions_are_found_as_the_reference_finds_them() {
        let go = "go.googlesource.com/go";
        assert_eq!(all(go, "x: y\n\nFixes #12 and #13.\nUpdates golang/go#12\n"), ["golang/go#12", "golang/go#13"]);
        assert_eq!(all("go.googlesource.com/net", "Fixes #12, Golang/Go#5, a-b/c_d#6"), ["golang/go#5", "a-b/c_d#6"]);
        assert_eq!(all(go, "see https://github.com/golang/go#5"), ["golang/go#5"]);
        assert_eq!(all(go, "#1a #2_ #99999999999 #3é #-4 # 5"), ["golang/go#3"]);
        assert_eq!(all(go, "--x/y#7 -/z#8 a/#9"), ["x/y#7", "golang/go#8", "golang/go#9"]);
        assert_eq!(all(go, "a/b#1/c#2"), ["a/b#1", "golang/go#2"]);
        assert_eq!(all(go, "no number"), Vec::<String>::new());
    }
}
