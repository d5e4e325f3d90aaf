//! Gerrit's projects and changes.

use memchr::memmem;

use crate::View;
use crate::commit::{integer, trim};
use crate::notedb::{self, Status, footer, line_value, says};
use crate::references::{IssueRef, references};
use crate::rows::{ChangeRow, change_flag, commit_flag};
use crate::table::NONE;
use crate::tables::GitTables;
use crate::view::{Commit, Hash, Person, Reading, Text, Time, Votes, votes};

impl View {
    /// Everything Gerrit.
    pub fn gerrit(&self) -> Gerrit<'_> {
        Gerrit { view: self }
    }
}

/// All Gerrit servers that are followed.
#[derive(Clone, Copy, Debug)]
pub struct Gerrit<'a> {
    view: &'a View,
}

impl<'a> Gerrit<'a> {
    /// A project. `server` is a host or a URL; `X-review.googlesource.com` is understood as `X.googlesource.com`.
    pub fn project(self, server: &str, project: &str) -> Option<Project<'a>> {
        let host = server.split_once("://").map_or(server, |(_, rest)| rest.split('/').next().unwrap_or(rest));
        let host = match host.strip_suffix("-review.googlesource.com") {
            Some(short) => format!("{short}.googlesource.com"),
            None => host.to_owned(),
        };
        self.project_named(&format!("{host}/{project}"))
    }

    /// A project by its name in the log: `host/project`.
    pub fn project_named(self, name: &str) -> Option<Project<'a>> {
        let row = self.git().find_project(&self.view.state.log, name.as_bytes())?;
        Some(Project { view: self.view, row })
    }

    /// All projects, in the order in which they came up.
    pub fn projects(self) -> impl Iterator<Item = Project<'a>> {
        (0..self.git().projects.len()).map(move |row| Project { view: self.view, row })
    }

    fn git(self) -> &'a GitTables {
        &self.view.state.git
    }

    /// Looks for what can be wrong with a corpus: a commit that a project refers to and does not have.
    ///
    /// # Errors
    /// The first project with missing commits, and how many.
    pub fn check(self) -> Result<(), MissingCommits> {
        for project in self.projects() {
            let count = project.missing_commits().count();
            if count > 0 {
                return Err(MissingCommits { project: project.name().to_string(), count });
            }
        }
        Ok(())
    }
}

/// A project lacks commits that it refers to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{project}: {count} missing commits")]
pub struct MissingCommits {
    /// Which project.
    pub project: String,
    /// How many.
    pub count: usize,
}

/// A project of a Gerrit server.
#[derive(Clone, Copy, Debug)]
pub struct Project<'a> {
    view: &'a View,
    row: u32,
}

