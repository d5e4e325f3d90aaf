//! git's smart HTTP, by the `git` program itself: advertising and sending. Nobody pushes here.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, Request, Response};
use testkit_server::Reply;
use tokio::io::AsyncWriteExt as _;

use crate::{Asked, World};

/// One question to git.
pub(crate) struct Service {
    repository: PathBuf,
    advertise: bool,
}

impl Service {
    /// `None`: it is not for git.
    pub(crate) fn of(world: &World, request: &Request<Bytes>, asked: &Asked) -> Option<Service> {
        let path = percent_encoding::percent_decode_str(asked.path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let (project, advertise) = match (path.strip_suffix("/info/refs"), path.strip_suffix("/git-upload-pack")) {
            (Some(project), _) if asked.query.contains("service=git-upload-pack") && request.method() == http::Method::GET => (project, true),
            (_, Some(project)) if request.method() == http::Method::POST => (project, false),
            _ => return None,
        };
        let project = project.strip_suffix(".git").unwrap_or(project);
        world.has_project(project).then(|| Service { repository: world.repository(project).to_owned(), advertise })
    }

    pub(crate) async fn run(self, request: Request<Bytes>) -> Reply {
        let (head, body) = request.into_parts();
        let protocol = header(&head.headers, "git-protocol");
        let mut command = tokio::process::Command::new("git");
        command.args(["upload-pack", "--stateless-rpc"]);
        if self.advertise {
            command.arg("--advertise-refs");
        }
        command
            .arg(&self.repository)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("GIT_DIR")
            .env("GIT_PROTOCOL", &protocol)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("git is installed");
        let input = child.stdin.take();
        let bytes = inflate(&head.headers, body);
        // Writing and reading at once: git may answer before it has read everything.
        burrow_task::spawn(async move {
            if let Some(mut input) = input {
                let _ = input.write_all(&bytes).await;
            }
        });
        let output = child.stdout.take().expect("its output was asked for");
        // Only the first version of the protocol begins with the name of the service.
        let start = if self.advertise && !protocol.contains("version=2") { "001e# service=git-upload-pack\n0000" } else { "" };
        let chunks = tokio_util::io::ReaderStream::new(output);
        let ended = futures_util::stream::once(async move {
            let status = child.wait().await?;
            if status.success() { Ok(Bytes::new()) } else { Err(std::io::Error::other(format!("git upload-pack: {status}"))) }
        });
        let stream = futures_util::stream::iter([Ok(Bytes::from_static(start.as_bytes()))]).chain(chunks).chain(ended);
        let mut response = Response::new(stream.boxed());
        let kind = if self.advertise { "application/x-git-upload-pack-advertisement" } else { "application/x-git-upload-pack-result" };
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response.headers_mut().insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-cache"));
        Reply::Stream(response)
    }
}

fn header(headers: &HeaderMap, name: &'static str) -> String {
    headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// git compresses long requests.
fn inflate(headers: &HeaderMap, body: Bytes) -> Bytes {
    if header(headers, "content-encoding") != "gzip" {
        return body;
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(body.as_ref()).read_to_end(&mut plain).expect("git compresses correctly");
    plain.into()
}
