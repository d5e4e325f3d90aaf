//! What can only be judged when everything has been read: names that collide, settings that exclude each other, and
//! clauses that can never be true.

use std::collections::BTreeMap;

use burrow_site::{Span, Table, Value, ValueKind, Wildcard};

use crate::load::Loader;
use crate::model::{Config, PoolKind, Project, RecipeKind};
use crate::pattern::{Patterns, Sets};
use crate::policy::Clause;
use crate::version::{BranchVersion, VersionRange};

pub(crate) fn check(loader: &Loader<'_>, config: &Config) {
    hosts(loader, config);
    builders(loader, config);
    terms(loader, config);
    for (clause, span) in loader.clauses.borrow().iter() {
        if let Some(why) = never(clause, config) {
            loader.problems.add_help(*span, "this clause can never be true", why);
        }
    }
}

fn entry<'t>(loader: &Loader<'t>, section: &str, name: &str) -> Option<(Span, &'t Table)> {
    match loader.document.root().get(section) {
        Some(Value { kind: ValueKind::Table(table), .. }) => match table.get(name) {
            Some(Value { kind: ValueKind::Table(entry), .. }) => Some((table.key_span(name)?, entry)),
            _ => None,
        },
        _ => None,
    }
}

fn hosts(loader: &Loader<'_>, config: &Config) {
    for (name, host) in &config.hosts {
        let Some((span, _)) = entry(loader, "host", name) else { continue };
        let Some(pool) = config.pools.get(&host.pool) else { continue };
        let plain = matches!(pool.kind, PoolKind::Process { .. } | PoolKind::Reverse { .. } | PoolKind::Listen { .. });
        if plain && (host.image.is_some() || host.container.is_some()) {
            loader.problems.add_help(
                span,
                format!("host `{name}` has an image, but its pool {:?} starts no machines", host.pool),
                "remove `image` and `container`, or name another pool",
            );
        }
        if host.trusted && !matches!(pool.kind, PoolKind::Reverse { .. }) {
            loader.problems.add_help(
                span,
                format!("host `{name}` is marked as trusted"),
                "only machines that dial in can be; the others are trusted by what they are",
            );
        }
        if config.site.go_names && host.arch.as_deref().is_none_or(|arch| arch.split('-').count() < 2) {
            loader.problems.add_help(span, format!("the name of host `{name}` does not say its architecture"), "call it host-<os>-<arch>[-…], or set `arch`");
        }
    }
}

fn builders(loader: &Loader<'_>, config: &Config) {
    for (name, builder) in &config.builders {
        let Some((span, _)) = entry(loader, "builder", name) else { continue };
        let toolchain = matches!(config.recipes.get(&builder.recipe), Some(RecipeKind::GoToolchain(_)));
        if toolchain && !builder.snapshot && (builder.helpers.post > 0 || builder.helpers.try_ > 0) {
            loader.problems.add_help(
                span,
                format!("builder `{name}` has helpers but keeps no snapshot"),
                "helpers of a toolchain begin with its snapshot: remove `snapshot = false`, or `helpers`",
            );
        }
        if config.site.go_names && name.split('-').count() < 2 {
            loader.problems.add_help(span, format!("the name of builder `{name}` does not say what it is"), "with names = \"go\" it is <os>-<arch>[-…]");
        }
        if builder.snapshot_from.as_deref() == Some(name.as_str()) {
            loader.problems.add(span, format!("builder `{name}` uses its own snapshot as another's"));
        }
        // A snapshot that nobody makes would be waited for for ever.
        if let Some(other) = builder.snapshot_from.as_ref().and_then(|other| config.builders.get(other))
            && (!other.snapshot || !other.post)
        {
            loader.problems.add(span, format!("builder `{name}` waits for a snapshot that its `snapshot_from` never makes"));
        }
    }
}

/// An alias means one builder. It may be another builder's name, which then means both: a port whose first builder
/// was retired in favour of another is asked for by the old name.
fn terms(loader: &Loader<'_>, config: &Config) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, builder) in &config.builders {
        for alias in &builder.aliases {
            if let Some(other) = taken.insert(alias, name) {
                let span = entry(loader, "builder", name).map(|(span, _)| span).unwrap_or_default();
                loader.problems.add(span, format!("builders `{other}` and `{name}` have the same alias {alias:?}"));
            }
        }
    }
    for (name, project) in &config.projects {
        for term in &project.no_builder_terms {
            if let Some(other) = config.builders_called(term).first() {
                let span = entry(loader, "project", name).map(|(span, _)| span).unwrap_or_default();
                loader.problems.add(span, format!("{term:?} in `no_builder_terms` of project `{name}` means builder `{other}`"));
            }
        }
    }
}

