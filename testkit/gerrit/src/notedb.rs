//! What Gerrit writes into a change's history: the messages and footers of NoteDb, in the order of Gerrit's own writer.

use std::fmt::Write as _;

use crate::model::{Style, Vote};

/// One change of a change.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// First line: `Create change`, `Create patch set 2`, `Update patch set 2`, `Submit patch set 2`.
    pub(crate) what: String,
    /// What people read; may be empty.
    pub(crate) message: String,
    pub(crate) patch_set: u32,
    pub(crate) change_id: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) status: Option<&'static str>,
    pub(crate) topic: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) hashtags: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) groups: Option<String>,
    /// Lines like `Reviewer: Gerrit User 3 <3@…>`.
    pub(crate) people: Vec<String>,
    /// Lines like `Label: Code-Review=+2`.
    pub(crate) labels: Vec<String>,
    pub(crate) submission: Option<String>,
    pub(crate) submitted_with: Vec<String>,
    pub(crate) private: Option<bool>,
    pub(crate) wip: Option<bool>,
    pub(crate) attention: Vec<String>,
}

impl Update {
    /// The commit message.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("{}\n\n", self.what);
        if !self.message.is_empty() {
            let _ = write!(out, "{}\n\n", self.message.trim_end());
        }
        let mut line = |name: &str, value: &str| {
            // A footer without a value has a blank after its colon.
            let _ = writeln!(out, "{name}: {value}");
        };
        line("Patch-set", &self.patch_set.to_string());
        let optional = [
            ("Change-id", &self.change_id),
            ("Subject", &self.subject),
            ("Branch", &self.branch),
            ("Status", &self.status.map(str::to_owned)),
            ("Topic", &self.topic),
            ("Commit", &self.commit),
            ("Hashtags", &self.hashtags),
            ("Tag", &self.tag),
            ("Groups", &self.groups),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                line(name, value);
            }
        }
        for text in self.people.iter().chain(&self.labels) {
            if let Some((name, value)) = text.split_once(": ") {
                line(name, value);
            }
        }
        if let Some(submission) = &self.submission {
            line("Submission-id", submission);
        }
        for record in &self.submitted_with {
            line("Submitted-with", record);
        }
        if let Some(private) = self.private {
            line("Private", &private.to_string());
        }
        if let Some(wip) = self.wip {
            line("Work-in-progress", &wip.to_string());
        }
        for attention in &self.attention {
            line("Attention", attention);
        }
        out
    }
}

/// `Code-Review+2`, `-Code-Review`: a vote in the first line of a message.
pub(crate) fn vote_in_message(label: &str, value: i8) -> String {
    if value == 0 { format!("-{label}") } else { format!("{label}{value:+}") }
}

/// The footer of a vote. `by`: the voter, when it is not who writes. `unique`: forty hex digits.
pub(crate) fn vote_line(style: Style, label: &str, value: i8, by: Option<&str>, unique: &str) -> String {
    let by = by.map(|ident| format!(" {ident}")).unwrap_or_default();
    match (style, value) {
        (_, 0) => format!("Label: -{label}{by}"),
        (Style::Old, value) => format!("Label: {label}={value:+}{by}"),
        (Style::New, value) => format!("Label: {label}={value:+}, {unique}{by}"),
    }
}

/// The footer of a vote that came over from an earlier patch set.
pub(crate) fn copied_line(vote: &Vote, ident: &str, unique: &str) -> String {
    format!("Copied-Label: {}={:+}, {unique} {ident}", vote.label, vote.value)
}

/// Text of a message about hashtags.
pub(crate) fn hashtag_message(added: &[String], removed: &[String]) -> String {
    let line = |list: &[String], verb: &str| match list {
        [] => None,
        [one] => Some(format!("Hashtag {verb}: {one}")),
        many => Some(format!("Hashtags {verb}: {}", many.join(", "))),
    };
    [line(added, "added"), line(removed, "removed")].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_a_change_is_as_gerrit_writes_it() {
        let update = Update {
            what: "Create change".into(),
            message: "Uploaded patch set 1: Run-TryBot+1.".into(),
            patch_set: 1,
            change_id: Some("I1e0035ffba986c3551479d5742809e43da5e7c73".into()),
            subject: Some("runtime: fall back".into()),
            branch: Some("refs/heads/master".into()),
            status: Some("new"),
            topic: Some(String::new()),
            commit: Some("8776f8d725c001456037e8888a72885d46cd6744".into()),
            tag: Some("autogenerated:gerrit:newPatchSet".into()),
            groups: Some("8776f8d725c001456037e8888a72885d46cd6744".into()),
            people: vec!["Reviewer: Gerrit User 5200 <5200@u>".into()],
            labels: vec![vote_line(Style::Old, "Run-TryBot", 1, None, "")],
            private: Some(false),
            wip: Some(false),
            ..Update::default()
        };
        let want = "Create change\n\nUploaded patch set 1: Run-TryBot+1.\n\nPatch-set: 1\nChange-id: I1e0035ffba986c3551479d5742809e43da5e7c73\n\
                    Subject: runtime: fall back\nBranch: refs/heads/master\nStatus: new\nTopic: \nCommit: 8776f8d725c001456037e8888a72885d46cd6744\n\
                    Tag: autogenerated:gerrit:newPatchSet\nGroups: 8776f8d725c001456037e8888a72885d46cd6744\n\
                    Reviewer: Gerrit User 5200 <5200@u>\nLabel: Run-TryBot=+1\nPrivate: false\nWork-in-progress: false\n";
        assert_eq!(update.render(), want);
    }

    #[test]
    fn votes_and_hashtags_have_their_forms() {
        assert_eq!(vote_line(Style::New, "Code-Review", -2, None, "c0ffee"), "Label: Code-Review=-2, c0ffee");
        assert_eq!(vote_line(Style::New, "Code-Review", 0, Some("G <1@u>"), "c0ffee"), "Label: -Code-Review G <1@u>");
        assert_eq!(vote_in_message("Run-TryBot", 1) + &vote_in_message("X", 0), "Run-TryBot+1-X");
        let tags = ["a".to_owned(), "b".to_owned()];
        assert_eq!(hashtag_message(&tags, &tags[..1]), "Hashtags added: a, b\nHashtag removed: a");
        assert_eq!(hashtag_message(&[], &tags), "Hashtags removed: a, b");
    }
}
