//! A notification as Gerrit writes it.

/// A notification: fields and a body.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Names and values, in order.
    pub fields: Vec<(String, String)>,
    /// The body, with CR LF.
    pub body: String,
}

impl Letter {
    /// The notification of a new patch set of change `number` of the project `build`.
    pub fn new(number: u32) -> Letter {
        let fields = [
            ("Date", "Thu, 29 Dec 2022 17:59:20 +0000".to_owned()),
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Gerrit-MessageType", "newpatchset".to_owned()),
            ("X-Gerrit-Change-Id", format!("I{number:040x}")),
            ("X-Gerrit-Change-Number", number.to_string()),
            // Gerrit folds it when it is long.
            ("X-Gerrit-ChangeURL", format!("\r\n <https://go-review.googlesource.com/c/build/+/{number}?usp=email>")),
            ("X-Gerrit-Project", "build".to_owned()),
            ("X-Gerrit-Branch", "master".to_owned()),
            ("X-Gerrit-Commit", format!("{number:040x}")),
            ("References", "<gerrit.1.Ixyz@go-review.googlesource.com>".to_owned()),
            ("Message-ID", format!("<{number:x}.9b61@google.com>")),
            ("Subject", "[build] all: tidy".to_owned()),
            ("From", "\"Ada Tester (Gerrit)\" <noreply-gerrit@google.com>".to_owned()),
            ("To", "bot@farm.example.org".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", "text/plain; charset=UTF-8".to_owned()),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = "Ada Tester has uploaded a new patch set.\r\n\r\n.hidden\r\n..\r\n  trailing  \r\n\r\n\r\n".to_owned();
        Letter { fields, body }
    }

    /// Sets a field, in its place if it is there.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Letter {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some(field) => value.clone_into(&mut field.1),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Takes a field away.
    #[must_use]
    pub fn without(mut self, name: &str) -> Letter {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    /// The header block without its empty line.
    pub fn header(&self) -> String {
        self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    /// The whole mail.
    pub fn text(&self) -> String {
        format!("{}\r\n{}", self.header(), self.body)
    }
}
