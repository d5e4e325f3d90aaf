//! What an SMTP session may do, as a pure step: a line in, replies and one wish out. The caller owns the sockets, the clock and the keys.

use std::fmt::Write as _;
use std::sync::Arc;

use smtp_proto::{MAIL_BODY_BINARYMIME, MAIL_REQUIRETLS, MAIL_SMTPUTF8, Request};

use crate::signature::Body;
use crate::{Config, GerritMail, Refusal, Taken};

/// What the session wants of its caller. After [`Want::Room`], [`Want::Judgement`] and [`Want::Storing`] the answer comes before the next line.
#[derive(Debug)]
pub enum Want {
    /// The next line.
    Line,
    /// To know whether there is memory for another header block; answer with [`Session::room`].
    Room,
    /// To have a header block (of a mail from this sender) judged; answer with [`Session::judged`].
    Judgement {
        /// The block, up to and with its empty line.
        header: Vec<u8>,
        /// The envelope's sender.
        sender: String,
    },
    /// To have a mail stored; answer with [`Session::stored`].
    Storing(GerritMail),
    /// A TLS handshake, once the reply is sent; answer with [`Session::secured`].
    Handshake,
    /// The end of the connection, once the reply is sent.
    Close,
}

/// What came of a line.
#[derive(Debug)]
pub struct Step {
    /// What is wanted now.
    pub want: Want,
    /// Something was refused, for this reason.
    pub refused: Option<Refusal>,
}

#[derive(Debug, Default)]
struct Envelope {
    /// `None`: no `MAIL` yet.
    from: Option<String>,
    to: Vec<String>,
}

#[derive(Debug)]
enum Stage {
    Commands,
    /// After `DATA`, until there is room for it.
    WantsRoom,
    Header(Vec<u8>),
    Judged,
    Body(Box<Body>),
    /// The mail is lost already; its rest is thrown away, since a client cannot be told before it has sent everything.
    Discard(Refusal),
    Storing,
}

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    /// Whether `STARTTLS` is offered.
    tls: bool,
    stage: Stage,
    envelope: Envelope,
    /// Bytes of the mail so far.
    seen: usize,
    mails: usize,
    faults: usize,
    /// Commands since the last mail.
    idle: usize,
}

impl Session {
    /// A new session; `tls`: `STARTTLS` is possible.
    pub fn new(config: Arc<Config>, tls: bool) -> Session {
        Session { config, tls, stage: Stage::Commands, envelope: Envelope::default(), seen: 0, mails: 0, faults: 0, idle: 0 }
    }

    /// What to say first.
    pub fn greeting(&self, out: &mut String) {
        let _ = write!(out, "220 {} ESMTP Burrow\r\n", self.config.hostname);
    }

    /// Whether a mail is on its way, from `DATA` to the answer to it.
    pub fn is_in_mail(&self) -> bool {
        !matches!(self.stage, Stage::Commands)
    }

    /// Whether a header block is held in memory.
    pub fn holds_header(&self) -> bool {
        matches!(self.stage, Stage::Header(_) | Stage::Judged)
    }

    /// Takes one line, its CR LF included; replies go to `out`.
    pub fn line(&mut self, line: &[u8], out: &mut String) -> Step {
        match self.stage {
            Stage::Commands => self.command(line, out),
            Stage::Header(_) | Stage::Body(_) | Stage::Discard(_) => self.data(line, out),
            // The caller has an answer to give first.
            Stage::WantsRoom | Stage::Judged | Stage::Storing => refuse(Refusal::Command, Want::Close, out),
        }
    }

    /// The answer to [`Want::Room`].
    pub fn room(&mut self, granted: bool, out: &mut String) -> Step {
        if granted {
            out.push_str("354 Go ahead\r\n");
            self.stage = Stage::Header(Vec::new());
            wait()
        } else {
            self.stage = Stage::Commands;
            self.envelope = Envelope::default();
            refuse(Refusal::Memory, Want::Line, out)
        }
    }

    /// The answer to [`Want::Judgement`]. Nothing is said yet: the client is sending.
    pub fn judged(&mut self, judgement: Result<Body, Refusal>) {
        self.stage = match judgement {
            Ok(body) => Stage::Body(Box::new(body)),
            Err(why) => Stage::Discard(why),
        };
    }

