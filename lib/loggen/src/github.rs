//! Issues and pull requests: how they are born, what happens to them, and the mutations that say so.
//!
//! What happens in a step of an issue's life depends on the issue and the step alone, and on the [`State`] that the steps before left behind. So the log in order
//! of time can jump from issue to issue, and a first sync, which shows only how things ended, can play a whole life in one go; both tell the same story.

use protocol_mutlog::schema::{
    BoolChange, GithubCommit, GithubIssueCommentMutation, GithubIssueEvent, GithubIssueMutation, GithubIssueSyncStatus, GithubLabel, GithubMilestone,
    GithubMutation, GithubReview, GithubUser, StringChange, Timestamp,
};

use crate::random::{Id, Purpose, Random};
use crate::{END, START, scaled, schedule, text};

/// Repositories of the model; 88 of 100 issues are in the first.
pub(crate) const REPOS: [&str; 36] = [
    "go",
    "vscode-go",
    "tools",
    "oauth2",
    "protobuf",
    "mock",
    "dep",
    "gddo",
    "lint",
    "snappy",
    "groupcache",
    "glog",
    "geo",
    "mobile",
    "freetype",
    "crypto",
    "net",
    "sys",
    "text",
    "build",
    "blog",
    "website",
    "talks",
    "tour",
    "example",
    "benchmarks",
    "exp",
    "image",
    "perf",
    "proposal",
    "review",
    "sync",
    "term",
    "time",
    "vuln",
    "xerrors",
];

const OWNER: &str = "golang";
/// Steps of a life after the birth, at most: what ids leave room for.
const MOST_UPDATES: u64 = 511;

/// An issue or pull request.
pub(crate) struct Issue {
    pub(crate) repo: u8,
    pub(crate) pull_request: bool,
    pub(crate) number: i32,
    pub(crate) born: u32,
    author: u32,
}

/// All of GitHub that the model has.
pub(crate) struct GitHub {
    seed: u64,
    users: usize,
    /// In order of birth.
    pub(crate) issues: Vec<Issue>,
}

/// What an issue is like after some steps.
#[derive(Default)]
pub(crate) struct State {
    closed: bool,
    locked: bool,
    closed_at: u32,
    updated: u32,
    labels: Vec<u8>,
    milestone: Option<u8>,
    assignees: Vec<u32>,
    /// The step that gave it its title, and the one that gave it its body.
    title: u16,
    body: u16,
}

/// What happens in a step.
pub(crate) enum Change {
    Opened,
    Labeled(u8),
    Unlabeled(u8),
    Milestoned(u8),
    Demilestoned(u8),
    Closed,
    Reopened,
    Locked,
    Edited,
    /// The title was that of this step before.
    Renamed(u16),
    Assigned(u32),
    Unassigned(u32),
    Talked,
}

/// A step of an issue's life.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// Place in [`GitHub::issues`].
    pub(crate) issue: usize,
    /// From 0, the birth.
    pub(crate) step: u16,
    pub(crate) time: u32,
}

fn at(time: u32) -> Option<Timestamp> {
    Some(Timestamp::new(i64::from(time), 0))
}

fn status(time: u32, random: &mut Random) -> Option<GithubIssueSyncStatus> {
    // Later than what it speaks of, else it would count as stale.
    Some(GithubIssueSyncStatus { server_date: at(time.saturating_add(1 + random.below(40) as u32)), ..Default::default() })
}

fn user(number: u32) -> Option<GithubUser> {
    Some(GithubUser { id: text::user_id(number as usize), login: text::login(number as usize), ..Default::default() })
}

fn labels_of(repo: u8) -> usize {
    if repo == 0 { 180 } else { 12 }
}

fn milestones_of(repo: u8) -> usize {
    if repo == 0 { 90 } else { 3 }
}

