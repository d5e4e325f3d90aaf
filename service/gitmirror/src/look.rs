//! One look at an upstream: ask, compare, fetch what changed, keep what was left behind.

use std::collections::BTreeSet;

use crate::cache::{Cache, CacheError};
use crate::child::Runner;
use crate::config::Repo;
use crate::model::Looked;
use crate::plan::Cap;
use crate::refs::{Change, Refs, difference};
use crate::remote::Remote;
use crate::rules::Rules;

/// What a look works with.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) upstream: &'a Remote,
    pub(crate) repo: &'a Repo,
    pub(crate) rules: &'a Rules,
    pub(crate) runner: &'a Runner,
    /// Deletions that somebody allowed.
    pub(crate) confirmed: &'a [String],
}

/// What came out.
pub(crate) struct Seen {
    pub(crate) looked: Looked,
    /// Broken files were found and mended; what was done.
    pub(crate) repaired: Option<String>,
}

impl Look<'_> {
    /// Looks. `suspect`: somebody found the copy broken, so it is mended first.
    pub(crate) async fn run(&self, may_repair: bool, suspect: bool) -> Seen {
        let _one = self.cache.write().await;
        let before = self.cache.refs();
        let mut repaired = None;
        let mut result = if suspect && may_repair {
            match self.repair().await {
                Ok(what) => {
                    repaired = Some(what);
                    self.once().await
                }
                Err(error) => Err(error),
            }
        } else {
            self.once().await
        };
        // What was listed may be gone by the time it is fetched.
        if matches!(&result, Err(CacheError::Git { why, .. }) if why.contains("couldn't find remote ref")) {
            result = self.once().await;
        }
        if let Err(error) = &result
            && may_repair
            && !suspect
            && error.smells_of_corruption()
        {
            tracing::warn!(repo = %self.repo.name, %error, "The repository seems to be broken; it is repaired in place.");
            match self.repair().await {
                Ok(what) => {
                    repaired = Some(what);
                    result = self.once().await;
                }
                Err(error) => tracing::error!(repo = %self.repo.name, %error, "The repair did not work."),
            }
        }
        let after = match self.cache.reload().await {
            Ok(after) => after,
            Err(error) => return Seen { looked: Looked { changes: Vec::new(), refs: 0, hold: None, failed: Some(error.to_string()) }, repaired },
        };
        let changes = difference(&before, &after);
        let kept = self.cache.keep_left_behind(&changes).await;
        let (hold, mut failed) = match result {
            Ok(hold) => (hold, None),
            Err(error) => (None, Some(crate::cache::with_remedy(error.to_string()))),
        };
        if let Err(error) = kept {
            failed.get_or_insert(crate::cache::with_remedy(error.to_string()));
        }
        if !changes.is_empty()
            && let Err(error) = self.cache.tidy(self.runner).await
        {
            tracing::warn!(repo = %self.repo.name, %error, "The repository could not be tidied up.");
        }
        Seen { looked: Looked { changes, refs: after.len(), hold, failed }, repaired }
    }

    /// Returns the deletions that were not done.
    async fn once(&self) -> Result<Option<Vec<String>>, CacheError> {
        let dir = self.cache.dir();
        let told = self.upstream.read(self.runner, dir, &self.rules.prefixes()).await?;
        let upstream: Refs = told.refs.iter().filter(|(name, _)| self.rules.includes(name)).map(|(name, id)| (name.clone(), *id)).collect();
        // A server that is broken or empty shows nothing. That is never taken for "everything was deleted".
        let heads_wanted = self.rules.prefixes().iter().any(|prefix| "refs/heads/".starts_with(prefix) || prefix.starts_with("refs/heads/"));
        if upstream.is_empty() || (heads_wanted && told.heads() == 0) {
            let url = self.upstream.url();
            let why = if told.refs.is_empty() {
                "it shows no references at all (is it empty?)"
            } else {
                "it shows no branches, or none that the configuration wants"
            };
            return Err(crate::remote::RemoteError::Other { url: url.to_owned(), why: format!("{why}; nothing is taken over and nothing is deleted") }.into());
        }
        self.cache.fit_hash(self.runner, &upstream).await?;
        let own = self.cache.refs();
        let changes = difference(&own, &upstream);
        // What the configuration does not want any more is not upstream's deletion.
        let (gone, unwanted): (Vec<String>, Vec<String>) =
            changes.iter().filter(|change| change.new.is_none()).map(|change| change.name.clone()).partition(|name| self.rules.includes(name));
        let unconfirmed: Vec<String> = gone.iter().filter(|name| !self.confirmed.contains(name)).cloned().collect();
        let cap = Cap { count: self.repo.max_delete, percent: self.repo.max_delete_percent };
        let mut delete: Vec<String> = unwanted;
        let mut hold = None;
        if cap.allows(unconfirmed.len(), own.len()) {
            delete.extend(gone);
        } else {
            let held: BTreeSet<&String> = unconfirmed.iter().collect();
            delete.extend(gone.iter().filter(|name| !held.contains(name)).cloned());
            hold = Some(unconfirmed);
        }
        if let Some(limit) = self.repo.max_size {
            let bytes = self.cache.bytes();
            if bytes > limit {
                return Err(CacheError::TooLarge { bytes, limit });
            }
        }
        // First, so that a name is free when another begins with it.
        self.cache.delete(self.runner, &delete).await?;
        let wanted: Vec<Change> = changes.into_iter().filter(|change| change.new.is_some()).collect();
        if !wanted.is_empty() && !self.cache.take(self.upstream, &wanted).await? {
            let wanted: Vec<String> = wanted.into_iter().map(|change| change.name).collect();
            self.cache.fetch(self.runner, self.upstream, &wanted, &self.patterns(), false).await?;
        }
        if let Some(head) = told.head.filter(|head| upstream.contains_key(head)) {
            self.cache.set_head(&head)?;
        }
        Ok(hold)
    }

    async fn repair(&self) -> Result<String, CacheError> {
        let told = self.upstream.read(self.runner, self.cache.dir(), &self.rules.prefixes()).await?;
        let names: Vec<String> = told.refs.keys().filter(|name| self.rules.includes(name)).cloned().collect();
        self.cache.repair(self.runner, self.upstream, &names, &self.patterns()).await
    }

    /// The rules as git writes them; empty when it cannot.
    fn patterns(&self) -> Vec<String> {
        let stars = |text: &str| text.matches('*').count();
        let all = self.repo.refs.iter().chain(&self.repo.exclude);
        if !all.clone().all(|pattern| stars(pattern.as_str()) <= 1 && pattern.as_str().starts_with("refs/"))
            || self.repo.refs.iter().any(|p| "refs/burrow/".starts_with(p.as_str().trim_end_matches('*')))
        {
            return Vec::new();
        }
        let include = self.repo.refs.iter().map(|pattern| format!("+{pattern}:{pattern}"));
        include.chain(self.repo.exclude.iter().map(|pattern| format!("^{pattern}"))).collect()
    }
}
