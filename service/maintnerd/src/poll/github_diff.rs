//! What must be written so that the corpus has what GitHub says (`spec/maintner.md` §7.2, "Diff of an issue"). Pure functions.
//!
//! A mutation is made only if a reader of the log would see a difference. So whatever the log cannot express (an emptied title, a comment without text) or
//! no reader takes (another moment of creation) is never a reason for one: it would be written again in every round.

use std::collections::BTreeSet;

use burrow_github as github;
use burrow_maintner as corpus;
use protocol_mutlog::schema::{
    BoolChange, GithubCommit, GithubDismissedReviewEvent, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation, GithubIssueSyncStatus,
    GithubLabel, GithubMilestone, GithubMutation, GithubReview, GithubTeam, GithubUser, StringChange, Timestamp,
};
use protocol_mutlog::wire::{put_bytes, put_varint};

/// Field of `GithubIssueMutation` with the ids of comments that are gone (`docs/maintner-extensions.md`).
const DELETED_COMMENT: u32 = 1000;

/// A repository as the log names it: in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    owner: Vec<u8>,
    repo: Vec<u8>,
}

impl Name {
    /// Of a repository of GitHub's.
    pub fn of(repo: &github::RepoName) -> Name {
        Name { owner: repo.owner().to_ascii_lowercase().into_bytes(), repo: repo.name().to_ascii_lowercase().into_bytes() }
    }

    fn mutation(&self, number: i32) -> GithubIssueMutation {
        GithubIssueMutation { owner: self.owner.clone(), repo: self.repo.clone(), number, ..Default::default() }
    }
}

/// A list of what belongs to an issue, as GitHub gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// GitHub's time of the (first page of the) answer: it is complete as of then.
    pub date: github::Time,
    /// Whether it has everything, so that what it lacks is gone; otherwise only what changed lately.
    pub whole: bool,
}

/// Everything that belongs to an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Its comments.
    pub comments: Listed<github::Comment>,
    /// Its events.
    pub events: Listed<github::Event>,
    /// Its reviews, if it is a pull request.
    pub reviews: Option<Listed<github::Review>>,
}

impl Parts {
    /// When the newest of it happened.
    pub fn newest(&self) -> Option<github::Time> {
        let comments = self.comments.items.iter().filter_map(|comment| comment.updated);
        let events = self.events.items.iter().filter_map(|event| event.created);
        let reviews = self.reviews.iter().flat_map(|reviews| &reviews.items).filter_map(|review| review.created);
        comments.chain(events).chain(reviews).max()
    }

    /// The earliest moment as of which any of it is complete.
    pub fn as_of(&self) -> github::Time {
        let date = self.comments.date.min(self.events.date);
        self.reviews.as_ref().map_or(date, |reviews| reviews.date.min(date))
    }
}

/// Says that there is no such issue (any more). `None`: that is known.
pub fn tombstone(name: &Name, number: i32, known: Option<corpus::Issue<'_>>) -> Option<GithubIssueMutation> {
    let said = known.is_some_and(|issue| issue.not_exist());
    (!said).then(|| GithubIssueMutation { not_exist: true, ..name.mutation(number) })
}

/// The difference between an issue as it is known and as GitHub says.
pub fn issue(name: &Name, known: Option<corpus::Issue<'_>>, seen: &github::Issue) -> Option<GithubIssueMutation> {
    // What is known of a tombstone is kept below it and comes back with the issue; that it comes back is a change by itself.
    let revived = known.is_some_and(|issue| issue.not_exist());
    let mut to = name.mutation(seen.number);
    let mut changed = known.is_none() || revived;
    if known.is_none() || revived {
        // Readers take it from the first mutation only.
        to.created = seen.created.map(timestamp);
    }
    changed |= time(&mut to.updated, known.and_then(corpus::Issue::updated), seen.updated);
    changed |= time(&mut to.closed_at, known.and_then(corpus::Issue::closed_at), seen.closed_at);
    to.user = user(known.and_then(corpus::Issue::user), seen.user.as_ref());
    changed |= to.user.is_some();
    // Who closed it goes with the closing. Lists do not say; later looks at single issues would make a mutation of its own for each closed one.
    if to.closed_at.is_some() || known.is_none_or(|issue| issue.closed() != seen.closed) {
        to.closed_by = user(known.and_then(corpus::Issue::closed_by), seen.closed_by.as_ref());
    }
    if known.is_none_or(|issue| issue.body().bytes() != seen.body.as_bytes()) {
        to.body_change = Some(StringChange { val: seen.body.clone().into_bytes(), ..Default::default() });
        changed = true;
    }
    if !seen.title.is_empty() && known.is_none_or(|issue| issue.title().bytes() != seen.title.as_bytes()) {
        to.title = seen.title.clone().into_bytes();
        changed = true;
    }
    changed |= milestone_of(&mut to, known, seen);
    changed |= assignees(&mut to, known, seen);
    changed |= labels_of(&mut to, known, seen);
    if known.is_none_or(|issue| issue.closed() != seen.closed) {
        to.closed = Some(BoolChange { val: seen.closed, ..Default::default() });
        changed = true;
    }
    if known.map_or(seen.locked, |issue| issue.locked() != seen.locked) {
        to.locked = Some(BoolChange { val: seen.locked, ..Default::default() });
        changed = true;
    }
    to.pull_request = seen.pull_request;
    // An issue never becomes a pull request by itself, but a log may have missed that it is one.
    changed |= seen.pull_request && known.is_some_and(|issue| !issue.is_pull_request());
    changed.then_some(to)
}

