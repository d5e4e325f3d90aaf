//! GitHub's repositories and issues.

use protocol_mutlog::view as message;

use crate::View;
use crate::apply_github::stamp;
use crate::rows::{CommentRow, EventRow, IssueRow, LabelRow, MilestoneRow, NO_MILESTONE, ReviewRow, issue_flag};
use crate::table::{NONE, Table};
use crate::tables::GithubTables;
use crate::view::{Text, Time};

impl View {
    /// Everything GitHub.
    pub fn github(&self) -> Github<'_> {
        Github { view: self }
    }
}

/// All repositories of GitHub that are followed.
#[derive(Clone, Copy, Debug)]
pub struct Github<'a> {
    view: &'a View,
}

impl<'a> Github<'a> {
    /// A repository; names as mutations give them (lower case, mostly).
    pub fn repo(self, owner: &str, name: &str) -> Option<Repo<'a>> {
        let row = self.view.state.github.find_repo(&self.view.state.log, owner.as_bytes(), name.as_bytes())?;
        Some(Repo { view: self.view, row })
    }

    /// All repositories, sorted by owner and name.
    pub fn repos(self) -> Vec<Repo<'a>> {
        let mut all: Vec<Repo<'a>> = (0..self.view.state.github.repos.len()).map(|row| Repo { view: self.view, row }).collect();
        all.sort_by_key(|repo| (repo.owner(), repo.name()));
        all
    }

    /// All users, in the order in which they came up.
    pub fn users(self) -> impl Iterator<Item = User<'a>> {
        (0..self.view.state.github.users.len()).filter_map(move |row| user(self.view, row))
    }

    /// All teams.
    pub fn teams(self) -> impl Iterator<Item = Team<'a>> {
        self.view.state.github.teams.iter().map(move |team| Team { id: team.id, slug: Text(self.view.state.log.text(team.name)) })
    }

    /// A user by id.
    pub fn user(self, id: i64) -> Option<User<'a>> {
        user_of_id(self.view, id)
    }
}

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// GitHub's id.
    pub id: i64,
    /// Login; empty if nothing but the id was ever said.
    pub login: Text<'a>,
}

/// A team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team<'a> {
    /// GitHub's id.
    pub id: i64,
    /// Short name.
    pub slug: Text<'a>,
}

fn user(view: &View, row: u32) -> Option<User<'_>> {
    let found = view.state.github.users.get(row)?;
    Some(User { id: found.id, login: Text(view.state.log.text(found.name)) })
}

fn user_of_id(view: &View, id: i64) -> Option<User<'_>> {
    let users = &view.state.github.users;
    let hash = crate::table::hash_numbers(id as u64, 0);
    let row = view.state.github.user_index.find(hash, |row| users.get(row).is_some_and(|user| user.id == id))?;
    user(view, row).filter(|_| id != 0)
}

/// A repository.
#[derive(Clone, Copy, Debug)]
pub struct Repo<'a> {
    view: &'a View,
    row: u32,
}

impl<'a> Repo<'a> {
    fn tables(self) -> &'a GithubTables {
        &self.view.state.github
    }

    /// Its owner.
    pub fn owner(self) -> Text<'a> {
        Text(self.view.state.log.text(self.tables().repos.at(self.row).owner))
    }

    /// Its name.
    pub fn name(self) -> Text<'a> {
        Text(self.view.state.log.text(self.tables().repos.at(self.row).name))
    }

    /// An issue or pull request by number, deleted ones too.
    pub fn issue(self, number: i32) -> Option<Issue<'a>> {
        let row = self.tables().find_issue(self.row, number)?;
        Some(Issue { view: self.view, row })
    }

    /// All issues and pull requests by number, deleted ones too ([`Issue::not_exist`]).
    pub fn issues(self) -> Vec<Issue<'a>> {
        let issues = &self.tables().issues;
        let mut found = Vec::new();
        let mut at = self.tables().repos.at(self.row).issues;
        while let Some(row) = issues.get(at) {
            found.push((row.number, at));
            at = row.next;
        }
        if !found.is_sorted() {
            found.sort_unstable();
        }
        found.into_iter().map(|(_, row)| Issue { view: self.view, row }).collect()
    }

    /// All labels it ever had.
    pub fn labels(self) -> impl Iterator<Item = Label<'a>> {
        let view = self.view;
        let labels = &self.tables().labels;
        chain(labels, self.tables().repos.at(self.row).labels, |label: &LabelRow| label.next).map(move |label| label_of(view, label))
    }

    /// All milestones it ever had.
    pub fn milestones(self) -> impl Iterator<Item = Milestone<'a>> {
        let view = self.view;
        let milestones = &self.tables().milestones;
        chain(milestones, self.tables().repos.at(self.row).milestones, |milestone: &MilestoneRow| milestone.next).map(move |row| milestone_of(view, row))
    }
}

