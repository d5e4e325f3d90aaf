//! `POST /result` and `POST /clear-results` (`dashboard.md` §4.5).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use burrow_results::BuildFilter;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::Md5;
use subtle::ConstantTimeEq as _;

use super::{Params, Repos, go_escaped, quoted};
use crate::control::{ControlError, Posted};
use crate::http::Site;

/// A result with its log, at most.
const BODY: usize = 64 << 20;

/// The keys of the classic dashboard. HMAC-MD5 under one master key is what its clients speak; it is off unless configured.
#[derive(Clone)]
pub struct Keys {
    /// The master key; surrounding white space does not count.
    pub master: String,
    /// Builders whose own key is refused.
    pub revoked: Vec<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("master", &"…").field("revoked", &self.revoked).finish()
    }
}

/// Who showed a key.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    Master,
    Builder,
    Nobody,
}

impl Keys {
    /// Key of a builder: lower-case hex of HMAC-MD5 over its name.
    ///
    /// ```
    /// let keys = burrow_coordinator::legacy::Keys { master: "gophers rule".into(), revoked: vec![] };
    /// assert_eq!(keys.of("linux-amd64"), "8b3dbf220b21848be6884e982b34702e");
    /// assert_eq!(keys.of("windows-amd64-longtest"), "83241ee8b04e2900f1471b93df752e1d");
    /// ```
    pub fn of(&self, builder: &str) -> String {
        let Ok(mut mac) = Hmac::<Md5>::new_from_slice(self.master.trim().as_bytes()) else { return String::new() };
        mac.update(builder.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn holder(&self, key: &str, builder: &str) -> Holder {
        let same = |known: &str| !known.is_empty() && bool::from(known.as_bytes().ct_eq(key.as_bytes()));
        if same(self.master.trim()) {
            Holder::Master
        } else if !self.revoked.iter().any(|name| name == builder) && same(&self.of(builder)) {
            Holder::Builder
        } else {
            Holder::Nobody
        }
    }
}

/// The envelope of every answer; its status is always 200, and clients look at `Error`.
fn envelope(error: &str) -> Response {
    let text = go_escaped(serde_json::Value::from(error).to_string().as_bytes());
    let mut body = b"{\"Response\":null,\"Error\":".to_vec();
    body.extend_from_slice(&text);
    body.extend_from_slice(b"}\n");
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Checks method and key. The key is echoed to the one who sent it, as clients expect, and never logged.
fn admit(site: &Site, method: &Method, uri: &Uri) -> Result<(Params, Holder), Box<Response>> {
    let params = Params::of(uri);
    let (key, builder) = (params.get("key"), params.get("builder"));
    if *method != Method::POST {
        return Err(Box::new(envelope(&format!("bad method: {method}"))));
    }
    let Some(keys) = &site.settings().legacy else {
        return Err(Box::new(envelope("builder keys are not accepted here; the operator can turn them on with a legacy master key")));
    };
    match keys.holder(key, builder) {
        Holder::Nobody => Err(Box::new(envelope(&format!("invalid key {} for builder {}", quoted(key), quoted(builder))))),
        holder => Ok((params, holder)),
    }
}

/// `POST /result?version=1&builder=&key=`.
pub(super) async fn result(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (params, holder) = match admit(&site, request.method(), request.uri()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    // Go's Atoi gives 0 for what is no number.
    let version = params.get("version").parse::<i64>().unwrap_or(0);
    if version != 1 {
        return envelope(&format!("rejecting POST from builder; need version 1 instead of {version}"));
    }
    let body = match axum::body::to_bytes(request.into_body(), BODY).await {
        Ok(body) => body,
        Err(_) => return envelope("decoding Body: http: request body too large"),
    };
    let posted = match decode(&body) {
        Ok(posted) => posted,
        Err(text) => return envelope(&text),
    };
    // The reference believes the body; then any builder's key could overwrite every result (`dashboard.md` §12 #1).
    if holder == Holder::Builder && posted.builder != params.get("builder") {
        return envelope(&format!("key of builder {} cannot post for builder {}", quoted(params.get("builder")), quoted(&posted.builder)));
    }
    match site.control().record(posted).await {
        Ok(_) => envelope(""),
        Err(error) => envelope(&error.to_string()),
    }
}

/// Reads the first JSON value of a body; names match in any case, unknown ones are ignored.
fn decode(body: &[u8]) -> Result<Posted, String> {
    let value = match serde_json::Deserializer::from_slice(body).into_iter::<serde_json::Value>().next() {
        None => return Err("decoding Body: EOF".into()),
        Some(Err(error)) if error.is_eof() => return Err("decoding Body: unexpected EOF".into()),
        Some(Err(error)) => return Err(format!("decoding Body: {error}")),
        Some(Ok(value)) => value,
    };
    let serde_json::Value::Object(fields) = value else {
        return Err("decoding Body: json: cannot unmarshal into Go value of type Result".into());
    };
    let field = |name: &str| fields.iter().rfind(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null()).map(|(_, value)| value);
    let wrong = |name: &str, kind: &str| format!("decoding Body: json: cannot unmarshal into Go struct field Result.{name} of type {kind}");
    let text = |name: &str| field(name).map_or(Ok(String::new()), |value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "string")));
    let posted = Posted {
        builder: text("Builder")?,
        package_path: text("PackagePath")?,
        hash: text("Hash")?,
        go_hash: text("GoHash")?,
        ok: field("OK").map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong("OK", "bool")))?,
        log: text("Log")?.into_bytes(),
        run_time_ns: field("RunTime").map_or(Ok(0), |value| value.as_i64().ok_or_else(|| wrong("RunTime", "int64")))?,
    };
    if posted.hash.is_empty() {
        return Err("validating Result: invalid Hash".into());
    }
    if !posted.package_path.is_empty() && posted.go_hash.is_empty() {
        return Err("validating Result: invalid GoHash".into());
    }
    Ok(posted)
}