/// The difference between an issue with all that belongs to it, as it is known and as GitHub says: one mutation, so that nobody ever sees a half of it.
///
/// `reported` are comments of which the log says already that they are gone.
pub fn whole(name: &Name, known: Option<corpus::Issue<'_>>, seen: &github::Issue, parts: &Parts, reported: &BTreeSet<i64>) -> Option<GithubIssueMutation> {
    let difference = issue(name, known, seen);
    let mut changed = difference.is_some();
    let mut to = difference.unwrap_or_else(|| GithubIssueMutation { pull_request: seen.pull_request, ..name.mutation(seen.number) });
    // One that is back (its author's account was blocked for a while, say) is written as if it were new.
    let before = |comment: &github::Comment| known.filter(|_| !reported.contains(&comment.id));
    to.comment = parts.comments.items.iter().filter_map(|comment| comment_of(before(comment), comment)).collect();
    to.event = parts.events.items.iter().filter(|event| event.id != 0 && known.is_none_or(|issue| !issue.has_event_id(event.id))).map(event_of).collect();
    to.review = parts.reviews.iter().flat_map(|reviews| &reviews.items).filter_map(|review| review_of(known, review)).collect();
    let gone = deleted_comments(known, &parts.comments, reported);
    if !gone.is_empty() {
        to.unknown = deleted_field(&gone);
    }
    changed |= !to.comment.is_empty() || !to.event.is_empty() || !to.review.is_empty() || !gone.is_empty();
    // A mutation that says nothing but "still complete" is written once: when the log does not say so yet.
    let updated = seen.updated;
    let late = |known_date: Option<corpus::Time>, date: github::Time| known_date.map(time_of) <= updated && Some(date) > updated;
    changed |= late(known.and_then(corpus::Issue::comments_as_of), parts.comments.date);
    changed |= late(known.and_then(corpus::Issue::events_as_of), parts.events.date);
    if let Some(reviews) = &parts.reviews {
        changed |= late(known.and_then(corpus::Issue::reviews_as_of), reviews.date);
    }
    to.comment_status = Some(status(parts.comments.date));
    to.event_status = Some(status(parts.events.date));
    to.review_status = parts.reviews.as_ref().map(|reviews| status(reviews.date));
    changed.then_some(to)
}

/// Comments that are known, not reported as deleted, and lacking in a list that has everything.
pub fn deleted_comments(known: Option<corpus::Issue<'_>>, listed: &Listed<github::Comment>, reported: &BTreeSet<i64>) -> Vec<i64> {
    let Some(known) = known.filter(|_| listed.whole) else { return Vec::new() };
    let there: BTreeSet<i64> = listed.items.iter().map(|comment| comment.id).collect();
    let mut gone: Vec<i64> = known.comments().map(corpus::Comment::id).filter(|id| !there.contains(id) && !reported.contains(id)).collect();
    gone.sort_unstable();
    gone
}

/// The field of deleted comments: a packed list, as other lists of ids.
fn deleted_field(ids: &[i64]) -> Vec<u8> {
    let mut packed = Vec::new();
    for id in ids {
        put_varint(&mut packed, id.cast_unsigned());
    }
    let mut field = Vec::new();
    put_bytes(&mut field, DELETED_COMMENT, &packed);
    field
}

