//! Everything a corpus holds, as sorted lines of JSON (`docs/maintner-dump.md`).

use std::fmt::Write as _;
use std::io::{self, Write};

use sha2::Digest as _;

use crate::view::*;
use crate::{Status, View};

/// What a dump comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256 over all lines, in hex.
    pub sha256: String,
    /// Lines.
    pub lines: u64,
}

/// Writes all lines, sorted.
///
/// # Errors
/// `out` cannot be written.
pub fn dump(view: &View, reading: Reading, out: &mut dyn Write) -> io::Result<Summary> {
    let mut lines = Lines { reading, lines: Vec::new() };
    lines.github(view);
    lines.gerrit(view);
    lines.git(view);
    lines.lines.sort_unstable();
    let mut digest = sha2::Sha256::new();
    for line in &lines.lines {
        digest.update(line.as_bytes());
        digest.update(b"\n");
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Summary { sha256: hex(&digest.finalize()), lines: lines.lines.len() as u64 })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A line that is being written: `{"t":"kind","key":value,…}`.
struct Line(String);

impl Line {
    fn new(kind: &str) -> Line {
        Line(format!("{{\"t\":\"{kind}\""))
    }

    fn raw(mut self, key: &str, value: &str) -> Line {
        let _ = write!(self.0, ",\"{key}\":{value}");
        self
    }

    fn number(self, key: &str, value: i64) -> Line {
        self.raw(key, &value.to_string())
    }

    fn bool(self, key: &str, value: bool) -> Line {
        self.raw(key, if value { "true" } else { "false" })
    }

    fn string(self, key: &str, value: &[u8]) -> Line {
        self.raw(key, &string(value))
    }

    fn text(self, key: &str, value: &[u8]) -> Line {
        self.raw(key, &text(value))
    }

    fn time(self, key: &str, value: Option<Time>) -> Line {
        self.raw(key, &time(value))
    }

    fn user(self, key: &str, user: Option<User<'_>>) -> Line {
        self.raw(key, &user_json(user))
    }
}

fn string(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return format!("{{\"hex\":\"{}\"}}", hex(bytes)) };
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn text(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "\"\"".into();
    }
    let digest = sha2::Sha256::digest(bytes);
    format!("\"{}:{}\"", bytes.len(), hex(digest.get(..8).unwrap_or(&[])))
}

fn time(value: Option<Time>) -> String {
    value.map_or_else(|| "\"\"".into(), |time| format!("\"{}.{:09}\"", time.seconds, time.nanos))
}

fn zoned(value: Option<ZonedTime>) -> String {
    let Some(value) = value else { return "\"\"".into() };
    let minutes = value.zone_minutes;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("\"{}.{:09}{sign}{:02}{:02}\"", value.time.seconds, value.time.nanos, minutes.abs() / 60, minutes.abs() % 60)
}

