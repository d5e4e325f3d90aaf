//! Reading `[recipe.<name>]`.

use std::collections::HashSet;
use std::path::Path;

use burrow_site::{At, Fields, ValueKind};

use crate::load::{number, patterns, texts};
use crate::model::{GoToolchain, RecipeKind};
use crate::recipe::{Detect, Input, ListFormat, NewFile, Recipe, Report, Snapshot, SnapshotKey, Step, TestList, TestOutput, Tests, When};

/// One `[recipe.<name>]`.
pub(crate) fn read_recipe(fields: &Fields<'_>) -> RecipeKind {
    let kind = fields.one_of("kind", &["steps", "detect", "go-toolchain"]);
    match kind.as_ref().map(|kind| kind.value.as_str()) {
        Some("go-toolchain") => {
            let default = GoToolchain::default();
            RecipeKind::GoToolchain(GoToolchain {
                bootstrap: fields.string("bootstrap").map(|text| text.value),
                bootstrap_url: fields.string("bootstrap_url").map(|text| text.value),
                make_timeout: fields.duration("make_timeout").unwrap_or(default.make_timeout),
                test_timeout: fields.duration("test_timeout").unwrap_or(default.test_timeout),
                retry: number(fields, "retry", 0, 100).unwrap_or(0),
            })
        }
        Some("detect") => {
            let checkout = directory(fields, "checkout").unwrap_or_else(|| Recipe::default().checkout);
            let detect = Detect { allow_file: fields.boolean("allow_file").unwrap_or(false), checkout: checkout.clone() };
            RecipeKind::Detect(Recipe { checkout, detect: Some(detect), timeout: fields.duration("timeout"), ..Recipe::default() })
        }
        _ => RecipeKind::Steps(read_steps_recipe(fields, &Recipe::default().checkout)),
    }
}

/// The keys of kind `steps`, also those of a repository's own recipe.
pub(crate) fn read_steps_recipe(fields: &Fields<'_>, checkout: &str) -> Recipe {
    let checkout = directory(fields, "checkout").unwrap_or_else(|| checkout.to_owned());
    let mut names = HashSet::new();
    let steps: Vec<Step> = fields
        .tables("step")
        .into_iter()
        .map(|table| read_step(&Fields::new(format!("a step of {}", fields.what()), table, fields.problems()), &checkout, &mut names))
        .collect();
    let tests = fields.table("tests").map(|table| {
        let inner = Fields::new(format!("`tests` of {}", fields.what()), table, fields.problems());
        let tests = read_tests(&inner, &checkout);
        inner.finish();
        tests
    });
    if steps.is_empty() && tests.is_none() {
        fields.problems().add_help(fields.span(), format!("{} runs nothing", fields.what()), "give it a step: step = [{ name = \"build\", run = [\"make\"] }]");
    }
    let inputs = fields.tables("input").into_iter().filter_map(|table| {
        let inner = Fields::new(format!("an input of {}", fields.what()), table, fields.problems());
        let found = inner.required("url").zip(directory(&inner, "dir")).map(|(url, dir)| Input { url: url.value, dir });
        inner.finish();
        found
    });
    let files = fields.tables("file").into_iter().filter_map(|table| {
        let inner = Fields::new(format!("a file of {}", fields.what()), table, fields.problems());
        let path = directory(&inner, "path").filter(|path| !path.is_empty());
        if path.is_none() {
            fields.problems().add(inner.span(), format!("{} has no `path`", inner.what()));
        }
        let found = path.zip(inner.string("text")).map(|(path, text)| NewFile { path, text: text.value });
        inner.finish();
        found
    });
    let parent_checkout = directory(fields, "parent_checkout");
    if let Some(parent) = &parent_checkout {
        let within = |outer: &str, inner: &str| Path::new(inner).starts_with(outer);
        if parent.is_empty() || within(parent, &checkout) || within(&checkout, parent) {
            let message = format!("`checkout` and `parent_checkout` of {} lie in one another: {checkout:?} and {parent:?}", fields.what());
            fields.problems().add_help(fields.span(), message, "two directories side by side, such as \"src\" and \"parent\"");
        }
    }
    Recipe {
        base_checkout: directory(fields, "base_checkout"),
        parent_checkout,
        inputs: inputs.collect(),
        files: files.collect(),
        timeout: fields.duration("timeout"),
        snapshot: fields.table("snapshot").map(|table| {
            let inner = Fields::new(format!("`snapshot` of {}", fields.what()), table, fields.problems());
            let snapshot = read_snapshot(&inner);
            inner.finish();
            snapshot
        }),
        report: read_report(fields),
        steps,
        tests,
        checkout,
        detect: None,
    }
}

