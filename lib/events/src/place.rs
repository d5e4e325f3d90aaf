//! Which repository an address means, so that one who pushes over SSH wakes one who fetches over HTTPS.

use crate::Event;

/// `host/path` of an address that git takes: without scheme, user, port, `.git` and the slash at the end; the host in lower case. Of a folder its path.
///
/// ```
/// use burrow_events::place_of;
/// for address in ["https://Git.example.org/team/app.git", "git@git.example.org:team/app", "ssh://git@git.example.org:29418/team/app/"] {
///     assert_eq!(place_of(address), "git.example.org/team/app");
/// }
/// assert_eq!(place_of("/srv/git/app.git"), "/srv/git/app");
/// ```
pub fn place_of(address: &str) -> String {
    let address = address.trim();
    let (host, path) = match address.split_once("://") {
        Some(("file", path)) => ("", path),
        Some((_, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            // The colons of an IPv6 address are inside its brackets.
            let port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
            (port.map_or(host, |(host, _)| host), path)
        }
        None => match address.split_once(':') {
            // As git sees it: a colon before any slash names a host.
            Some((host, path)) if !host.contains('/') => (host.rsplit_once('@').map_or(host, |(_, host)| host), path),
            _ => ("", address),
        },
    };
    let path = path.trim_end_matches('/');
    let path = path.strip_suffix("/.git").or_else(|| path.strip_suffix(".git")).unwrap_or(path).trim_end_matches('/');
    if host.is_empty() { path.to_owned() } else { format!("{}/{}", host.to_ascii_lowercase(), path.trim_start_matches('/')) }
}

impl Event {
    /// The repositories whose references may have moved, as [`place_of`] writes them. Empty: no reference moved (an issue was edited).
    pub fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.push.iter().flat_map(|push| &push.urls).map(|url| place_of(url)).collect();
        let moved = self.push.is_some() || self.gerrit.is_some();
        for topic in self.topics.iter().filter(|_| moved) {
            places.extend(match topic.split_once(':') {
                Some(("git" | "gerrit", place)) => Some(place_of(&format!("git://{place}"))),
                Some(("github", name)) => Some(format!("github.com/{name}")),
                _ => None,
            });
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Gerrit, Github, Push};

    fn places(draft: Draft) -> Vec<String> {
        Event::new(1, jiff::Timestamp::UNIX_EPOCH, draft).places()
    }

    #[test]
    fn addresses_of_one_repository_are_one_place() {
        for (address, place) in [
            ("http://[::1]:3000/a/b.git", "[::1]/a/b"),
            ("https://user:secret@example.org/a", "example.org/a"),
            ("example.org:a/b.git", "example.org/a/b"),
            ("file:///srv/a/.git", "/srv/a"),
            ("./a:b", "./a:b"),
            ("", ""),
        ] {
            assert_eq!(place_of(address), place, "{address}");
        }
    }

    #[test]
    fn only_what_moved_is_a_place() {
        let topics = vec!["github:a/b".to_owned()];
        let push = Push { urls: vec!["https://github.com/a/b.git".into(), "git@github.com:a/b.git".into()], ..Push::default() };
        assert_eq!(places(Draft { topics: topics.clone(), push: Some(push), ..Draft::default() }), ["github.com/a/b"]);
        assert!(places(Draft { topics, github: Some(Github::default()), ..Draft::default() }).is_empty(), "an issue moves no reference");
        let gerrit = Gerrit { url: "https://go-review.googlesource.com/1".into(), project: "go".into(), ..Gerrit::default() };
        assert_eq!(places(Draft { topics: vec![gerrit.topic()], gerrit: Some(gerrit), ..Draft::default() }), ["go.googlesource.com/go"]);
    }
}
