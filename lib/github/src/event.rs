//! Events of issues, and reviews of pull requests (`spec/maintner.md` §7.2): known fields have a place of their own, the rest is kept as JSON.

use serde::{Deserialize, Serialize};

use crate::json::{self, Fields};
use crate::read::Read;
use crate::{Team, Time, User};

/// Something that happened to an issue. Which fields are set depends on the kind; a kind of tomorrow keeps what is new in [`Event::other_json`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// GitHub's id; 0 when it has none.
    pub id: i64,
    /// `labeled`, `closed` and so on.
    pub kind: String,
    /// Who did it.
    pub actor: Option<User>,
    /// When.
    pub created: Option<Time>,
    /// Name of the label.
    pub label: String,
    /// Title of the milestone.
    pub milestone: String,
    /// Who was assigned.
    pub assignee: Option<User>,
    /// Who assigned.
    pub assigner: Option<User>,
    /// The commit that closed or referenced.
    pub commit: Option<Commit>,
    /// Title before.
    pub rename_from: String,
    /// Title after.
    pub rename_to: String,
    /// Whose review was asked for.
    pub reviewer: Option<User>,
    /// The team whose review was asked for.
    pub team_reviewer: Option<Team>,
    /// Who asked for it.
    pub review_requester: Option<User>,
    /// The review that was dismissed.
    pub dismissed_review: Option<DismissedReview>,
    /// JSON object of what is in no other field, names sorted; empty when nothing is left.
    pub other_json: String,
}

/// A commit that an event names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Owner of its repository; empty when GitHub does not say.
    pub owner: String,
    /// Its repository.
    pub repo: String,
    /// Its hash.
    pub id: String,
}

/// A review that lost its weight.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DismissedReview {
    /// Which.
    pub review_id: i64,
    /// Its state before.
    pub state: String,
    /// Why.
    pub message: String,
}

/// A review of a pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// GitHub's id.
    pub id: i64,
    /// Who.
    pub actor: Option<User>,
    /// When it was submitted; none while it is pending.
    pub created: Option<Time>,
    /// Text.
    pub body: String,
    /// `COMMENTED`, `APPROVED`, `CHANGES_REQUESTED`, …
    pub state: String,
    /// What was reviewed.
    pub commit_id: String,
    /// What the reviewer is to the repository: `MEMBER`, `CONTRIBUTOR`, …
    pub association: String,
    /// JSON object of what is in no other field, names sorted; empty when nothing is left.
    pub other_json: String,
}

/// Removes a field of an object, taking what is known of it. A value of another kind than expected stays, or goes, as it does in the log so far.
struct Taker<'a>(Fields<'a>);

impl Taker<'_> {
    fn of(text: &str) -> Result<Taker<'_>, String> {
        json::fields(text).map(Taker).ok_or_else(|| "an object was expected".to_owned())
    }

    /// A text; anything else is dropped.
    fn text(&mut self, name: &str) -> String {
        self.0.remove(name).and_then(json::string).unwrap_or_default()
    }

    /// An id; 0 when it is not there.
    fn id(&mut self, name: &str) -> Result<i64, String> {
        match self.0.remove(name) {
            None => Ok(0),
            Some(value) => json::number(value).ok_or_else(|| format!("field {name:?} is not a number")),
        }
    }

    /// An object; anything else stays.
    fn object(&mut self, name: &str) -> Option<Taker<'_>> {
        let found = json::fields(self.0.get(name)?.get())?;
        self.0.remove(name);
        Some(Taker(found))
    }

    fn user(&mut self, name: &str) -> Result<Option<User>, String> {
        self.object(name).map(|mut user| Ok(User { id: user.id("id")?, login: user.text("login") })).transpose()
    }

    /// A moment; what is not a text stays.
    fn time(&mut self, name: &str) -> Result<Option<Time>, String> {
        let Some(text) = self.0.get(name).and_then(|value| json::string(value)) else { return Ok(None) };
        self.0.remove(name);
        text.parse().map(Some).map_err(|error: crate::BadTime| format!("field {name:?}: {error}"))
    }

    fn drop(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    fn rest(self) -> Result<String, String> {
        if self.0.is_empty() {
            return Ok(String::new());
        }
        json::canonical(&self.0).ok_or_else(|| "nested too deeply".to_owned())
    }
}

