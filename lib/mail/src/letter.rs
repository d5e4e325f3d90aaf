//! What a notification must look like: the rules for a header block, before and besides its signature.
//!
//! Only fields that the signature covers are read. DKIM counts fields of one name from the bottom, so a name that `h=` lists once covers the lowest such
//! field; what somebody puts above it is not signed, and is not seen here.

use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::Signature;
use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use crate::{Config, Refusal, Uncovered};

/// A verified notification. Every text is of a field that the signature covers (but see [`Uncovered::TakeSingle`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GerritMail {
    /// Address of the change, without `<>` and without `?usp=email`.
    pub url: String,
    /// Project; of an old Gerrit, from `List-Id`.
    pub project: String,
    /// Commit of the patch set, 40 or 64 hex digits; empty if the mail does not say.
    pub commit: String,
    /// Number of the change; 0 if the mail does not say.
    pub change_number: u64,
    /// Kind of notification (`newchange`, `comment`, …); empty if the mail does not say.
    pub message_type: String,
    /// The same for every copy of the mail, and nobody without the key can change it: the `Message-ID`, or, where that is not signed, `dkim:` and a part
    /// of the signature.
    pub message_id: String,
    /// Names of the fields that are signed, in lower case.
    pub signed: Vec<String>,
    /// Domain that signed.
    pub domain: String,
    /// The envelope's sender.
    pub sender: String,
}

/// A header block that keeps the rules; its signature is not yet checked.
#[derive(Debug)]
pub struct Candidate {
    /// Name of the key in DNS, with a dot at its end.
    pub key: String,
    pub(crate) mail: GerritMail,
    pub(crate) header: Vec<u8>,
}

impl Candidate {
    /// What it says; not to be believed before the signature is checked.
    pub fn mail(&self) -> &GerritMail {
        &self.mail
    }
}

/// Longest `Message-ID`, project and address that are taken, in bytes.
const LONGEST: usize = 2_000;

/// Reads a header block, which ends in its empty line, of a mail from `sender`.
///
/// # Errors
/// Every rule that can be checked without a key: exactly one signature, of a listed domain, not expired at `now` (Unix seconds), over the fields that
/// are used here, which are right.
pub fn examine(header: Vec<u8>, sender: &str, config: &Config, now: u64) -> Result<Candidate, Refusal> {
    let message = AuthenticatedMessage::parse(&header).ok_or(Refusal::Header)?;
    // The library stops at a line that is no field, and would take what follows for the body; we would have it signed, it would not.
    let whole = message.body_offset as usize == header.len() && !header.contains(&0);
    if !whole || message.headers.iter().any(|(name, _)| name.is_empty() || !name.iter().all(|byte| byte.is_ascii_graphic())) {
        return Err(Refusal::Header);
    }
    let claims = message.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"DKIM-Signature")).count();
    let signature = match (claims, message.dkim_headers.first()) {
        (0, _) => return Err(Refusal::Unsigned),
        (1, Some(header)) => &header.header,
        (1, None) => return Err(Refusal::SignatureForm),
        _ => return Err(Refusal::SignedTwice),
    };
    check_form(signature)?;
    if !config.dkim_domains.iter().any(|domain| is_within(&signature.d, domain)) {
        return Err(Refusal::Domain);
    }
    if signature.x != 0 && signature.x <= now {
        return Err(Refusal::Expired);
    }
    let fields = Fields { message: &message, signature, uncovered: config.uncovered };
    let mail = fields.mail(sender)?;
    let key = format!("{}._domainkey.{}.", signature.s, signature.d);
    Ok(Candidate { key, mail, header })
}

fn check_form(signature: &Signature) -> Result<(), Refusal> {
    // rsa-sha1 may not be accepted since RFC 8301. A limit on the signed body (`l=`) the library has refused.
    let strong = matches!(signature.a, Algorithm::RsaSha256 | Algorithm::Ed25519Sha256) && signature.v == 1;
    // Third-party authorisation (`atps=`) and requests for reports (`r=`) would make us ask DNS for what a stranger chooses.
    let plain = signature.atps.is_none() && !signature.r;
    let name = |text: &str, longest: usize| {
        (1..=longest).contains(&text.len()) && text.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_label_byte))
    };
    // RFC 6376 §5.4: `From` must be signed.
    let from = signature.h.iter().any(|name| name.eq_ignore_ascii_case("from"));
    if strong && plain && from && signature.h.len() <= 200 && name(&signature.s, 100) && name(&signature.d, 120) { Ok(()) } else { Err(Refusal::SignatureForm) }
}

fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Whether `name` is `domain` or below it.
fn is_within(name: &str, domain: &str) -> bool {
    let Some(cut) = name.len().checked_sub(domain.len()) else { return false };
    let (Some(above), Some(tail)) = (name.get(..cut), name.get(cut..)) else { return false };
    !domain.is_empty() && tail.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with('.'))
}

struct Fields<'a> {
    message: &'a AuthenticatedMessage<'a>,
    signature: &'a Signature,
    uncovered: Uncovered,
}

/// A field's place in the mail.
enum Field {
    /// It is not there.
    Absent,
    /// The signature does not say what it holds.
    Unsigned,
    /// Its text.
    Text(String),
}

impl Fields<'_> {
    /// The one field of this name that is covered.
    fn find(&self, name: &str) -> Result<Field, Refusal> {
        let covered = self.signature.h.iter().filter(|signed| signed.eq_ignore_ascii_case(name)).count();
        let all = || self.message.headers.iter().rev().filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
        let mut lowest = all().take(covered);
        let value = match (lowest.next(), lowest.next(), all().count()) {
            (Some((_, value)), None, _) => value,
            // Signed twice: which one is meant?
            (Some(_), Some(_), _) => return Err(Refusal::Fields),
            (None, _, 0) => return Ok(Field::Absent),
            (None, _, 1) if self.uncovered == Uncovered::TakeSingle => match all().next() {
                Some((_, value)) => value,
                None => return Ok(Field::Absent),
            },
            (None, _, _) => return Ok(Field::Unsigned),
        };
        let HeaderValue::Text(text) = MessageStream::new(value).parse_unstructured() else { return Ok(Field::Text(String::new())) };
        let text = text.trim();
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(Refusal::Fields);
        }
        Ok(Field::Text(text.to_owned()))
    }

    /// Its text; empty if it is not there.
    fn text(&self, name: &str) -> Result<String, Refusal> {
        match self.find(name)? {
            Field::Text(text) => Ok(text),
            Field::Absent => Ok(String::new()),
            Field::Unsigned => Err(Refusal::NotCovered),
        }
    }

    fn mail(&self, sender: &str) -> Result<GerritMail, Refusal> {
        let url = change_url(&self.text("X-Gerrit-ChangeURL")?).ok_or(Refusal::Fields)?;
        let commit = self.text("X-Gerrit-Commit")?;
        if !(commit.is_empty() || matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            return Err(Refusal::Fields);
        }
        let project = match self.find("X-Gerrit-Project")? {
            Field::Text(project) => project,
            Field::Unsigned => return Err(Refusal::NotCovered),
            // Gerrit before 3.1.
            Field::Absent => list_project(&self.text("List-Id")?).unwrap_or_default().to_owned(),
        };
        // Signed, or it is nobody's name for the mail. The signature itself is one: nobody else can make another over the same text.
        let is_signed = self.signature.h.iter().any(|name| name.eq_ignore_ascii_case("message-id"));
        let message_id = match self.find("Message-ID")? {
            Field::Text(id) if is_signed && !id.is_empty() => id,
            _ => format!("dkim:{}", self.signature.b.iter().take(20).map(|byte| format!("{byte:02x}")).collect::<String>()),
        };
        Ok(GerritMail {
            url,
            project,
            commit,
            change_number: self.text("X-Gerrit-Change-Number")?.parse().unwrap_or(0),
            message_type: self.text("X-Gerrit-MessageType")?,
            message_id,
            signed: self.signature.h.iter().map(|name| name.to_ascii_lowercase()).collect(),
            domain: self.signature.d.to_ascii_lowercase(),
            sender: sender.to_owned(),
        })
    }
}

/// The address of a change in `X-Gerrit-ChangeURL`.
fn change_url(field: &str) -> Option<String> {
    let url = field.trim_matches(['<', '>']);
    let url = url.strip_suffix("?usp=email").unwrap_or(url);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let right = !rest.is_empty() && !rest.starts_with('/') && url.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    right.then(|| url.to_owned())
}

/// The project in `List-Id: … <gerrit-PROJECT.host>`: the text up to the first dot.
fn list_project(field: &str) -> Option<&str> {
    let id = field.rsplit_once('<')?.1;
    let id = id.split_once('>')?.0.strip_prefix("gerrit-")?;
    Some(id.split_once('.')?.0)
}
