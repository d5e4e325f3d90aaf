//! Certificates from an authority over ACME.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use burrow_http_client::{Client, Request, Settings, Trust};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient, Identifier, NewAccount, NewOrder, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use crate::files::{self, Pair};
use crate::resolver::Resolver;
use crate::{CertificateError, Validity};

/// Directory of Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How the authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Challenge {
    /// It connects to port 443 of the name (TLS-ALPN-01).
    #[default]
    TlsAlpn,
    /// It asks port 80 of the name (HTTP-01); the plain listener must answer with [`crate::Certificates::http_challenge`].
    Http,
}

/// An authority, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Acme {
    /// Host names; the certificate is for all of them.
    pub names: Vec<String>,
    /// Folder for the account and the certificate; created if need be.
    pub dir: PathBuf,
    /// Address of the authority's directory.
    pub directory: String,
    /// Where the authority may write to.
    pub contact: Option<String>,
    /// PEM file of the authority that signed the directory's own certificate, for one that is not public.
    pub root: Option<PathBuf>,
    /// How the authority looks.
    pub challenge: Challenge,
}

/// Wait after the first failure, doubled with each; authorities count failures by the hour.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long the authority may take to look, and to sign.
const PATIENCE: RetryPolicy = RetryPolicy::new().initial_delay(Duration::from_millis(500)).backoff(1.5).timeout(Duration::from_secs(120));
/// Answers of an authority are small.
const LARGEST_ANSWER: usize = 1 << 20;

/// How long to wait after so many failures and one more.
pub(crate) fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE)
}

impl Acme {
    /// What was fetched before, if it is there.
    pub(crate) fn open(&self) -> Result<Option<Pair>, CertificateError> {
        for name in &self.names {
            let label = |label: &str| {
                (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            let why = if name.starts_with("*.") {
                "a certificate for a wildcard cannot be had this way; give every host"
            } else if name.parse::<std::net::IpAddr>().is_ok() {
                "a host name is needed, not an address"
            } else if name.len() > 253 || !name.contains('.') || !name.split('.').all(label) {
                "this is no public host name"
            } else {
                continue;
            };
            return Err(CertificateError::Name { name: name.clone(), why });
        }
        if self.names.is_empty() {
            return Err(CertificateError::Name { name: String::new(), why: "a certificate is for at least one host name" });
        }
        let file = self.file();
        if file.exists() { files::read(&file, &file).map(Some) } else { Ok(None) }
    }

    /// Whether it is time for a new one: a third of the old one's is left.
    pub(crate) fn is_due(&self, validity: Option<Validity>, now_ms: i64) -> bool {
        validity.is_none_or(|validity| {
            let whole = validity.not_after_ms.saturating_sub(validity.not_before_ms);
            validity.not_after_ms.saturating_sub(now_ms) <= whole / 3
        })
    }

    /// Key and chain in one file, so that they cannot be of two certificates.
    fn file(&self) -> PathBuf {
        let mut names: Vec<String> = self.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort();
        self.dir.join(format!("{}-{}.pem", names.first().map_or("", String::as_str), short(&format!("{} {}", self.directory, names.join(" ")))))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(&dyn std::fmt::Display) -> CertificateError + '_ {
        move |why| CertificateError::Acme { directory: self.directory.clone(), doing, why: why.to_string() }
    }

    /// A new certificate, stored.
    pub(crate) async fn fetch(&self, resolver: &Resolver) -> Result<Pair, CertificateError> {
        let account = self.account().await?;
        let fetched = self.order(&account, resolver).await;
        resolver.forget_challenges();
        let pem = fetched?;
        let file = self.file();
        files::write_secret(&file, pem.as_bytes())?;
        files::read(&file, &file)
    }

    async fn account(&self) -> Result<Account, CertificateError> {
        let failed = self.failed("account");
        let http = || {
            let trust = match &self.root {
                None => Trust::PublicRoots,
                Some(path) => Trust::Ca(std::fs::read(path).map_err(|source| CertificateError::File { path: path.clone(), source })?),
            };
            let client = Client::new(Settings { trust, ..Settings::default() }).map_err(|error| failed(&error))?;
            Ok(Box::new(Http(client)) as Box<dyn HttpClient>)
        };
        let file = self.dir.join(format!("account-{}.json", short(&self.directory)));
        if let Some(credentials) = read_if_there(&file)? {
            let credentials: AccountCredentials =
                serde_json::from_slice(&credentials).map_err(|error| CertificateError::Content { path: file.clone(), why: error.to_string() })?;
            return Account::builder_with_http(http()?).from_credentials(credentials).await.map_err(|error| failed(&error));
        }
        let contact: Vec<String> = self.contact.iter().map(|address| format!("mailto:{}", address.trim_start_matches("mailto:"))).collect();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = Account::builder_with_http(http()?).create(&new, self.directory.clone(), None).await.map_err(|error| failed(&error))?;
        let bytes = serde_json::to_vec(&credentials).map_err(|error| failed(&error))?;
        files::write_secret(&file, &bytes)?;
        Ok(account)
    }

    async fn order(&self, account: &Account, resolver: &Resolver) -> Result<String, CertificateError> {
        let failed = self.failed("order");
        let names: Vec<Identifier> = self.names.iter().map(|name| Identifier::Dns(name.to_ascii_lowercase())).collect();
        let mut order = account.new_order(&NewOrder::new(&names)).await.map_err(|error| failed(&error))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| failed(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(failed(&format!("an authorization is {status:?}"))),
            }
            let (kind, name) = match self.challenge {
                Challenge::TlsAlpn => (ChallengeType::TlsAlpn01, "tls-alpn-01"),
                Challenge::Http => (ChallengeType::Http01, "http-01"),
            };
            let mut challenge = authorization.challenge(kind).ok_or_else(|| failed(&format!("the authority does not offer {name}")))?;
            let proof = challenge.key_authorization();
            match self.challenge {
                Challenge::Http => resolver.set_http_challenge(&challenge.token, proof.as_str()),
                Challenge::TlsAlpn => {
                    let host = challenge.identifier().to_string();
                    resolver.set_tls_challenge(&host, proof_certificate(&host, proof.digest().as_ref())?);
                }
            }
            challenge.set_ready().await.map_err(|error| failed(&error))?;
        }
        let status = order.poll_ready(&PATIENCE).await.map_err(|error| failed(&error))?;
        if status != OrderStatus::Ready {
            // The order does not say why; its authorizations do.
            let mut why = format!("the order is {status:?}");
            let mut authorizations = order.authorizations();
            while let Some(Ok(authorization)) = authorizations.next().await {
                for challenge in &authorization.challenges {
                    if let Some(error) = &challenge.error {
                        why += &format!("; {}: {error}", authorization.identifier());
                    }
                }
            }
            return Err(failed(&why));
        }
        let make = |error: rcgen::Error| CertificateError::Make(error.to_string());
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let mut params = CertificateParams::new(self.names.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>()).map_err(make)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(make)?;
        order.finalize_csr(request.der()).await.map_err(|error| failed(&error))?;
        let chain = order.poll_certificate(&PATIENCE).await.map_err(|error| failed(&error))?;
        Ok(format!("{chain}\n{}", key.serialize_pem()))
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertificateError::File { path: path.to_owned(), source }),
    }
}