    /// The answer to [`Want::Storing`].
    pub fn stored(&mut self, taken: &Taken, out: &mut String) -> Step {
        match taken {
            Taken::Durably => {
                out.push_str("250 2.0.0 Ok: stored\r\n");
                self.end_of_mail(None, out)
            }
            Taken::NotNow(_) => self.end_of_mail(Some(Refusal::NotStored), out),
        }
    }

    /// The answer to [`Want::Handshake`]: everything that was said in the clear is forgotten.
    pub fn secured(&mut self) {
        self.tls = false;
        self.envelope = Envelope::default();
    }

    fn command(&mut self, line: &[u8], out: &mut String) -> Step {
        self.idle += 1;
        // Who only keeps us busy does not send mail.
        if self.idle > self.config.limits.faults.saturating_mul(10) {
            return refuse(Refusal::Faults, Want::Close, out);
        }
        let argument = || line.trim_ascii().contains(&b' ');
        match Request::parse(&mut line.iter()) {
            Ok(Request::Ehlo { .. }) => {
                self.envelope = Envelope::default();
                let tls = if self.tls { "250-STARTTLS\r\n" } else { "" };
                let (name, size) = (&self.config.hostname, self.config.limits.size);
                let _ = write!(out, "250-{name}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n{tls}250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n");
                wait()
            }
            Ok(Request::Helo { .. }) => {
                self.envelope = Envelope::default();
                let _ = write!(out, "250 {}\r\n", self.config.hostname);
                wait()
            }
            Ok(Request::Noop { .. }) => say("250 2.0.0 OK", out),
            Ok(Request::Rset | Request::Data | Request::Quit | Request::StartTls) if argument() => self.fault("501 5.5.4 Unexpected argument", out),
            Ok(Request::Rset) => {
                self.envelope = Envelope::default();
                say("250 2.0.0 OK", out)
            }
            Ok(Request::Quit) => {
                out.push_str("221 2.0.0 Bye\r\n");
                Step { want: Want::Close, refused: None }
            }
            Ok(Request::StartTls) if self.tls => {
                out.push_str("220 2.0.0 Go ahead with TLS\r\n");
                Step { want: Want::Handshake, refused: None }
            }
            Ok(Request::Mail { from }) => {
                if self.envelope.from.is_some() {
                    return self.fault("503 5.5.1 Error: nested MAIL command", out);
                }
                if from.flags & (MAIL_SMTPUTF8 | MAIL_REQUIRETLS | MAIL_BODY_BINARYMIME) != 0 {
                    return self.fault("555 5.5.4 A parameter is not supported", out);
                }
                if from.size > self.config.limits.size {
                    return self.refused(Refusal::Size, out);
                }
                let host = from.address.rsplit_once('@').map_or("", |(_, host)| host);
                let known = self.config.envelope_hosts.is_empty() || self.config.envelope_hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
                // A sender that is unknown to us, or is nobody (as of a bounce), has nothing that we want.
                if !known {
                    return self.refused(Refusal::Sender, out);
                }
                self.envelope.from = Some(from.address.into_owned());
                say("250 2.1.0 Ok", out)
            }
            Ok(Request::Rcpt { to }) => {
                if self.envelope.from.is_none() {
                    return self.fault("503 5.5.1 Error: need MAIL command", out);
                }
                let Some(known) = self.config.rcpt.iter().find(|known| known.eq_ignore_ascii_case(&to.address)) else {
                    return self.refused(Refusal::Recipient, out);
                };
                if self.envelope.to.contains(known) {
                    return self.fault("554 5.5.1 Error: dup recipients", out);
                }
                self.envelope.to.push(known.clone());
                say("250 2.1.5 Ok", out)
            }
            Ok(Request::Data) => {
                if self.envelope.from.is_none() {
                    return self.fault("503 5.5.1 Error: need MAIL command", out);
                }
                if self.envelope.to.is_empty() {
                    return self.fault("554 5.5.1 Error: no valid recipients", out);
                }
                self.stage = Stage::WantsRoom;
                self.seen = 0;
                Step { want: Want::Room, refused: None }
            }
            Err(smtp_proto::Error::InvalidSenderAddress) => self.fault("501 5.1.7 Bad sender address syntax", out),
            Err(smtp_proto::Error::InvalidRecipientAddress) => self.fault("501 5.1.3 Bad recipient address syntax", out),
            Err(smtp_proto::Error::SyntaxError { syntax }) => self.fault(&format!("501 5.5.2 Syntax: {syntax}"), out),
            Err(smtp_proto::Error::InvalidParameter { param }) => self.fault(&format!("501 5.5.4 Bad parameter {param}"), out),
            Err(smtp_proto::Error::UnsupportedParameter { .. }) => self.fault("555 5.5.4 A parameter is not supported", out),
            // AUTH, VRFY, BDAT and whatever else we do not offer.
            Ok(_) | Err(_) => self.refused(Refusal::Command, out),
        }
    }