fn user_json(user: Option<User<'_>>) -> String {
    user.map_or_else(|| "null".into(), |user| format!("{{\"id\":{},\"login\":{}}}", user.id, string(user.login.0)))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

struct Lines {
    reading: Reading,
    lines: Vec<String>,
}

impl Lines {
    fn end(&mut self, line: Line) {
        self.lines.push(line.0 + "}");
    }

    fn github(&mut self, view: &View) {
        for user in view.github().users() {
            self.end(Line::new("ghuser").number("id", user.id).string("login", user.login.0));
        }
        for team in view.github().teams() {
            self.end(Line::new("ghteam").number("id", team.id).string("slug", team.slug.0));
        }
        for repo in view.github().repos() {
            let name = [repo.owner().0, b"/", repo.name().0].concat();
            for label in repo.labels() {
                self.end(Line::new("ghlabel").string("repo", &name).number("id", label.id).string("name", label.name.0));
            }
            for milestone in repo.milestones() {
                let line = Line::new("ghmilestone").string("repo", &name).number("id", milestone.id).string("title", milestone.title.0);
                self.end(line.number("number", milestone.number.into()).bool("closed", milestone.closed));
            }
            for issue in repo.issues() {
                self.issue(&name, issue);
            }
        }
    }

    fn issue(&mut self, repo: &[u8], issue: Issue<'_>) {
        let mut labels: Vec<i64> = issue.labels().map(|label| label.id).collect();
        labels.sort_unstable();
        let line = Line::new("ghissue").string("repo", repo).number("number", issue.number().into()).number("id", issue.id());
        let line = line.bool("not_exist", issue.not_exist()).bool("pr", issue.is_pull_request()).bool("locked", issue.locked());
        let line = line.bool("closed", issue.closed()).time("created", issue.created()).time("updated", issue.updated());
        let line = line.time("closed_at", issue.closed_at()).user("user", issue.user()).user("closed_by", issue.closed_by());
        let line = line.raw("assignees", &list(issue.assignees().map(|user| user_json(Some(user)))));
        let milestone = match issue.milestone() {
            MilestoneOf::Unknown => "null".into(),
            MilestoneOf::None => "0".into(),
            MilestoneOf::Is(milestone) => milestone.id.to_string(),
        };
        let line = line.text("title", issue.title().0).text("body", issue.body().0).raw("milestone", &milestone);
        let line = line.raw("labels", &list(labels.into_iter().map(|id| id.to_string()))).time("comments_as_of", issue.comments_as_of());
        self.end(line.time("events_as_of", issue.events_as_of()).time("reviews_as_of", issue.reviews_as_of()));
        let of = |kind, id| Line::new(kind).string("repo", repo).number("number", issue.number().into()).number("id", id);
        for comment in issue.comments() {
            let line = of("ghcomment", comment.id()).user("user", comment.user()).time("created", comment.created());
            self.end(line.time("updated", comment.updated()).text("body", comment.body().0));
        }
        for event in issue.events() {
            self.event(of("ghevent", event.id()), event);
        }
        for review in issue.reviews() {
            let line = of("ghreview", review.id()).user("actor", review.actor()).time("created", review.created()).text("body", review.body().0);
            let line = line.string("state", review.state().0).string("commit", review.commit_id().0);
            self.end(line.string("association", review.actor_association().0).text("other", review.other_json().0));
        }
    }

    fn event(&mut self, line: Line, event: Event<'_>) {
        let line = line.string("type", event.kind().0).user("actor", event.actor()).time("created", event.created());
        let line = line.string("label", event.label().0).string("milestone", event.milestone().0);
        let line = line.user("assignee", event.assignee()).user("assigner", event.assigner());
        let commit = event.commit().map(|(owner, repo, id)| {
            let named = !owner.is_empty() && !repo.is_empty();
            let name = if named { [owner.0, b"/", repo.0].concat() } else { Vec::new() };
            (named || !id.is_empty()).then(|| format!("{{\"repo\":{},\"id\":{}}}", string(&name), string(id.0)))
        });
        let line = line.raw("commit", &commit.flatten().unwrap_or_else(|| "null".into()));
        let (from, to) = event.rename();
        let line = line.string("from", from.0).string("to", to.0);
        let line = line.user("reviewer", event.reviewer()).user("reviewer_requester", event.review_requester());
        let team = event.team_reviewer().map(|team| format!("{{\"id\":{},\"slug\":{}}}", team.id, string(team.slug.0)));
        let line = line.raw("team", &team.unwrap_or_else(|| "null".into()));
        let dismissed = event
            .dismissed_review()
            .map(|review| format!("{{\"id\":{},\"message\":{},\"state\":{}}}", review.id, text(review.message.0), string(review.state.0)));
        self.end(line.raw("dismissed", &dismissed.unwrap_or_else(|| "null".into())).text("other", event.other_json().0));
    }

    fn gerrit(&mut self, view: &View) {
        for project in view.gerrit().projects() {
            let name = project.name().0;
            self.end(Line::new("gproject").string("project", name).number("label_changes", project.label_changes()));
            for (reference, hash) in project.references() {
                self.end(Line::new("gref").string("project", name).string("ref", reference.0).string("hash", hash.to_string().as_bytes()));
            }
            for change in project.all_changes() {
                for (patch_set, commit) in change.patch_sets() {
                    let line = Line::new("gchangeref").string("project", name).number("cl", change.number().into());
                    self.end(line.number("ps", patch_set.into()).string("hash", commit.hash().to_string().as_bytes()));
                }
            }
            for change in project.changes() {
                self.change(name, change);
            }
        }
    }

    fn change(&mut self, project: &[u8], change: Change<'_>) {
        let reading = self.reading;
        let metas = change.metas();
        let hash = |commit: Commit<'_>| string(commit.hash().to_string().as_bytes());
        let line = Line::new("gcl").string("project", project).number("number", change.number().into());
        let line = line.number("version", change.version(reading).into()).raw("commit", &hash(change.commit(reading))).raw("meta", &hash(change.meta()));
        let line = line.time("created", change.created()).string("status", Status::word(change.status()).as_bytes());
        let line = line.bool("private", change.private(reading)).string("branch", change.branch().0).bool("wip", change.work_in_progress());
        let line = line.string("change_id", change.change_id(reading).0).number("owner_id", change.owner_id().unwrap_or(-1));
        let line = line.text("subject", &change.subject(reading)).raw("metas", &list(metas.iter().map(|meta| hash(meta.commit))));
        let messages = change.messages().into_iter().map(|message| {
            let (date, author) = (time(message.date), string(message.author.0.0));
            format!("{{\"meta\":{},\"version\":{},\"date\":{date},\"author\":{author},\"text\":{}}}", hash(message.meta), message.version, text(message.text.0))
        });
        let line = line.raw("messages", &list(messages));
        let line = line.raw("refs", &list(change.issue_refs(reading).iter().map(|reference| string(reference.to_string().as_bytes()))));
        let line = line.string("hashtags", change.hashtags().0.0).raw("votes", &votes(&change.votes(reading)));
        let edits = metas
            .iter()
            .filter_map(|meta| meta.hashtag_edit().map(|edit| (meta, edit)))
            .map(|(meta, edit)| format!("{{\"meta\":{},\"added\":{},\"removed\":{}}}", hash(meta.commit), string(edit.added.0.0), string(edit.removed.0.0)));
        self.end(line.raw("hashtag_edits", &list(edits)));
    }

    fn git(&mut self, view: &View) {
        for commit in view.git().commits() {
            let hash = commit.hash().to_string();
            if commit.is_placeholder() {
                self.end(Line::new("placeholder").string("hash", hash.as_bytes()));
                continue;
            }
            let tree = commit.tree().map_or_else(String::new, |tree| tree.to_string());
            let parents = list(commit.parents().into_iter().map(|parent| string(parent.hash().to_string().as_bytes())));
            let line = Line::new("commit").string("hash", hash.as_bytes()).string("tree", tree.as_bytes()).raw("parents", &parents);
            let line = line.string("author", commit.author().0.0).raw("author_time", &zoned(commit.author_time()));
            let line = line.string("committer", commit.committer().0.0).raw("commit_time", &zoned(commit.commit_time_zoned()));
            let line = line.string("reviewer", commit.reviewer().map_or(b"", |reviewer| reviewer.0.0)).text("msg", commit.message().0);
            let files = commit.files().into_iter().map(|file| format!("[{},{},{},{}]", string(file.name.0), file.added, file.deleted, u8::from(file.binary)));
            self.end(line.raw("files", &list(files)));
        }
    }
}

fn votes(votes: &Votes<'_>) -> String {
    if votes.unknown {
        return "null".into();
    }
    let key = |text: &Text<'_>| match std::str::from_utf8(text.0) {
        Ok(_) => string(text.0),
        Err(_) => format!("\"hex:{}\"", hex(text.0)),
    };
    let voters = |voters: &std::collections::BTreeMap<Text<'_>, i8>| {
        let pairs: Vec<String> = voters.iter().map(|(voter, vote)| format!("{}:{vote}", key(voter))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let labels: Vec<String> =
        votes.labels.iter().filter(|(_, voters)| !voters.is_empty()).map(|(label, found)| format!("{}:{}", key(label), voters(found))).collect();
    format!("{{{}}}", labels.join(","))
}