/// Rows that are linked, from `at` on.
fn chain<T: bytemuck::Pod>(table: &Table<T>, mut at: u32, next: impl Fn(&T) -> u32) -> impl Iterator<Item = &T> {
    std::iter::from_fn(move || {
        let row = table.get(at)?;
        at = next(row);
        Some(row)
    })
}

fn label_of<'a>(view: &'a View, row: &LabelRow) -> Label<'a> {
    Label { id: row.id, name: Text(view.state.log.text(row.name)) }
}

fn milestone_of<'a>(view: &'a View, row: &MilestoneRow) -> Milestone<'a> {
    Milestone { id: row.id, title: Text(view.state.log.text(row.title)), number: row.number, closed: row.closed != 0 }
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// GitHub's id.
    pub id: i64,
    /// Name.
    pub name: Text<'a>,
}

/// A milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milestone<'a> {
    /// GitHub's id.
    pub id: i64,
    /// Title.
    pub title: Text<'a>,
    /// Number within the repository.
    pub number: i32,
    /// Closed or open.
    pub closed: bool,
}

/// What is known of an issue's milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MilestoneOf<'a> {
    /// Nothing yet.
    Unknown,
    /// It has none.
    None,
    /// It has this one.
    Is(Milestone<'a>),
}

/// An issue or pull request.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    view: &'a View,
    row: u32,
}

