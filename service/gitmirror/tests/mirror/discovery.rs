//! Repositories that are found by asking: they come and go, and an answer that is broken takes nothing away.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burrow_gitmirror::Mirror;
use burrow_gitmirror::config::{Config, Dest, Discover, Template};
use burrow_gitmirror::rules::Pattern;
use testkit_gerrit::Gerrit;
use testkit_harness::git::Repository;
use testkit_server::{Reply, Server};

use crate::scene::{Scene, eventually, git, refs, until};

/// What a modelled server has, and what it does when it is asked for it.
#[derive(Default)]
struct Shelf {
    names: Vec<String>,
    trouble: Option<Trouble>,
    /// A page has so many at most, whatever is asked for.
    page: usize,
    asked: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// 500.
    Failing,
    /// A page of HTML with status 200, as a proxy shows it.
    Nonsense,
    /// The connection ends in the middle of the list.
    Cut,
    /// A list without anything.
    Empty,
    /// Only the first page can be had.
    SecondPage,
}

/// GitHub's, Gitea's and Gerrit's lists of repositories.
async fn shelf(dir: &Path) -> (Server, Arc<Mutex<Shelf>>) {
    let shelf = Arc::new(Mutex::new(Shelf { page: 2, ..Shelf::default() }));
    let (own, dir) = (Arc::clone(&shelf), dir.to_owned());
    let server = Server::start(move |request| {
        let reply = answer(&mut own.lock().unwrap(), request.uri(), &dir);
        Box::pin(std::future::ready(reply))
    })
    .await;
    (server, shelf)
}

fn answer(shelf: &mut Shelf, uri: &http::Uri, dir: &Path) -> Reply {
    shelf.asked += 1;
    let query = uri.query().unwrap_or_default();
    let page: usize = query.split('&').find_map(|pair| pair.strip_prefix("page=")?.parse().ok()).unwrap_or(1);
    let trouble = shelf.trouble;
    let names: &[String] = if trouble == Some(Trouble::Empty) { &[] } else { &shelf.names };
    let (body, more) = match uri.path() {
        "/projects/" => {
            let list: serde_json::Map<String, serde_json::Value> =
                names.iter().map(|name| (name.clone(), serde_json::json!({"id": name, "state": "ACTIVE"}))).collect();
            (format!(")]}}'\n{}", serde_json::Value::Object(list)), false)
        }
        "/users/team/repos" | "/api/v1/users/team/repos" => {
            assert!(query.contains(if uri.path().starts_with("/api") { "limit=" } else { "per_page=" }), "{query}");
            let part: Vec<_> = names.iter().skip((page - 1) * shelf.page).take(shelf.page).collect();
            let list: Vec<_> = part
                .iter()
                .map(|name| serde_json::json!({"id": 1, "name": name, "full_name": format!("team/{name}"), "clone_url": format!("{}/{name}.git", dir.display())}))
                .collect();
            (serde_json::json!(list).to_string(), page * shelf.page < names.len())
        }
        other => panic!("nobody should ask for {other}"),
    };
    match trouble {
        Some(Trouble::Failing) => return Reply::text(500, "out of order"),
        Some(Trouble::Nonsense) => return Reply::text(200, "<html><body>Please log in</body></html>"),
        Some(Trouble::SecondPage) if page > 1 => return Reply::text(502, "bad gateway"),
        _ => {}
    }
    let length = body.len();
    let mut response = http::Response::new(bytes::Bytes::from(body));
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    if more {
        let link = format!("<http://server{}?page={}>; rel=\"next\", <http://server/?page=9>; rel=\"last\"", uri.path(), page + 1);
        response.headers_mut().insert("link", link.parse().unwrap());
    }
    if trouble == Some(Trouble::Cut) { Reply::Cut(response, length / 2) } else { Reply::Answer(response) }
}

fn discover(dir: &Path) -> Discover {
    Discover {
        gerrit: None,
        folder: None,
        gitea: None,
        github: None,
        include: vec![Pattern::everything()],
        exclude: Vec::new(),
        upstream: Some(format!("{}/{{name}}.git", dir.display())),
        every: Duration::from_millis(30),
        template: Template::default(),
        dest: vec![Dest::plain("copy", &format!("{}/to/{{name}}.git", dir.display()))],
    }
}

fn config(discover: Discover) -> Config {
    Config { discover: vec![discover], poll: Duration::from_secs(3600), compare: Duration::from_secs(3600), ..Config::default() }
}

