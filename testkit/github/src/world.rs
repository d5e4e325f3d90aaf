//! The world, and what people do in it.

use std::collections::{BTreeMap, BTreeSet};

use burrow_clock::{Clock as _, TestClock};
use serde_json::{Value, json};

use crate::model::{Comment, Event, Fate, Issue, Label, Milestone, Ms, Repo, Review, Reviewer, Team, User};
use crate::shapes;

/// How the pages of the issues list are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// `page=2`.
    Numbers,
    /// `after=<cursor>`, as GitHub does since 2025.
    Cursors,
}

/// How strict and how generous this GitHub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The only token that is accepted; `None`: whoever asks may see everything.
    pub token: Option<String>,
    /// Questions an hour.
    pub limit: u64,
    /// How pages are linked.
    pub links: Links,
    /// Most entries of a page, whatever is asked for: tests of paging need fewer issues.
    pub page_size: usize,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// Strictness and limits.
    pub policy: Policy,
    pub(crate) base: String,
    clock: TestClock,
    users: Vec<User>,
    teams: Vec<Team>,
    repos: BTreeMap<i64, Repo>,
    last_id: i64,
    /// Questions of this window that were counted.
    pub(crate) used: u64,
    /// End of the window in Unix seconds.
    pub(crate) window_end: i64,
    /// Until when (Unix ms) it has asked for silence.
    pub(crate) silence: Option<Ms>,
    /// Validators that were given out.
    pub(crate) validators: BTreeSet<String>,
}

impl World {
    pub(crate) fn new(clock: TestClock) -> World {
        let policy = Policy { token: None, limit: 5_000, links: Links::Cursors, page_size: 100 };
        let window_end = clock.now_ms() / 1000 + 3_600;
        World {
            policy,
            base: String::new(),
            clock,
            users: Vec::new(),
            teams: Vec::new(),
            repos: BTreeMap::new(),
            last_id: 1_000,
            used: 0,
            window_end,
            silence: None,
            validators: BTreeSet::new(),
        }
    }

    pub(crate) fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Now, in Unix milliseconds.
    pub fn now(&self) -> Ms {
        self.clock.now_ms()
    }

    fn id(&mut self) -> i64 {
        // Ids of different things look alike and are never equal, so that mixing them up shows.
        self.last_id += 7;
        self.last_id
    }

    /// Id of a user, made when there is none of this name.
    pub fn user(&mut self, login: &str) -> i64 {
        match self.users.iter().find(|user| user.login == login) {
            Some(user) => user.id,
            None => {
                let id = self.id();
                self.users.push(User { id, login: login.to_owned() });
                id
            }
        }
    }

    /// Gives a user another name.
    pub fn rename_user(&mut self, login: &str, to: &str) {
        let id = self.user(login);
        if let Some(user) = self.users.iter_mut().find(|user| user.id == id) {
            user.login = to.to_owned();
        }
    }

    /// Id of a team, made when there is none of this name.
    pub fn team(&mut self, slug: &str) -> i64 {
        match self.teams.iter().find(|team| team.slug == slug) {
            Some(team) => team.id,
            None => {
                let id = self.id();
                self.teams.push(Team { id, slug: slug.to_owned(), name: slug.replace('-', " ") });
                id
            }
        }
    }

    /// All users.
    pub fn users(&self) -> &[User] {
        &self.users
    }

