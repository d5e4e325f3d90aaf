//! From when to when a certificate is valid.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// From when to when, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From.
    pub not_before_ms: i64,
    /// To.
    pub not_after_ms: i64,
}

/// One element of DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().try_fold(0_usize, |sum, byte| Some(sum.checked_mul(256)? + usize::from(*byte)))?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// The validity of a certificate (RFC 5280 §4.1.2.5); `None`: this is no certificate.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (0x30, certificate, _) = element(certificate)? else { return None };
    let (0x30, mut fields, _) = element(certificate)? else { return None };
    if let (0xa0, _, rest) = element(fields)? {
        // The version.
        fields = rest;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (0x30, times, _) = element(fields)? else { return None };
    let (tag, from, times) = element(times)?;
    let (until_tag, until, _) = element(times)?;
    Some(Validity { not_before_ms: time(tag, from)?, not_after_ms: time(until_tag, until)? })
}

fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // UTCTime has years of two digits, up to 2049.
        0x17 => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(TimeZone::UTC.to_timestamp(time).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let made = |from: (i32, u8, u8), until: (i32, u8, u8)| {
            let mut params = rcgen::CertificateParams::new(["a.example.org".to_owned()]).expect("a name");
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
            params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec()
        };
        let read = validity(&made((1999, 12, 31), (2051, 1, 1))).expect("a certificate");
        assert_eq!(read, Validity { not_before_ms: 946_598_400_000, not_after_ms: 2_556_144_000_000 });
    }

    proptest! {
        #[test]
        fn rubbish_is_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(validity(&bytes), None);
        }
    }
}
