//! Certificates and keys in files.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::{CertificateError, Validity, validity};

/// A chain with its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
}

fn content(path: &Path, why: impl ToString) -> CertificateError {
    CertificateError::Content { path: path.to_owned(), why: why.to_string() }
}

fn load(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::File { path: path.to_owned(), source })
}

/// Reads a chain and its key, which may be in one file.
pub(crate) fn read(cert: &Path, key: &Path) -> Result<Pair, CertificateError> {
    let chain = CertificateDer::pem_slice_iter(&load(cert)?).collect::<Result<Vec<_>, _>>().map_err(|error| content(cert, error))?;
    let Some(first) = chain.first() else {
        return Err(content(cert, "there is no certificate in it; it must begin with -----BEGIN CERTIFICATE-----"));
    };
    let validity = validity(first).ok_or_else(|| content(cert, "the first certificate cannot be read"))?;
    let private = PrivateKeyDer::from_pem_slice(&load(key)?).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => content(key, "there is no private key in it; it must hold -----BEGIN PRIVATE KEY-----"),
        error => content(key, error),
    })?;
    let key = CertifiedKey::from_der(chain, private, &crate::provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => content(key, format!("the key does not belong to the certificate in {}", cert.display())),
        error => content(key, error),
    })?;
    Ok(Pair { key: Arc::new(key), validity })
}

/// What changes when one of the files does: their lengths and times.
pub(crate) type Mark = [Option<(u64, SystemTime)>; 2];

/// How the files look now.
pub(crate) fn mark(cert: &Path, key: &Path) -> Mark {
    [cert, key].map(|path| std::fs::metadata(path).ok().and_then(|data| Some((data.len(), data.modified().ok()?))))
}

/// Writes a file that its owner alone may read. A crash leaves the old one or the new one, whole.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    let failed = |source| CertificateError::File { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    // A temporary file is its owner's alone from the start.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    // The new name is on disk only when the folder is.
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}
