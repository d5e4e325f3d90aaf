//! The registration request, `GET /reverse` (`spec/buildlet.md` §6.2, §6.3; `docs/worker-protocol.md`, Reverse mode).

use std::fmt;

use thiserror::Error;

use crate::{Refusal, RequestHead};

/// What a machine says about itself when it registers.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// `X-Go-Host-Type`.
    pub host_type: String,
    /// `X-Go-Builder-Hostname`: as it wants to be shown.
    pub hostname: String,
    /// `X-Go-Builder-Version`: for display only; what counts is `GET /status`.
    pub version: String,
    /// `X-Go-Builder-Key`: the classic credential, if it has one.
    pub key: Option<String>,
    /// What a machine that speaks Burrow's protocol adds.
    pub enrolled: Option<Enrolled>,
}

/// The registration headers of a machine that speaks Burrow's worker protocol.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// `X-Burrow-Instance`: 32 hex digits, new for every start of the process.
    pub instance: String,
    /// `X-Burrow-Machine`: which machine it was enrolled as; `None` for one that comes with a classic key only.
    pub machine: Option<String>,
    /// `Authorization: Burrow <secret>`.
    pub secret: Option<String>,
}

impl fmt::Debug for Registration {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("host_type", &self.host_type)
            .field("hostname", &self.hostname)
            .field("version", &self.version)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("enrolled", &self.enrolled)
            .finish()
    }
}

impl fmt::Debug for Enrolled {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolled")
            .field("instance", &self.instance)
            .field("machine", &self.machine)
            .field("secret", &self.secret.as_ref().map(|_| "…"))
            .finish()
    }
}

/// A value that cannot stand in a header: empty where it is required, or with control characters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the {0} cannot be sent in a registration: it is empty or has control characters")]
pub struct BadRegistration(pub &'static str);

impl Registration {
    /// The request to send to `target` (`/reverse`, or where a 307 led).
    ///
    /// # Errors
    /// [`BadRegistration`]
    pub fn encode(&self, target: &str) -> Result<Vec<u8>, BadRegistration> {
        let mut out = String::with_capacity(512);
        if !target.starts_with('/') || !target.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err(BadRegistration("path"));
        }
        out.push_str(&format!("GET {target} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\n"));
        let mut put = |what: &'static str, name: &str, prefix: &str, value: &str| {
            let value = value.trim();
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(BadRegistration(what));
            }
            out.push_str(&format!("{name}: {prefix}{value}\r\n"));
            Ok(())
        };
        put("host type", "X-Go-Host-Type", "", &self.host_type)?;
        if let Some(key) = &self.key {
            put("builder key", "X-Go-Builder-Key", "", key)?;
        }
        put("host name", "X-Go-Builder-Hostname", "", &self.hostname)?;
        put("version", "X-Go-Builder-Version", "", &self.version)?;
        put("revdial version", "X-Revdial-Version", "", "2")?;
        if let Some(enrolled) = &self.enrolled {
            put("instance", "X-Burrow-Instance", "", &enrolled.instance)?;
            if let Some(machine) = &enrolled.machine {
                put("machine id", "X-Burrow-Machine", "", machine)?;
            }
            if let Some(secret) = &enrolled.secret {
                put("machine secret", "Authorization", "Burrow ", secret)?;
            }
        }
        out.push_str("\r\n");
        Ok(out.into_bytes())
    }

    /// The checks of `spec/pools.md` §7.1 down to the credential, in their order. The credential and the host type are checked by the caller, who knows them.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn read(head: &RequestHead, over_tls: bool) -> Result<Registration, Refusal> {
        let value = |name: &str| head.header(name).filter(|v| !v.is_empty()).map(str::to_owned);
        if !over_tls {
            return Err(Refusal::RegistrationNotTls);
        }
        match head.header("X-Revdial-Version").unwrap_or_default() {
            "" => return Err(Refusal::TooOld),
            "2" => {}
            _ => return Err(Refusal::UnknownRevdialVersion),
        }
        let hostname = value("X-Go-Builder-Hostname").ok_or(Refusal::MissingHostname)?;
        let host_type = value("X-Go-Host-Type").ok_or(Refusal::MissingHostType)?;
        let enrolled = value("X-Burrow-Instance").map(|instance| Enrolled {
            instance,
            machine: value("X-Burrow-Machine"),
            secret: value("Authorization").and_then(|v| v.strip_prefix("Burrow ").map(|s| s.trim().to_owned())),
        });
        Ok(Registration { host_type, hostname, version: value("X-Go-Builder-Version").unwrap_or_default(), key: value("X-Go-Builder-Key"), enrolled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(headers: &str) -> RequestHead {
        RequestHead::parse(format!("GET /reverse HTTP/1.1\r\nHost: \r\n{headers}\r\n").as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn the_checks_come_in_the_references_order() {
        let refusal = |headers: &str, tls: bool| Registration::read(&head(headers), tls).unwrap_err();
        assert_eq!(refusal("", false), Refusal::RegistrationNotTls);
        assert_eq!(refusal("", true), Refusal::TooOld);
        assert_eq!(refusal("X-Revdial-Version: 1\r\n", true), Refusal::UnknownRevdialVersion);
        let two = "X-Revdial-Version: 2\r\n";
        assert_eq!(refusal(two, true), Refusal::MissingHostname);
        assert_eq!(refusal(&format!("{two}X-Go-Builder-Hostname: h\r\n"), true), Refusal::MissingHostType);
        assert_eq!(refusal(&format!("{two}X-Go-Host-Type: t\r\n"), true), Refusal::MissingHostname);
    }

    #[test]
    fn refusals_answer_as_go_does() {
        let answer = String::from_utf8(Refusal::InvalidKey.answer()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 412 Precondition Failed\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ninvalid build key\n"), "{answer}");
        assert!(String::from_utf8(Refusal::PickupMethod.answer()).unwrap().contains("\r\nAllow: GET\r\n"));
    }

    #[test]
    fn a_header_cannot_be_smuggled_in() {
        let mut registration =
            Registration { host_type: "t".into(), hostname: "h\r\nX-Go-Builder-Key: k".into(), version: "29".into(), key: None, enrolled: None };
        assert_eq!(registration.encode("/reverse"), Err(BadRegistration("host name")));
        registration.hostname = String::new();
        assert_eq!(registration.encode("/reverse"), Err(BadRegistration("host name")));
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read(
            host_type in "[a-z0-9-]{1,30}", hostname in "[!-~]([ -~]{0,20}[!-~])?", version in "[0-9]{1,3}",
            key in proptest::option::of("[0-9a-f]{32}"),
            burrow in proptest::option::of(("[0-9a-f]{32}", proptest::option::of("m-[0-9a-f]{16}"), proptest::option::of("[0-9a-f]{64}"))),
        ) {
            let sent = Registration {
                host_type, hostname, version, key,
                enrolled: burrow.map(|(instance, machine, secret)| Enrolled { instance, machine, secret }),
            };
            let head = RequestHead::parse(&sent.encode("/reverse").unwrap()).unwrap().unwrap();
            prop_assert_eq!(Registration::read(&head, true), Ok(sent));
        }
    }
}
