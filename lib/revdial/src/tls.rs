//! TLS settings of both ends. ring only; no session tickets, since each connection is either kept for long or made afresh from a pin.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use tokio::net::TcpStream;

/// Which certificates a client accepts.
#[derive(Clone)]
pub enum Trust {
    /// Those of the public certificate authorities (Mozilla's list, compiled in).
    PublicRoots,
    /// Those signed by these authorities: PEM.
    Ca(Vec<u8>),
    /// Exactly the certificate with this SHA-256, whatever name and dates it carries. Enrolment tokens carry it.
    Pin([u8; 32]),
    /// Any certificate at all. Only for a Go coordinator in dev mode, on a network without enemies.
    Anything,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trust::PublicRoots => "PublicRoots",
            Trust::Ca(_) => "Ca",
            Trust::Pin(_) => "Pin",
            Trust::Anything => "Anything",
        })
    }
}

/// A certificate or key that cannot be used.
#[derive(Debug, Error)]
pub enum BadCertificate {
    /// The PEM text has no certificate or no key.
    #[error("no usable certificate or key in the PEM text: {0}")]
    Pem(String),
    /// rustls refuses it.
    #[error("the certificate or key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// SHA-256 of a certificate (DER): what a [`Trust::Pin`] and an enrolment token hold.
pub fn certificate_fingerprint(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|e| BadCertificate::Pem(e.to_string()))?;
    if found.is_empty() {
        return Err(BadCertificate::Pem("no certificate".into()));
    }
    Ok(found)
}

/// Settings for the client end: no ALPN, no session resumption.
///
/// # Errors
/// [`BadCertificate`] for a CA text without certificates.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, BadCertificate> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::PublicRoots => {
            let mut roots = RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            builder.with_root_certificates(roots)
        }
        Trust::Ca(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate)?;
            }
            builder.with_root_certificates(roots)
        }
        Trust::Pin(pin) => builder.dangerous().with_custom_certificate_verifier(Arc::new(NoNames { pin: Some(*pin), provider })),
        Trust::Anything => builder.dangerous().with_custom_certificate_verifier(Arc::new(NoNames { pin: None, provider })),
    };
    let mut config = builder.with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Settings for the server end from a PEM certificate chain and a PEM key: no ALPN, no session tickets. For [`crate::accept`].
///
/// # Errors
/// [`BadCertificate`]
pub fn server_config(chain_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, BadCertificate> {
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| BadCertificate::Pem(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(crate::sni::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates(chain_pem)?, key)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// Lets the kernel find dead peers of quiet connections: keep-alive probes after 15 s (`spec/buildlet.md` §6.1). Failure changes nothing that matters.
pub fn set_keepalive(tcp: &TcpStream) {
    #[cfg(unix)]
    {
        use rustix::net::sockopt;
        let _ = sockopt::set_socket_keepalive(tcp, true);
        #[cfg(target_os = "linux")]
        {
            let fifteen = std::time::Duration::from_secs(15);
            let _ = sockopt::set_tcp_keepidle(tcp, fifteen);
            let _ = sockopt::set_tcp_keepintvl(tcp, fifteen);
        }
    }
    #[cfg(not(unix))]
    let _ = tcp;
}

/// Accepts one certificate by its hash, or any. With a pin the signature of the handshake is checked too, which shows that the peer holds the key. Where any
/// certificate will do, anybody can show his own, and the check would only refuse the certificate of Go's development coordinator, whose X.509 version is 1.
struct NoNames {
    pin: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for NoNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pin.is_some() { "Pinned" } else { "Anything" })
    }
}

impl ServerCertVerifier for NoNames {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.pin {
            Some(pin) if !bool::from(pin.ct_eq(&certificate_fingerprint(end_entity))) => {
                Err(rustls::Error::General("the coordinator shows another certificate than the one this machine was enrolled with".into()))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.pin.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(&self, message: &[u8], cert: &CertificateDer<'_>, dss: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.pin.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