impl Read for Event {
    fn read(text: &str) -> Result<Event, String> {
        let mut from = Taker::of(text)?;
        from.drop(&["url"]);
        let mut event = Event { kind: from.text("event"), id: from.id("id")?, ..Event::default() };
        let (commit, url) = (from.text("commit_id"), from.text("commit_url"));
        event.commit = (!commit.is_empty()).then(|| commit_at(commit, &url));
        event.actor = from.user("actor")?;
        event.assignee = from.user("assignee")?;
        event.assigner = from.user("assigner")?;
        event.reviewer = from.user("requested_reviewer")?;
        event.review_requester = from.user("review_requester")?;
        event.label = from.object("label").map(|mut label| label.text("name")).unwrap_or_default();
        event.milestone = from.object("milestone").map(|mut milestone| milestone.text("title")).unwrap_or_default();
        if let Some(mut rename) = from.object("rename") {
            (event.rename_from, event.rename_to) = (rename.text("from"), rename.text("to"));
        }
        event.created = from.time("created_at")?;
        if let Some(mut dismissed) = from.object("dismissed_review") {
            let (review_id, state, message) = (dismissed.id("review_id")?, dismissed.text("state"), dismissed.text("dismissal_message"));
            event.dismissed_review = Some(DismissedReview { review_id, state, message });
        }
        if let Some(mut team) = from.object("requested_team") {
            event.team_reviewer = Some(Team { id: team.id("id")?, slug: team.text("slug") });
        }
        from.drop(&["requested_team", "node_id", "lock_reason"]);
        event.other_json = from.rest()?;
        Ok(event)
    }
}

/// `https://api.github.com/repos/O/R/commits/HASH`, on whatever host.
fn commit_at(id: String, url: &str) -> Commit {
    let parts = url.split_once("/repos/").map(|(_, path)| path.split('/').collect::<Vec<_>>());
    match parts.as_deref() {
        Some([owner, repo, "commits", ..]) => Commit { owner: (*owner).to_owned(), repo: (*repo).to_owned(), id },
        _ => Commit { owner: String::new(), repo: String::new(), id },
    }
}

impl Read for Review {
    fn read(text: &str) -> Result<Review, String> {
        let mut from = Taker::of(text)?;
        let mut review = Review {
            id: from.id("id")?,
            body: from.text("body"),
            state: from.text("state"),
            commit_id: from.text("commit_id"),
            association: from.text("author_association"),
            ..Review::default()
        };
        review.actor = from.user("user")?;
        review.created = from.time("submitted_at")?;
        from.drop(&["node_id", "html_url", "pull_request_url", "_links"]);
        review.other_json = from.rest()?;
        Ok(review)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event::read(text).unwrap()
    }

    fn user(id: i64, login: &str) -> Option<User> {
        Some(User { id, login: login.to_owned() })
    }