/// The certificate that a TLS-ALPN-01 challenge asks to see (RFC 8737 §3).
fn proof_certificate(host: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, CertificateError> {
    let make = |error: rcgen::Error| CertificateError::Make(error.to_string());
    let digest: &[u8; 32] = digest.try_into().map_err(|_| CertificateError::Make("the digest of a challenge is not SHA-256".into()))?;
    let mut params = CertificateParams::new([host.to_owned()]).map_err(make)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(make)?;
    let certificate = params.self_signed(&key).map_err(make)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| CertificateError::Make(error.to_owned()))?;
    // Not checked against its key: the check does not know the extension, which is critical.
    let key = crate::provider().key_provider.load_private_key(der).map_err(|error| CertificateError::Make(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

/// Twelve digits that stand for a text.
fn short(text: &str) -> String {
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The house's client, as the library wants it.
struct Http(Client);

impl HttpClient for Http {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move { send(client, request).await.map_err(instant_acme::Error::Other) })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync + 'static>;

async fn send(client: Client, request: http::Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Failure> {
    let (parts, body) = request.into_parts();
    let mut sent = Request::new(parts.method, &parts.uri.to_string())?.redirects(0);
    let bytes = body.collect().await?.to_bytes();
    if let Some(kind) = parts.headers.get(http::header::CONTENT_TYPE) {
        sent = sent.body(kind.to_str()?, bytes)?;
    }
    for (name, value) in &parts.headers {
        if name != http::header::CONTENT_TYPE {
            sent = sent.header(name.clone(), value.to_str()?)?;
        }
    }
    let answer = client.send(sent).await?;
    let mut response = http::Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.clone_from(answer.headers());
    }
    Ok(response.body(Full::new(answer.bytes(LARGEST_ANSWER).await?))?.into())
}