/// An upstream with a commit, and a place to push it to.
fn repository(dir: &Path, name: &str) -> (Repository, PathBuf) {
    let upstream = Repository::create(dir.join(format!("{name}.git")));
    upstream.write("a.txt", name).commit("first");
    let to = dir.join("to").join(format!("{name}.git"));
    git(dir, &["init", "--quiet", "--bare", "--initial-branch=main", to.to_str().unwrap()]);
    (upstream, to)
}

/// Waits until exactly these are mirrored, and are where they should be.
async fn mirrored(mirror: &Mirror, dir: &Path, names: &[&str]) {
    until(mirror, &format!("{names:?} to be mirrored"), |status| {
        let known: Vec<&str> = status.repos.iter().map(|repo| repo.name.as_str()).collect();
        let done = status.repos.iter().all(|repo| repo.is_quiet() && repo.good_ms.is_some() && repo.dests.iter().all(|dest| dest.good_ms.is_some()));
        (known == names && done).then_some(())
    })
    .await;
    for name in names {
        let (from, to) = (dir.join(format!("{name}.git")), dir.join("to").join(format!("{name}.git")));
        assert_eq!(refs(&to, "refs/heads refs/tags"), refs(&from, "refs/heads refs/tags"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_a_server_come_and_go_and_a_broken_answer_takes_nothing_away() {
    for kind in ["gitea", "github", "gerrit"] {
        let scene = Scene::empty();
        let dir = scene.dir.path();
        let all: Vec<(Repository, PathBuf)> = ["a", "b", "c", "d", "e"].iter().map(|name| repository(dir, name)).collect();
        let (server, shelf) = shelf(dir).await;
        let set = |names: &[&str]| shelf.lock().unwrap().names = names.iter().map(|name| (*name).to_owned()).collect();
        set(&["a", "b", "c"]);
        let mut found = discover(dir);
        match kind {
            "gitea" => found.gitea = Some(server.url("/team")),
            "github" => found.github = Some(server.url("/team")),
            _ => found.gerrit = Some(server.url("")),
        }
        found.exclude = vec![Pattern::new("e")];
        let mirror = scene.start(config(found.clone())).await;
        // More than one page of what the server gives at once.
        mirrored(&mirror, dir, &["a", "b", "c"]).await;
        set(&["a", "b", "c", "d", "e"]);
        mirrored(&mirror, dir, &["a", "b", "c", "d"]).await;

        let mut troubles = vec![Trouble::Failing, Trouble::Nonsense, Trouble::Cut, Trouble::Empty];
        if kind != "gerrit" {
            troubles.push(Trouble::SecondPage);
        }
        for trouble in troubles {
            shelf.lock().unwrap().trouble = Some(trouble);
            eventually(&format!("{kind}: {trouble:?} to be told"), || mirror.status().trouble.iter().any(|text| text.starts_with("discover 1: "))).await;
            let before = shelf.lock().unwrap().asked;
            eventually("two more questions", || shelf.lock().unwrap().asked > before + 2).await;
            assert_eq!(mirror.names(), ["a", "b", "c", "d"], "{kind}: {trouble:?}");
            // What is known is mirrored meanwhile.
            all[0].0.write("a.txt", format!("{trouble:?}")).commit("more");
            mirror.wake("a");
            eventually("the commit", || refs(&all[0].1, "refs/heads") == refs(all[0].0.path(), "refs/heads")).await;
            shelf.lock().unwrap().trouble = None;
            eventually(&format!("{kind}: the end of {trouble:?}"), || mirror.status().trouble.is_empty()).await;
        }

        // A start while the server is away knows what was known.
        shelf.lock().unwrap().trouble = Some(Trouble::Failing);
        mirror.stop().await;
        drop(mirror);
        all[1].0.write("a.txt", "news").commit("while nobody looked");
        let mirror = scene.start(config(found.clone())).await;
        mirrored(&mirror, dir, &["a", "b", "c", "d"]).await;
        eventually("the trouble", || !mirror.status().trouble.is_empty()).await;
        assert_eq!(mirror.names(), ["a", "b", "c", "d"], "{kind}");
        shelf.lock().unwrap().trouble = None;

        // One that vanishes is left alone, here and where it was pushed to; it may come back.
        let kept = (mirror.bare_path("d").unwrap(), refs(&all[3].1, "refs/heads"));
        set(&["a", "b", "c"]);
        mirrored(&mirror, dir, &["a", "b", "c"]).await;
        assert_eq!((refs(&kept.0, "refs/heads"), refs(&all[3].1, "refs/heads")), (kept.1.clone(), kept.1.clone()), "{kind}");
        all[3].0.write("a.txt", "later").commit("later");
        set(&["a", "b", "c", "d"]);
        mirrored(&mirror, dir, &["a", "b", "c", "d"]).await;
        assert_ne!(refs(&all[3].1, "refs/heads"), kept.1);
        mirror.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_of_a_folder_come_and_go() {
    let scene = Scene::empty();
    let dir = scene.path("srv");
    std::fs::create_dir(&dir).unwrap();
    let make = |name: &str| {
        let upstream = Repository::create(dir.join(format!("{name}.git")));
        upstream.write("a.txt", name).commit("first");
        let to = scene.dir.path().join("to").join(format!("{name}.git"));
        git(scene.dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", to.to_str().unwrap()]);
        (upstream, to)
    };
    let (a, b) = (make("a"), make("team/b"));
    let mut found = discover(scene.dir.path());
    (found.folder, found.upstream) = (Some(dir.clone()), None);
    let mirror = scene.start(config(found)).await;
    let whole = |names: Vec<&'static str>| {
        let mirror = mirror.clone();
        async move {
            until(&mirror, &format!("{names:?}"), |status| {
                let known: Vec<&str> = status.repos.iter().map(|repo| repo.name.as_str()).collect();
                (known == names && status.repos.iter().all(|repo| repo.is_quiet() && repo.dests.iter().all(|dest| dest.good_ms.is_some()))).then_some(())
            })
            .await;
        }
    };
    whole(vec!["a", "team/b"]).await;
    assert_eq!(refs(&b.1, "refs/heads"), refs(b.0.path(), "refs/heads"));
    let (c, before) = (make("c"), refs(&a.1, "refs/heads"));
    whole(vec!["a", "c", "team/b"]).await;
    assert_eq!(refs(&c.1, "refs/heads"), refs(c.0.path(), "refs/heads"));
    // The folder is away, as when a disk is not mounted; then it is there and empty.
    let away = scene.path("away");
    std::fs::rename(&dir, &away).unwrap();
    eventually("the trouble", || mirror.status().trouble.iter().any(|text| text.contains("No such file"))).await;
    std::fs::create_dir(&dir).unwrap();
    eventually("the other trouble", || mirror.status().trouble.iter().any(|text| text.contains("no repositories any more"))).await;
    assert_eq!((mirror.names().len(), refs(&a.1, "refs/heads")), (3, before.clone()));
    std::fs::remove_dir(&dir).unwrap();
    std::fs::rename(&away, &dir).unwrap();
    eventually("the end of it", || mirror.status().trouble.is_empty()).await;
    std::fs::remove_dir_all(a.0.path()).unwrap();
    whole(vec!["c", "team/b"]).await;
    assert_eq!(refs(&a.1, "refs/heads"), before, "what is gone here stays there");
    mirror.stop().await;
}

/// A modelled Gerrit with git over HTTP, asked as it would be.
#[tokio::test(flavor = "multi_thread")]
async fn every_project_of_a_gerrit_is_mirrored() {
    let gerrit = Gerrit::start().await;
    let tip = {
        let mut world = gerrit.world();
        world.create_project("tools/widget");
        world.create_project("All-Projects");
        world.push("tools/widget", "master", "ada", "first", &[("a", "b")])
    };
    let scene = Scene::empty();
    let to = scene.path("to/tools/widget.git");
    git(scene.dir.path(), &["init", "--quiet", "--bare", to.to_str().unwrap()]);
    let mut found = discover(scene.dir.path());
    (found.gerrit, found.upstream, found.exclude) = (Some(gerrit.base()), None, vec![Pattern::new("All-Projects")]);
    // Asked once: what the model was asked is told by its own tests.
    found.every = Duration::from_secs(3600);
    let mirror = scene.start(config(found)).await;
    until(&mirror, "the project", |s| s.repo("tools/widget").filter(|r| r.is_quiet() && r.dests[0].good_ms.is_some()).map(drop)).await;
    assert_eq!(refs(&to, "refs/heads"), [format!("refs/heads/master {tip}")]);
    assert_eq!(mirror.names(), ["tools/widget"]);
    mirror.stop().await;
}

/// A server must not make folders of the mirror's machine, or programs, public by calling them its repositories.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_cannot_point_to_this_machine() {
    let scene = Scene::empty();
    let dir = scene.dir.path();
    repository(dir, "private");
    let (server, shelf) = shelf(dir).await;
    shelf.lock().unwrap().names = vec!["private".into()];
    let mut found = discover(dir);
    (found.gitea, found.upstream, found.dest) = (Some(server.url("/team")), None, Vec::new());
    let mirror = scene.start(config(found)).await;
    eventually("the refusal", || mirror.status().trouble.iter().any(|text| text.contains("is none of a server") && text.contains("upstream = "))).await;
    assert_eq!(mirror.names(), [] as [String; 0]);
    mirror.stop().await;
}