    #[test]
    fn every_known_kind_has_its_fields_and_nothing_left() {
        let with = |kind: &str, more: &str| {
            event(&format!(
                r#"{{"id": 7, "node_id": "x", "url": "u", "actor": {{"login": "ada", "id": 1, "type": "User"}}, "event": "{kind}",
                "commit_id": null, "commit_url": null, "created_at": "2017-03-14T22:26:21Z"{more}}}"#
            ))
        };
        let base =
            |kind: &str| Event { id: 7, kind: kind.to_owned(), actor: user(1, "ada"), created: Some(Time::from_seconds(1_489_530_381)), ..Event::default() };
        assert_eq!(with("closed", ""), base("closed"));
        assert_eq!(with("labeled", r#", "label": {"name": "bug", "color": "f00"}"#), Event { label: "bug".into(), ..base("labeled") });
        assert_eq!(with("demilestoned", r#", "milestone": {"title": "M1"}"#), Event { milestone: "M1".into(), ..base("demilestoned") });
        assert_eq!(with("renamed", r#", "rename": {"from": "a", "to": "b"}"#), Event { rename_from: "a".into(), rename_to: "b".into(), ..base("renamed") });
        assert_eq!(
            with("assigned", r#", "assignee": {"login": "bob", "id": 2}, "assigner": {"login": "ada", "id": 1}"#),
            Event { assignee: user(2, "bob"), assigner: user(1, "ada"), ..base("assigned") }
        );
        assert_eq!(with("locked", r#", "lock_reason": "spam""#), base("locked"));
        assert_eq!(
            with("review_requested", r#", "requested_reviewer": {"login": "bob", "id": 2}, "review_requester": {"login": "ada", "id": 1}"#),
            Event { reviewer: user(2, "bob"), review_requester: user(1, "ada"), ..base("review_requested") }
        );
        assert_eq!(
            with("review_requested", r#", "requested_team": {"name": "The Team", "id": 3, "slug": "the-team"}"#),
            Event { team_reviewer: Some(Team { id: 3, slug: "the-team".into() }), ..base("review_requested") }
        );
        assert_eq!(
            with("review_dismissed", r#", "dismissed_review": {"state": "approved", "review_id": 9, "dismissal_message": "old"}"#),
            Event { dismissed_review: Some(DismissedReview { review_id: 9, state: "approved".into(), message: "old".into() }), ..base("review_dismissed") }
        );
        for url in ["https://api.github.com/repos/o/r/commits/abc", "https://ghe.example/api/v3/repos/o/r/commits/abc"] {
            assert_eq!(
                event(&format!(r#"{{"id":1,"event":"referenced","commit_id":"abc","commit_url":"{url}"}}"#)).commit,
                Some(Commit { owner: "o".into(), repo: "r".into(), id: "abc".into() })
            );
        }
        assert_eq!(event(r#"{"event":"closed","commit_id":"abc","commit_url":"elsewhere"}"#).commit, Some(Commit { id: "abc".into(), ..Commit::default() }));
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let found = event(r#"{"id":1,"event":"moved_columns","project_card":{"id":2,"a":null},"performed_via_github_app":null,"zeta":"<x>","alpha":[1.0]}"#);
        assert_eq!(found.other_json, r#"{"alpha":[1.0],"project_card":{"a":null,"id":2},"zeta":"\u003cx\u003e"}"#);
        // Known names with values of another kind stay too, except texts and the team.
        let odd = event(r#"{"id":1,"event":5,"actor":"ada","label":"bug","created_at":7,"requested_team":1}"#);
        assert_eq!((odd.kind.as_str(), odd.actor.is_none()), ("", true));
        assert_eq!(odd.other_json, r#"{"actor":"ada","created_at":7,"label":"bug"}"#);
    }

    #[test]
    fn what_cannot_be_an_event_is_refused() {
        for bad in ["[]", "1", "null", r#"{"id":"1"}"#, r#"{"created_at":"yesterday"}"#, r#"{"actor":{"id":"x"}}"#] {
            assert!(Event::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reviews_have_their_fields() {
        let review = Review::read(
            r#"{"id":4,"node_id":"n","user":{"login":"bob","id":2,"site_admin":false},"body":"","state":"APPROVED","html_url":"h","pull_request_url":"p",
            "author_association":"MEMBER","_links":{"html":{"href":"h"}},"submitted_at":"2018-03-22T00:26:48Z","commit_id":"c0ffee","body_text":null,"new":true}"#,
        )
        .unwrap();
        let want = Review {
            id: 4,
            actor: user(2, "bob"),
            created: Some(Time::from_seconds(1_521_678_408)),
            state: "APPROVED".into(),
            commit_id: "c0ffee".into(),
            association: "MEMBER".into(),
            other_json: r#"{"new":true}"#.into(),
            ..Review::default()
        };
        assert_eq!(review, want);
    }
}
