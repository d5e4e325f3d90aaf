//! Repositories that are found by asking a server or looking into a folder.
//!
//! What was found last is in the rows: a mirror that starts while the server is away mirrors and serves what it did before. An answer that is broken or empty
//! changes nothing. A repository that is not shown any more is not looked at any more; what we have of it stays, and so does what its destinations have.

use std::path::Path;

use burrow_http_client::Request;
use http::header::LINK;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::config::{Discover, Repo};
use crate::mirror::Mirror;
use crate::store;

/// More repositories than this are not taken from one server.
const MANY: usize = 20_000;
/// Repositories on one page of an answer.
const PAGE: usize = 50;

/// Under which name the list of one `[[discover]]` is kept.
fn kept_as(discover: &Discover) -> String {
    let folder = discover.folder.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    let kinds = [("gerrit", &discover.gerrit), ("folder", &folder), ("gitea", &discover.gitea), ("github", &discover.github)];
    kinds.into_iter().find_map(|(kind, place)| Some(format!("discover {kind} {}", place.as_ref()?))).unwrap_or_default()
}

/// What this configuration's discoveries found in former times.
///
/// # Errors
/// Whatever the database says.
pub(crate) async fn recall(mirror: &Mirror) -> Result<(), burrow_store::Error> {
    for (place, discover) in mirror.config().discover.iter().enumerate() {
        let Some(text) = store::noted(&mirror.inner.db, &kept_as(discover)).await? else { continue };
        // One that another version wrote is not read; the server is asked anyway.
        let Ok(found) = serde_json::from_str::<Vec<(String, String)>>(&text) else { continue };
        mirror.inner.discovered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(place, wanted(discover, &found));
    }
    Ok(())
}

fn wanted(discover: &Discover, found: &[(String, String)]) -> Vec<Repo> {
    found.iter().filter(|(name, _)| discover.wants(name)).map(|(name, url)| discover.repo(name, url)).collect()
}

/// Starts one discoverer for each `[[discover]]`.
pub(crate) fn start(mirror: &Mirror, stop: CancellationToken) {
    for (place, discover) in mirror.config().discover.iter().cloned().enumerate() {
        let (mirror, stop) = (mirror.clone(), stop.clone());
        mirror.inner.tasks.clone().spawn(burrow_task::boxed(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = again_and_again(&mirror, place, &discover) => {}
            }
        }));
    }
}

async fn again_and_again(mirror: &Mirror, place: usize, discover: &Discover) {
    let what = format!("discover {}", place + 1);
    loop {
        match list(mirror, discover).await {
            Ok(mut found) => {
                found.sort();
                found.dedup_by(|a, b| a.0 == b.0);
                let repos = wanted(discover, &found);
                let before = mirror.inner.discovered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&place).cloned();
                if repos.is_empty() && before.as_ref().is_some_and(|before| !before.is_empty()) {
                    mirror.trouble(&what, Some("it shows no repositories any more; those that it showed before are still mirrored".into()));
                } else {
                    mirror.trouble(&what, None);
                    if before.as_ref() != Some(&repos) {
                        tracing::info!(repositories = repos.len(), "Repositories were discovered.");
                        mirror.inner.discovered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(place, repos);
                        // Two lists of plain texts are always JSON.
                        let text = serde_json::to_string(&found).unwrap_or_default();
                        drop(mirror.inner.db.submit(vec![store::note(&kept_as(discover), &text)]));
                        if let Err(error) = mirror.refresh().await {
                            mirror.trouble(&what, Some(error.to_string()));
                        }
                    }
                }
            }
            Err(why) => {
                tracing::warn!(why, "Repositories could not be discovered; those known are still mirrored.");
                mirror.trouble(&what, Some(why));
            }
        }
        tokio::time::sleep(discover.every).await;
    }
}

