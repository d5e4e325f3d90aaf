//! From a question to an answer, and the rules that the question must keep.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, IF_MODIFIED_SINCE, IF_NONE_MATCH, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit_server::Reply;

use crate::model::{Fate, Issue, Ms, Repo};
use crate::world::{Links, World};
use crate::{Asked, Fault, State, shapes};

/// An answer in the making.
struct Draft {
    status: u16,
    body: Value,
    headers: Vec<(&'static str, String)>,
}

impl Draft {
    fn new(status: u16, body: Value) -> Draft {
        Draft { status, body, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Draft {
        self.headers.push((name, value.into()));
        self
    }

    fn refusal(status: u16, message: &str) -> Draft {
        Draft::new(status, json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()}))
    }
}

pub(crate) fn respond(state: &mut State, request: &Request<Bytes>) -> Reply {
    let path = request.uri().path().to_owned();
    let query = parse_query(request.uri().query().unwrap_or_default());
    let mut asked =
        Asked { path, query, conditional: request.headers().contains_key(IF_NONE_MATCH) || request.headers().contains_key(IF_MODIFIED_SINCE), status: 0 };
    state.before(&asked);
    check(state, request, &asked);
    let fault = state.fault(&asked);
    let (reply, status) = match fault {
        Some(Fault::Close) => (Reply::Close, 0),
        Some(Fault::Hang) => (Reply::Hang, 0),
        fault => {
            let response = answer(state, request, &asked, fault.as_ref());
            let status = response.status().as_u16();
            match fault {
                Some(Fault::Cut(length)) => (Reply::Cut(response, length), status),
                _ => (Reply::Answer(response), status),
            }
        }
    };
    asked.status = status;
    state.note(asked);
    reply
}

fn parse_query(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_encoding::percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The rules that hold for every question.
fn check(state: &mut State, request: &Request<Bytes>, asked: &Asked) {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let now = state.world.now();
    let mut broken: Vec<String> = Vec::new();
    if request.method() != Method::GET {
        broken.push(format!("{} is not modelled", request.method()));
    }
    if header(USER_AGENT).is_empty() {
        broken.push("no User-Agent".to_owned());
    }
    if !header(ACCEPT).contains("application/vnd.github") {
        broken.push(format!("Accept is {:?}", header(ACCEPT)));
    }
    if let Some(until) = state.world.silence.filter(|until| *until > now) {
        broken.push(format!("asked {} ms before the end of the silence that was asked for", until - now));
    }
    let validator = header(IF_NONE_MATCH);
    if !validator.is_empty() && !state.world.validators.contains(validator) {
        broken.push(format!("the validator {validator} was never given"));
    }
    for (nth, (name, _)) in asked.query.iter().enumerate() {
        if asked.query.iter().take(nth).any(|(earlier, _)| earlier == name) {
            broken.push(format!("parameter {name} stands there twice"));
        }
    }
    state.violations.extend(broken.into_iter().map(|what| format!("{}: {what}", asked.path)));
}

fn answer(state: &mut State, request: &Request<Bytes>, asked: &Asked, fault: Option<&Fault>) -> Response<Bytes> {
    let now = state.world.now();
    if now / 1000 >= state.world.window_end {
        state.world.window_end = now / 1000 + 3_600;
        state.world.used = 0;
    }
    let draft = match fault {
        Some(Fault::PrimaryLimit { reset_in }) => {
            state.world.used = state.world.policy.limit;
            state.world.window_end = now / 1000 + i64::try_from(*reset_in).unwrap_or(i64::MAX);
            primary_limit(&mut state.world)
        }
        Some(Fault::SecondaryLimit { retry_after }) => {
            let message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
            let mut draft = Draft::refusal(403, message);
            draft.body["documentation_url"] =
                json!("https://docs.github.com/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits");
            silence(&mut state.world, retry_after.unwrap_or(60));
            match retry_after {
                Some(seconds) => draft.with("retry-after", seconds.to_string()),
                None => draft,
            }
        }
        Some(Fault::TooMany { retry_after }) => {
            silence(&mut state.world, *retry_after);
            Draft::refusal(429, "Too many requests").with("retry-after", retry_after.to_string())
        }
        Some(Fault::Status(status)) => Draft::refusal(*status, "Server Error"),
        _ if state.world.used >= state.world.policy.limit => primary_limit(&mut state.world),
        _ => {
            let (draft, broken) = authorized(&state.world, request).unwrap_or_else(|| route(&state.world, asked));
            state.violations.extend(broken.into_iter().map(|what| format!("{}: {what}", asked.path)));
            draft
        }
    };
    finish(state, request, draft, fault)
}

fn silence(world: &mut World, seconds: u64) {
    world.silence = Some(world.now().saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)));
}