impl<'a> Project<'a> {
    fn git(self) -> &'a GitTables {
        &self.view.state.git
    }

    /// `host/project`.
    pub fn name(self) -> Text<'a> {
        Text(self.view.state.log.text(self.git().projects.at(self.row).name))
    }

    /// The server's host: what is before the first slash.
    pub fn server(self) -> Text<'a> {
        let name = self.name().0;
        Text(memchr::memchr(b'/', name).and_then(|slash| name.get(..slash)).unwrap_or(b""))
    }

    /// The project on its server.
    pub fn project(self) -> Text<'a> {
        let name = self.name().0;
        Text(memchr::memchr(b'/', name).and_then(|slash| name.get(slash + 1..)).unwrap_or(b""))
    }

    /// What a reference that is not of a change points at.
    pub fn reference(self, name: &str) -> Option<Hash> {
        let row = self.git().find_ref(&self.view.state.log, self.row, name.as_bytes())?;
        self.git().commits.get(self.git().refs.get(row)?.commit).map(|commit| Hash(commit.hash))
    }

    /// All references that are not of changes, sorted by name.
    pub fn references(self) -> Vec<(Text<'a>, Hash)> {
        let git = self.git();
        let mut found = Vec::new();
        let mut at = git.projects.at(self.row).refs;
        while let Some(row) = git.refs.get(at) {
            if let Some(commit) = git.commits.get(row.commit) {
                found.push((Text(self.view.state.log.text(row.name)), Hash(commit.hash)));
            }
            at = row.next;
        }
        found.sort();
        found
    }

    /// A commit that this project has.
    pub fn commit(self, hash: &Hash) -> Option<Commit<'a>> {
        let row = self.git().find_commit(&hash.0).filter(|row| self.git().in_project(*row, self.row))?;
        Some(Commit { view: self.view, row })
    }

    /// Commits that this project refers to and does not have.
    pub fn missing_commits(self) -> impl Iterator<Item = Hash> + use<'a> {
        let git = self.git();
        let pairs = git.needed.iter().filter(move |[commit, project]| *project == self.row && !git.in_project(*commit, self.row));
        pairs.filter_map(|[commit, _]| git.commits.get(*commit).map(|commit| Hash(commit.hash)))
    }

    /// A number that grows whenever votes change, and sometimes otherwise.
    pub fn label_changes(self) -> i64 {
        self.git().projects.at(self.row).label_changes
    }

    /// All changes that are complete, by number.
    pub fn changes(self) -> Vec<Change<'a>> {
        let mut found = self.all_changes();
        found.retain(|change| change.data().complete());
        found
    }

    /// All open changes that are complete and not private, by number. Work in progress is among them.
    pub fn open_changes(self, reading: Reading) -> Vec<Change<'a>> {
        let mut found = self.changes();
        found.retain(|change| change.status() == Status::New && !change.private(reading));
        found
    }

    /// All changes, also those of which too little is known to be shown.
    pub(crate) fn all_changes(self) -> Vec<Change<'a>> {
        let git = self.git();
        let mut found = Vec::new();
        let mut at = git.projects.at(self.row).changes;
        while let Some(row) = git.changes.get(at) {
            found.push((row.number, at));
            at = row.next;
        }
        if !found.is_sorted() {
            found.sort_unstable();
        }
        found.into_iter().map(|(_, row)| Change { view: self.view, row }).collect()
    }

    /// A change that is complete.
    pub fn change(self, number: i32) -> Option<Change<'a>> {
        let row = self.git().find_change(self.row, number)?;
        Some(Change { view: self.view, row }).filter(|change| change.data().complete())
    }

    /// What the reference `refs/changes/…/NUMBER/PATCH_SET` of a change points at, complete or not; patch set 0 is the meta reference.
    pub fn change_reference(self, number: i32, patch_set: i32) -> Option<Hash> {
        let row = self.git().find_change(self.row, number)?;
        Change { view: self.view, row }.patch_set(patch_set).map(Commit::hash)
    }
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    view: &'a View,
    row: u32,
}

impl<'a> Change<'a> {
    fn data(self) -> ChangeRow {
        self.view.state.git.changes.get(self.row).copied().unwrap_or_else(|| ChangeRow::new(NONE, 0))
    }

