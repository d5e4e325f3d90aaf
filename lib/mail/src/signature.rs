//! DKIM, as the library does it, in the two halves in which a mail arrives: first the header, whose signature is checked at once, then the body, whose
//! hash the signature names.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use mail_auth::common::crypto::{HashContext as _, HashImpl, Sha256};
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::canonicalize::BodyHasher;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, Txt};

use crate::letter::Candidate;
use crate::{GerritMail, Refusal};

/// The one key that is looked up; the library asks nobody for another.
struct OneKey<'a> {
    name: &'a str,
    key: &'a Arc<DomainKey>,
}

impl ResolverCache<Box<str>, Txt> for OneKey<'_> {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let wanted: Box<str> = self.name.into();
        let known = <Box<str> as Borrow<Q>>::borrow(&wanted) == name;
        Some(if known { Txt::DomainKey(Arc::clone(self.key)) } else { Txt::Error(Error::Dns(DnsError::InvalidRecordType)) })
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

/// Checks signatures.
pub(crate) struct Checker(MessageAuthenticator);

impl Checker {
    /// One without name servers: keys are given to it. `None`: the library cannot be set up.
    pub(crate) fn new() -> Option<Checker> {
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        MessageAuthenticator::new(nobody, ResolverOpts::default()).ok().map(Checker)
    }

    /// Checks the signature over the header; what is left is the body.
    pub(crate) async fn header(&self, candidate: Candidate, key: &Arc<DomainKey>) -> Result<Body, Refusal> {
        let Candidate { key: name, mail, header } = candidate;
        let mut message = AuthenticatedMessage::parse(&header).ok_or(Refusal::Header)?;
        let [signed] = message.dkim_headers.as_slice() else { return Err(Refusal::SignedTwice) };
        let (hash, canonicalization) = (signed.header.bh.clone(), signed.header.cb);
        // The body has not come yet: that its hash is the one in the signature is supposed here and checked by `Body`.
        message.body_hashes.iter_mut().for_each(|(_, _, _, of_body)| of_body.clone_from(&hash));
        let known = OneKey { name: &name, key };
        let checked = self.0.verify_dkim(Parameters::new(&message).with_txt_cache(&known)).await;
        match checked.as_slice() {
            [one] => match one.result() {
                DkimResult::Pass => Ok(Body { mail, hash, hasher: BodyHasher::new(Sha256::hasher(), canonicalization, 0) }),
                DkimResult::Neutral(Error::Dkim(mail_auth::dkim::DkimError::SignatureExpired)) => Err(Refusal::Expired),
                _ => Err(Refusal::BadSignature),
            },
            _ => Err(Refusal::BadSignature),
        }
    }
}

/// A body on its way: nothing of it is kept but its hash so far.
pub struct Body {
    mail: GerritMail,
    hash: Vec<u8>,
    hasher: BodyHasher<<Sha256 as HashImpl>::Context>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("mail", &self.mail).finish_non_exhaustive()
    }
}

impl Body {
    /// The next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// The mail, if this was the body that was signed.
    pub(crate) fn end(self) -> Result<GerritMail, Refusal> {
        let (hasher, _) = self.hasher.finish();
        if hasher.complete().as_ref() == self.hash { Ok(self.mail) } else { Err(Refusal::BadBody) }
    }
}