fn primary_limit(world: &mut World) -> Draft {
    world.silence = Some(world.window_end.saturating_mul(1000));
    let mut draft = Draft::refusal(403, "API rate limit exceeded for user ID 1.");
    draft.body["documentation_url"] = json!("https://docs.github.com/rest/overview/resources-in-the-rest-api#rate-limiting");
    draft
}

fn authorized(world: &World, request: &Request<Bytes>) -> Option<(Draft, Vec<String>)> {
    let wanted = world.policy.token.as_ref()?;
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match given {
        Some(given) if given == format!("Bearer {wanted}") || given == format!("token {wanted}") => None,
        Some(_) => Some((Draft::refusal(401, "Bad credentials"), Vec::new())),
        None => Some((Draft::refusal(401, "Requires authentication"), Vec::new())),
    }
}

/// Adds what every answer has, and the meaning of validators.
fn finish(state: &mut State, request: &Request<Bytes>, mut draft: Draft, fault: Option<&Fault>) -> Response<Bytes> {
    let world = &mut state.world;
    if fault == Some(&Fault::EmptyPage) && draft.body.is_array() {
        draft.body = json!([]);
    }
    let mut body = draft.body.to_string().into_bytes();
    let mut headers: BTreeMap<String, String> = draft.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut status = draft.status;
    if status == 200 {
        let link = headers.get("link").cloned().unwrap_or_default();
        let sum = Sha256::new().chain_update(&body).chain_update(link).finalize();
        let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let validator = format!("W/\"{hex}\"");
        let same = request.headers().get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == validator.as_bytes());
        world.validators.insert(validator.clone());
        headers.insert("etag".to_owned(), validator);
        if same {
            (status, body) = (304, Vec::new());
            // GitHub repeats nothing else.
            headers.remove("link");
        }
    }
    if status != 304 {
        world.used = (world.used + 1).min(world.policy.limit);
        headers.insert("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
    }
    for (name, value) in [
        ("server", "github.com".to_owned()),
        ("date", shapes::http_date(world.now())),
        ("cache-control", "private, max-age=60, s-maxage=60".to_owned()),
        ("vary", "Accept, Authorization, Cookie, X-GitHub-OTP".to_owned()),
        ("x-github-media-type", "github.v3; format=json".to_owned()),
        ("x-ratelimit-limit", world.policy.limit.to_string()),
        ("x-ratelimit-remaining", (world.policy.limit - world.used).to_string()),
        ("x-ratelimit-used", world.used.to_string()),
        ("x-ratelimit-reset", world.window_end.to_string()),
        ("x-ratelimit-resource", "core".to_owned()),
    ] {
        headers.insert(name.to_owned(), value);
    }
    if fault == Some(&Fault::NotJson) {
        body = b"<html><body>The proxy is having a bad day.</body></html>".to_vec();
        headers.remove("etag");
    }
    if let Some(Fault::Without(names)) = fault {
        headers.retain(|name, _| !names.contains(&name.as_str()));
    }
    let zipped = request.headers().get(ACCEPT_ENCODING).is_some_and(|value| value.as_bytes() == b"gzip") && !body.is_empty();
    if zipped {
        headers.insert("content-encoding".to_owned(), "gzip".to_owned());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &body).expect("writing to memory");
        body = gzip.finish().expect("writing to memory");
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status has three digits");
    for (name, value) in headers {
        let name = HeaderName::try_from(name).expect("a header's name");
        response.headers_mut().insert(name, HeaderValue::try_from(value).expect("a header's value"));
    }
    response
}