impl<'a> Issue<'a> {
    fn tables(self) -> &'a GithubTables {
        &self.view.state.github
    }

    fn data(self) -> IssueRow {
        self.tables().issues.get(self.row).copied().unwrap_or_else(|| IssueRow::new(NONE, 0, 0))
    }

    fn text(self, text: crate::text::TextRef) -> Text<'a> {
        Text(self.view.state.log.text(text))
    }

    /// Its repository.
    pub fn repo(self) -> Repo<'a> {
        Repo { view: self.view, row: self.data().repo }
    }

    /// Its number in the repository.
    pub fn number(self) -> i32 {
        self.data().number
    }

    /// GitHub's id; current writers do not say it, then 0.
    pub fn id(self) -> i64 {
        self.data().id
    }

    /// There is no such issue (any more). What was known of it stays.
    pub fn not_exist(self) -> bool {
        self.data().has(issue_flag::NOT_EXIST)
    }

    /// It is a pull request.
    pub fn is_pull_request(self) -> bool {
        self.data().has(issue_flag::PULL_REQUEST)
    }

    /// Closed or open.
    pub fn closed(self) -> bool {
        self.data().has(issue_flag::CLOSED)
    }

    /// Locked.
    pub fn locked(self) -> bool {
        self.data().has(issue_flag::LOCKED)
    }

    /// Title.
    pub fn title(self) -> Text<'a> {
        self.text(self.data().title)
    }

    /// Text.
    pub fn body(self) -> Text<'a> {
        self.text(self.data().body)
    }

    /// When it was made.
    pub fn created(self) -> Option<Time> {
        self.data().created.get()
    }

    /// When it last changed, as GitHub says.
    pub fn updated(self) -> Option<Time> {
        self.data().updated.get()
    }

    /// When it was last closed; stays when it is opened again.
    pub fn closed_at(self) -> Option<Time> {
        self.data().closed_at.get()
    }

    /// When anything last happened: an update, an event, a review.
    pub fn last_modified(self) -> Option<Time> {
        let data = self.data();
        data.updated.get().max(data.event_time.get())
    }

    /// Author.
    pub fn user(self) -> Option<User<'a>> {
        user(self.view, self.data().user)
    }

    /// Who closed it.
    pub fn closed_by(self) -> Option<User<'a>> {
        user(self.view, self.data().closed_by)
    }

    /// Its assignees, in order.
    pub fn assignees(self) -> impl Iterator<Item = User<'a>> {
        let view = self.view;
        chain(&self.tables().links, self.data().assignees, |link| link.next).filter_map(move |link| user(view, link.value))
    }

    /// Its milestone.
    pub fn milestone(self) -> MilestoneOf<'a> {
        match self.data().milestone {
            NONE => MilestoneOf::Unknown,
            NO_MILESTONE => MilestoneOf::None,
            row => self.tables().milestones.get(row).map_or(MilestoneOf::Unknown, |row| MilestoneOf::Is(milestone_of(self.view, row))),
        }
    }

    /// Its labels, in no particular order.
    pub fn labels(self) -> impl Iterator<Item = Label<'a>> {
        let view = self.view;
        let labels = &self.tables().labels;
        chain(&self.tables().links, self.data().labels, |link| link.next).filter_map(move |link| labels.get(link.value)).map(move |row| label_of(view, row))
    }

    /// Whether it has a label of this name.
    pub fn has_label(self, name: &str) -> bool {
        self.labels().any(|label| label.name == name)
    }

    /// Whether it has the label of this id.
    pub fn has_label_id(self, id: i64) -> bool {
        self.labels().any(|label| label.id == id)
    }

    /// Its comments, by time and id.
    pub fn comments(self) -> impl Iterator<Item = Comment<'a>> {
        let view = self.view;
        chain(&self.tables().comments, self.data().comments.first, |row: &CommentRow| row.next).map(move |row| Comment { view, row: *row })
    }

    /// A comment by its id.
    pub fn comment(self, id: i64) -> Option<Comment<'a>> {
        let row = crate::tables::find_linked(&self.tables().comments, &self.tables().comment_index, self.row, id)?;
        Some(Comment { view: self.view, row: self.tables().comments.at(row) })
    }

    /// Its events, by time and id.
    pub fn events(self) -> impl Iterator<Item = Event<'a>> {
        let view = self.view;
        chain(&self.tables().events, self.data().events.first, |row: &EventRow| row.next).map(move |row| Event { view, row: *row })
    }

    /// Whether the event of this id is known.
    pub fn has_event_id(self, id: i64) -> bool {
        crate::tables::find_linked(&self.tables().events, &self.tables().event_index, self.row, id).is_some()
    }

    /// How many events are known.
    pub fn event_count(self) -> usize {
        self.events().count()
    }

    /// Whether something of this kind ever happened to it.
    pub fn has_event(self, kind: &str) -> bool {
        self.events().any(|event| event.kind() == kind)
    }

    /// Its reviews, by time and id.
    pub fn reviews(self) -> impl Iterator<Item = Review<'a>> {
        let view = self.view;
        chain(&self.tables().reviews, self.data().reviews.first, |row: &ReviewRow| row.0.next).map(move |row| Review { view, row: row.0 })
    }

    /// Whether the review of this id is known.
    pub fn has_review_id(self, id: i64) -> bool {
        crate::tables::find_linked(&self.tables().reviews, &self.tables().review_index, self.row, id).is_some()
    }

    /// As of when its comments are complete.
    pub fn comments_as_of(self) -> Option<Time> {
        self.data().comments_as_of.get()
    }

    /// As of when its events are complete.
    pub fn events_as_of(self) -> Option<Time> {
        self.data().events_as_of.get()
    }

    /// As of when its reviews are complete.
    pub fn reviews_as_of(self) -> Option<Time> {
        self.data().reviews_as_of.get()
    }

    /// Whether all its comments are here: it does not exist, or they were read strictly after its last update.
    pub fn comments_synced(self) -> bool {
        self.not_exist() || self.comments_as_of() > self.updated()
    }

    /// Whether all its events are here.
    pub fn events_synced(self) -> bool {
        self.not_exist() || self.events_as_of() > self.updated()
    }

    /// Whether all its reviews are here.
    pub fn reviews_synced(self) -> bool {
        self.not_exist() || self.reviews_as_of() > self.updated()
    }
}

/// A comment.
#[derive(Clone, Copy, Debug)]
pub struct Comment<'a> {
    view: &'a View,
    row: CommentRow,
}

impl<'a> Comment<'a> {
    /// GitHub's id.
    pub fn id(self) -> i64 {
        self.row.id
    }

    /// Author.
    pub fn user(self) -> Option<User<'a>> {
        user(self.view, self.row.user)
    }

    /// When it was made.
    pub fn created(self) -> Option<Time> {
        self.row.created.get()
    }

    /// When it was last changed.
    pub fn updated(self) -> Option<Time> {
        self.row.updated.get()
    }

    /// Text.
    pub fn body(self) -> Text<'a> {
        Text(self.view.state.log.text(self.row.body))
    }
}

/// Something that happened to an issue.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    view: &'a View,
    row: EventRow,
}

