//! DKIM signatures (RFC 6376), right or wrong on purpose.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sha2::{Digest as _, Sha256};

use crate::Letter;

/// A key pair that signs nothing outside tests.
const PRIVATE: &str = include_str!("../fixtures/rsa2048.pem");
const PUBLIC: &str = include_str!("../fixtures/rsa2048.pub");

/// How a signature is made.
#[derive(Debug, Clone)]
pub struct Form {
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// `h=`, in order.
    pub fields: Vec<String>,
    /// `c=`: whether header and body are relaxed; `None`: no `c=`, which means simple/simple.
    pub relaxed: Option<(bool, bool)>,
    /// Tags to add, such as `x=1;`.
    pub more: String,
    /// `a=` as written; what is done is rsa-sha256.
    pub algorithm: String,
}

impl Default for Form {
    fn default() -> Form {
        Form {
            domain: "google.com".into(),
            selector: "20221208".into(),
            fields: [
                "from",
                "to",
                "subject",
                "date",
                "message-id",
                "mime-version",
                "x-gerrit-messagetype",
                "x-gerrit-change-number",
                "x-gerrit-changeurl",
                "x-gerrit-project",
                "x-gerrit-commit",
                "list-id",
            ]
            .map(str::to_owned)
            .to_vec(),
            relaxed: Some((true, true)),
            more: String::new(),
            algorithm: "rsa-sha256".into(),
        }
    }
}

impl Form {
    /// The usual one with another `h=`.
    pub fn over(fields: &[&str]) -> Form {
        Form { fields: fields.iter().map(|field| (*field).to_owned()).collect(), ..Form::default() }
    }
}

/// Has the private key.
pub struct Signer(RsaKeyPair);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Default for Signer {
    fn default() -> Signer {
        Signer::new()
    }
}

impl Signer {
    /// The one whose public key is [`Signer::record`].
    ///
    /// # Panics
    /// Never: the key is part of this crate.
    pub fn new() -> Signer {
        let der: String = PRIVATE.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(der).expect("the fixture is PEM");
        Signer(RsaKeyPair::from_pkcs8(&der).expect("the fixture is an RSA key"))
    }

    /// The TXT record of the key.
    pub fn record() -> String {
        format!("v=DKIM1; k=rsa; p={}", PUBLIC.trim())
    }

    /// Signs as is usual; the whole mail with its signature on top.
    pub fn sign(&self, letter: &Letter) -> Vec<u8> {
        self.sign_as(letter, &Form::default())
    }

    /// Signs in this form; the whole mail with its signature on top.
    ///
    /// # Panics
    /// Never: a key of 2048 bits signs everything.
    pub fn sign_as(&self, letter: &Letter, form: &Form) -> Vec<u8> {
        let (header, body) = form.relaxed.unwrap_or((false, false));
        let canonical = if body { relaxed_body(&letter.body) } else { simple_body(&letter.body) };
        let word = |relaxed: bool| if relaxed { "relaxed" } else { "simple" };
        let how = form.relaxed.map(|(header, body)| format!(" c={}/{};", word(header), word(body))).unwrap_or_default();
        let value = format!(
            "v=1; a={};{how} d={}; s={}; {}\r\n h={};\r\n bh={}; b=",
            form.algorithm,
            form.domain,
            form.selector,
            form.more,
            form.fields.join(":"),
            STANDARD.encode(Sha256::digest(canonical)),
        );
        let mut signed = String::new();
        let mut left: Vec<&(String, String)> = letter.fields.iter().collect();
        for name in &form.fields {
            // From the bottom, each field once.
            if let Some(at) = left.iter().rposition(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let (name, value) = left.remove(at);
                signed += &canonical_field(name, value, header);
            }
        }
        signed += canonical_field("DKIM-Signature", &value, header).trim_end_matches("\r\n");
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a key of 2048 bits signs");
        format!("DKIM-Signature: {value}{}\r\n{}", STANDARD.encode(signature), letter.text()).into_bytes()
    }
}

fn canonical_field(name: &str, value: &str, relaxed: bool) -> String {
    if relaxed {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        format!("{}:{}\r\n", name.to_ascii_lowercase(), words.join(" "))
    } else {
        format!("{name}: {value}\r\n")
    }
}

fn simple_body(body: &str) -> String {
    format!("{}\r\n", body.trim_end_matches("\r\n"))
}

fn relaxed_body(body: &str) -> String {
    let lines: Vec<String> = body
        .split("\r\n")
        .map(|line| {
            let mut out = String::new();
            for (at, word) in line.split([' ', '\t']).enumerate() {
                if at > 0 && !out.ends_with(' ') {
                    out.push(' ');
                }
                out += word;
            }
            out.trim_end_matches(' ').to_owned()
        })
        .collect();
    let text = lines.join("\r\n");
    let text = text.trim_end_matches("\r\n");
    if text.is_empty() { String::new() } else { format!("{text}\r\n") }
}