/// Parameters that GitHub documents, and whether they are modelled.
struct Parameters<'a> {
    asked: &'a Asked,
    broken: Vec<String>,
}

impl<'a> Parameters<'a> {
    fn of(asked: &'a Asked, known: &[&str]) -> Parameters<'a> {
        let broken = asked.query.iter().filter(|(name, _)| !known.contains(&name.as_str())).map(|(name, _)| format!("no parameter {name} here")).collect();
        Parameters { asked, broken }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.asked.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn one_of(&mut self, name: &str, values: &[&str]) -> Option<&'a str> {
        let value = self.get(name)?;
        if !values.contains(&value) {
            self.broken.push(format!("{name} cannot be {value:?}"));
        }
        Some(value)
    }

    fn number(&mut self, name: &str, default: usize, most: usize) -> usize {
        match self.get(name).map(str::parse::<usize>) {
            None => default,
            Some(Ok(number)) if (1..=most).contains(&number) => number,
            Some(_) => {
                self.broken.push(format!("{name} must be a number from 1 to {most}"));
                default
            }
        }
    }

    fn since(&mut self) -> Option<Ms> {
        let text = self.get("since")?;
        match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => Some(timestamp.as_millisecond()),
            Err(_) => {
                self.broken.push(format!("since cannot be {text:?}"));
                None
            }
        }
    }
}

fn route(world: &World, asked: &Asked) -> (Draft, Vec<String>) {
    let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
    let (repo, rest) = match parts.as_slice() {
        ["rate_limit"] => return (rate_limit(world), Vec::new()),
        ["repos", owner, name, rest @ ..] => {
            let wanted = format!("{owner}/{name}");
            let now = world.repos().find(|repo| repo.full_name.eq_ignore_ascii_case(&wanted));
            match now.or_else(|| world.repos().find(|repo| repo.old_names.iter().any(|old| old.eq_ignore_ascii_case(&wanted)))) {
                Some(repo) if now.is_none() => return (redirect(world, repo.id, rest, asked), Vec::new()),
                found => (found, rest),
            }
        }
        ["repositories", id, rest @ ..] => (id.parse().ok().and_then(|id| world.repo_by_id(id)), rest),
        _ => return (Draft::refusal(404, "Not Found"), vec!["there is no such address".to_owned()]),
    };
    let Some(repo) = repo else { return (Draft::refusal(404, "Not Found"), Vec::new()) };
    if rest.first() == Some(&"issues") && !repo.has_issues {
        return (Draft::refusal(410, "Issues are disabled for this repo"), Vec::new());
    }
    match rest {
        [] => {
            let draft = Draft::new(200, shapes::repository(world, repo)).with("last-modified", shapes::http_date(repo.created));
            (draft, Parameters::of(asked, &[]).broken)
        }
        ["issues"] => issues(world, repo, asked),
        ["labels"] => list(world, repo, asked, &[], |_| repo.labels.values().map(|label| shapes::label(world, repo, label)).collect()),
        ["milestones"] => list(world, repo, asked, &["state", "sort", "direction"], |parameters| {
            let state = parameters.one_of("state", &["open", "closed", "all"]).unwrap_or("open");
            let fits = |closed: bool| state == "all" || (state == "closed") == closed;
            repo.milestones.values().filter(|milestone| fits(milestone.closed)).map(|milestone| shapes::milestone(world, repo, milestone)).collect()
        }),
        [kind @ ("issues" | "pulls"), number, rest @ ..] => match number.parse::<i32>() {
            Ok(number) => issue(world, repo, asked, kind, number, rest),
            Err(_) => (Draft::refusal(404, "Not Found"), vec!["there is no such address".to_owned()]),
        },
        _ => (Draft::refusal(404, "Not Found"), vec!["there is no such address".to_owned()]),
    }
}

