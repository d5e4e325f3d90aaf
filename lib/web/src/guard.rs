//! What every answer carries, and which requests are refused before a handler sees them.
//!
//! A server on the loopback address asks for no password, so two things protect it from pages of other sites that the same browser shows:
//! the host name of every request must be one that means this machine (a foreign name that resolves to it is a rebinding attack), and a
//! request that changes something must not come from another origin.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Puts the security headers on an answer. `https` adds the instruction to keep using it.
pub fn protect(headers: &mut HeaderMap, https: bool) {
    let fixed = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        headers.entry(HeaderName::from_static(name)).or_insert(HeaderValue::from_static(value));
    }
    if https {
        headers.insert(HeaderName::from_static("strict-transport-security"), HeaderValue::from_static("max-age=31536000"));
    }
}

/// Why a request is refused before a handler sees it, if it is. `only_host`: of a loopback listener, its configured public address, or nothing.
pub fn refusal(method: &Method, headers: &HeaderMap, only_host: Option<&str>) -> Option<(StatusCode, &'static str)> {
    if only_host.is_some_and(|public| !host_is_ours(headers, public)) {
        return Some((StatusCode::MISDIRECTED_REQUEST, "this host name is not served here; ask by address, or name it as `public` in the configuration"));
    }
    forged(method, headers).then_some((StatusCode::FORBIDDEN, "a page of another site sent this; nothing was done"))
}

/// Whether a request that may change something was sent by a page of another site.
pub fn forged(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    // Programs send neither header; browsers too old for the first send this one.
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = origin.to_str().unwrap_or_default();
    origin.split_once("://").is_none_or(|(_, from)| from != host)
}

/// Whether the `Host` of a request to a loopback listener means this machine. `public` is the configured public address.
pub fn host_is_ours(headers: &HeaderMap, public: &str) -> bool {
    // HTTP/1.0 programs send none, browsers always do.
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = without_port(host);
    let public = public.split_once("://").map_or(public, |(_, rest)| rest).split('/').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
        || (!name.is_empty() && name.eq_ignore_ascii_case(without_port(public)))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn buttons_of_other_sites_are_refused_and_programs_are_not() {
        let refused = |pairs: &[(&'static str, &'static str)]| forged(&Method::POST, &headers(pairs));
        assert!(!refused(&[("host", "localhost:8080")]));
        assert!(!refused(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        assert!(refused(&[("host", "localhost:8080"), ("origin", "http://evil.example")]));
        assert!(refused(&[("host", "localhost:8080"), ("origin", "null")]));
        assert!(refused(&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")]));
        assert!(refused(&[("host", "localhost:8080"), ("sec-fetch-site", "same-site"), ("origin", "http://localhost:8080")]));
        assert!(!forged(&Method::GET, &headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn a_foreign_name_for_this_machine_is_seen_through() {
        let ours = |host: &'static str| host_is_ours(&headers(&[("host", host)]), "https://builds.example.org/");
        assert!(ours("127.0.0.1:8080") && ours("[::1]:8080") && ours("localhost") && ours("builds.example.org"));
        assert!(!ours("evil.example:8080") && !ours("localhost.evil.example") && !ours(""));
    }
}