/// `POST /clear-results?builder=&hash=&key=`: the newest result of the cell makes room for a new build.
pub(super) async fn clear(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (params, _) = match admit(&site, request.method(), request.uri()) {
        Ok(admitted) => admitted,
        Err(refusal) => return *refusal,
    };
    let (builder, hash) = (params.get("builder"), params.get("hash"));
    if builder.is_empty() {
        return envelope("missing 'builder'");
    }
    if hash.is_empty() {
        return envelope("missing 'hash'");
    }
    let Ok(Some(repos)) = Repos::load(&site).await else { return envelope("") };
    let filter =
        BuildFilter { builder: Some(builder.into()), repo: Some(repos.main.name), hash: Some(hash.into()), newest_only: true, ..BuildFilter::default() };
    let newest = match site.results().builds(&filter, 1).await {
        Ok(page) => page.items.into_iter().next(),
        Err(error) => return envelope(&error.to_string()),
    };
    // No commit, no result, or one that is being made again already: nothing to clear, which is a success.
    let Some(build) = newest.filter(|build| build.state.ended()) else { return envelope("") };
    match site.control().retry(build.id, format!("builder {builder}"), "its result was cleared by a client of the dashboard".into()).await {
        Ok(_) | Err(ControlError::NotFound(_)) => envelope(""),
        // Clients try again when they read exactly this.
        Err(ControlError::Conflict(_)) => envelope("datastore: concurrent transaction"),
        Err(error) => envelope(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_builder_needs_the_master_key() {
        let keys = Keys { master: " gophers rule\n".into(), revoked: vec!["linux-arm-onlinenet".into()] };
        assert_eq!(keys.holder("8b3dbf220b21848be6884e982b34702e", "linux-amd64"), Holder::Builder);
        assert_eq!(keys.holder("8b3dbf220b21848be6884e982b34702e", "linux-arm64"), Holder::Nobody);
        assert_eq!(keys.holder(&keys.of("linux-arm-onlinenet"), "linux-arm-onlinenet"), Holder::Nobody);
        assert_eq!(keys.holder("gophers rule", "linux-arm-onlinenet"), Holder::Master);
        assert_eq!(Keys { master: String::new(), revoked: vec![] }.holder("", ""), Holder::Nobody);
    }

    #[test]
    fn bodies_are_read_as_go_reads_them() {
        let posted = decode(br#"{"builder":"b","HASH":"h","ok":true,"runtime":5,"Extra":[]} trailing"#).unwrap();
        assert_eq!((posted.builder.as_str(), posted.hash.as_str(), posted.ok, posted.run_time_ns), ("b", "h", true, 5));
        assert_eq!(decode(b"").unwrap_err(), "decoding Body: EOF");
        assert_eq!(decode(b"{}").unwrap_err(), "validating Result: invalid Hash");
        assert_eq!(decode(br#"{"Hash":"h","PackagePath":"golang.org/x/net"}"#).unwrap_err(), "validating Result: invalid GoHash");
    }
}