    fn data(&mut self, line: &[u8], out: &mut String) -> Step {
        if line == b".\r\n" {
            return match std::mem::replace(&mut self.stage, Stage::Commands) {
                Stage::Body(body) => match body.end() {
                    Ok(mail) => {
                        self.stage = Stage::Storing;
                        Step { want: Want::Storing(mail), refused: None }
                    }
                    Err(why) => self.end_of_mail(Some(why), out),
                },
                Stage::Discard(why) => self.end_of_mail(Some(why), out),
                // A mail without an empty line has no body, and so nothing that could be signed.
                _ => self.end_of_mail(Some(Refusal::Header), out),
            };
        }
        let line = line.strip_prefix(b".").unwrap_or(line);
        self.seen = self.seen.saturating_add(line.len());
        let limits = &self.config.limits;
        if self.seen > limits.size {
            // Whoever goes on for as long again is not waiting for an answer.
            if self.seen > limits.size.saturating_mul(2) {
                return refuse(Refusal::Size, Want::Close, out);
            }
            if !matches!(self.stage, Stage::Discard(_)) {
                self.stage = Stage::Discard(Refusal::Size);
            }
        }
        match &mut self.stage {
            Stage::Header(header) => {
                header.extend_from_slice(line);
                if header.len() > limits.header {
                    self.stage = Stage::Discard(Refusal::HeaderSize);
                } else if line == b"\r\n" {
                    let header = std::mem::take(header);
                    self.stage = Stage::Judged;
                    return Step { want: Want::Judgement { header, sender: self.envelope.from.clone().unwrap_or_default() }, refused: None };
                }
            }
            Stage::Body(body) => body.write(line),
            _ => {}
        }
        wait()
    }

    fn end_of_mail(&mut self, refused: Option<Refusal>, out: &mut String) -> Step {
        self.stage = Stage::Commands;
        self.envelope = Envelope::default();
        if let Some(why) = refused {
            reply(why.reply(), out);
        }
        (self.mails, self.idle) = (self.mails + 1, 0);
        if self.mails >= self.config.limits.mails {
            out.push_str("421 4.7.0 Enough mails in one connection; connect again\r\n");
            return Step { want: Want::Close, refused };
        }
        Step { want: Want::Line, refused }
    }

    /// A command that is wrong in its form or at this point.
    fn fault(&mut self, text: &str, out: &mut String) -> Step {
        reply(text, out);
        self.count(Refusal::Command, out)
    }

    fn refused(&mut self, why: Refusal, out: &mut String) -> Step {
        reply(why.reply(), out);
        self.count(why, out)
    }

    fn count(&mut self, why: Refusal, out: &mut String) -> Step {
        self.faults += 1;
        if self.faults >= self.config.limits.faults {
            return refuse(Refusal::Faults, Want::Close, out);
        }
        Step { want: Want::Line, refused: Some(why) }
    }
}

fn reply(text: &str, out: &mut String) {
    out.push_str(text);
    out.push_str("\r\n");
}

fn say(text: &str, out: &mut String) -> Step {
    reply(text, out);
    wait()
}

fn wait() -> Step {
    Step { want: Want::Line, refused: None }
}

fn refuse(why: Refusal, want: Want, out: &mut String) -> Step {
    reply(why.reply(), out);
    Step { want, refused: Some(why) }
}