fn read_step(fields: &Fields<'_>, checkout: &str, names: &mut HashSet<String>) -> Step {
    let name = fields.required("name");
    if let Some(name) = &name
        && !names.insert(name.value.clone())
    {
        fields.problems().add(name.span, format!("two steps are called {:?}", name.value));
    }
    let shell = fields.boolean("shell").unwrap_or(false);
    let step = Step {
        name: name.map(|name| name.value).unwrap_or_default(),
        run: command(fields, "run", shell).unwrap_or_else(|| {
            fields.problems().add_help(fields.span(), format!("{} has no `run`", fields.what()), "run = [\"make\", \"check\"], or with shell = true a text");
            Vec::new()
        }),
        shell,
        dir: directory(fields, "dir").unwrap_or_else(|| checkout.to_owned()),
        env: fields.map("env"),
        timeout: fields.duration("timeout"),
        idle_timeout: fields.duration("idle_timeout"),
        when: match fields.one_of("when", &["build", "test", "both"]).as_ref().map(|word| word.value.as_str()) {
            Some("test") => When::Test,
            Some("both") => When::Both,
            _ => When::Build,
        },
    };
    // The steps' own `Fields` are made per table by the caller and end here.
    fields.report_unknown();
    step
}

/// Program and arguments, or (with `shell`) a text. `None`: the key is absent.
fn command(fields: &Fields<'_>, key: &'static str, shell: bool) -> Option<Vec<String>> {
    let value = fields.value(key)?;
    let problems = fields.problems();
    let items = match &value.kind {
        ValueKind::String(text) if shell => vec![At { value: text.clone(), span: value.span }],
        ValueKind::String(_) => {
            problems.add_help(value.span, format!("`{key}` of {} is a text", fields.what()), "write a list, [\"make\", \"check\"], or add shell = true");
            return Some(Vec::new());
        }
        _ => fields.strings(key).unwrap_or_default(),
    };
    match items.first() {
        None => problems.add(value.span, format!("`{key}` of {} is empty", fields.what())),
        Some(first) if first.value.trim().is_empty() => problems.add(first.span, format!("`{key}` of {} names no program", fields.what())),
        Some(_) => {}
    }
    for item in items.iter().filter(|item| item.value.contains('\0')) {
        problems.add(item.span, format!("`{key}` of {} has a zero byte in it", fields.what()));
    }
    Some(items.into_iter().map(|item| item.value).collect())
}

/// A path below the work directory.
fn directory(fields: &Fields<'_>, key: &'static str) -> Option<String> {
    let text = fields.string(key)?;
    let path = text.value.trim_end_matches('/');
    let outside =
        path.starts_with('/') || path.contains('\\') || path.contains('\0') || path.split('/').any(|part| part == "..") || path.chars().nth(1) == Some(':');
    if outside {
        fields.problems().add_help(
            text.span,
            format!("`{key}` of {} does not stay below the work directory", fields.what()),
            "write a relative path with `/`, without `..`",
        );
    }
    Some(if path == "." { String::new() } else { path.to_owned() })
}

