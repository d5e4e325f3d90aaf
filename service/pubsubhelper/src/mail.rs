//! Gerrit's mail becomes events. What a mail must prove is the business of `burrow-mail`.

use std::sync::Arc;

use burrow_mail::{BoxFuture, GerritMail, Sink, Taken};

use crate::config::Mail;
use crate::hub::{Hub, Source};
use crate::sources::gerrit;

/// Keeps what mail tells of.
#[derive(Debug, Clone)]
pub struct MailSink {
    hub: Hub,
    source: Arc<Source>,
}

/// The sink of a source.
pub fn mail_sink(hub: &Hub, source: &Arc<Source>) -> MailSink {
    MailSink { hub: hub.clone(), source: Arc::clone(source) }
}

impl Sink for MailSink {
    fn take(&self, mail: GerritMail) -> BoxFuture<'_, Taken> {
        Box::pin(async move {
            let mut draft = gerrit::of_change(mail.url, mail.project, mail.commit, mail.change_number, mail.message_type);
            draft.source = self.source.name.clone();
            draft.delivery = Some(mail.message_id);
            match self.hub.keep(&self.source, vec![draft]).await {
                Ok(_) => Taken::Durably,
                Err(error) => Taken::NotNow(error.to_string()),
            }
        })
    }
}

/// What the mail server is told.
pub fn config(mail: &Mail) -> burrow_mail::Config {
    burrow_mail::Config {
        rcpt: mail.rcpt.clone(),
        hostname: mail.hostname.clone(),
        dkim_domains: mail.dkim_domains.clone(),
        envelope_hosts: mail.envelope_hosts.clone(),
        uncovered: if mail.take_unsigned_fields { burrow_mail::Uncovered::TakeSingle } else { burrow_mail::Uncovered::Refuse },
        limits: burrow_mail::Limits::default(),
    }
}
