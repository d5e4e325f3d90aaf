//! `burrow config`: check, explain, table, diff. The reading and deciding is `lib/builders`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use burrow_builders::{Config, Document, Pools};
use comfy_table::{Table, presets};
use serde_json::Value;

use crate::cli::{ConfigArgs, ConfigCommand};
use crate::failure::Failure;

pub(crate) fn run(args: ConfigArgs) -> Result<ExitCode, Failure> {
    match args.command {
        ConfigCommand::Check { config } => {
            let (loaded, foreign) = load(&config)?;
            println!(
                "{}: right; {} repositories, {} builders on {} kinds of machine in {} pools",
                config.display(),
                loaded.repos.len(),
                loaded.builders.len(),
                loaded.hosts.len(),
                loaded.pools.len()
            );
            if let Some(foreign) = foreign {
                println!("note: it needs kinds of pool that this program cannot run:\n{foreign}");
            }
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Explain { builder, repo, branch, base, config } => {
            println!("{}", explain(&load(&config)?.0, &builder, repo.as_deref(), branch.as_deref(), base.as_deref())?);
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Table { config } => {
            println!("{}", table(&load(&config)?.0));
            Ok(ExitCode::SUCCESS)
        }
        ConfigCommand::Diff { old, new } => {
            let lines = diff(&load(&old)?.0, &load(&new)?.0);
            for line in &lines {
                println!("{line}");
            }
            Ok(if lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
    }
}

/// Reads a configuration of any farm; the second part says what keeps this program from running it.
fn load(path: &Path) -> Result<(Config, Option<String>), Failure> {
    let document = Document::load(path).map_err(Failure::usage)?;
    match Config::from_document(&document, Pools::BuiltIn) {
        Ok(config) => Ok((config, None)),
        Err(errors) => match Config::from_document(&document, Pools::Any) {
            Ok(config) => Ok((config, Some(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))),
            Err(errors) => Err(Failure::usage(errors)),
        },
    }
}

fn main_branch(config: &Config, repo: &str) -> String {
    let own = config.repos.get(repo).and_then(|repo| repo.main_branch.clone());
    own.or_else(|| Some(config.projects.get(&config.repos.get(repo)?.project)?.main_branch.clone())).unwrap_or_else(|| "main".into())
}

fn explain(config: &Config, builder: &str, repo: Option<&str>, branch: Option<&str>, base: Option<&str>) -> Result<String, Failure> {
    let Some(resolved) = config.resolve(builder) else {
        let known: Vec<&str> = config.builders.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no builder {builder:?}; there are {}", known.join(", "))));
    };
    let Some(repo) = repo else {
        return serde_json::to_string_pretty(&resolved).map_err(Failure::infrastructure);
    };
    if !config.repos.contains_key(repo) {
        let known: Vec<&str> = config.repos.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("there is no repository {repo:?}; there are {}", known.join(", "))));
    }
    let branch = branch.map_or_else(|| main_branch(config, repo), str::to_owned);
    let decision = config.decide(builder, repo, &branch, base.unwrap_or(&branch));
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let mut text = format!(
        "{builder}, {repo}, branch {branch}\n  after submit: {}\n  in try runs:  {}\n  because {}",
        word(decision.post),
        word(decision.try_),
        decision.because
    );
    if decision.needs_changed {
        text.push_str("\n  if the files that are touched do not speak against it");
    }
    if decision.needs_labels {
        text.push_str("\n  if the labels of the change do not speak against it");
    }
    Ok(text)
}

fn table(config: &Config) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["builder", "kind of machine", "pool", "recipe", "builds after submit", "in try runs"]);
    for (name, builder) in &config.builders {
        let (mut post, mut tries) = (Vec::new(), Vec::new());
        for repo in config.repos.iter().filter(|(_, repo)| repo.build && repo.project == builder.project).map(|(name, _)| name) {
            let branch = main_branch(config, repo);
            let decision = config.decide(name, repo, &branch, &branch);
            post.extend(decision.post.then_some(repo.as_str()));
            tries.extend(decision.try_.then_some(repo.as_str()));
        }
        let pool = config.hosts.get(&builder.host).map_or("", |host| host.pool.as_str());
        table.add_row([name.as_str(), &builder.host, pool, &builder.recipe, &post.join(" "), &tries.join(" ")]);
    }
    table.trim_fmt()
}

/// What changes, a line for each value: `+` is new, `-` is gone, `~` is different.
fn diff(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (values(old), values(new));
    let mut lines = Vec::new();
    for (path, value) in &old {
        match new.get(path) {
            None => lines.push(format!("- {path} = {value}")),
            Some(other) if other != value => lines.push(format!("~ {path}: {value} -> {other}")),
            Some(_) => {}
        }
    }
    lines.extend(new.iter().filter(|(path, _)| !old.contains_key(*path)).map(|(path, value)| format!("+ {path} = {value}")));
    lines
}

/// Every value of the effective configuration by its path.
fn values(config: &Config) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    if let Ok(Value::Object(tables)) = serde_json::to_value(config) {
        for (name, value) in &tables {
            flatten(name, value, &mut found);
        }
    }
    // The hash of the whole says nothing that the other lines do not say.
    found.remove("hash");
    found
}

fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| flatten(&format!("{path}.{name}"), value, found)),
        Value::Null => {}
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}
