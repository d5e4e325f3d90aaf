//! People at work: a random walk through everything that can be done.

use burrow_clock::TestClock;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::model::Reviewer;
use crate::world::World;

const PEOPLE: [&str; 6] = ["ada", "bob", "carol", "dave", "eve", "gopherbot"];
const LABELS: [&str; 5] = ["bug", "help wanted", "NeedsFix", "wontfix", "\u{d6}ffentlich"];
const MILESTONES: [&str; 3] = ["v1.0", "v1.1", "Backlog"];

impl World {
    /// Does `steps` random things in a repository, letting up to a minute pass before each (often nothing: things happen within one second).
    /// The same seed on the same world does the same.
    pub fn random(&mut self, repo: &str, seed: u64, steps: usize) {
        let mut rng = StdRng::seed_from_u64(seed);
        self.create_repo(repo);
        let clock = self.clock().clone();
        for _ in 0..steps {
            self.random_step(repo, &clock, &mut rng);
        }
    }

    fn random_step(&mut self, repo: &str, clock: &TestClock, rng: &mut StdRng) {
        if rng.random_bool(0.7) {
            clock.advance_ms(rng.random_range(1..60_000));
        }
        let who = *PEOPLE.choose(rng).unwrap_or(&"ada");
        let other = *PEOPLE.choose(rng).unwrap_or(&"bob");
        let numbers: Vec<i32> = self.repo(repo).issues.keys().copied().collect();
        let serial = rng.random_range(0..1_000_000);
        let Some(number) = numbers.choose(rng).copied().filter(|_| rng.random_bool(0.9)) else {
            let body = ["", "It is so.", "Line\r\n\r\n\u{1f40c} \"quoted\" <b>&amp;</b>"][rng.random_range(0..3)];
            let title = format!("Problem {serial}");
            if rng.random_bool(0.3) {
                self.open_pull(repo, who, &title, body)
            } else {
                self.open_issue(repo, who, &title, body)
            };
            return;
        };
        let issue = self.issue(repo, number);
        let (pull, closed, locked) = (issue.pull, issue.closed, issue.locked);
        let comments: Vec<i64> = issue.comments.keys().copied().collect();
        let reviews: Vec<i64> = issue.reviews.keys().copied().collect();
        let label = *LABELS.choose(rng).unwrap_or(&"bug");
        let milestone = *MILESTONES.choose(rng).unwrap_or(&"v1.0");
        match rng.random_range(0..24) {
            0..=6 => {
                self.comment(repo, number, who, &format!("Comment {serial}"));
            }
            7 => {
                if let Some(id) = comments.choose(rng) {
                    self.edit_comment(repo, number, *id, &format!("Edited {serial}"));
                }
            }
            8 => {
                if let Some(id) = comments.choose(rng) {
                    self.delete_comment(repo, number, *id, who);
                }
            }
            9 | 10 => self.add_label(repo, number, who, label),
            11 => self.remove_label(repo, number, who, label),
            12 => self.set_milestone(repo, number, who, Some(milestone).filter(|_| serial % 3 > 0)),
            13 => self.assign(repo, number, who, other),
            14 => self.unassign(repo, number, who, other),
            15 | 16 if closed => self.reopen(repo, number, who),
            15 => self.close(repo, number, who),
            16 => self.close_by_commit(repo, number, who, &format!("{serial:040x}")),
            17 => self.set_locked(repo, number, who, !locked),
            18 => self.retitle(repo, number, who, &format!("Another problem {serial}")),
            19 => self.edit_body(repo, number, ["", "Changed."][serial % 2]),
            20 if pull => {
                let state = ["APPROVED", "CHANGES_REQUESTED", "COMMENTED"][serial % 3];
                self.review(repo, number, who, state, "");
            }
            21 if pull => {
                let from = if serial % 2 == 0 { Reviewer::User(self.user(other)) } else { Reviewer::Team(self.team("core-team")) };
                self.request_review(repo, number, who, &from);
            }
            22 => match reviews.choose(rng) {
                Some(id) => self.dismiss_review(repo, number, who, *id, "Outdated"),
                None => {
                    self.event(repo, number, Some(who), "added_to_project_v2", json!({"project": {"id": serial, "title": "Plan <1>"}}));
                }
            },
            _ => {
                let fields = json!({"commit_id": format!("{serial:040x}"), "commit_url": format!("{}/repos/{repo}/commits/{serial:040x}", self.base)});
                self.event(repo, number, Some(who), "referenced", fields);
            }
        }
    }
}
