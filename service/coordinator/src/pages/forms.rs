//! The buttons: each answers with a redirect to the page that shows what came of it.

use std::sync::Arc;

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Redirect, Response};
use burrow_results::model::BuildId;
use burrow_web::Problem;
use serde::Deserialize;

use crate::http::{Site, nothing, refused};

/// Who pressed the button, for the history.
pub(crate) fn actor(headers: &HeaderMap) -> String {
    // A proxy in front that knows its users tells their names; nobody else can be believed, and nobody else is asked.
    let user = headers.get("x-forwarded-user").and_then(|user| user.to_str().ok()).map(str::trim).filter(|user| !user.is_empty() && user.len() <= 100);
    match user {
        Some(user) => format!("user {user}"),
        None if headers.contains_key("sec-fetch-site") || headers.contains_key("origin") => "user (pages)".to_owned(),
        None => "user (api)".to_owned(),
    }
}

/// Why, if somebody said so.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    reason: String,
}

fn id(text: &str) -> Result<BuildId, Problem> {
    text.parse().map(BuildId).map_err(|_| nothing(format!("{text:?} is not the number of a build."), ""))
}

/// `POST /build/{id}/retry`.
pub(crate) async fn retry(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Reason>, FormRejection>,
) -> Result<Response, Problem> {
    let reason = form.ok().map(|form| form.0.reason).filter(|reason| !reason.is_empty()).unwrap_or_else(|| "retry asked for on the page".to_owned());
    let build = site.control().retry(id(&name)?, actor(&headers), reason).await.map_err(refused)?;
    Ok(Redirect::to(&format!("/build/{build}")).into_response())
}

/// `POST /build/{id}/cancel`.
pub(crate) async fn cancel(State(site): State<Arc<Site>>, Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let build = id(&name)?;
    site.control().cancel(build, actor(&headers)).await.map_err(refused)?;
    Ok(Redirect::to(&format!("/build/{build}")).into_response())
}

/// Draining on or off.
#[derive(Debug, Deserialize)]
pub(crate) struct Drain {
    #[serde(default)]
    on: String,
}

/// `POST /machines/{id}/drain`; `on=0` lets it take work again.
pub(crate) async fn drain(
    State(site): State<Arc<Site>>,
    Path(machine): Path<String>,
    headers: HeaderMap,
    form: Result<Form<Drain>, FormRejection>,
) -> Result<Response, Problem> {
    let on = form.map_or(true, |form| form.0.on != "0");
    site.control().drain(machine.clone(), on, actor(&headers)).await.map_err(refused)?;
    Ok(Redirect::to(&format!("/machines#m-{}", super::segment(&machine))).into_response())
}
