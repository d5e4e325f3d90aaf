//! Watches the configuration and takes it over when it is right. A wrong one changes nothing: it is told, and the old one stays in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use burrow_builders::Config;
use tokio_util::sync::CancellationToken;

use crate::farm::Farm;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn watch(farm: Arc<Farm>, path: PathBuf, poll: bool, stop: CancellationToken) {
    let mut seen = stamps(&path);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = stamps(&path);
        if now == seen {
            continue;
        }
        seen = now;
        match Config::load(&path) {
            Ok(config) if config.hash == farm.config().hash => {}
            Ok(config) => {
                let old = farm.config();
                if old.pools != config.pools || old.site != config.site {
                    tracing::warn!("Changes of [site] and [pool] take effect at the next start.");
                }
                tracing::info!(hash = %config.hash, "The new configuration is in force.");
                *farm.config_trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
                farm.apply(config, poll).await;
            }
            Err(errors) => {
                tracing::error!("The changed configuration is wrong; the old one stays in force.\n{errors}");
                *farm.config_trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(errors.to_string());
            }
        }
    }
}

/// Names, times and sizes of the files that make up the configuration.
fn stamps(path: &Path) -> Vec<(PathBuf, Option<SystemTime>, u64)> {
    let stamp = |file: &Path| {
        let meta = std::fs::metadata(file).ok();
        (file.to_owned(), meta.as_ref().and_then(|m| m.modified().ok()), meta.map_or(0, |m| m.len()))
    };
    let mut all = vec![stamp(path)];
    if let Ok(entries) = std::fs::read_dir(path) {
        all.extend(entries.flatten().map(|e| stamp(&e.path())));
    }
    all.sort();
    all
}