/// Why a clause can never be true, as far as that can be told. Cautious: a clause that might be true is left alone.
fn never(clause: &Clause, config: &Config) -> Option<String> {
    let sets = &config.reposets;
    let lists = [
        ("project", &clause.project),
        ("repo", &clause.repo),
        ("branch", &clause.branch),
        ("base", &clause.base),
        ("builder", &clause.builder),
        ("os", &clause.os),
        ("arch", &clause.arch),
        ("changed", &clause.changed),
        ("label", &clause.label),
    ];
    for (key, list) in lists {
        if let Some(list) = list.as_ref().filter(|list| !adds_anything(list, sets, 8)) {
            let why = if list.items().is_empty() { "is empty" } else { "only removes; begin it with \"*\"" };
            return Some(format!("the list `{key}` {why}"));
        }
    }
    let is = |list: &Option<Patterns>, text: &str| list.as_ref().is_none_or(|list| list.has(text, sets));
    for (key, range) in [("base_version", &clause.base_version), ("branch_version", &clause.branch_version), ("release_version", &clause.release_version)] {
        if let Some(range) = range.as_ref().filter(|range| range.is_impossible()) {
            return Some(format!("no version satisfies `{key}` = {:?}", range.to_string()));
        }
    }
    if config.builders.is_empty() {
        return None;
    }
    let fitting: Vec<_> = config
        .builders
        .iter()
        .filter(|(name, builder)| {
            is(&clause.builder, name) && is(&clause.os, &builder.os) && is(&clause.arch, &builder.arch) && is(&clause.project, &builder.project)
        })
        .collect();
    if fitting.is_empty() {
        return Some("no builder fits its `builder`, `os`, `arch` and `project`".to_owned());
    }
    let projects: Vec<(&String, &Project)> = config.projects.iter().filter(|(name, _)| fitting.iter().any(|(_, builder)| builder.project == **name)).collect();
    // Repositories are known only where they are listed.
    let listed = |project: &str| config.repos.values().any(|repo| repo.project == project);
    if clause.repo.is_some() && projects.iter().all(|(name, _)| listed(name)) {
        let possible = config.repos.iter().any(|(name, repo)| is(&clause.repo, name) && projects.iter().any(|(project, _)| **project == repo.project));
        if !possible {
            return Some("no repository fits its `repo`".to_owned());
        }
    }
    let main = |list: &Option<Patterns>| {
        let mains = projects.iter().map(|(_, project)| &project.main_branch).chain(config.repos.values().filter_map(|repo| repo.main_branch.as_ref()));
        mains.into_iter().any(|branch| is(list, branch))
    };
    if clause.tip == Some(true) && !projects.is_empty() && (!main(&clause.branch) || !main(&clause.base)) {
        return Some("`tip` means main branches, and its `branch` or `base` leaves them out".to_owned());
    }
    let releases = projects.iter().any(|(_, project)| project.release_branch.is_some());
    let needs_release = |range: &Option<VersionRange>| range.as_ref().is_some_and(|range| !range.has(BranchVersion::Current));
    if !releases && !projects.is_empty() && (clause.release_version.is_some() || needs_release(&clause.base_version) || needs_release(&clause.branch_version)) {
        return Some("it is about releases, and the project has no `release_branch`".to_owned());
    }
    None
}

/// Whether a list can contain anything at all: some item adds, and nothing after it takes everything away.
fn adds_anything(list: &Patterns, sets: &Sets, depth: usize) -> bool {
    let mut any = false;
    for item in list.items() {
        match (item.strip_prefix('!'), item.strip_prefix('@')) {
            (Some(rest), _) if !rest.starts_with('@') && Wildcard::new(rest).matches("\u{1}") => any = false,
            (Some(_), _) => {}
            (None, Some(set)) => any |= depth == 0 || sets.get(set).is_none_or(|set| adds_anything(set, sets, depth - 1)),
            (None, None) => any = true,
        }
    }
    any
}
