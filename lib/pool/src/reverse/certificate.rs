//! The coordinator's own certificate for machines, made once and kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burrow_revdial::{BadCertificate, certificate_fingerprint, server_config};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file could not be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the files hold is not a certificate and its key.
    #[error(transparent)]
    Bad(#[from] BadCertificate),
    /// A new one could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate, ready to be served.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// For [`super::ReversePool::serve`].
    pub tls: Arc<ServerConfig>,
    /// SHA-256 of the certificate: what tokens carry and machines pin.
    pub fingerprint: [u8; 32],
}

impl Certificate {
    /// From a PEM chain and a PEM key, for example of a public authority.
    ///
    /// # Errors
    /// [`CertificateError::Bad`]
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Certificate, CertificateError> {
        let config = server_config(chain, key)?;
        let first = CertificateDer::from_pem_slice(chain).map_err(|e| BadCertificate::Pem(e.to_string()))?;
        Ok(Certificate { tls: Arc::new(config), fingerprint: certificate_fingerprint(&first) })
    }

    /// The self-signed certificate kept in `directory` (`machines.crt`, and `machines.key` with mode 0600); made at the first start. It is an ECDSA P-256
    /// one without an end, since machines pin it and a renewed one would lock them all out.
    ///
    /// # Errors
    /// [`CertificateError`]
    pub fn kept_in(directory: &Path) -> Result<Certificate, CertificateError> {
        let (chain_path, key_path) = (directory.join("machines.crt"), directory.join("machines.key"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::File { path, source }
        };
        let there = std::fs::read(&key_path).and_then(|key| Ok((std::fs::read(&chain_path)?, key)));
        match there {
            Ok((chain, key)) => return Certificate::from_pem(&chain, &key),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CertificateError::File { path: chain_path, source }),
        }
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "Burrow coordinator");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let chain = params.self_signed(&key)?.pem();
        // The key first and under its final name last: a start that was cut short leaves nothing that looks whole.
        write_private(&directory.join("machines.key.new"), key.serialize_pem().as_bytes()).map_err(failed(&key_path))?;
        std::fs::write(&chain_path, &chain).map_err(failed(&chain_path))?;
        std::fs::rename(directory.join("machines.key.new"), &key_path).map_err(failed(&key_path))?;
        Certificate::from_pem(chain.as_bytes(), key.serialize_pem().as_bytes())
    }
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
