//! A farm's HTTP side: its settings taken from the configuration, its router, its server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use burrow_builders::Config;
use burrow_events::{Feed, Follower};
use burrow_http_client::Client;
use burrow_results::Results;

use crate::farm::{Farm, StartError};
use crate::http::{self, Access, Settings, Site};

/// Secrets of push hooks by repository.
pub(crate) async fn hook_secrets(config: &Config) -> Result<BTreeMap<String, String>, StartError> {
    let mut found = BTreeMap::new();
    for (name, repo) in &config.repos {
        let Some(secret) = &repo.hook_secret else { continue };
        let wrong = |what: String| StartError::Configuration(format!("repo {name}: hook_secret: {what}"));
        let secret = config.secrets.get(secret).ok_or_else(|| wrong(format!("there is no secret {secret:?}")))?;
        let text = secret.text(Path::new("."), |name| std::env::var(name).ok()).await.map_err(|e| wrong(e.to_string()))?;
        found.insert(name.clone(), text.reveal().to_owned());
    }
    Ok(found)
}

/// The token for another service of the farm.
pub(crate) async fn neighbour_token(config: &Config, neighbour: &burrow_site::Neighbour) -> Result<Option<String>, String> {
    let Some(name) = &neighbour.token else { return Ok(None) };
    let secret = config.secrets.get(name).ok_or_else(|| format!("there is no secret {name:?}"))?;
    let text = secret.text(Path::new("."), |name| std::env::var(name).ok()).await.map_err(|e| e.to_string())?;
    Ok(Some(text.reveal().to_owned()))
}

/// The event stream of the configuration.
pub(crate) async fn events(config: &Config) -> Result<Option<Arc<dyn Feed>>, StartError> {
    let Some(events) = &config.site.events else { return Ok(None) };
    let wrong = |what: String| StartError::Configuration(format!("`events` of [site]: {what}"));
    let token = neighbour_token(config, events).await.map_err(wrong)?;
    let client = Client::new(burrow_http_client::Settings::default()).map_err(|e| wrong(e.to_string()))?;
    let follower = Follower::new(client, &events.url, token.as_deref()).map_err(|e| wrong(e.to_string()))?;
    Ok(Some(Arc::new(follower)))
}

impl Farm {
    /// Queries over what was built.
    pub fn results(&self) -> Results {
        Results::new(self.db().clone())
    }

    /// Pages, JSON and the legacy endpoints.
    pub fn router(self: &Arc<Self>, access: Access) -> Router {
        let config = self.config();
        let enrolment = match self.control().machine_address() {
            Some(address) => format!("burrow machine enroll --host-type TYPE\nbuildlet --coordinator {address} --reverse-type TYPE --enroll TOKEN"),
            None => String::new(),
        };
        let settings = Settings {
            name: config.site.name.clone(),
            public_url: config.site.url.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            access,
            legacy: self.dashboard_key.clone().map(|master| crate::legacy::Keys { master, revoked: Vec::new() }),
            main_repo: config.repos.keys().find(|name| crate::handle::is_main(&config, name)).cloned().unwrap_or_default(),
            import_paths: config.repos.iter().filter_map(|(n, r)| Some((n.clone(), r.import_path.clone()?))).collect(),
            hook_secrets: self.hook_secrets.clone(),
            enrolment,
        };
        http::router(Site::new(self.db().clone(), self.control(), Arc::clone(&self.clock), settings))
    }
}