/// Names with the addresses that git fetches from.
async fn list(mirror: &Mirror, discover: &Discover) -> Result<Vec<(String, String)>, String> {
    if let Some(folder) = &discover.folder {
        let folder = folder.clone();
        return burrow_task::spawn_blocking(move || in_folder(&folder)).await.map_err(|error| error.to_string())?;
    }
    if let Some(base) = &discover.gerrit {
        let settings = burrow_gerrit::Settings { base: base.clone(), ..Default::default() };
        let client = burrow_gerrit::Client::new(settings).map_err(|error| error.to_string())?;
        let projects = client.projects().await.map_err(|error| error.to_string())?;
        return Ok(projects.into_iter().filter(|p| p.state != "HIDDEN").map(|p| (p.name.clone(), client.git_url(&p.name))).collect());
    }
    if let Some(place) = &discover.github {
        // A server of one's own is named with its interface's address: https://github.example.org/api/v3/team
        let (base, owner) = match place.contains("://") {
            true => owned(place)?,
            false => ("https://api.github.com", place.as_str()),
        };
        return forge(mirror, discover, |page| format!("{base}/users/{owner}/repos?per_page={PAGE}&page={page}")).await;
    }
    if let Some(address) = &discover.gitea {
        let (base, owner) = owned(address)?;
        return forge(mirror, discover, |page| format!("{base}/api/v1/users/{owner}/repos?limit={PAGE}&page={page}")).await;
    }
    Ok(Vec::new())
}

/// Whether git would fetch it from a server. What a server says of its repositories must not lead to folders or programs of this machine.
fn is_remote(url: &str) -> bool {
    let rest = ["https://", "http://", "ssh://", "git://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['-', '/']) && !url.contains(|c: char| c.is_control() || c.is_whitespace()))
}

/// An address that ends with an owner.
fn owned(address: &str) -> Result<(&str, &str), String> {
    let parts = address.trim_end_matches('/').rsplit_once('/').filter(|(base, owner)| base.contains("://") && !base.ends_with('/') && !owner.is_empty());
    parts.ok_or_else(|| format!("{address}: the address must end with the owner, as https://git.example.org/team"))
}

#[derive(Deserialize)]
struct ForgeRepo {
    name: String,
    clone_url: String,
}

async fn forge(mirror: &Mirror, discover: &Discover, address: impl Fn(usize) -> String) -> Result<Vec<(String, String)>, String> {
    let mut all = Vec::new();
    for page in 1.. {
        let url = address(page);
        let request = Request::get(&url).map_err(|error| error.to_string())?;
        let request = access::authorize(request, &url, &discover.template.access).map_err(|error| error.to_string())?;
        let answer = mirror.inner.deps.http.send(request).await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("{url} answers {}", answer.status()));
        }
        let next = answer.headers().get(LINK).and_then(|link| link.to_str().ok()).is_some_and(|link| link.contains("rel=\"next\""));
        let body = answer.bytes(8 << 20).await.map_err(|error| error.to_string())?;
        let repos: Vec<ForgeRepo> = serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))?;
        // A server may give fewer on a page than it was asked for, and says then that there are more.
        let last = repos.is_empty() || (repos.len() < PAGE && !next);
        if discover.upstream.is_none()
            && let Some(repo) = repos.iter().find(|repo| !is_remote(&repo.clone_url))
        {
            return Err(format!("{url}: the address {:?} of {} is none of a server; write `upstream = \"https://…/{{name}}\"`", repo.clone_url, repo.name));
        }
        all.extend(repos.into_iter().map(|repo| (repo.name, repo.clone_url)));
        if last || all.len() > MANY {
            break;
        }
    }
    Ok(all)
}

/// Every repository below a folder, bare or not, named by its path without `.git`.
fn in_folder(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut left = vec![(folder.to_owned(), 0)];
    while let Some((dir, depth)) = left.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(format!("{}: {error}", dir.display())),
            Err(_) => continue,
        };
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            let path = entry.path();
            let bare = path.join("HEAD").is_file() && path.join("objects").is_dir();
            if bare || path.join(".git").exists() {
                let name = path.strip_prefix(folder).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                found.push((name.strip_suffix(".git").unwrap_or(&name).to_owned(), path.to_string_lossy().into_owned()));
            } else if depth < 4 && found.len() < MANY {
                left.push((path, depth + 1));
            }
        }
    }
    Ok(found)
}
