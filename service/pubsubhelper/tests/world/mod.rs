//! A running service on a free port, and those who post to it and read from it.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burrow_certificates::Certificates;
use burrow_clock::TestClock;
use burrow_http_client::{Client, Request};
use burrow_pubsubhelper::{Config, Deps, Service};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderName, Method};

/// When all begins.
pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) clock: TestClock,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) client: Client,
    config: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// The signature header's value.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

pub(crate) fn signature_sha1(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha1={}", hex(&mac.finalize().into_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A configuration with GitHub's hook, whose secret is `k`.
pub(crate) const GITHUB: &str = "allow_plain_http = true\n[[source]]\nkind = \"github\"\nsecret_file = \"k\"\n";

impl World {
    pub(crate) async fn start(config: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("k"), "k\n").unwrap();
        World::start_in(dir, config, &[]).await
    }

    /// With files besides.
    pub(crate) async fn start_with(config: &str, files: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("k"), "k\n").unwrap();
        World::start_in(dir, config, files).await
    }

    /// With its data on another disk.
    #[cfg(unix)]
    pub(crate) async fn start_on(config: &str, disk: &Path) -> World {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(disk, dir.path().join("data")).unwrap();
        World::start_in(dir, config, &[("k", "k\n")]).await
    }

    async fn start_in(dir: tempfile::TempDir, config: &str, files: &[(&str, &str)]) -> World {
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let clock = TestClock::at(NOW);
        let service = serve(dir.path(), config, &clock).await;
        let settings = burrow_http_client::Settings { stall_limit: Duration::from_secs(90), head_limit: Duration::from_secs(90), ..Default::default() };
        World { service, clock, dir, client: Client::new(settings).unwrap(), config: config.to_owned() }
    }

    /// Stops it and starts it again in the same folder.
    pub(crate) async fn restart(self) -> World {
        let World { service, clock, dir, client, config } = self;
        service.stop().await;
        client.forget_idle();
        let service = serve(dir.path(), &config, &clock).await;
        World { service, clock, dir, client, config }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.addresses()[0])
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Answer {
        let mut request = Request::new(method, &self.url(path)).unwrap();
        let body: bytes::Bytes = body.into();
        if !body.is_empty() {
            request = request.body("application/json", body).unwrap();
        }
        for (name, value) in headers {
            request = request.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), value).unwrap();
        }
        let response = self.client.send(request.redirects(0)).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        let text = String::from_utf8(response.bytes(64 << 20).await.unwrap().to_vec()).unwrap();
        Answer { status, kind, headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    /// A delivery of GitHub, signed with `k`.
    pub(crate) async fn github(&self, event: &str, delivery: &str, body: &str) -> Answer {
        let signature = signature("k", body.as_bytes());
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", event), ("x-github-delivery", delivery)];
        self.ask(Method::POST, "/github-webhook", &headers, body.to_owned()).await
    }

    /// An issue of `a/b`.
    pub(crate) async fn issue(&self, number: u64) -> Answer {
        let body = format!(r#"{{"action":"opened","repository":{{"full_name":"a/b"}},"issue":{{"number":{number}}}}}"#);
        self.github("issues", &format!("delivery-{number}"), &body).await
    }

    /// How many events are kept.
    pub(crate) fn events(&self) -> usize {
        self.service.log().kept().0
    }

    pub(crate) fn source(&self, name: &str) -> Arc<burrow_pubsubhelper::hub::Source> {
        Arc::clone(self.service.hub().sources.iter().find(|source| source.name == name).unwrap())
    }

    /// The last event.
    pub(crate) fn last(&self) -> Arc<burrow_events::Event> {
        Arc::clone(&self.service.log().before(None, &burrow_events::Topics::all(), 1)[0].event)
    }
}

async fn serve(dir: &Path, config: &str, clock: &TestClock) -> Service {
    let path = dir.join("pubsubhelper.toml");
    std::fs::write(&path, format!("listen = [\"127.0.0.1:0\"]\ndata = \"data\"\n{config}")).unwrap();
    let config = Config::load(&path).unwrap();
    let certificates = config.tls.as_ref().map(|tls| Certificates::open(tls.source(dir), Arc::new(clock.clone())).unwrap());
    Service::start(config, Deps { clock: Arc::new(clock.clone()), keys: None, certificates }).await.unwrap()
}