fn label_name(label: u8) -> String {
    const FIRST: [&str; 12] = [
        "NeedsInvestigation",
        "NeedsFix",
        "FrozenDueToAge",
        "Documentation",
        "help wanted",
        "Proposal",
        "release-blocker",
        "WaitingForInfo",
        "OS-Windows",
        "Performance",
        "Builders",
        "Testing",
    ];
    match FIRST.get(usize::from(label)) {
        Some(name) => (*name).to_owned(),
        None => format!(
            "{}-{}",
            ["OS", "arch", "compiler", "Tools", "gopls", "Security"][usize::from(label % 6)],
            String::from_utf8_lossy(&text::login(usize::from(label)))
        ),
    }
}

fn label(repo: u8, label: u8) -> GithubLabel {
    GithubLabel { id: 150_880_000 + i64::from(repo) * 1_000 + i64::from(label) * 3, name: label_name(label).into_bytes(), ..Default::default() }
}

fn milestone_title(milestone: u8) -> String {
    match milestone {
        0 => "Unplanned".to_owned(),
        1 => "Backlog".to_owned(),
        2 => "Unreleased".to_owned(),
        _ => format!("Go1.{}{}", 1 + (milestone - 3) / 4, ["", ".1", ".2", "Maybe"][usize::from((milestone - 3) % 4)]),
    }
}

fn milestone_id(repo: u8, milestone: u8) -> i64 {
    1_000_000 + i64::from(repo) * 1_000 + i64::from(milestone) * 7
}

impl GitHub {
    pub(crate) fn new(seed: u64, scale: f64) -> GitHub {
        let count = scaled(60_000.0, scale);
        let users = scaled(40_000.0, scale).max(50) as usize;
        let mut issues: Vec<Issue> = (0..count)
            .map(|each| {
                let mut random = Random::of(seed, Purpose::Plan, 1, each);
                let repo = if random.percent(88) { 0 } else { 1 + random.zipf(REPOS.len() - 1) as u8 };
                let born = START + (f64::from(END - START) * random.growth()) as u32;
                Issue { repo, pull_request: random.below(9) == 0, number: 0, born, author: random.zipf(users) as u32 }
            })
            .collect();
        issues.sort_by_key(|issue| issue.born);
        let mut numbers = [0; REPOS.len()];
        for issue in &mut issues {
            let number = &mut numbers[usize::from(issue.repo)];
            *number += 1;
            issue.number = *number;
        }
        GitHub { seed, users, issues }
    }

    /// The stream for one purpose in one step.
    fn random(&self, purpose: Purpose, moment: Moment) -> Random {
        Random::of(self.seed, purpose, moment.issue as u64, u64::from(moment.step))
    }

    /// When the steps of an issue are, the birth first.
    pub(crate) fn times(&self, issue: usize) -> Vec<u32> {
        let mut random = Random::of(self.seed, Purpose::Plan, 2, issue as u64);
        // With the birth 12.93 steps, 776,000 in all.
        let updates = random.geometric(11.93).min(MOST_UPDATES);
        schedule(self.issues[issue].born, (0..updates).map(|_| random.log_normal(40_000.0, 2.2)))
    }

