//! Stylesheet, script and icon, embedded. Their addresses carry a hash of their content, so that they may be kept for ever.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use std::sync::LazyLock;

use crate::{Kind, Rendered};

const STYLE: &str = include_str!("../assets/style.css");
const SCRIPT: &str = include_str!("../assets/live.js");
const ICON: &str = include_str!("../assets/icon.svg");

struct Asset {
    url: String,
    rendered: Rendered,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [("style", "css", Kind::Css, STYLE), ("live", "js", Kind::Script, SCRIPT), ("icon", "svg", Kind::Svg, ICON)]
        .map(|(name, ending, kind, text)| Asset { url: format!("/assets/{name}.{:016x}.{ending}", fnv(text.as_bytes())), rendered: Rendered::new(kind, text) })
});

/// FNV-1a: the addresses must be the same in every process of a farm, and nobody attacks them.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Address of the stylesheet.
pub fn style_url() -> &'static str {
    &ASSETS[0].url
}

/// Address of the script.
pub fn script_url() -> &'static str {
    &ASSETS[1].url
}

/// Address of the icon.
pub fn icon_url() -> &'static str {
    &ASSETS[2].url
}

/// Serves `/assets/{file}`. An address of an older version answers 404 instead of newer content under an immutable address.
pub async fn serve(Path(file): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.url.strip_prefix("/assets/") == Some(&file)) {
        Some(asset) => {
            let mut answer = asset.rendered.answer(&headers);
            answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
            answer
        }
        None => (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "text/plain; charset=utf-8")], "No such asset; reload the page.\n").into_response(),
    }
}