    /// A user by id.
    pub fn user_by_id(&self, id: i64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    /// A team by id.
    pub fn team_by_id(&self, id: i64) -> Option<&Team> {
        self.teams.iter().find(|team| team.id == id)
    }

    /// All repositories.
    pub fn repos(&self) -> impl Iterator<Item = &Repo> {
        self.repos.values()
    }

    /// A repository by its name now.
    ///
    /// # Panics
    /// There is none.
    pub fn repo(&self, name: &str) -> &Repo {
        self.repos.values().find(|repo| repo.full_name == name).unwrap_or_else(|| panic!("no repository {name}"))
    }

    pub(crate) fn repo_by_id(&self, id: i64) -> Option<&Repo> {
        self.repos.get(&id)
    }

    fn repo_mut(&mut self, name: &str) -> &mut Repo {
        self.repos.values_mut().find(|repo| repo.full_name == name).unwrap_or_else(|| panic!("no repository {name}"))
    }

    /// An issue or pull request.
    ///
    /// # Panics
    /// There is none.
    pub fn issue(&self, repo: &str, number: i32) -> &Issue {
        self.repo(repo).issues.get(&number).unwrap_or_else(|| panic!("no issue {repo}#{number}"))
    }

    /// An issue to change as the test likes; nothing happens by itself, not even to the time of its last change.
    ///
    /// # Panics
    /// There is none.
    pub fn issue_mut(&mut self, repo: &str, number: i32) -> &mut Issue {
        self.repo_mut(repo).issues.get_mut(&number).unwrap_or_else(|| panic!("no issue {repo}#{number}"))
    }

    /// Makes a repository. Nothing when there is one.
    pub fn create_repo(&mut self, name: &str) {
        assert!(name.split('/').count() == 2, "{name:?} is not owner/name");
        if self.repos.values().any(|repo| repo.full_name == name) {
            return;
        }
        let (id, created) = (self.id(), self.now());
        let repo = Repo {
            id,
            full_name: name.to_owned(),
            old_names: Vec::new(),
            has_issues: true,
            issues: BTreeMap::new(),
            fates: BTreeMap::new(),
            labels: BTreeMap::new(),
            milestones: BTreeMap::new(),
            next: 1,
            created,
        };
        self.repos.insert(id, repo);
    }

    /// Gives a repository another name; the old one redirects.
    pub fn rename_repo(&mut self, name: &str, to: &str) {
        let repo = self.repo_mut(name);
        repo.old_names.push(std::mem::replace(&mut repo.full_name, to.to_owned()));
    }

    /// Switches issues on or off.
    pub fn set_issues_enabled(&mut self, repo: &str, enabled: bool) {
        self.repo_mut(repo).has_issues = enabled;
    }

    /// Opens an issue; its number.
    pub fn open_issue(&mut self, repo: &str, author: &str, title: &str, body: &str) -> i32 {
        self.open(repo, author, title, body, false)
    }

    /// Opens a pull request; its number.
    pub fn open_pull(&mut self, repo: &str, author: &str, title: &str, body: &str) -> i32 {
        self.open(repo, author, title, body, true)
    }

    fn open(&mut self, repo: &str, author: &str, title: &str, body: &str, pull: bool) -> i32 {
        let (id, user, now) = (self.id(), self.user(author), self.now());
        let repo = self.repo_mut(repo);
        let number = repo.next;
        repo.next += 1;
        let issue = Issue {
            id,
            number,
            title: title.to_owned(),
            body: Some(body.to_owned()).filter(|body| !body.is_empty()),
            user: Some(user),
            assignees: Vec::new(),
            labels: BTreeSet::new(),
            milestone: None,
            closed: false,
            locked: false,
            created: now,
            updated: now,
            closed_at: None,
            closed_by: None,
            pull,
            comments: BTreeMap::new(),
            events: BTreeMap::new(),
            reviews: BTreeMap::new(),
        };
        repo.issues.insert(number, issue);
        number
    }

    /// Changes an issue now.
    fn touch(&mut self, repo: &str, number: i32) -> &mut Issue {
        let now = self.now();
        let issue = self.issue_mut(repo, number);
        // Whole seconds, as everybody sees them; it never goes back.
        issue.updated = issue.updated.max(now);
        issue
    }

    /// Records an event of any kind, with any fields.
    pub fn event(&mut self, repo: &str, number: i32, actor: Option<&str>, kind: &str, fields: Value) -> i64 {
        let (id, created) = (self.id(), self.now());
        let actor = actor.map(|login| self.user(login));
        let fields = fields.as_object().cloned().unwrap_or_default().into_iter().collect();
        self.touch(repo, number).events.insert(id, Event { id, kind: kind.to_owned(), actor, created, fields });
        id
    }

    /// Writes a comment; its id.
    pub fn comment(&mut self, repo: &str, number: i32, author: &str, body: &str) -> i64 {
        let (id, user, now) = (self.id(), self.user(author), self.now());
        let comment = Comment { id, user: Some(user), body: body.to_owned(), created: now, updated: now };
        self.touch(repo, number).comments.insert(id, comment);
        id
    }

    /// Changes a comment's text.
    ///
    /// # Panics
    /// There is no such comment.
    pub fn edit_comment(&mut self, repo: &str, number: i32, id: i64, body: &str) {
        let now = self.now();
        let comment = self.touch(repo, number).comments.get_mut(&id).expect("a comment with this id");
        comment.body = body.to_owned();
        comment.updated = now;
    }

    /// Deletes a comment; an event says so.
    pub fn delete_comment(&mut self, repo: &str, number: i32, id: i64, actor: &str) {
        self.touch(repo, number).comments.remove(&id);
        self.event(repo, number, Some(actor), "comment_deleted", json!({}));
    }

    /// Changes the title; an event says so.
    pub fn retitle(&mut self, repo: &str, number: i32, actor: &str, title: &str) {
        let from = std::mem::replace(&mut self.touch(repo, number).title, title.to_owned());
        self.event(repo, number, Some(actor), "renamed", json!({"rename": {"from": from, "to": title}}));
    }

    /// Changes the text; an empty one is sent as null.
    pub fn edit_body(&mut self, repo: &str, number: i32, body: &str) {
        self.touch(repo, number).body = Some(body.to_owned()).filter(|body| !body.is_empty());
    }

    /// Id of a label, made when there is none of this name.
    pub fn label(&mut self, repo: &str, name: &str) -> i64 {
        if let Some(label) = self.repo(repo).labels.values().find(|label| label.name == name) {
            return label.id;
        }
        let id = self.id();
        let color = format!("{:06x}", id * 7919 % 0x100_0000);
        self.repo_mut(repo).labels.insert(id, Label { id, name: name.to_owned(), color, description: None });
        id
    }

    /// Gives a label another name.
    pub fn rename_label(&mut self, repo: &str, name: &str, to: &str) {
        let id = self.label(repo, name);
        if let Some(label) = self.repo_mut(repo).labels.get_mut(&id) {
            label.name = to.to_owned();
        }
    }

    /// Deletes a label, on all issues too.
    pub fn delete_label(&mut self, repo: &str, name: &str) {
        let id = self.label(repo, name);
        let repo = self.repo_mut(repo);
        repo.labels.remove(&id);
        for issue in repo.issues.values_mut() {
            issue.labels.remove(&id);
        }
    }

    /// Puts a label on an issue; an event says so.
    pub fn add_label(&mut self, repo: &str, number: i32, actor: &str, name: &str) {
        let id = self.label(repo, name);
        if self.touch(repo, number).labels.insert(id) {
            let color = self.repo(repo).labels.get(&id).map(|label| label.color.clone());
            self.event(repo, number, Some(actor), "labeled", json!({"label": {"name": name, "color": color}}));
        }
    }

    /// Takes a label off an issue; an event says so.
    pub fn remove_label(&mut self, repo: &str, number: i32, actor: &str, name: &str) {
        let id = self.label(repo, name);
        if self.touch(repo, number).labels.remove(&id) {
            let color = self.repo(repo).labels.get(&id).map(|label| label.color.clone());
            self.event(repo, number, Some(actor), "unlabeled", json!({"label": {"name": name, "color": color}}));
        }
    }

    /// Number of a milestone, made when there is none with this title.
    pub fn milestone(&mut self, repo: &str, title: &str) -> i64 {
        if let Some(milestone) = self.repo(repo).milestones.values().find(|milestone| milestone.title == title) {
            return milestone.number;
        }
        let (id, creator, now) = (self.id(), self.user("release-manager"), self.now());
        let milestones = &mut self.repo_mut(repo).milestones;
        let number = milestones.keys().last().copied().unwrap_or(0) + 1;
        milestones.insert(number, Milestone { id, number, title: title.to_owned(), closed: false, creator, created: now, updated: now });
        number
    }

    /// Changes a milestone: title, closed or open.
    pub fn change_milestone(&mut self, repo: &str, title: &str, to: &str, closed: bool) {
        let (number, now) = (self.milestone(repo, title), self.now());
        if let Some(milestone) = self.repo_mut(repo).milestones.get_mut(&number) {
            (milestone.title, milestone.closed, milestone.updated) = (to.to_owned(), closed, now);
        }
    }

    /// Sets or clears an issue's milestone; events say so.
    pub fn set_milestone(&mut self, repo: &str, number: i32, actor: &str, title: Option<&str>) {
        let new = title.map(|title| self.milestone(repo, title));
        let old = std::mem::replace(&mut self.touch(repo, number).milestone, new);
        if old == new {
            return;
        }
        for (kind, milestone) in [("demilestoned", old), ("milestoned", new)] {
            if let Some(title) = milestone.and_then(|number| self.repo(repo).milestones.get(&number)).map(|milestone| milestone.title.clone()) {
                self.event(repo, number, Some(actor), kind, json!({"milestone": {"title": title}}));
            }
        }
    }

    /// Gives an issue to somebody; an event says so.
    pub fn assign(&mut self, repo: &str, number: i32, actor: &str, who: &str) {
        let id = self.user(who);
        let issue = self.touch(repo, number);
        if !issue.assignees.contains(&id) {
            issue.assignees.push(id);
            self.assignment(repo, number, actor, id, "assigned");
        }
    }

    /// Takes an issue from somebody; an event says so.
    pub fn unassign(&mut self, repo: &str, number: i32, actor: &str, who: &str) {
        let id = self.user(who);
        let issue = self.touch(repo, number);
        if issue.assignees.contains(&id) {
            issue.assignees.retain(|assignee| *assignee != id);
            self.assignment(repo, number, actor, id, "unassigned");
        }
    }

    fn assignment(&mut self, repo: &str, number: i32, actor: &str, assignee: i64, kind: &str) {
        let assigner = self.user(actor);
        let fields = json!({"assignee": shapes::user(self, assignee), "assigner": shapes::user(self, assigner)});
        self.event(repo, number, Some(actor), kind, fields);
    }

    /// Closes an issue; an event says so.
    pub fn close(&mut self, repo: &str, number: i32, actor: &str) {
        let (by, now) = (self.user(actor), self.now());
        let issue = self.touch(repo, number);
        (issue.closed, issue.closed_at, issue.closed_by) = (true, Some(now), Some(by));
        self.event(repo, number, Some(actor), "closed", json!({"state_reason": null}));
    }

    /// Closes an issue by a commit; an event says so.
    pub fn close_by_commit(&mut self, repo: &str, number: i32, actor: &str, commit: &str) {
        let (by, now) = (self.user(actor), self.now());
        let issue = self.touch(repo, number);
        (issue.closed, issue.closed_at, issue.closed_by) = (true, Some(now), Some(by));
        let fields = json!({"commit_id": commit, "commit_url": format!("{}/repos/{repo}/commits/{commit}", self.base)});
        self.event(repo, number, Some(actor), "closed", fields);
    }

    /// Opens a closed issue again; an event says so.
    pub fn reopen(&mut self, repo: &str, number: i32, actor: &str) {
        let issue = self.touch(repo, number);
        (issue.closed, issue.closed_at, issue.closed_by) = (false, None, None);
        self.event(repo, number, Some(actor), "reopened", json!({"state_reason": null}));
    }

    /// Locks or unlocks an issue; an event says so.
    pub fn set_locked(&mut self, repo: &str, number: i32, actor: &str, locked: bool) {
        self.touch(repo, number).locked = locked;
        if locked {
            self.event(repo, number, Some(actor), "locked", json!({"lock_reason": "resolved"}));
        } else {
            self.event(repo, number, Some(actor), "unlocked", json!({"lock_reason": null}));
        }
    }

    /// Reviews a pull request; the review's id.
    pub fn review(&mut self, repo: &str, number: i32, author: &str, state: &str, body: &str) -> i64 {
        let (id, user, now) = (self.id(), self.user(author), self.now());
        let commit = format!("{:040x}", id);
        let submitted = (state != "PENDING").then_some(now);
        let review = Review { id, user: Some(user), state: state.to_owned(), body: body.to_owned(), commit, submitted };
        self.touch(repo, number).reviews.insert(id, review);
        id
    }

    /// Takes a review's weight away; an event says so.
    ///
    /// # Panics
    /// There is no such review.
    pub fn dismiss_review(&mut self, repo: &str, number: i32, actor: &str, id: i64, message: &str) {
        let review = self.touch(repo, number).reviews.get_mut(&id).expect("a review with this id");
        let before = std::mem::replace(&mut review.state, "DISMISSED".to_owned()).to_lowercase();
        let fields = json!({"dismissed_review": {"state": before, "review_id": id, "dismissal_message": message}});
        self.event(repo, number, Some(actor), "review_dismissed", fields);
    }

    /// Asks for a review; an event says so.
    pub fn request_review(&mut self, repo: &str, number: i32, actor: &str, from: &Reviewer) {
        let requester = self.user(actor);
        let mut fields = json!({"review_requester": shapes::user(self, requester)});
        match from {
            Reviewer::User(id) => fields["requested_reviewer"] = shapes::user(self, *id),
            Reviewer::Team(id) => fields["requested_team"] = shapes::team(self, *id),
        }
        self.event(repo, number, Some(actor), "review_requested", fields);
    }

    /// Deletes an issue for good: 410 from now on, and in no list.
    pub fn delete_issue(&mut self, repo: &str, number: i32) {
        let repo = self.repo_mut(repo);
        repo.issues.remove(&number);
        repo.fates.insert(number, Fate::Deleted);
    }

    /// Makes an issue look as if it had never been: 404.
    pub fn hide_issue(&mut self, repo: &str, number: i32) {
        let repo = self.repo_mut(repo);
        repo.issues.remove(&number);
        repo.fates.insert(number, Fate::Hidden);
    }

    /// Transfers an issue to another repository; its number there. What is said about labels and milestones stays behind.
    ///
    /// # Panics
    /// There is no such issue.
    pub fn transfer_issue(&mut self, repo: &str, number: i32, to: &str) -> i32 {
        let mut issue = self.repo_mut(repo).issues.remove(&number).expect("an issue to transfer");
        let target = self.repo_mut(to);
        let (target_id, there) = (target.id, target.next);
        target.next += 1;
        issue.number = there;
        issue.labels.clear();
        issue.milestone = None;
        target.issues.insert(there, issue);
        self.touch(to, there);
        self.repo_mut(repo).fates.insert(number, Fate::Transferred(target_id, there));
        there
    }
}
