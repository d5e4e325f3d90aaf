//! Instance metadata: how an image's worker learns its certificate and password on a cloud (spec buildlet.md §2.2).
//!
//! Whether this is a cloud is told by the firmware, so nothing is asked of the network elsewhere. `GCE_METADATA_HOST` and
//! `AWS_EC2_METADATA_SERVICE_ENDPOINT` name other servers, as the clouds' own tools have it. Where a key is not in the metadata, the environment
//! variable `META_<key>` stands in.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::platform;

/// The server is on the same host; one that takes longer is not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// User data is at most 16 KiB, attributes 256 KiB.
const MAX_ANSWER: u64 = 1 << 20;

/// Where values come from.
pub(crate) struct Metadata<'a> {
    environment: &'a BTreeMap<String, String>,
    source: Source,
}

enum Source {
    /// `host[:port]` of the metadata server.
    Gce(String),
    /// The instance's user data.
    Ec2(serde_json::Value),
    None,
}

impl<'a> Metadata<'a> {
    /// Finds out where we are.
    pub(crate) fn find(environment: &'a BTreeMap<String, String>) -> Result<Self, String> {
        let source = if let Some(host) = environment.get("GCE_METADATA_HOST") {
            Source::Gce(host.clone())
        } else if let Some(endpoint) = environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            Source::Ec2(user_data(endpoint.trim_start_matches("http://").trim_end_matches('/'))?)
        } else {
            match platform::cloud() {
                Some(platform::Cloud::Gce) => Source::Gce("metadata.google.internal".to_owned()),
                Some(platform::Cloud::Ec2) => Source::Ec2(user_data("169.254.169.254")?),
                None => Source::None,
            }
        };
        Ok(Self { environment, source })
    }

    /// Whether this is a cloud's virtual machine.
    pub(crate) fn on_cloud(&self) -> bool {
        !matches!(self.source, Source::None)
    }

    /// The value of a key such as `tls-cert`.
    pub(crate) fn value(&self, key: &str) -> Result<Option<String>, String> {
        let found = match &self.source {
            // A container's host has attributes that are not meant for it.
            Source::Gce(host) if !self.environment.contains_key("KUBERNETES_SERVICE_HOST") => {
                let path = format!("/computeMetadata/v1/instance/attributes/{key}");
                match request(host, "GET", &path, "Metadata-Flavor: Google\r\n") {
                    Ok((200, value)) => Some(value),
                    Ok((404, _)) => None,
                    Ok((status, _)) => return Err(format!("the metadata server answers {status} to {key}")),
                    Err(e) => return Err(format!("the metadata server {host} cannot be asked: {e}")),
                }
            }
            Source::Ec2(data) => {
                let field = if key == "password" { "tls_password".to_owned() } else { key.replace('-', "_") };
                data.get(field).and_then(|v| v.as_str()).map(str::to_owned)
            }
            _ => None,
        };
        match found {
            Some(value) => Ok(Some(value)),
            None => self.stand_in(key),
        }
    }

    /// `META_` and the key with underscores; `@file` is the file's content.
    fn stand_in(&self, key: &str) -> Result<Option<String>, String> {
        let name = format!("META_{}", key.replace('-', "_"));
        let Some(value) = self.environment.get(&name) else { return Ok(None) };
        match value.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).map(Some).map_err(|e| format!("{name} names the file {file}: {e}")),
            None => Ok(Some(value.clone())),
        }
    }
}

/// The JSON in an instance's user data; an instance without any has none.
fn user_data(host: &str) -> Result<serde_json::Value, String> {
    use base64::Engine as _;
    let failed = |e: io::Error| format!("the metadata server {host} cannot be asked: {e}");
    let token = match request(host, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300\r\n").map_err(failed)? {
        (200, token) => format!("X-aws-ec2-metadata-token: {}\r\n", token.trim()),
        _ => String::new(),
    };
    let text = match request(host, "GET", "/latest/user-data", &token).map_err(failed)? {
        (200, text) => text,
        _ => return Ok(serde_json::Value::Null),
    };
    // Some launchers encode once more than the API asks for.
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok().and_then(|d| String::from_utf8(d).ok());
    Ok(serde_json::from_str(decoded.as_deref().unwrap_or(&text)).unwrap_or_default())
}

/// One exchange; status and body.
fn request(host: &str, method: &str, path: &str, header: &str) -> io::Result<(u16, String)> {
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the end of the answer is the end of the connection, never chunks.
    stream.write_all(format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\n{header}Content-Length: 0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(malformed)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metadata server for a number of requests; every answer depends on the whole request.
    fn server(requests: usize, answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, std::thread::JoinHandle<()>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            for _ in 0..requests {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                while !request.ends_with("\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(char::from(byte[0]));
                }
                let (status, body) = answer(&request);
                write!(stream, "HTTP/1.0 {status} x\r\n\r\n{body}").unwrap();
            }
        });
        (host, thread)
    }

    #[test]
    fn google_attributes_come_first_and_the_environment_fills_in() {
        let (host, thread) = server(2, |request| {
            assert!(request.contains("Metadata-Flavor: Google\r\n"), "{request}");
            if request.starts_with("GET /computeMetadata/v1/instance/attributes/password ") { (200, "attribute".into()) } else { (404, String::new()) }
        });
        let mut environment: BTreeMap<String, String> =
            [("GCE_METADATA_HOST", host.as_str()), ("META_password", "env"), ("META_tls_cert", "env")].map(|(k, v)| (k.into(), v.into())).into();
        {
            let metadata = Metadata::find(&environment).unwrap();
            assert!(metadata.on_cloud());
            assert_eq!(metadata.value("password").unwrap().as_deref(), Some("attribute"));
            assert_eq!(metadata.value("tls-cert").unwrap().as_deref(), Some("env"));
        }
        thread.join().unwrap();
        environment.insert("KUBERNETES_SERVICE_HOST".into(), "10.0.0.1".into());
        assert_eq!(Metadata::find(&environment).unwrap().value("password").unwrap().as_deref(), Some("env"));
    }

    #[test]
    fn amazon_user_data_is_json_with_its_own_names() {
        for encode in [false, true] {
            let (host, thread) = server(2, move |request| {
                if request.starts_with("PUT /latest/api/token ") {
                    return (200, "T".into());
                }
                assert!(request.contains("X-aws-ec2-metadata-token: T\r\n"), "{request}");
                let json = r#"{"tls_password":"p","tls_cert":"c"}"#;
                use base64::Engine as _;
                (200, if encode { base64::engine::general_purpose::STANDARD.encode(json) } else { json.into() })
            });
            let environment: BTreeMap<String, String> = [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), format!("http://{host}/"))].into();
            let metadata = Metadata::find(&environment).unwrap();
            thread.join().unwrap();
            assert_eq!(metadata.value("password").unwrap().as_deref(), Some("p"));
            assert_eq!(metadata.value("tls-cert").unwrap().as_deref(), Some("c"));
            assert_eq!(metadata.value("tls-key").unwrap(), None);
        }
    }
}