    fn at(self, row: u32) -> Commit<'a> {
        Commit { view: self.view, row }
    }

    /// Its project.
    pub fn project(self) -> Project<'a> {
        Project { view: self.view, row: self.data().project }
    }

    /// Its number on the server.
    pub fn number(self) -> i32 {
        self.data().number
    }

    /// When it was made: the time of its first meta commit.
    pub fn created(self) -> Option<Time> {
        self.at(self.data().first_meta).commit_time()
    }

    /// Number of its newest patch set. In the reference's reading: of the one that was processed last.
    pub fn version(self, reading: Reading) -> i32 {
        match reading {
            Reading::Ours => self.data().top_version,
            Reading::Reference => self.data().last_version,
        }
    }

    /// The commit of its newest patch set; see [`Change::version`].
    pub fn commit(self, reading: Reading) -> Commit<'a> {
        match reading {
            Reading::Ours => self.at(self.data().top_commit),
            Reading::Reference => self.at(self.data().last_commit),
        }
    }

    /// The commit of a patch set.
    pub fn commit_at(self, version: i32) -> Option<Commit<'a>> {
        if version < 1 { None } else { self.patch_set(version) }
    }

    /// Number and commit of everything that `refs/changes/…` has of it; number 0 is the meta reference. In no particular order.
    pub fn patch_sets(self) -> Vec<(i32, Commit<'a>)> {
        let git = &self.view.state.git;
        let mut found = Vec::new();
        let mut at = self.data().patch_sets;
        while let Some(row) = git.patch_sets.get(at) {
            found.push((row.number, self.at(row.commit)));
            at = row.next;
        }
        found
    }

    fn patch_set(self, number: i32) -> Option<Commit<'a>> {
        self.patch_sets().into_iter().find(|(found, _)| *found == number).map(|(_, commit)| commit)
    }

    /// The head of its meta reference.
    pub fn meta(self) -> Commit<'a> {
        self.at(self.data().meta)
    }

    /// Its meta commits, oldest first: everything that ever happened to it.
    pub fn metas(self) -> Vec<Meta<'a>> {
        let data = self.data();
        let mut found = Vec::new();
        let mut at = data.walked;
        for _ in 0..data.metas {
            let Some(commit) = self.view.state.git.commits.get(at) else { break };
            found.push(Meta { commit: self.at(at) });
            at = commit.parent;
        }
        found.reverse();
        found
    }

    /// Open, abandoned, merged.
    pub fn status(self) -> Status {
        Status::from_bits(self.data().flags as u16).unwrap_or(Status::New)
    }

    /// Whether it is private. In the reference's reading: whether it ever was.
    pub fn private(self, reading: Reading) -> bool {
        let flag = match reading {
            Reading::Ours => change_flag::PRIVATE,
            Reading::Reference => change_flag::EVER_PRIVATE,
        };
        self.data().flags & flag != 0
    }

    /// Its branch, without `refs/heads/`.
    pub fn branch(self) -> Text<'a> {
        let branch = self.view.state.log.text(self.data().branch);
        Text(branch.strip_prefix(b"refs/heads/").unwrap_or(branch))
    }

    /// Whether it is work in progress.
    pub fn work_in_progress(self) -> bool {
        self.data().flags & change_flag::WIP != 0
    }

    /// Value of a line `key` (which ends with a colon) of the commit's message; empty if there is none.
    pub fn footer(self, key: &str, reading: Reading) -> Text<'a> {
        Text(line_value(self.commit(reading).message().0, key.as_bytes()).map_or(b"", |(value, _)| value))
    }

    /// `I…`, 41 characters; empty if the commit has none.
    pub fn change_id(self, reading: Reading) -> Text<'a> {
        let id = self.footer("Change-Id:", reading);
        if id.0.starts_with(b"I") && id.0.len() == 41 { id } else { Text(b"") }
    }

    /// Account number of its owner: from the mail of its first meta commit's author. `None`: it cannot be told.
    pub fn owner_id(self) -> Option<i64> {
        let mail = self.at(self.data().first_meta).author().email().0;
        integer(mail.get(..memchr::memchr(b'@', mail)?)?)
    }

    /// Author of the first patch set.
    pub fn owner(self) -> Option<Person<'a>> {
        let first = self.commit_at(1)?;
        self.project().commit(&first.hash()).map(Commit::author)
    }

    /// Subject of its commit: everything before the first blank line, in one line.
    pub fn subject(self, reading: Reading) -> Vec<u8> {
        let message = self.commit(reading).message().0;
        let end = memmem::find(message, b"\n\n").unwrap_or(message.len());
        message.iter().take(end).map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect()
    }

    /// GitHub issues that its commit mentions. In the reference's reading: as far as the commit was known when it became the change's.
    pub fn issue_refs(self, reading: Reading) -> Vec<IssueRef> {
        if reading == Reading::Reference && self.data().flags & change_flag::BLIND != 0 {
            return Vec::new();
        }
        references(self.project().name().0, self.commit(reading).message().0)
    }

    /// Everything people and programs said about it, oldest first.
    pub fn messages(self) -> Vec<Message<'a>> {
        self.metas().into_iter().filter_map(Meta::message).collect()
    }

    /// Its hashtags now.
    pub fn hashtags(self) -> Hashtags<'a> {
        self.metas().iter().rev().find_map(|meta| meta.own_hashtags()).unwrap_or_default()
    }

    /// Who is to review it now, and who is only told of it: as the lines `Reviewer:`, `CC:` and `Removed:` of its meta commits say, the last word counting.
    pub fn reviewers(self) -> Reviewers<'a> {
        let mut found = Reviewers::default();
        for meta in self.metas() {
            let lines = meta.footer().0.split(|byte| *byte == b'\n');
            for (key, who) in lines.filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?)) {
                let who = Person(Text(trim(who.get(1..).unwrap_or(b""))));
                let list = match key {
                    b"Reviewer" => Some(&mut found.reviewers),
                    b"CC" => Some(&mut found.cc),
                    b"Removed" => None,
                    _ => continue,
                };
                if let Some(list) = list {
                    list.push(who);
                    let last = list.len() - 1;
                    if let Some(before) = list.iter().position(|known| known.email() == who.email()).filter(|before| *before != last) {
                        list.remove(before);
                    }
                }
                match key {
                    b"Reviewer" => found.cc.retain(|known| known.email() != who.email()),
                    b"CC" => found.reviewers.retain(|known| known.email() != who.email()),
                    _ => {
                        found.reviewers.retain(|known| known.email() != who.email());
                        found.cc.retain(|known| known.email() != who.email());
                    }
                }
            }
        }
        found
    }

    /// The votes on it now.
    pub fn votes(self, reading: Reading) -> Votes<'a> {
        votes::votes(self.project(), &self.metas(), reading)
    }
}

