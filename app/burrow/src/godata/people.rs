//! People and votes in answers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burrow_maintner as maintner;
use serde::Serialize;

/// A user of GitHub.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct User<'a> {
    pub(crate) id: i64,
    /// Empty when nothing but the number is known.
    pub(crate) login: Cow<'a, str>,
}

impl<'a> From<maintner::User<'a>> for User<'a> {
    fn from(user: maintner::User<'a>) -> User<'a> {
        User { id: user.id, login: user.login.lossy() }
    }
}

/// For people: the login, or the number where it is all there is.
pub(crate) fn login(user: Option<maintner::User<'_>>) -> String {
    match user {
        None => "somebody".into(),
        Some(user) if user.login.is_empty() => format!("user {}", user.id),
        Some(user) => user.login.to_string(),
    }
}

/// Whoever is `Name <mail>` in a commit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Person<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) email: Cow<'a, str>,
}

impl<'a> From<maintner::Person<'a>> for Person<'a> {
    fn from(person: maintner::Person<'a>) -> Person<'a> {
        Person { name: person.name().lossy(), email: person.email().lossy() }
    }
}

/// Votes by label and voter.
pub(crate) type Votes = BTreeMap<String, BTreeMap<String, i8>>;

pub(crate) fn votes(votes: &maintner::Votes<'_>) -> Votes {
    let voters = |voters: &BTreeMap<maintner::Text<'_>, i8>| voters.iter().map(|(voter, vote)| (voter.to_string(), *vote)).collect();
    votes.labels.iter().map(|(label, found)| (label.to_string(), voters(found))).collect()
}

/// For a table, the vote that counts for each label: a veto before all, else the highest.
pub(crate) fn short_votes(votes: &maintner::Votes<'_>) -> String {
    let counts = votes.labels.iter().filter_map(|(label, voters)| {
        let (low, high) = (*voters.values().min()?, *voters.values().max()?);
        let vote = if low < 0 { low } else { high };
        (vote != 0).then(|| format!("{label}{vote:+}"))
    });
    counts.collect::<Vec<_>>().join(" ")
}
