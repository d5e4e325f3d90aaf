//! A certificate of one's own making: ECDSA P-256, from now − 1 min for 10 × 365 days.

use std::path::Path;
use std::time::Duration;

use burrow_clock::SharedClock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use crate::CertificateError;
use crate::files::{self, Pair};

const LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(60);

fn made(error: rcgen::Error) -> CertificateError {
    CertificateError::Make(error.to_string())
}

/// The one in the folder, or a new one if there is none, it is for other names, or it has expired.
pub(crate) fn open(dir: &Path, names: &[String], clock: &SharedClock) -> Result<Pair, CertificateError> {
    let (file, of) = (dir.join("self-signed.pem"), dir.join("self-signed.names"));
    let list = names.join("\n");
    let now = clock.now_ms();
    if file.exists() && std::fs::read_to_string(&of).is_ok_and(|known| known == list) {
        let pair = files::read(&file, &file)?;
        if pair.validity.not_after_ms > now {
            return Ok(pair);
        }
    }
    let mut params = CertificateParams::new(names.to_vec())
        .map_err(|_| CertificateError::Name { name: list.replace('\n', ", "), why: "host names and IP addresses are needed" })?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(now).unwrap_or(0));
    (params.not_before, params.not_after) = (now - BEFORE, now + LIFE);
    params.distinguished_name.push(DnType::OrganizationName, "Burrow");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(made)?;
    let certificate = params.self_signed(&key).map_err(made)?;
    files::write_secret(&file, format!("{}{}", certificate.pem(), key.serialize_pem()).as_bytes())?;
    files::write_secret(&of, list.as_bytes())?;
    files::read(&file, &file)
}