    /// What a repository has before its first issue.
    pub(crate) fn lists(&self, repo: u8) -> GithubMutation {
        GithubMutation {
            owner: OWNER.into(),
            repo: REPOS[usize::from(repo)].into(),
            labels: (0..labels_of(repo)).map(|each| label(repo, each as u8)).collect(),
            milestones: (0..milestones_of(repo))
                .map(|each| GithubMilestone {
                    id: milestone_id(repo, each as u8),
                    title: milestone_title(each as u8).into_bytes(),
                    closed: Some(BoolChange { val: each % 5 == 4, ..Default::default() }),
                    number: each as i64 + 1,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    /// Lets the step happen.
    pub(crate) fn change(&self, moment: Moment, state: &mut State) -> Change {
        let mut random = self.random(Purpose::Issue, moment);
        let repo = self.issues[moment.issue].repo;
        state.updated = moment.time;
        if moment.step == 0 {
            return Change::Opened;
        }
        match random.below(100) {
            0..4 => match state.assignees.pop() {
                Some(who) if random.percent(40) => Change::Unassigned(who),
                before => {
                    state.assignees.extend(before);
                    let who = random.zipf(self.users / 50) as u32;
                    if state.assignees.contains(&who) {
                        return Change::Talked;
                    }
                    state.assignees.push(who);
                    Change::Assigned(who)
                }
            },
            4..35 => {
                let label = random.zipf(labels_of(repo)) as u8;
                match state.labels.iter().position(|known| *known == label) {
                    Some(place) => {
                        state.labels.remove(place);
                        Change::Unlabeled(label)
                    }
                    None => {
                        state.labels.push(label);
                        Change::Labeled(label)
                    }
                }
            }
            35..42 => match state.milestone {
                Some(before) if random.percent(15) => {
                    state.milestone = None;
                    Change::Demilestoned(before)
                }
                _ => {
                    let milestone = random.zipf(milestones_of(repo)) as u8;
                    state.milestone = Some(milestone);
                    Change::Milestoned(milestone)
                }
            },
            42..50 if !state.closed => {
                state.closed = true;
                state.closed_at = moment.time;
                Change::Closed
            }
            42..46 => {
                state.closed = false;
                Change::Reopened
            }
            46..50 if !state.locked => {
                state.locked = true;
                Change::Locked
            }
            50..54 => {
                state.body = moment.step;
                Change::Edited
            }
            54 => Change::Renamed(std::mem::replace(&mut state.title, moment.step)),
            _ => Change::Talked,
        }
    }

    fn title(&self, issue: usize, step: u16) -> Vec<u8> {
        let mut out = Vec::with_capacity(80);
        text::title(&mut Random::of(self.seed, Purpose::IssueText, issue as u64, u64::from(step) * 2), &mut out);
        out
    }

    fn body(&self, issue: usize, step: u16) -> Option<StringChange> {
        let mut random = Random::of(self.seed, Purpose::IssueText, issue as u64, u64::from(step) * 2 + 1);
        let length = random.log_normal(1_000.0, 1.16).min(60_000) as usize;
        let mut val = Vec::new();
        text::prose(&mut random, &mut val, length);
        Some(StringChange { val, ..Default::default() })
    }

    /// A mutation that says which issue it is about, and nothing else.
    fn about(&self, issue: usize) -> GithubIssueMutation {
        let of = &self.issues[issue];
        GithubIssueMutation { owner: OWNER.into(), repo: REPOS[usize::from(of.repo)].into(), number: of.number, ..Default::default() }
    }

    fn set_milestone(&self, mutation: &mut GithubIssueMutation, repo: u8, milestone: u8) {
        mutation.milestone_id = milestone_id(repo, milestone);
        mutation.milestone_num = i64::from(milestone) + 1;
        mutation.milestone_title = milestone_title(milestone).into_bytes();
    }

    /// What a change does to the issue itself.
    pub(crate) fn issue_mutation(&self, moment: Moment, change: &Change) -> GithubIssueMutation {
        let of = &self.issues[moment.issue];
        let mut mutation = self.about(moment.issue);
        mutation.pull_request = of.pull_request;
        mutation.updated = at(moment.time);
        match change {
            Change::Opened => {
                mutation.user = user(of.author);
                mutation.created = at(of.born);
                mutation.title = self.title(moment.issue, 0);
                mutation.body_change = self.body(moment.issue, 0);
                mutation.no_milestone = true;
                mutation.closed = Some(BoolChange::default());
            }
            Change::Labeled(which) => mutation.add_label = vec![label(of.repo, *which)],
            Change::Unlabeled(which) => mutation.remove_label = vec![label(of.repo, *which).id],
            Change::Milestoned(which) => self.set_milestone(&mut mutation, of.repo, *which),
            Change::Demilestoned(_) => mutation.no_milestone = true,
            Change::Closed => {
                mutation.closed = Some(BoolChange { val: true, ..Default::default() });
                mutation.closed_at = at(moment.time);
            }
            Change::Reopened => mutation.closed = Some(BoolChange::default()),
            Change::Locked => mutation.locked = Some(BoolChange { val: true, ..Default::default() }),
            Change::Edited => mutation.body_change = self.body(moment.issue, moment.step),
            Change::Renamed(_) => mutation.title = self.title(moment.issue, moment.step),
            Change::Assigned(who) => mutation.assignees = user(*who).into_iter().collect(),
            Change::Unassigned(who) => mutation.deleted_assignees = vec![text::user_id(*who as usize)],
            Change::Talked => {}
        }
        mutation
    }

    /// The issue as a first sync finds it.
    pub(crate) fn whole_issue(&self, issue: usize, state: &State) -> GithubIssueMutation {
        let of = &self.issues[issue];
        let mut mutation = self.about(issue);
        mutation.pull_request = of.pull_request;
        mutation.user = user(of.author);
        mutation.created = at(of.born);
        mutation.updated = at(state.updated);
        mutation.title = self.title(issue, state.title);
        mutation.body_change = self.body(issue, state.body);
        mutation.closed = Some(BoolChange { val: state.closed, ..Default::default() });
        mutation.closed_at = if state.closed { at(state.closed_at) } else { None };
        mutation.locked = state.locked.then(|| BoolChange { val: true, ..Default::default() });
        mutation.assignees = state.assignees.iter().filter_map(|who| user(*who)).collect();
        mutation.add_label = state.labels.iter().map(|which| label(of.repo, *which)).collect();
        match state.milestone {
            Some(which) => self.set_milestone(&mut mutation, of.repo, which),
            None => mutation.no_milestone = true,
        }
        mutation
    }

    /// A list read again: comments, events or reviews. The caller puts in what was new.
    pub(crate) fn comments_mutation(&self, moment: Moment, comments: Vec<GithubIssueCommentMutation>) -> GithubIssueMutation {
        let status = status(moment.time, &mut self.random(Purpose::Comment, moment));
        GithubIssueMutation { comment: comments, comment_status: status, ..self.about(moment.issue) }
    }

    /// See [`GitHub::comments_mutation`].
    pub(crate) fn events_mutation(&self, moment: Moment, events: Vec<GithubIssueEvent>) -> GithubIssueMutation {
        let status = status(moment.time, &mut self.random(Purpose::Event, moment));
        GithubIssueMutation { event: events, event_status: status, ..self.about(moment.issue) }
    }

    /// See [`GitHub::comments_mutation`].
    pub(crate) fn reviews_mutation(&self, moment: Moment, reviews: Vec<GithubReview>) -> GithubIssueMutation {
        let status = status(moment.time, &mut self.random(Purpose::Review, moment));
        GithubIssueMutation { review: reviews, review_status: status, ..self.about(moment.issue) }
    }

    /// An id that nothing else of its kind has.
    fn unique(moment: Moment) -> i64 {
        (moment.issue as i64) << 9 | i64::from(moment.step)
    }

    /// What was said in the step.
    pub(crate) fn comment(&self, moment: Moment, change: &Change) -> Option<GithubIssueCommentMutation> {
        let mut random = self.random(Purpose::Comment, moment);
        let said = match change {
            Change::Opened => false,
            Change::Talked => true,
            _ => random.percent(11),
        };
        if !said {
            return None;
        }
        let mut body = Vec::new();
        let length = random.log_normal(260.0, 1.17).min(60_000) as usize;
        text::prose(&mut random, &mut body, length);
        Some(GithubIssueCommentMutation {
            id: 30_000_000 + Self::unique(moment),
            user: user(random.zipf(self.users) as u32),
            body,
            created: at(moment.time),
            updated: at(moment.time),
            ..Default::default()
        })
    }

    /// The events of the step.
    pub(crate) fn events(&self, moment: Moment, change: &Change) -> Vec<GithubIssueEvent> {
        let mut random = self.random(Purpose::Event, moment);
        let of = &self.issues[moment.issue];
        let mut events = Vec::new();
        let fresh = |events: &[GithubIssueEvent], event_type: &str, random: &mut Random| GithubIssueEvent {
            id: 100_000_000 + (Self::unique(moment) << 3 | events.len() as i64),
            event_type: event_type.into(),
            actor_id: text::user_id(random.zipf(self.users)),
            created: at(moment.time),
            ..Default::default()
        };
        let commit = |random: &mut Random| {
            Some(GithubCommit { owner: OWNER.into(), repo: REPOS[usize::from(of.repo)].into(), commit_id: Id::draw(random).0.into(), ..Default::default() })
        };
        let named = |which: u8| Some(GithubLabel { name: label_name(which).into_bytes(), ..Default::default() });
        let titled = |which: u8| Some(GithubMilestone { title: milestone_title(which).into_bytes(), ..Default::default() });
        let own = match change {
            Change::Labeled(which) => Some(GithubIssueEvent { label: named(*which), ..fresh(&events, "labeled", &mut random) }),
            Change::Unlabeled(which) => Some(GithubIssueEvent { label: named(*which), ..fresh(&events, "unlabeled", &mut random) }),
            Change::Milestoned(which) => Some(GithubIssueEvent { milestone: titled(*which), ..fresh(&events, "milestoned", &mut random) }),
            Change::Demilestoned(which) => Some(GithubIssueEvent { milestone: titled(*which), ..fresh(&events, "demilestoned", &mut random) }),
            Change::Closed => {
                Some(GithubIssueEvent { commit: if random.percent(30) { commit(&mut random) } else { None }, ..fresh(&events, "closed", &mut random) })
            }
            Change::Reopened => Some(fresh(&events, "reopened", &mut random)),
            Change::Locked => Some(fresh(&events, "locked", &mut random)),
            Change::Renamed(before) => Some(GithubIssueEvent {
                rename_from: self.title(moment.issue, *before),
                rename_to: self.title(moment.issue, moment.step),
                ..fresh(&events, "renamed", &mut random)
            }),
            Change::Assigned(who) | Change::Unassigned(who) => {
                let kind = if matches!(change, Change::Assigned(_)) { "assigned" } else { "unassigned" };
                Some(GithubIssueEvent {
                    assignee_id: text::user_id(*who as usize),
                    assigner_id: text::user_id(random.zipf(self.users)),
                    ..fresh(&events, kind, &mut random)
                })
            }
            Change::Opened | Change::Edited | Change::Talked => None,
        };
        events.extend(own);
        // Three of four lists that are read again bring something, 1.26 to 1.4 events on average.
        let more = match change {
            Change::Opened | Change::Edited | Change::Talked if random.percent(51) => 1 + random.geometric(0.4),
            Change::Opened | Change::Edited | Change::Talked => 0,
            _ => random.geometric(0.4),
        };
        for _ in 0..more.min(6) {
            const KINDS: [&str; 8] =
                ["mentioned", "subscribed", "referenced", "cross-referenced", "review_requested", "head_ref_deleted", "comment_deleted", "base_ref_changed"];
            let kind = KINDS[random.zipf(KINDS.len())];
            let mut event = fresh(&events, kind, &mut random);
            match kind {
                "referenced" => event.commit = commit(&mut random),
                "review_requested" => {
                    event.reviewer_id = text::user_id(random.zipf(self.users));
                    event.review_requester_id = event.actor_id;
                }
                "cross-referenced" => event.other_json = format!("{{\"source\":{{\"number\":{}}}}}", 1 + random.below(60_000)).into_bytes(),
                _ => {}
            }
            events.push(event);
        }
        events
    }

    /// The reviews of the step; only pull requests have some.
    pub(crate) fn reviews(&self, moment: Moment) -> Vec<GithubReview> {
        let mut random = self.random(Purpose::Review, moment);
        if moment.step == 0 || !random.percent(30) {
            return Vec::new();
        }
        let mut body = Vec::new();
        if random.percent(40) {
            let length = random.log_normal(50.0, 1.0) as usize;
            text::prose(&mut random, &mut body, length);
        }
        vec![GithubReview {
            id: 20_000_000 + Self::unique(moment),
            actor_id: text::user_id(random.zipf(self.users)),
            created: at(moment.time),
            body,
            state: ["COMMENTED", "APPROVED", "CHANGES_REQUESTED"][random.zipf(3)].into(),
            commit_id: Id::draw(&mut random).0.into(),
            actor_association: ["CONTRIBUTOR", "MEMBER", "NONE"][random.zipf(3)].into(),
            ..Default::default()
        }]
    }
}