/// Who looks at a change. People are accounts of the server: `Name <123@server>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reviewers<'a> {
    /// Who is to review it, in the order in which they were asked last.
    pub reviewers: Vec<Person<'a>>,
    /// Who is only told of it.
    pub cc: Vec<Person<'a>>,
}

/// A meta commit of a change: one thing that happened to it.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'a> {
    /// The commit.
    pub commit: Commit<'a>,
}

impl<'a> Meta<'a> {
    /// The lines `Key: value` at the end of its message.
    pub fn footer(self) -> Text<'a> {
        Text(footer(self.commit.message().0))
    }

    /// Value of the first line `key` of its footer.
    pub fn value(self, key: &str) -> Option<Text<'a>> {
        line_value(self.footer().0, key.as_bytes()).map(|(value, _)| Text(value))
    }

    /// What made it: `autogenerated:gerrit:setHashtag`, for example; empty for people.
    pub fn action_tag(self) -> Text<'a> {
        self.value("Tag: ").unwrap_or_default()
    }

    /// The message that it carries.
    pub fn message(self) -> Option<Message<'a>> {
        if !self.commit.data().has(says::MESSAGE) || self.commit.data().has(commit_flag::PLACEHOLDER) {
            return None;
        }
        let (version, text) = notedb::message_of(self.commit.message().0)?;
        Some(Message { meta: self.commit, version, text: Text(text), date: self.commit.commit_time(), author: self.commit.author() })
    }

    /// The hashtags that it sets, if it does.
    pub fn own_hashtags(self) -> Option<Hashtags<'a>> {
        self.value("Hashtags: ").map(Hashtags)
    }

    /// What it did to the hashtags, if it was an edit of them.
    pub fn hashtag_edit(self) -> Option<HashtagEdit<'a>> {
        let message = self.commit.message().0;
        let edit = memmem::find(message, b"autogenerated:gerrit:setHashtag").is_some() && self.action_tag() == "autogenerated:gerrit:setHashtag";
        if !edit {
            return None;
        }
        let mut found = HashtagEdit::default();
        let mut rest = message;
        while let Some((value, behind)) = line_value(rest, b"Hash") {
            rest = behind;
            if let Some(colon) = memchr::memchr(b':', value) {
                let (action, tags) = value.split_at(colon);
                let tags = Hashtags(Text(trim(tags.get(1..).unwrap_or(b""))));
                match action {
                    b"tag added" | b"tags added" => found.added = tags,
                    b"tag removed" | b"tags removed" => found.removed = tags,
                    _ => {}
                }
            }
        }
        (!found.added.0.is_empty() || !found.removed.0.is_empty()).then_some(found)
    }
}

/// A set of hashtags, as Gerrit writes it: separated by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashtags<'a>(pub Text<'a>);

impl<'a> Hashtags<'a> {
    /// The tags, without blanks around.
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> {
        let all = self.0.0;
        all.split(|byte| *byte == b',').filter(move |_| !all.is_empty()).map(|tag| Text(trim(tag)))
    }

    /// Whether a tag is in it.
    pub fn contains(self, tag: &str) -> bool {
        self.iter().any(|found| found == tag)
    }
}

/// What a meta commit did to the hashtags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashtagEdit<'a> {
    /// Added.
    pub added: Hashtags<'a>,
    /// Removed.
    pub removed: Hashtags<'a>,
}

/// Something that was said about a change.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The meta commit that carries it.
    pub meta: Commit<'a>,
    /// Patch set it is about.
    pub version: i32,
    /// Text, from `Patch Set` on.
    pub text: Text<'a>,
    /// When.
    pub date: Option<Time>,
    /// Who: `Gerrit User 123 <123@server>`.
    pub author: Person<'a>,
}
