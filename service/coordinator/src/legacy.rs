//! The classic build dashboard and coordinator as their clients know them (`dashboard.md` §4 and §15.4, `coordinator.md` §13 and §15).
//!
//! Texts, status codes and field names here are other programs' contracts: do not improve them. What may differ from the reference is written
//! where it differs. Posting with builder keys is off unless the operator gives a master key.

mod board;
mod status;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{any, get};
use burrow_results::Repo;
use burrow_web::{Kind, Problem, Rendered};
use serde::Serialize;

use crate::http::{Site, database};
use crate::pages::grid_url;

pub(crate) use status::builders;
pub use write::Keys;

/// Routes beside the front page.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/result", any(write::result))
        .route("/clear-results", any(write::clear))
        .route("/status/reverse.json", get(status::reverse))
        .route("/status/post-submit-active.json", get(status::active))
        .route("/temporarylogs", get(status::temporary_logs))
}

/// Whether a query has one of the classic parameters.
pub(crate) fn is_classic(query: &str) -> bool {
    query.split('&').any(|part| matches!(part.split('=').next(), Some("mode" | "repo" | "branch" | "page")))
}

/// `POST /`: the reference answers every method but GET and HEAD so.
pub(crate) async fn post_front() -> Response {
    plain(StatusCode::BAD_REQUEST, "unsupported method")
}

/// An error as Go's `http.Error` writes it.
fn plain(status: StatusCode, text: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

fn rpc_error(code: &str, status: StatusCode, text: &str) -> Response {
    plain(status, &format!("maintner.GetDashboard: rpc error: code = {code} desc = {text}"))
}

/// Query parameters; the first of each name counts, as in Go.
struct Params(Vec<(String, String)>);

impl Params {
    fn of(uri: &Uri) -> Params {
        Params(Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0).unwrap_or_default())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// Text with quotes as Go's `%q` writes it for what occurs here.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// JSON as Go's `MarshalIndent` with tabs writes it: the characters that matter in HTML escaped, no line break at the end.
fn go_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, serde_json::ser::PrettyFormatter::with_indent(b"\t"));
    if value.serialize(&mut serializer).is_err() {
        out.clear();
    }
    go_escaped(&out)
}

/// Escapes what Go escapes and serde does not. These characters occur only inside strings.
fn go_escaped(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 64);
    let mut rest = json;
    while let Some((first, more)) = rest.split_first() {
        match first {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            0xe2 if more.starts_with(&[0x80, 0xa8]) || more.starts_with(&[0x80, 0xa9]) => {
                out.extend_from_slice(if more.get(1) == Some(&0xa8) { b"\\u2028" } else { b"\\u2029" });
                rest = more.get(2..).unwrap_or_default();
                continue;
            }
            other => out.push(*other),
        }
        rest = more;
    }
    out
}

/// The repositories as classic clients see them: one main one, the others beside it.
struct Repos {
    main: Repo,
    all: Vec<Repo>,
}

impl Repos {
    async fn load(site: &Site) -> Result<Option<Repos>, Problem> {
        let all = site.results().repos().await.map_err(database)?;
        let wanted = &site.settings().main_repo;
        let main =
            all.iter().find(|repo| !wanted.is_empty() && repo.name == *wanted).or_else(|| all.iter().find(|repo| repo.name == "go")).or(all.first()).cloned();
        Ok(main.map(|main| Repos { main, all }))
    }

    /// By import path or name; empty and `go` mean the main one (`dashboard.md` §15.4 rule 2).
    fn find(&self, site: &Site, name: &str) -> Option<&Repo> {
        if name.is_empty() || name == "go" || name == self.main.name {
            return Some(&self.main);
        }
        self.all.iter().find(|repo| import_path(site, repo) == name).or_else(|| self.all.iter().find(|repo| repo.name == name))
    }
}

fn import_path<'a>(site: &'a Site, repo: &'a Repo) -> &'a str {
    site.settings().import_paths.get(&repo.name).map_or(repo.name.as_str(), String::as_str)
}

/// `GET /` with classic parameters.
pub(crate) async fn front(site: &Arc<Site>, _query: &str, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let params = Params::of(uri);
    let mode = params.get("mode");
    if !matches!(mode, "" | "json" | "failures") {
        return Ok(plain(StatusCode::BAD_REQUEST, "unsupported mode argument"));
    }
    let page = match params.get("page") {
        "" => 0,
        text => match text.parse::<i64>() {
            Err(_) => return Ok(plain(StatusCode::BAD_REQUEST, &format!("invalid page value {}", quoted(text)))),
            Ok(page) if page < 0 => return Ok(plain(StatusCode::BAD_REQUEST, "negative page")),
            Ok(page) => page,
        },
    };
    let Some(repos) = Repos::load(site).await? else {
        return Ok(rpc_error("NotFound", StatusCode::NOT_FOUND, "no repository is configured"));
    };
    let Some(repo) = repos.find(site, params.get("repo")) else {
        return Ok(rpc_error(
            "NotFound",
            StatusCode::NOT_FOUND,
            &format!("unknown repo {}; must be empty, \"go\", or a configured import path", quoted(params.get("repo"))),
        ));
    };
    let branch = params.get("branch");
    if !known_branch(site, &repos, repo, branch).await? {
        return Ok(rpc_error("NotFound", StatusCode::NOT_FOUND, &format!("unknown branch {}", quoted(branch))));
    }
    if mode.is_empty() {
        let branch = if branch.is_empty() || branch == "mixed" || branch == "master" { &repo.main_branch } else { branch };
        return Ok(Redirect::temporary(&grid_url(&repo.project, &repo.name, branch)).into_response());
    }
    if branch == "mixed" && page != 0 {
        return Ok(rpc_error("InvalidArgument", StatusCode::BAD_REQUEST, "branch=mixed does not support pagination"));
    }
    let Some(skip) = usize::try_from(page).ok().and_then(|page| page.checked_mul(board::PAGE)).filter(|skip| *skip < 10_000) else {
        return Ok(rpc_error("InvalidArgument", StatusCode::BAD_REQUEST, "too far back"));
    };
    let base = site.base_url(headers);
    // The answer depends on the host that was asked, which the cache must not mix up.
    let address: Uri = format!("{}{}host={base}", uri, if uri.query().is_some() { "&" } else { "?" }).parse().unwrap_or_else(|_| uri.clone());
    let repo = repo.clone();
    site.cached(&address, headers, async |_| {
        let view = board::load(site, &repos, &repo, branch, skip).await?;
        Ok(match mode {
            "failures" => Rendered::new(Kind::Text, view.failures(&base)),
            _ => Rendered::new(Kind::TextJson, go_json(&view.json(&base))),
        })
    })
    .await
}

/// Branches are those of the main repository, even for the others (`dashboard.md` §3); here a repository's own count too.
async fn known_branch(site: &Site, repos: &Repos, repo: &Repo, branch: &str) -> Result<bool, Problem> {
    if matches!(branch, "" | "mixed" | "master") || branch == repo.main_branch {
        return Ok(true);
    }
    for of in [&repos.main, repo] {
        if site.results().branches(&of.name, &of.main_branch).await.map_err(database)?.iter().any(|name| name == branch) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped_as_go_does() {
        assert_eq!(
            go_json(&serde_json::json!({"a": ["<b> & c\u{2028}é", []]})),
            "{\n\t\"a\": [\n\t\t\"\\u003cb\\u003e \\u0026 c\\u2028é\",\n\t\t[]\n\t]\n}".as_bytes()
        );
    }
}
