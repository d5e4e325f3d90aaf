//! Talking to a running coordinator, ours or Go's, over HTTP.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::Failure;

/// The longest answer that is read; logs of failures are searched for texts, so they may be long.
const LONGEST: u64 = 256 << 20;

/// A coordinator's address, and what opens it.
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nobody answers there.
    Unreachable(String),
    /// It answered with a refusal.
    Refused(u16, String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Unreachable(text) => Failure::infrastructure(text),
            Trouble::Refused(400..=499, text) => Failure::usage(text),
            Trouble::Refused(_, text) => Failure::infrastructure(text),
        }
    }
}

impl Client {
    /// For the coordinator at `base`, with the token that `token_file` holds.
    pub(crate) fn new(base: &str, token_file: Option<&Path>) -> Result<Client, Failure> {
        let base = base.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(Failure::usage(format!("{base:?} is no address: it must begin with http:// or https://")));
        }
        let token = token_file.map(read_secret).transpose()?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)));
        Ok(Client { base, token, agent: config.build().new_agent() })
    }

    /// The address, without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// `GET` of text.
    pub(crate) fn get(&self, path: &str) -> Result<String, Trouble> {
        let url = self.url(path);
        let mut request = self.agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(&url, request.call())
    }

    /// `GET` of JSON.
    pub(crate) fn get_json(&self, path: &str) -> Result<Value, Trouble> {
        let text = self.get(path)?;
        serde_json::from_str(&text).map_err(|_| Trouble::Unreachable(format!("{} answered, but it is no Burrow coordinator", self.base)))
    }

    /// `POST` of JSON; the answer is JSON, or null if it is empty.
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        let url = self.url(path);
        let mut request = self.agent.post(&url).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let text = self.read(&url, request.send(body.to_string()))?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// `POST` of a form, as a browser sends it.
    pub(crate) fn post_form(&self, path: &str, form: &str) -> Result<String, Trouble> {
        let url = self.url(path);
        let mut request = self.agent.post(&url).header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(&url, request.send(form))
    }

    /// `POST` without a body, as the classic endpoints want it.
    pub(crate) fn post_empty(&self, path: &str) -> Result<String, Trouble> {
        let url = self.url(path);
        let answer = self.agent.post(&url).send_empty();
        self.read(&url, answer)
    }

    fn url(&self, path: &str) -> String {
        // The list of failures names whole addresses.
        if path.starts_with("http://") || path.starts_with("https://") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    fn read(&self, url: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, Trouble> {
        // Addresses of the classic endpoints hold keys; those are not repeated.
        let shown = url.split('?').next().unwrap_or(url);
        let unreachable = |error: ureq::Error| Trouble::Unreachable(format!("{shown} does not answer: {error}"));
        let mut answer = answer.map_err(unreachable)?;
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut answer.body_mut().with_config().limit(LONGEST).reader(), &mut bytes);
        read.map_err(|error| Trouble::Unreachable(format!("the answer of {shown} is cut: {error}")))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok(text);
        }
        Err(Trouble::Refused(status, refusal(shown, status, &text)))
    }
}

/// A refusal as a sentence: what the problem document says, or the first line of the text.
fn refusal(url: &str, status: u16, text: &str) -> String {
    let said = serde_json::from_str::<Value>(text).ok().and_then(|problem| {
        let field = |name: &str| problem.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        field("detail").or_else(|| field("title")).or_else(|| field("error"))
    });
    let said = said.unwrap_or_else(|| text.lines().next().unwrap_or("").chars().take(200).collect());
    match (status, said.is_empty() || said.starts_with('<')) {
        (401 | 403, _) => format!("{url}: not allowed (status {status}); give the administrator's token with --token-file"),
        (_, true) => format!("{url} answered with status {status}"),
        (_, false) => format!("{said} ({url}, status {status})"),
    }
}

/// A secret kept in a file; white space around it is no part of it.
pub(crate) fn read_secret(path: &Path) -> Result<String, Failure> {
    burrow_site::read_secret(path).map_err(Failure::usage)
}

/// A value within a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_sentences() {
        assert_eq!(refusal("http://x/a", 404, r#"{"title":"Not found","detail":"There is no build 7."}"#), "There is no build 7. (http://x/a, status 404)");
        assert_eq!(refusal("http://x/a", 400, "unsupported mode argument\n"), "unsupported mode argument (http://x/a, status 400)");
        assert_eq!(refusal("http://x/a", 502, "<html>\n"), "http://x/a answered with status 502");
        assert!(refusal("http://x/a", 401, "{}").contains("--token-file"));
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escape("release/1 &é"), "release%2F1%20%26%C3%A9");
    }
}
