//! The benchmark result store: uploads, searches, pages.
//!
//! `/upload`, `/search` and `/uploads` are those of the reference, so that its clients work as they are; `spec/perfdata.md` says what they send and read. A body is an
//! upload only when its closing boundary was seen. Reports of other tools are told by their content and stored as benchmark text. What is stored and how it is found is
//! in `burrow_perfstore`.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! use burrow_perfdata::http::{Site, router};
//! use burrow_perfstore::{Options, PerfStore};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let clock = burrow_clock::SystemClock::shared();
//! let store = PerfStore::open(Options::folder(dir.path(), clock.clone())).await?;
//! let site = Site { store, tokens: Default::default(), view_url_base: None, only_host: None, clock };
//! let answer = tower::ServiceExt::oneshot(router(site), axum::http::Request::get("/search?q=name:None").body(axum::body::Body::empty()).unwrap()).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

// A refusal is a finished answer, which is moved once.
#![allow(clippy::result_large_err)]

mod answers;
pub mod auth;
pub mod config;
pub mod http;
mod json;
mod metrics;
pub mod multipart;
mod pages;
mod params;
pub mod retention;
pub mod upload;