/// Labels and milestones that are new or have changed.
pub fn repo(name: &Name, known: Option<corpus::Repo<'_>>, labels: &[github::Label], milestones: &[github::Milestone]) -> Option<GithubMutation> {
    let mut to = GithubMutation { owner: name.owner.clone(), repo: name.repo.clone(), ..Default::default() };
    for label in labels.iter().filter(|label| label.id != 0 && !label.name.is_empty()) {
        let before = known.and_then(|repo| repo.labels().find(|before| before.id == label.id));
        if before.is_none_or(|before| before.name.bytes() != label.name.as_bytes()) {
            to.labels.push(label_of(label));
        }
    }
    for milestone in milestones.iter().filter(|milestone| milestone.id != 0) {
        let before = known.and_then(|repo| repo.milestones().find(|before| before.id == milestone.id));
        let mut change = GithubMilestone { id: milestone.id, ..Default::default() };
        let mut changed = before.is_none();
        if before.is_none_or(|before| before.title.bytes() != milestone.title.as_bytes()) && !milestone.title.is_empty() {
            change.title = milestone.title.clone().into_bytes();
            changed = true;
        }
        if before.is_none_or(|before| i64::from(before.number) != milestone.number) && milestone.number != 0 {
            change.number = milestone.number;
            changed = true;
        }
        if before.map_or(milestone.closed, |before| before.closed != milestone.closed) {
            change.closed = Some(BoolChange { val: milestone.closed, ..Default::default() });
            changed = true;
        }
        if changed {
            to.milestones.push(change);
        }
    }
    (!to.labels.is_empty() || !to.milestones.is_empty()).then_some(to)
}

fn timestamp(time: github::Time) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos)
}

/// A moment of the corpus as GitHub's.
pub(crate) fn time_of(time: corpus::Time) -> github::Time {
    github::Time { seconds: time.seconds, nanos: time.nanos }
}

fn status(date: github::Time) -> GithubIssueSyncStatus {
    GithubIssueSyncStatus { server_date: Some(timestamp(date)), ..Default::default() }
}

/// A time that GitHub does not say clears nothing.
fn time(to: &mut Option<Timestamp>, known: Option<corpus::Time>, seen: Option<github::Time>) -> bool {
    match seen {
        Some(seen) if known.map(time_of) != Some(seen) => {
            *to = Some(timestamp(seen));
            true
        }
        _ => false,
    }
}

fn login(user: &github::User) -> GithubUser {
    GithubUser { id: user.id, login: user.login.clone().into_bytes(), ..Default::default() }
}

/// A user who is another one, or has another login. Nobody (a deleted account) changes nothing.
fn user(known: Option<corpus::User<'_>>, seen: Option<&github::User>) -> Option<GithubUser> {
    let seen = seen.filter(|seen| seen.id != 0)?;
    let same = known.is_some_and(|known| known.id == seen.id && (seen.login.is_empty() || known.login.bytes() == seen.login.as_bytes()));
    (!same).then(|| login(seen))
}

/// Another milestone. Its new title is the repository's business, not the issue's.
fn milestone_of(to: &mut GithubIssueMutation, known: Option<corpus::Issue<'_>>, seen: &github::Issue) -> bool {
    let before = known.map_or(corpus::MilestoneOf::Unknown, corpus::Issue::milestone);
    match (before, &seen.milestone) {
        (corpus::MilestoneOf::None, None) => false,
        (corpus::MilestoneOf::Is(before), Some(now)) if before.id == now.id => false,
        (_, Some(now)) => {
            (to.milestone_id, to.milestone_num, to.milestone_title) = (now.id, now.number, now.title.clone().into_bytes());
            true
        }
        (_, None) => {
            to.no_milestone = true;
            true
        }
    }
}

fn assignees(to: &mut GithubIssueMutation, known: Option<corpus::Issue<'_>>, seen: &github::Issue) -> bool {
    let before: Vec<corpus::User<'_>> = known.into_iter().flat_map(corpus::Issue::assignees).collect();
    to.assignees = seen.assignees.iter().filter_map(|now| user(before.iter().copied().find(|before| before.id == now.id), Some(now))).collect();
    to.deleted_assignees = before.iter().map(|before| before.id).filter(|id| seen.assignees.iter().all(|now| now.id != *id)).collect();
    !to.assignees.is_empty() || !to.deleted_assignees.is_empty()
}

fn label_of(label: &github::Label) -> GithubLabel {
    GithubLabel { id: label.id, name: label.name.clone().into_bytes(), ..Default::default() }
}

/// Labels by id.
fn labels_of(to: &mut GithubIssueMutation, known: Option<corpus::Issue<'_>>, seen: &github::Issue) -> bool {
    let before: BTreeSet<i64> = known.into_iter().flat_map(corpus::Issue::labels).map(|label| label.id).collect();
    let now = seen.labels.iter().filter(|label| label.id != 0);
    to.add_label = now.clone().filter(|label| !before.contains(&label.id)).map(label_of).collect();
    to.remove_label = before.iter().copied().filter(|id| now.clone().all(|label| label.id != *id)).collect();
    !to.add_label.is_empty() || !to.remove_label.is_empty()
}

