//! The pages. Each handler fills a view, and either renders it or gives it out as JSON.

pub mod ansi;
mod build;
mod builder;
mod commit;
mod failures;
mod forms;
mod grid;
mod lists;
mod log_view;
mod overview;
pub mod state;

use askama::Template;
use axum::http::Uri;
use burrow_web::{Layout, NavItem, Problem, Rendered, Stamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::Site;

pub(crate) use build::{build, build_view, log_lines};
pub(crate) use builder::{builder, builders};
pub(crate) use commit::{commit, commit_view};
pub(crate) use forms::{cancel, drain, retry};
pub(crate) use grid::{Filter, grid, project, repo, with_machines};
pub(crate) use lists::{machines, queue, queue_view};
pub use log_view::LineCounts;
pub(crate) use log_view::lines_of;
pub(crate) use overview::{front, front_json};

/// Everything in a path segment that must be written as `%xx`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'+').remove(b'@').remove(b':');
/// The same for a branch name, whose slashes stay.
const BRANCH: &AsciiSet = &SEGMENT.remove(b'/');

/// A path segment.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Address of a branch's grid.
pub fn grid_url(project: &str, repo: &str, branch: &str) -> String {
    format!("/p/{}/{}/{}", segment(project), segment(repo), utf8_percent_encode(branch, BRANCH))
}

/// Address of a commit's page.
pub fn commit_url(repo: &str, hash: &str) -> String {
    format!("/c/{}/{hash}", segment(repo))
}

/// The middle of a page with what its frame needs.
#[derive(Default)]
struct Page<'a> {
    title: &'a str,
    current: &'a str,
    events: &'a str,
    json: &'a str,
    class: &'a str,
}

impl Page<'_> {
    fn finish(&self, site: &Site, stamp: Option<Stamp>, body: &str) -> Rendered {
        let live = site.control().live();
        let count = |n: usize| if n == 0 { String::new() } else { n.to_string() };
        let nav = [
            NavItem { href: "/", label: "Overview", count: String::new() },
            NavItem { href: "/queue", label: "Queue", count: count(live.waiting.len() + live.running.len()) },
            NavItem { href: "/machines", label: "Machines", count: count(live.machines.len()) },
            NavItem { href: "/builders", label: "Builders", count: String::new() },
        ];
        Layout {
            title: self.title,
            site: site.name(),
            version: &site.settings().version,
            nav: &nav,
            current: self.current,
            events: self.events,
            generation: stamp.map_or(0, |stamp| stamp.generation),
            trouble: &live.trouble,
            json: self.json,
            now_ms: site.now_ms(),
            class: self.class,
            body,
        }
        .finish()
    }
}

/// Renders a template into the middle of a page. Writing into a string cannot fail, so an error is a bug and is shown as what it is.
fn middle(template: &impl Template) -> Result<String, Problem> {
    template.render().map_err(|error| {
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, format!("The page could not be rendered: {error}."), "This is a bug; please report it.")
    })
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
    login: Option<String>,
}

/// A problem as a page.
pub fn problem(site: &Site, problem: &Problem, uri: &Uri) -> Rendered {
    let login = (problem.status == axum::http::StatusCode::UNAUTHORIZED).then(|| {
        // Back to the page whose button was pressed, not to the button's own address.
        let path = uri.path();
        let page = path.rsplit_once('/').map_or("/", |(page, _)| page);
        format!("/login?next={}", segment(if page.is_empty() { "/" } else { page }))
    });
    let body = ProblemPage { problem, login }.render().unwrap_or_default();
    Page { title: problem.title(), ..Page::default() }.finish(site, None, &body).with_status(problem.status)
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    next: &'a str,
    error: &'a str,
}

/// The page that asks for the admin token.
pub fn login(site: &Site, next: &str, error: &str) -> Rendered {
    let body = LoginPage { next, error }.render().unwrap_or_default();
    Page { title: "Log in", ..Page::default() }.finish(site, None, &body)
}