fn read_tests(fields: &Fields<'_>, checkout: &str) -> Tests {
    let default = Tests::default();
    let problems = fields.problems();
    let shell = fields.boolean("shell").unwrap_or(false);
    let list = match (command(fields, "list", shell), fields.strings("fixed")) {
        (Some(list), None) => TestList::Command(list),
        (None, Some(fixed)) => {
            let mut seen = HashSet::new();
            for name in &fixed {
                if name.value.is_empty() || !seen.insert(&name.value) {
                    problems.add(name.span, format!("{} has {:?} twice, or empty", fields.what(), name.value));
                }
            }
            TestList::Fixed(fixed.into_iter().map(|name| name.value).collect())
        }
        (Some(_), Some(_)) => {
            problems.add(fields.span(), format!("{} has both `list` and `fixed`", fields.what()));
            default.list
        }
        (None, None) => {
            problems.add_help(
                fields.span(),
                format!("{} does not say which tests there are", fields.what()),
                "set `list` to a command that prints their names, or `fixed` to the names",
            );
            default.list
        }
    };
    let run = command(fields, "run", shell).unwrap_or_else(|| {
        problems.add(fields.span(), format!("{} has no `run`", fields.what()));
        vec!["{tests}".to_owned()]
    });
    if !run.iter().any(|part| part.contains("{tests}")) {
        let span = fields.value("run").map_or(fields.span(), |value| value.span);
        problems.add_help(span, format!("`run` of {} has no place for the tests' names", fields.what()), "write {tests} where they belong");
    }
    let format = fields.one_of("list_format", &["lines", "words", "json"]);
    let output = fields.one_of("output", &["plain", "go-test"]);
    Tests {
        list,
        list_format: match format.as_ref().map(|word| word.value.as_str()) {
            Some("words") => ListFormat::Words,
            Some("json") => ListFormat::Json,
            _ => ListFormat::Lines,
        },
        list_prefix: fields.string("list_prefix").map(|text| text.value).unwrap_or_default(),
        list_timeout: fields.duration("list_timeout").or(default.list_timeout),
        run,
        shell,
        dir: directory(fields, "dir").unwrap_or_else(|| checkout.to_owned()),
        env: fields.map("env"),
        timeout: fields.duration("timeout").or(default.timeout),
        idle_timeout: fields.duration("idle_timeout"),
        shard: fields.boolean("shard").unwrap_or(default.shard),
        retry: number(fields, "retry", 0, 100).unwrap_or(default.retry),
        batch_target: fields.duration("batch_target").unwrap_or(default.batch_target),
        unknown: fields.duration("unknown").unwrap_or(default.unknown),
        max_batch: number(fields, "max_batch", 1, 10_000).map_or(default.max_batch, |number| number as usize),
        batch: patterns(fields, "batch").unwrap_or(default.batch),
        last: patterns(fields, "last").unwrap_or(default.last),
        output: if output.is_some_and(|word| word.value == "go-test") { TestOutput::GoTest } else { TestOutput::Plain },
    }
}

fn read_snapshot(fields: &Fields<'_>) -> Snapshot {
    let paths = texts(fields, "paths");
    if paths.is_empty() {
        fields.problems().add(fields.span(), format!("{} keeps no `paths`", fields.what()));
    }
    let mut key = Vec::new();
    for part in fields.strings("key").unwrap_or_default() {
        match (part.value.as_str(), part.value.strip_prefix("hash:")) {
            ("builder", _) => key.push(SnapshotKey::Builder),
            ("rev", _) => key.push(SnapshotKey::Rev),
            ("base_rev", _) => key.push(SnapshotKey::BaseRev),
            (_, Some(file)) if !file.is_empty() => key.push(SnapshotKey::Hash(file.to_owned())),
            _ => fields.problems().add_help(
                part.span,
                format!("{:?} cannot be part of a snapshot's key", part.value),
                "allowed: builder, rev, base_rev, hash:<file>",
            ),
        }
    }
    if key.is_empty() {
        key = vec![SnapshotKey::Builder, SnapshotKey::Rev];
    }
    Snapshot { paths, exclude: texts(fields, "exclude"), key, max_size: fields.size("max_size") }
}

fn read_report(fields: &Fields<'_>) -> Option<Report> {
    let value = fields.value("report")?;
    match &value.kind {
        ValueKind::String(text) if text == "none" => None,
        ValueKind::Table(table) => {
            let inner = Fields::new(format!("`report` of {}", fields.what()), table, fields.problems());
            let found = inner.required("junit").map(|glob| Report::Junit(glob.value));
            inner.finish();
            found
        }
        _ => {
            fields.problems().add_help(value.span, format!("`report` of {} is neither", fields.what()), "write { junit = \"path/*.xml\" } or \"none\"");
            None
        }
    }
}
