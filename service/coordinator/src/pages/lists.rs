//! The queue and the machines.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use burrow_results::view::{HostType, Machine, Machines, Queue, QueueLine};
use burrow_web::{Problem, words};

use super::{Page, middle, state};
use crate::http::{Site, database, json, wants_json};

/// Waiting builds listed.
const LISTED: usize = 500;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueueView<'a> {
    queue: &'a Queue,
    now: i64,
}

/// The queue in its order.
pub(crate) async fn queue_view(site: &Site) -> Result<Queue, Problem> {
    let live = site.control().live();
    let first = live.waiting.get(..LISTED).unwrap_or(&live.waiting);
    let ids: Vec<_> = first.iter().map(|(id, _, _)| *id).collect();
    let mut lines =
        site.results().build_lines(&ids).await.map_err(database)?.into_iter().map(|line| (line.id, line)).collect::<std::collections::HashMap<_, _>>();
    let waiting = first
        .iter()
        .filter_map(|(id, host_type, waiting)| Some(QueueLine { line: lines.remove(id)?, host_type: host_type.clone(), waiting: waiting.clone() }))
        .collect();
    let ids: Vec<_> = live.running.iter().map(|(id, _, _)| *id).collect();
    let mut running = site.results().build_lines(&ids).await.map_err(database)?;
    for line in &mut running {
        // The row may be a moment behind the scheduler.
        if line.machine.is_none() {
            line.machine = live.running.iter().find(|(id, _, _)| *id == line.id).map(|(_, _, worker)| worker.clone());
        }
    }
    running.sort_by_key(|line| line.started_ms.unwrap_or(i64::MAX));
    Ok(Queue { waiting, running, total: live.waiting.len() })
}

/// `GET /queue`.
pub(crate) async fn queue(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |stamp| {
        let queue = queue_view(&site).await?;
        if uri.path().ends_with(".json") || wants_json(&headers) {
            return json(&queue);
        }
        let body = middle(&QueueView { queue: &queue, now: site.now_ms() })?;
        Ok(Page { title: "Queue", current: "/queue", events: "/events", json: "/queue.json", ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}

#[derive(Template)]
#[template(path = "machines.html")]
struct MachinesView<'a> {
    machines: &'a Machines,
    enrolment: &'a str,
    now: i64,
}

impl MachinesView<'_> {
    fn meter(&self, kind: &HostType) -> String {
        let whole = kind.connected.max(kind.expected).max(1);
        let fill = 100 * kind.busy.min(whole) / whole;
        format!(
            "<svg class=meter viewBox=\"0 0 100 8\" preserveAspectRatio=none aria-hidden=true><rect class=rail width=100 height=8 rx=4 /><rect class=fill width={fill} height=8 rx=4 /></svg>"
        )
    }

    fn class(&self, machine: &Machine) -> &'static str {
        match machine.state {
            "idle" => "p",
            "busy" => "run",
            "draining" => "to",
            "unreachable" | "missing" => "inf",
            _ => "c",
        }
    }
}

/// `GET /machines`.
pub(crate) async fn machines(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    site.cached(&uri, &headers, async |stamp| {
        let live = site.control().live();
        let machines = Machines { host_types: live.host_types.clone(), machines: live.machines.clone() };
        if uri.path().ends_with(".json") || wants_json(&headers) {
            return json(&machines);
        }
        let body = middle(&MachinesView { machines: &machines, enrolment: &site.settings().enrolment, now: site.now_ms() })?;
        Ok(Page { title: "Machines", current: "/machines", events: "/events", json: "/machines.json", ..Page::default() }.finish(&site, Some(stamp), &body))
    })
    .await
}