/// A comment that is new, with everything; or one that has changed, with what has changed.
fn comment_of(known: Option<corpus::Issue<'_>>, seen: &github::Comment) -> Option<GithubIssueCommentMutation> {
    if seen.id == 0 {
        return None;
    }
    let Some(before) = known.and_then(|issue| issue.comment(seen.id)) else {
        return Some(GithubIssueCommentMutation {
            id: seen.id,
            user: user(None, seen.user.as_ref()),
            body: seen.body.clone().into_bytes(),
            created: seen.created.map(timestamp),
            updated: seen.updated.map(timestamp),
            ..Default::default()
        });
    };
    let mut to = GithubIssueCommentMutation { id: seen.id, user: user(before.user(), seen.user.as_ref()), ..Default::default() };
    let mut changed = to.user.is_some();
    if !seen.body.is_empty() && before.body().bytes() != seen.body.as_bytes() {
        to.body = seen.body.clone().into_bytes();
        changed = true;
    }
    changed |= time(&mut to.updated, before.updated(), seen.updated);
    changed.then_some(to)
}

fn id_of(user: Option<&github::User>) -> i64 {
    user.map_or(0, |user| user.id)
}

/// An event: they never change.
fn event_of(seen: &github::Event) -> GithubIssueEvent {
    GithubIssueEvent {
        id: seen.id,
        event_type: seen.kind.clone().into_bytes(),
        actor_id: id_of(seen.actor.as_ref()),
        created: seen.created.map(timestamp),
        label: (!seen.label.is_empty()).then(|| GithubLabel { name: seen.label.clone().into_bytes(), ..Default::default() }),
        milestone: (!seen.milestone.is_empty()).then(|| GithubMilestone { title: seen.milestone.clone().into_bytes(), ..Default::default() }),
        assignee_id: id_of(seen.assignee.as_ref()),
        assigner_id: id_of(seen.assigner.as_ref()),
        commit: seen.commit.as_ref().map(|commit| GithubCommit {
            owner: commit.owner.clone().into_bytes(),
            repo: commit.repo.clone().into_bytes(),
            commit_id: commit.id.clone().into_bytes(),
            ..Default::default()
        }),
        other_json: seen.other_json.clone().into_bytes(),
        rename_from: seen.rename_from.clone().into_bytes(),
        rename_to: seen.rename_to.clone().into_bytes(),
        reviewer_id: id_of(seen.reviewer.as_ref()),
        review_requester_id: id_of(seen.review_requester.as_ref()),
        dismissed_review: seen.dismissed_review.as_ref().map(|dismissed| GithubDismissedReviewEvent {
            review_id: dismissed.review_id,
            dismissal_message: dismissed.message.clone().into_bytes(),
            state: dismissed.state.clone().into_bytes(),
            ..Default::default()
        }),
        team_reviewer: seen.team_reviewer.as_ref().map(|team| GithubTeam { id: team.id, slug: team.slug.clone().into_bytes(), ..Default::default() }),
        ..Default::default()
    }
}

/// A review that is new or has changed: it is replaced as a whole. One that is not submitted yet is its author's secret, which only their own token shows.
fn review_of(known: Option<corpus::Issue<'_>>, seen: &github::Review) -> Option<GithubReview> {
    if seen.id == 0 || seen.state == "PENDING" {
        return None;
    }
    let before = known.filter(|issue| issue.has_review_id(seen.id)).and_then(|issue| issue.reviews().find(|review| review.id() == seen.id));
    let same = before.is_some_and(|before| {
        before.actor().map_or(0, |actor| actor.id) == id_of(seen.actor.as_ref())
            && before.created().map(time_of) == seen.created
            && before.body().bytes() == seen.body.as_bytes()
            && before.state().bytes() == seen.state.as_bytes()
            && before.commit_id().bytes() == seen.commit_id.as_bytes()
            && before.actor_association().bytes() == seen.association.as_bytes()
            && before.other_json().bytes() == seen.other_json.as_bytes()
    });
    (!same).then(|| GithubReview {
        id: seen.id,
        actor_id: id_of(seen.actor.as_ref()),
        created: seen.created.map(timestamp),
        body: seen.body.clone().into_bytes(),
        state: seen.state.clone().into_bytes(),
        commit_id: seen.commit_id.clone().into_bytes(),
        actor_association: seen.association.clone().into_bytes(),
        other_json: seen.other_json.clone().into_bytes(),
        ..Default::default()
    })
}
