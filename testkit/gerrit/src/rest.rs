//! The REST calls.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Map, Value, json};
use testkit_server::Reply;

use crate::model::Change;
use crate::query::{Options, Query};
use crate::shapes;
use crate::world::World;
use crate::{Asked, State};

/// The line before all JSON, which keeps browsers from running it as a script.
const GUARD: &str = ")]}'\n";

/// What an answer is made of, or the text of a refusal.
type Result<T> = std::result::Result<T, (u16, String)>;

pub(crate) fn answer(state: &mut State, request: &Request<Bytes>, asked: &Asked) -> Reply {
    if request.method() != Method::GET {
        state.violations.push(format!("{} {} is not modelled", request.method(), asked.path));
        return Reply::text(405, "Method Not Allowed");
    }
    match route(&state.world, asked) {
        Ok(value) => {
            let mut response = http::Response::new(Bytes::from(format!("{GUARD}{value}\n")));
            response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json; charset=utf-8"));
            Reply::Answer(response)
        }
        Err((status, text)) => {
            // What is not there may be asked for; what cannot be understood may not.
            if status == 400 {
                state.violations.push(format!("{}?{}: {text}", asked.path, asked.query));
            }
            Reply::text(status, text)
        }
    }
}

fn bad(text: impl Into<String>) -> (u16, String) {
    (400, text.into())
}

fn not_found(what: &str) -> (u16, String) {
    (404, format!("Not found: {what}"))
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The parameters by name; only these are allowed.
fn parameters(asked: &Asked, known: &[&str]) -> Result<Vec<(String, String)>> {
    let pairs = asked.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let all: Vec<(String, String)> = pairs.map(|(name, value)| (decode(name), decode(&value.replace('+', " ")))).collect();
    match all.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        Some((unknown, _)) => Err(bad(format!("\"--{unknown}\" is not a valid option"))),
        None => Ok(all),
    }
}

fn one<'a>(all: &'a [(String, String)], names: &[&str]) -> Option<&'a str> {
    all.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
}

fn number(all: &[(String, String)], names: &[&str]) -> Result<Option<usize>> {
    one(all, names).map(|text| text.parse().map_err(|_| bad(format!("\"{text}\" is not a valid number")))).transpose()
}

fn options(all: &[(String, String)]) -> Result<Options> {
    Options::of(all.iter().filter(|(name, _)| name == "o").map(|(_, value)| value.as_str())).map_err(bad)
}

fn route(world: &World, asked: &Asked) -> Result<Value> {
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["config", "server", "version"] => Ok(json!("3.9.1")),
        ["changes", ""] | ["changes"] => changes(world, asked),
        ["changes", id] => {
            let all = parameters(asked, &["o"])?;
            Ok(shapes::change(world, find(world, id)?, &options(&all)?))
        }
        ["changes", id, "detail"] => {
            let all = parameters(asked, &["o"])?;
            let mut names = vec!["DETAILED_LABELS", "DETAILED_ACCOUNTS", "MESSAGES"];
            names.extend(all.iter().filter(|(name, _)| name == "o").map(|(_, value)| value.as_str()));
            Ok(shapes::change(world, find(world, id)?, &Options::of(names).map_err(bad)?))
        }
        ["changes", id, "comments"] => {
            parameters(asked, &[])?;
            Ok(shapes::comments(world, find(world, id)?))
        }
        ["projects", ""] | ["projects"] => projects(world, asked),
        ["projects", name] => {
            parameters(asked, &[])?;
            let name = decode(name);
            if !world.has_project(&name) {
                return Err(not_found(&name));
            }
            Ok(json!({"id": shapes::percent(&name), "name": name, "parent": "All-Projects", "state": "ACTIVE"}))
        }
        ["projects", name, kind @ ("branches" | "tags"), ""] | ["projects", name, kind @ ("branches" | "tags")] => {
            references(world, asked, &decode(name), kind)
        }
        ["projects", name, kind @ ("branches" | "tags"), one] => {
            parameters(asked, &[])?;
            let (name, one) = (decode(name), decode(one));
            let all = reference_list(world, &name, kind)?;
            let full = [one.clone(), format!("refs/heads/{one}"), format!("refs/tags/{one}")];
            all.into_iter().find(|entry| full.iter().any(|name| entry["ref"] == name.as_str())).ok_or_else(|| not_found(&one))
        }
        _ => Err(not_found(&asked.path)),
    }
}

/// A change by any of its names.
fn find<'a>(world: &'a World, id: &str) -> Result<&'a Change> {
    let id = decode(id);
    let fits = |change: &&Change| {
        let number = change.number.to_string();
        match id.split('~').collect::<Vec<_>>().as_slice() {
            [only] => *only == number || *only == change.change_id,
            [project, last] => *project == change.project && (*last == number || *last == change.change_id),
            [project, branch, last] => *project == change.project && *branch == change.branch && *last == change.change_id,
            _ => false,
        }
    };
    let mut found = world.changes().values().filter(fits);
    match (found.next(), found.next()) {
        (Some(change), None) => Ok(change),
        (Some(_), Some(_)) => Err((409, format!("Multiple changes found for {id}"))),
        (None, _) => Err(not_found(&id)),
    }
}