/// A review that was dismissed.
#[derive(Clone, Copy, Debug)]
pub struct DismissedReview<'a> {
    /// GitHub's id of the review.
    pub id: i64,
    /// Why.
    pub message: Text<'a>,
    /// Its state before.
    pub state: Text<'a>,
}

impl<'a> Event<'a> {
    fn encoded(self) -> message::GithubIssueEvent<'a> {
        message::GithubIssueEvent::decode(self.view.state.log.text(self.row.source)).unwrap_or_default()
    }

    /// GitHub's id.
    pub fn id(self) -> i64 {
        self.row.id
    }

    /// What happened: `labeled`, `closed` and so on.
    pub fn kind(self) -> Text<'a> {
        Text(self.view.state.github.kinds.text(&self.view.state.log, self.row.kind))
    }

    /// When.
    pub fn created(self) -> Option<Time> {
        self.row.created.get()
    }

    /// Who did it.
    pub fn actor(self) -> Option<User<'a>> {
        user(self.view, self.row.actor)
    }

    /// Name of the label that was added or removed.
    pub fn label(self) -> Text<'a> {
        Text(self.encoded().label.map_or(b"", |label| label.name))
    }

    /// Title of the milestone that was set or taken away.
    pub fn milestone(self) -> Text<'a> {
        Text(self.encoded().milestone.map_or(b"", |milestone| milestone.title))
    }

    /// Who was assigned.
    pub fn assignee(self) -> Option<User<'a>> {
        user_of_id(self.view, self.encoded().assignee_id)
    }

    /// Who assigned.
    pub fn assigner(self) -> Option<User<'a>> {
        user_of_id(self.view, self.encoded().assigner_id)
    }

    /// The commit that closed or referenced: owner, repository, hash in hex.
    pub fn commit(self) -> Option<(Text<'a>, Text<'a>, Text<'a>)> {
        self.encoded().commit.map(|commit| (Text(commit.owner), Text(commit.repo), Text(commit.commit_id)))
    }

    /// Title before and after it was renamed.
    pub fn rename(self) -> (Text<'a>, Text<'a>) {
        let event = self.encoded();
        (Text(event.rename_from), Text(event.rename_to))
    }

    /// Whose review was asked for.
    pub fn reviewer(self) -> Option<User<'a>> {
        user_of_id(self.view, self.encoded().reviewer_id)
    }

    /// Who asked for the review.
    pub fn review_requester(self) -> Option<User<'a>> {
        user_of_id(self.view, self.encoded().review_requester_id)
    }

    /// The team whose review was asked for.
    pub fn team_reviewer(self) -> Option<Team<'a>> {
        let team = self.encoded().team_reviewer?;
        self.view.github().teams().find(|known| known.id == team.id)
    }

    /// The review that was dismissed.
    pub fn dismissed_review(self) -> Option<DismissedReview<'a>> {
        let review = self.encoded().dismissed_review?;
        Some(DismissedReview { id: review.review_id, message: Text(review.dismissal_message), state: Text(review.state) })
    }

    /// JSON object of what is in no other field.
    pub fn other_json(self) -> Text<'a> {
        Text(self.encoded().other_json)
    }
}

/// A review of a pull request.
#[derive(Clone, Copy, Debug)]
pub struct Review<'a> {
    view: &'a View,
    row: EventRow,
}

impl<'a> Review<'a> {
    fn encoded(self) -> message::GithubReview<'a> {
        message::GithubReview::decode(self.view.state.log.text(self.row.source)).unwrap_or_default()
    }

    /// GitHub's id.
    pub fn id(self) -> i64 {
        self.row.id
    }

    /// Who.
    pub fn actor(self) -> Option<User<'a>> {
        user(self.view, self.row.actor)
    }

    /// When.
    pub fn created(self) -> Option<Time> {
        stamp(self.encoded().created).and_then(crate::table::Stamp::get)
    }

    /// Text.
    pub fn body(self) -> Text<'a> {
        Text(self.encoded().body)
    }

    /// `COMMENTED`, `APPROVED`, `CHANGES_REQUESTED`.
    pub fn state(self) -> Text<'a> {
        Text(self.view.state.github.kinds.text(&self.view.state.log, self.row.kind))
    }

    /// What was reviewed: a hash in hex.
    pub fn commit_id(self) -> Text<'a> {
        Text(self.encoded().commit_id)
    }

    /// What the actor is to the repository.
    pub fn actor_association(self) -> Text<'a> {
        Text(self.encoded().actor_association)
    }

    /// JSON object of what is in no other field.
    pub fn other_json(self) -> Text<'a> {
        Text(self.encoded().other_json)
    }
}