fn rate_limit(world: &World) -> Draft {
    let core = json!({"limit": world.policy.limit, "used": world.used, "remaining": world.policy.limit - world.used, "reset": world.window_end});
    Draft::new(200, json!({"resources": {"core": core}, "rate": core}))
}

fn redirect(world: &World, id: i64, rest: &[&str], asked: &Asked) -> Draft {
    let mut url = format!("{}/repositories/{id}", world.base);
    for part in rest {
        url.push('/');
        url.push_str(part);
    }
    let query = encode_query(&asked.query);
    if !query.is_empty() {
        url = format!("{url}?{query}");
    }
    let body = json!({"message": "Moved Permanently", "url": url, "documentation_url": "https://docs.github.com/v3/#http-redirects"});
    Draft::new(301, body).with("location", url)
}

fn encode_query(query: &[(String, String)]) -> String {
    let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

fn issue(world: &World, repo: &Repo, asked: &Asked, kind: &str, number: i32, rest: &[&str]) -> (Draft, Vec<String>) {
    let found = match (repo.issues.get(&number), repo.fates.get(&number)) {
        (Some(found), _) if kind == "issues" || found.pull => found,
        (None, Some(Fate::Deleted)) if kind == "issues" => return (Draft::refusal(410, "This issue was deleted"), Vec::new()),
        (None, Some(Fate::Transferred(id, there))) => {
            let there = there.to_string();
            let path: Vec<&str> = [kind, &there].into_iter().chain(rest.iter().copied()).collect();
            return (redirect(world, *id, &path, asked), Vec::new());
        }
        _ => return (Draft::refusal(404, "Not Found"), Vec::new()),
    };
    match (kind, rest) {
        ("issues", []) => {
            let draft = Draft::new(200, shapes::single_issue(world, repo, found)).with("last-modified", shapes::http_date(found.updated));
            (draft, Parameters::of(asked, &[]).broken)
        }
        ("issues", ["comments"]) => list(world, repo, asked, &["since"], |parameters| {
            let since = parameters.since().unwrap_or(i64::MIN);
            let fits = found.comments.values().filter(|comment| comment.updated / 1000 >= since.div_euclid(1000));
            fits.map(|comment| shapes::comment(world, repo, number, comment)).collect()
        }),
        ("issues", ["events"]) => list(world, repo, asked, &[], |_| found.events.values().map(|event| shapes::event(world, repo, event)).collect()),
        ("pulls", ["reviews"]) => list(world, repo, asked, &[], |_| found.reviews.values().map(|review| shapes::review(world, repo, number, review)).collect()),
        _ => (Draft::refusal(404, "Not Found"), vec!["there is no such address".to_owned()]),
    }
}

/// A list whose pages have numbers.
fn list(world: &World, repo: &Repo, asked: &Asked, known: &[&str], entries: impl FnOnce(&mut Parameters<'_>) -> Vec<Value>) -> (Draft, Vec<String>) {
    let known: Vec<&str> = known.iter().copied().chain(["per_page", "page"]).collect();
    let mut parameters = Parameters::of(asked, &known);
    let all = entries(&mut parameters);
    let size = parameters.number("per_page", 30, 100).min(world.policy.page_size);
    let page = parameters.number("page", 1, usize::MAX);
    let start = (page - 1).saturating_mul(size).min(all.len());
    let end = (start + size).min(all.len());
    let mut draft = Draft::new(200, Value::Array(all[start..end].to_vec()));
    let mut links = Vec::new();
    if end < all.len() {
        links.push(link(world, repo, asked, &[("page", (page + 1).to_string())], "next"));
        links.push(link(world, repo, asked, &[("page", all.len().div_ceil(size).to_string())], "last"));
    }
    if page > 1 {
        links.push(link(world, repo, asked, &[("page", "1".to_owned())], "first"));
        links.push(link(world, repo, asked, &[("page", (page - 1).to_string())], "prev"));
    }
    if !links.is_empty() {
        draft = draft.with("link", links.join(", "));
    }
    (draft, parameters.broken)
}

/// A link to another page: GitHub names the repository by its id.
fn link(world: &World, repo: &Repo, asked: &Asked, set: &[(&str, String)], relation: &str) -> String {
    let rest = match asked.path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "repos", _, _, rest @ ..] | ["", "repositories", _, rest @ ..] => rest.join("/"),
        _ => String::new(),
    };
    let mut query: Vec<(String, String)> = asked.query.iter().filter(|(name, _)| !["page", "after", "before"].contains(&name.as_str())).cloned().collect();
    query.extend(set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    format!("<{}/repositories/{}/{rest}?{}>; rel=\"{relation}\"", world.base, repo.id, encode_query(&query))
}

fn issues(world: &World, repo: &Repo, asked: &Asked) -> (Draft, Vec<String>) {
    if world.policy.links == Links::Numbers {
        return list(world, repo, asked, &["state", "sort", "direction", "since"], |parameters| {
            sorted(repo, parameters).into_iter().map(|(_, issue)| shapes::issue(world, repo, issue)).collect()
        });
    }
    let mut parameters = Parameters::of(asked, &["state", "sort", "direction", "since", "per_page", "page", "after"]);
    let all = sorted(repo, &mut parameters);
    let size = parameters.number("per_page", 30, 100).min(world.policy.page_size);
    let page = parameters.number("page", 1, usize::MAX);
    let start = match parameters.get("after") {
        None => (page - 1).saturating_mul(size).min(all.len()),
        // An empty cursor is the beginning, as a client notes that takes the end of a list for a page.
        Some("") => 0,
        Some(cursor) => match read_cursor(cursor) {
            // What is behind the last entry that was shown, wherever that is by now.
            Some(last) => all.iter().position(|(key, _)| *key > last).unwrap_or(all.len()),
            None => {
                parameters.broken.push(format!("the cursor {cursor:?} was never given"));
                0
            }
        },
    };
    let end = (start + size).min(all.len());
    let shown: Vec<Value> = all[start..end].iter().map(|(_, issue)| shapes::issue(world, repo, issue)).collect();
    let mut draft = Draft::new(200, Value::Array(shown));
    if let Some((last, _)) = all[start..end].last().filter(|_| end < all.len()) {
        let set = [("after", write_cursor(*last)), ("page", (page + 1).to_string())];
        draft = draft.with("link", link(world, repo, asked, &set, "next"));
    }
    (draft, parameters.broken)
}

/// Where an issue stands in a list: ascending keys, whatever the direction.
type Key = (i64, i32);

fn sorted<'a>(repo: &'a Repo, parameters: &mut Parameters<'_>) -> Vec<(Key, &'a Issue)> {
    let state = parameters.one_of("state", &["open", "closed", "all"]).unwrap_or("open");
    let sort = parameters.one_of("sort", &["created", "updated", "comments"]).unwrap_or("created");
    let descending = parameters.one_of("direction", &["asc", "desc"]).unwrap_or("desc") == "desc";
    let since = parameters.since().unwrap_or(i64::MIN);
    let sign = if descending { -1 } else { 1 };
    let key = |issue: &Issue| {
        let by = match sort {
            "updated" => issue.updated / 1000,
            "comments" => i64::try_from(issue.comments.len()).unwrap_or(i64::MAX),
            _ => issue.created / 1000,
        };
        (sign * by, i32::try_from(sign).unwrap_or(1) * issue.number)
    };
    let mut all: Vec<(Key, &Issue)> = repo
        .issues
        .values()
        .filter(|issue| state == "all" || (state == "closed") == issue.closed)
        .filter(|issue| issue.updated / 1000 >= since.div_euclid(1000))
        .map(|issue| (key(issue), issue))
        .collect();
    all.sort_by_key(|(key, _)| *key);
    all
}

fn write_cursor((by, number): Key) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("cursor:v2:{by}:{number}"))
}

fn read_cursor(text: &str) -> Option<Key> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (by, number) = text.strip_prefix("cursor:v2:")?.split_once(':')?;
    Some((by.parse().ok()?, number.parse().ok()?))
}