fn changes(world: &World, asked: &Asked) -> Result<Value> {
    let all = parameters(asked, &["q", "n", "S", "start", "o"])?;
    let options = options(&all)?;
    let limit = number(&all, &["n"])?.unwrap_or(usize::MAX).min(world.policy.page_size);
    let start = number(&all, &["S", "start"])?.unwrap_or(0);
    let queries: Vec<&str> = all.iter().filter(|(name, _)| name == "q").map(|(_, value)| value.as_str()).collect();
    let search = |text: &str| -> Result<Value> {
        let query = Query::parse(text).map_err(bad)?;
        let mut found: Vec<&Change> = Vec::new();
        for change in world.changes().values() {
            if query.fits(world, change).map_err(bad)? {
                found.push(change);
            }
        }
        found.sort_by_key(|change| std::cmp::Reverse((change.updated, change.number)));
        let more = found.len() > start.saturating_add(limit);
        let mut page: Vec<Value> = found.into_iter().skip(start).take(limit).map(|change| shapes::change(world, change, &options)).collect();
        if let Some(last) = page.last_mut().filter(|_| more) {
            last["_more_changes"] = json!(true);
        }
        Ok(json!(page))
    };
    match queries.as_slice() {
        [] => search("status:open"),
        [one] => search(one),
        several => Ok(Value::Array(several.iter().map(|text| search(text)).collect::<Result<_>>()?)),
    }
}

fn projects(world: &World, asked: &Asked) -> Result<Value> {
    let all = parameters(asked, &["n", "S", "p", "d", "b", "t", "type", "state", "limit", "start"])?;
    let prefix = one(&all, &["p"]).unwrap_or_default();
    let limit = number(&all, &["n", "limit"])?.unwrap_or(usize::MAX).min(world.policy.page_size);
    let start = number(&all, &["S", "start"])?.unwrap_or(0);
    let branches: Vec<&str> = all.iter().filter(|(name, _)| name == "b").map(|(_, value)| value.as_str()).collect();
    let mut found: Vec<&str> = world.projects().map(|project| project.name.as_str()).filter(|name| name.starts_with(prefix)).collect();
    found.sort_unstable();
    let more = found.len() > start.saturating_add(limit);
    let page: Vec<&str> = found.into_iter().skip(start).take(limit).collect();
    let mut out = Map::new();
    for (nth, name) in page.iter().enumerate() {
        let mut value = json!({"id": shapes::percent(name), "state": "ACTIVE"});
        if !branches.is_empty() {
            let refs = world.refs(name);
            let tips: Map<String, Value> =
                branches.iter().filter_map(|branch| Some(((*branch).to_owned(), json!(refs.get(&format!("refs/heads/{branch}"))?)))).collect();
            value["branches"] = Value::Object(tips);
        }
        if more && nth + 1 == page.len() {
            value["_more_projects"] = json!(true);
        }
        out.insert((*name).to_owned(), value);
    }
    Ok(Value::Object(out))
}

fn reference_list(world: &World, project: &str, kind: &str) -> Result<Vec<Value>> {
    if !world.has_project(project) {
        return Err(not_found(project));
    }
    let refs = world.refs(project);
    let mut out = Vec::new();
    if kind == "branches" {
        let head = &world.project(project).head;
        out.push(json!({"ref": "HEAD", "revision": head.strip_prefix("refs/heads/").unwrap_or(head)}));
        if let Some(config) = refs.get("refs/meta/config") {
            out.push(json!({"ref": "refs/meta/config", "revision": config}));
        }
        out.extend(refs.iter().filter(|(name, _)| name.starts_with("refs/heads/")).map(|(name, hash)| json!({"ref": name, "revision": hash})));
    } else {
        out.extend(refs.iter().filter(|(name, _)| name.starts_with("refs/tags/")).map(|(name, hash)| json!({"ref": name, "revision": hash})));
    }
    Ok(out)
}

fn references(world: &World, asked: &Asked, project: &str, kind: &str) -> Result<Value> {
    let all = parameters(asked, &["n", "limit", "S", "s", "start", "m"])?;
    let limit = number(&all, &["n", "limit"])?.unwrap_or(usize::MAX);
    let start = number(&all, &["S", "s", "start"])?.unwrap_or(0);
    let part = one(&all, &["m"]).unwrap_or_default();
    let list = reference_list(world, project, kind)?;
    let fits = list.into_iter().filter(|entry| entry["ref"].as_str().is_some_and(|name| name.contains(part)));
    Ok(Value::Array(fits.skip(start).take(limit).collect()))
}
