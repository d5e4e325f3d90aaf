//! From the document to the types: reading every table, and noting everything that is wrong with it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burrow_site::{At, ConfigErrors, Document, Fields, Problems, Secret, Site, Span, Storage, Table, Value, ValueKind, nearest};
use sha2::{Digest, Sha256};

use crate::check;
use crate::load_recipe::{read_recipe, read_steps_recipe};
use crate::model::{Config, Pool, PoolKind, Project, Repo, SkipTests, TestPolicy};
use crate::pattern::{Patterns, Sets};
use crate::policy::{Clause, Policy};
use crate::recipe::Recipe;
use crate::version::VersionRange;
use std::time::Duration;

/// Which pools a configuration may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pools {
    /// Only kinds that this program can run: for running it.
    BuiltIn,
    /// All kinds that exist: for checking and explaining the configuration of a farm elsewhere.
    Any,
}

/// Kinds of pool that exist elsewhere.
const NOT_BUILT_IN: [&str; 5] = ["gce", "kubernetes", "ec2", "engine", "qemu"];
/// Templates of templates of templates are enough.
const DEEPEST_TEMPLATES: usize = 16;

const BUILT_IN: [&str; 3] = ["process", "reverse", "listen"];

impl Config {
    /// Reads and checks a configuration: one file, or all `*.toml` of a folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        Config::from_document(&Document::load(path)?, Pools::BuiltIn)
    }

    /// Reads and checks one text; `name` is what messages call it.
    ///
    /// ```
    /// let errors = burrow_builders::Config::parse("x.toml", "[host.a]\npool = \"nowhere\"\n").unwrap_err();
    /// assert!(errors.to_string().contains("no pool is called \"nowhere\""));
    /// ```
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
        Config::from_document(&Document::parse(name, text)?, Pools::BuiltIn)
    }

    /// Checks a document that has been read.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_document(document: &Document, pools: Pools) -> Result<Config, ConfigErrors> {
        let problems = Problems::new(document);
        let config = Loader::new(document, &problems).read(pools);
        problems.into_errors()?;
        Ok(config)
    }

    /// Computes [`Config::hash`] anew.
    pub(crate) fn seal(mut self) -> Config {
        self.hash.clear();
        // A value of maps with text keys, lists, numbers and texts always has a JSON form.
        let json = serde_json::to_vec(&self).unwrap_or_default();
        self.hash = Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect();
        self
    }
}

/// The `[recipe]` of a repository's own `burrow.toml`. `None`: the file has none, it is for something else.
pub(crate) fn repo_recipe(text: &str, checkout: &str) -> Result<Option<Recipe>, ConfigErrors> {
    let document = Document::parse("burrow.toml", text)?;
    let problems = Problems::new(&document);
    let root = Fields::new("the document", document.root(), &problems);
    let Some(table) = root.value("recipe") else { return Ok(None) };
    root.value("schema");
    let recipe = match &table.kind {
        // `[recipe.<name>]` is a site's.
        ValueKind::Table(table) if table.iter().any(|(key, _, _)| ["step", "tests", "timeout", "kind"].contains(&key)) => {
            let fields = Fields::new("[recipe]", table, &problems);
            fields.one_of("kind", &["steps"]);
            let recipe = read_steps_recipe(&fields, checkout);
            fields.finish();
            root.finish();
            Some(recipe)
        }
        _ => None,
    };
    problems.into_errors()?;
    Ok(recipe)
}

pub(crate) struct Loader<'t> {
    pub(crate) document: &'t Document,
    pub(crate) problems: &'t Problems<'t>,
    /// Every clause with its table, for the check that it can be true.
    pub(crate) clauses: RefCell<Vec<(Clause, Span)>>,
}

impl<'t> Loader<'t> {
    fn new(document: &'t Document, problems: &'t Problems<'t>) -> Self {
        Loader { document, problems, clauses: RefCell::default() }
    }

    /// Names in a section, also of entries that are broken: one mistake is reported once.
    fn known(&self, section: &str) -> Vec<&'t str> {
        match self.document.root().get(section) {
            Some(Value { kind: ValueKind::Table(table), .. }) => table.iter().map(|(name, _, _)| name).collect(),
            _ => Vec::new(),
        }
    }

    /// Notes that nothing in the section is called so, unless something is.
    pub(crate) fn refer(&self, section: &str, name: &At<String>) {
        let known = self.known(section);
        if known.contains(&name.value.as_str()) {
            return;
        }
        let kind = section.replace('_', " ");
        let help = match nearest(&name.value, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => format!("there is none yet: add [{section}.{}]", name.value),
            None => format!("known: {}", known.join(", ")),
        };
        self.problems.add_help(name.span, format!("no {kind} is called {:?}", name.value), help);
    }

    fn read(&self, pools: Pools) -> Config {
        let root = Fields::new("the document", self.document.root(), self.problems);
        root.integer("schema", 1, 1);
        for section in ["site", "storage", "secret", "template", "host_template"] {
            root.value(section);
        }
        let site = Site::read(self.document, self.problems);
        let storage = Storage::read_all(self.document, self.problems);
        let secrets = Secret::read_all(self.document, self.problems);
        site.check(self.document, self.problems, &storage, &secrets);
        let reposets = self.reposets(&root);
        let policies = self.policies(&root);
        let deny = root.tables("deny").into_iter().map(|table| self.clause("a [[deny]] entry", table)).collect();
        let mut config = Config {
            pools: self.section(&root, "pool", |fields| self.pool(fields, pools)),
            projects: self.section(&root, "project", |fields| self.project(fields, &site)),
            repos: self.section(&root, "repo", |fields| self.repo(fields)),
            recipes: self.section(&root, "recipe", read_recipe),
            test_policies: self.section(&root, "test_policy", |fields| TestPolicy {
                skip: patterns(fields, "skip").unwrap_or_default(),
                skip_try: patterns(fields, "skip_try").unwrap_or_default(),
            }),
            skip_tests: root.tables("skip_tests").into_iter().map(|table| self.skip_tests(table)).collect(),
            hosts: self.templated(&root, "host", "host_template", |name, fields| self.host(name, fields)),
            builders: BTreeMap::new(),
            site,
            storage,
            secrets,
            reposets,
            policies,
            deny,
            hash: String::new(),
        };
        config.builders = self.templated(&root, "builder", "template", |name, fields| self.builder(name, fields, &config));
        root.finish();
        check::check(self, &config);
        config.seal()
    }

    fn section<T>(&self, root: &Fields<'t>, section: &'static str, read: impl Fn(&Fields<'t>) -> T) -> BTreeMap<String, T> {
        let mut found = BTreeMap::new();
        for (name, span, table) in root.section(section) {
            self.check_name(section, name, span);
            let fields = Fields::new(format!("{} `{name}`", section.replace('_', " ")), table, self.problems);
            found.insert(name.to_owned(), read(&fields));
            fields.finish();
        }
        found
    }

    /// Names stand in addresses, file names and logs.
    fn check_name(&self, section: &str, name: &str, span: Span) {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        if name.is_empty() || name.len() > 100 || !name.chars().all(good) || name.starts_with('.') {
            let help = "1 to 100 letters, digits and . _ - +, not beginning with a dot";
            self.problems.add_help(
                span,
                format!(
                    "{} cannot be the name of a {}",
                    if name.is_empty() { "an empty text".to_owned() } else { format!("{name:?}") },
                    section.replace('_', " ")
                ),
                help,
            );
        }
    }

    /// A section whose entries may `use` templates. The templates themselves are read too, so that a mistake in one that nobody uses is found.
    fn templated<T>(&self, root: &Fields<'t>, section: &'static str, templates: &'static str, read: impl Fn(&str, &Fields<'_>) -> T) -> BTreeMap<String, T> {
        let mut found = BTreeMap::new();
        let mut done = BTreeMap::new();
        for (name, span, table) in root.section(section) {
            self.check_name(section, name, span);
            let full = self.expand(table, templates, &mut vec![], &mut done);
            let fields = Fields::new(format!("{section} `{name}`"), &full, self.problems);
            fields.value("use");
            found.insert(name.to_owned(), read(name, &fields));
            fields.finish();
        }
        for (name, _, table) in root.section(templates) {
            self.expand(table, templates, &mut vec![name.to_owned()], &mut done);
        }
        found
    }

    /// The table with the templates it uses laid under it: later ones win, its own keys win over all, `env` goes key by
    /// key. `path` holds the templates on the way here, `done` those that are complete: each is worked out once.
    fn expand(&self, table: &Table, templates: &'static str, path: &mut Vec<String>, done: &mut BTreeMap<String, Table>) -> Table {
        let fields = Fields::new("`use`", table, self.problems);
        let mut full = Table::default();
        for name in fields.string_or_strings("use").unwrap_or_default() {
            let template = match self.document.root().get(templates) {
                Some(Value { kind: ValueKind::Table(all), .. }) => all.get(&name.value),
                _ => None,
            };
            match template {
                Some(_) if path.contains(&name.value) => {
                    self.problems.add(name.span, format!("template {:?} uses itself: {} → {}", name.value, path.join(" → "), name.value));
                }
                Some(_) if path.len() >= DEEPEST_TEMPLATES => {
                    self.problems.add(name.span, format!("templates use each other more than {DEEPEST_TEMPLATES} deep"));
                }
                Some(Value { kind: ValueKind::Table(template), .. }) => {
                    if !done.contains_key(&name.value) {
                        path.push(name.value.clone());
                        let complete = self.expand(template, templates, path, done);
                        path.pop();
                        done.insert(name.value.clone(), complete);
                    }
                    if let Some(under) = done.get(&name.value) {
                        full.overlay(under, &["env"]);
                    }
                }
                _ => self.refer(templates, &name),
            }
        }
        full.overlay(table, &["env"]);
        full
    }

    fn reposets(&self, root: &Fields<'t>) -> Sets {
        let Some(table) = root.table("reposet") else { return Sets::new() };
        let read = |(name, _, value): (&str, Span, &Value)| {
            let items = list_of(self.problems, &format!("reposet `{name}`"), value);
            self.check_sets(&items);
            (name.to_owned(), Patterns::new(items.into_iter().map(|item| item.value)))
        };
        let sets: Sets = table.iter().map(read).collect();
        // Sets of sets are settled from the inside out; what is left after a few rounds stands in a circle, or in no
        // configuration that a person would write.
        let mut settled: BTreeSet<&str> = BTreeSet::new();
        for _ in 0..Patterns::DEEPEST {
            let next = |(_, set): &(&String, &Patterns)| set.set_names().all(|name| settled.contains(name) || !sets.contains_key(name));
            settled = sets.iter().filter(next).map(|(name, _)| name.as_str()).collect();
        }
        for name in sets.keys().filter(|name| !settled.contains(name.as_str())) {
            let span = table.key_span(name).unwrap_or_default();
            self.problems.add(span, format!("reposet {name:?} contains itself, or sets more than {} deep", Patterns::DEEPEST));
        }
        sets
    }

    fn check_sets(&self, items: &[At<String>]) {
        for item in items {
            let bare = item.value.strip_prefix('!').unwrap_or(&item.value);
            if let Some(set) = bare.strip_prefix('@') {
                self.refer("reposet", &At { value: set.to_owned(), span: item.span });
            } else if bare.is_empty() {
                self.problems.add(item.span, "an empty text is no pattern");
            }
        }
    }

    /// A list of patterns in which repo sets may stand.
    fn patterns(&self, fields: &Fields<'_>, key: &'static str) -> Option<Patterns> {
        let items = fields.strings(key)?;
        self.check_sets(&items);
        Some(Patterns::new(items.into_iter().map(|item| item.value)))
    }

    fn policies(&self, root: &Fields<'t>) -> BTreeMap<String, Policy> {
        let mut found = BTreeMap::new();
        if let Some(table) = root.table("policy") {
            for (name, span, value) in table.iter() {
                self.check_name("policy", name, span);
                found.insert(name.to_owned(), self.clauses_of(&format!("policy `{name}`"), value));
            }
        }
        found
    }

    fn clauses_of(&self, what: &str, value: &Value) -> Policy {
        let wrong = |span| {
            self.problems.add_help(span, format!("{what} is not a list of clauses"), "write [{ repo = [\"x\"], branch = [\"main\"] }, …]; [] is never true")
        };
        let ValueKind::Array(items) = &value.kind else {
            wrong(value.span);
            return Policy::default();
        };
        let mut clauses = Vec::new();
        for item in items {
            match &item.kind {
                ValueKind::Table(table) => clauses.push(self.clause(&format!("a clause of {what}"), table)),
                _ => wrong(item.span),
            }
        }
        Policy { clauses }
    }

    fn clause(&self, what: &str, table: &Table) -> Clause {
        let fields = Fields::new(what, table, self.problems);
        let list = |key| self.patterns(&fields, key);
        let range = |key| {
            let text: At<String> = fields.string(key)?;
            match VersionRange::parse(&text.value) {
                Ok(range) => Some(range),
                Err(part) => {
                    self.problems.add_help(
                        text.span,
                        format!("{part:?} in `{key}` is no condition on a version"),
                        "write for example \">=1.20\", \">=1.19, <1.21\", \"<1.11 || >=2\" or \"*\"",
                    );
                    None
                }
            }
        };
        let project = fields.strings("project").map(|items| {
            for item in &items {
                let bare = item.value.strip_prefix('!').unwrap_or(&item.value);
                if !bare.contains('*') {
                    self.refer("project", &At { value: bare.to_owned(), span: item.span });
                }
            }
            Patterns::new(items.into_iter().map(|item| item.value))
        });
        let clause = Clause {
            project,
            repo: list("repo"),
            branch: list("branch"),
            base: list("base"),
            builder: list("builder"),
            os: list("os"),
            arch: list("arch"),
            tip: fields.boolean("tip"),
            base_version: range("base_version"),
            branch_version: range("branch_version"),
            release_version: range("release_version"),
            changed: list("changed"),
            label: list("label"),
            place: self.document.place(table.span()),
        };
        fields.finish();
        self.clauses.borrow_mut().push((clause.clone(), table.span()));
        clause
    }

    /// A policy of a builder: the name of one, or clauses in place.
    pub(crate) fn policy(&self, fields: &Fields<'_>, key: &'static str, config: &Config) -> Option<(Policy, Option<String>)> {
        let value = fields.value(key)?;
        if let ValueKind::String(name) = &value.kind {
            self.refer("policy", &At { value: name.clone(), span: value.span });
            return Some((config.policies.get(name).cloned().unwrap_or_default(), Some(name.clone())));
        }
        Some((self.clauses_of(&format!("`{key}` of {}", fields.what()), value), None))
    }

    fn pool(&self, fields: &Fields<'t>, pools: Pools) -> Pool {
        let limits = fields.table("limits").map(|table| Fields::new(format!("`limits` of {}", fields.what()), table, self.problems));
        let max_instances = limits.as_ref().and_then(|limits| number(limits, "instances", 1, 100_000));
        let everything: Vec<&str> = BUILT_IN.into_iter().chain(NOT_BUILT_IN).collect();
        let kind = match fields.required("kind") {
            None => PoolKind::NotBuiltIn { name: String::new() },
            Some(kind) => match kind.value.as_str() {
                "process" => PoolKind::Process {
                    workers: number(fields, "workers", 1, 10_000).unwrap_or(2),
                    memory: limits.as_ref().and_then(|limits| limits.size("memory")),
                    max_processes: limits.as_ref().and_then(|limits| number(limits, "processes", 1, 10_000_000)),
                },
                "reverse" => PoolKind::Reverse {
                    legacy_key: fields.string("legacy_key").map(|name| {
                        self.refer("secret", &name);
                        name.value
                    }),
                    dev_key: fields.boolean("dev_key").unwrap_or(false),
                    grace: fields.duration("grace").unwrap_or(Duration::from_secs(60)),
                    heartbeat: fields.duration("heartbeat").unwrap_or(Duration::from_secs(15)),
                },
                "listen" => PoolKind::Listen {
                    addresses: fields.strings("addresses").unwrap_or_default().into_iter().map(|address| address.value).collect(),
                    password: fields.string("password").map(|name| {
                        self.refer("secret", &name);
                        name.value
                    }),
                },
                name if NOT_BUILT_IN.contains(&name) => {
                    if pools == Pools::BuiltIn {
                        self.problems.add_help(
                            kind.span,
                            format!("pool kind {name} is not in this build"),
                            format!("this program has: {}", BUILT_IN.join(", ")),
                        );
                    }
                    PoolKind::NotBuiltIn { name: name.to_owned() }
                }
                name => {
                    let help = match nearest(name, everything.iter().copied()) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None => format!("kinds: {}", everything.join(", ")),
                    };
                    self.problems.add_help(kind.span, format!("{name:?} is no kind of pool"), help);
                    PoolKind::NotBuiltIn { name: String::new() }
                }
            },
        };
        match &kind {
            // Settings of a kind that is not here, or not known, cannot be judged.
            PoolKind::NotBuiltIn { .. } => {
                for (key, _, _) in fields.entries() {
                    fields.accept(key);
                }
            }
            _ => {
                if let Some(limits) = limits {
                    limits.finish();
                }
            }
        }
        Pool { kind, max_instances }
    }

    fn project(&self, fields: &Fields<'t>, site: &Site) -> Project {
        let text = |key| fields.string(key).map(|text: At<String>| text.value);
        let main_branch = text("main_branch").unwrap_or_else(|| Project::default().main_branch);
        let release = fields.string("release_branch");
        if let Some(release) = release.as_ref().filter(|release| release.value.matches("{version}").count() != 1) {
            self.problems.add_help(
                release.span,
                format!("`release_branch` of {} does not say where the version is", fields.what()),
                "write {version} once, for example \"release/{version}\"",
            );
        }
        Project {
            base_repo: text("base_repo"),
            current_branches: patterns(fields, "current_branches").unwrap_or_else(|| Patterns::new([main_branch.clone()])),
            main_branch,
            release_branch: release.map(|text| text.value),
            go_versions: site.go_names,
            recipe: fields.string("recipe").map(|name| {
                self.refer("recipe", &name);
                name.value
            }),
            no_builder_terms: texts(fields, "no_builder_terms"),
        }
    }

    /// The project that a table names, or the only one there is.
    pub(crate) fn project_of(&self, fields: &Fields<'_>) -> String {
        let known = self.known("project");
        match (fields.string("project"), known.as_slice()) {
            (Some(name), _) => {
                self.refer("project", &name);
                name.value
            }
            (None, [only]) => (*only).to_owned(),
            (None, []) => {
                self.problems.add_help(fields.span(), format!("{} belongs to no project", fields.what()), "add a project, for example: [project.main]");
                String::new()
            }
            (None, _) => {
                self.problems.add_help(
                    fields.span(),
                    format!("{} does not say to which project it belongs", fields.what()),
                    format!("set `project` to one of: {}", known.join(", ")),
                );
                String::new()
            }
        }
    }

    fn repo(&self, fields: &Fields<'t>) -> Repo {
        let url = fields.required("url");
        if let Some(url) = url.as_ref().filter(|url| url.value.starts_with('-') || url.value.chars().any(char::is_control)) {
            self.problems.add(url.span, format!("`url` of {} cannot be the address of a repository", fields.what()));
        }
        let default = Repo::new(self.project_of(fields), url.map(|url| url.value).unwrap_or_default());
        let poll = fields.duration("poll").unwrap_or(default.poll);
        if poll < Duration::from_millis(100) {
            self.problems.add_help(fields.span(), format!("`poll` of {} is too short", fields.what()), "at least 100ms");
        }
        Repo {
            main_branch: fields.string("main_branch").map(|text| text.value),
            build: fields.boolean("build").unwrap_or(true),
            branches: patterns(fields, "branches").unwrap_or(default.branches),
            poll,
            hook_secret: fields.string("hook_secret").map(|name| {
                self.refer("secret", &name);
                name.value
            }),
            import_path: fields.string("import_path").map(|text| text.value),
            first_commits: number(fields, "first_commits", 0, 100_000).unwrap_or(default.first_commits),
            project: default.project,
            url: default.url,
        }
    }

    fn skip_tests(&self, table: &'t Table) -> SkipTests {
        let fields = Fields::new("a [[skip_tests]] entry", table, self.problems);
        let found = SkipTests {
            tests: patterns(&fields, "tests").unwrap_or_default(),
            builder: patterns(&fields, "builder").unwrap_or_else(Patterns::all),
            only_try: fields.one_of("only", &["try"]).is_some(),
        };
        if found.tests.items().is_empty() {
            self.problems.add(fields.span(), "a [[skip_tests]] entry names no `tests`");
        }
        fields.finish();
        found
    }
}

pub(crate) fn number(fields: &Fields<'_>, key: &'static str, least: u32, most: u32) -> Option<u32> {
    fields.integer(key, i64::from(least), i64::from(most)).and_then(|number| u32::try_from(number.value).ok())
}

pub(crate) fn texts(fields: &Fields<'_>, key: &'static str) -> Vec<String> {
    fields.strings(key).unwrap_or_default().into_iter().map(|text| text.value).collect()
}

/// A list of patterns without repo sets.
pub(crate) fn patterns(fields: &Fields<'_>, key: &'static str) -> Option<Patterns> {
    fields.strings(key).map(|items| Patterns::new(items.into_iter().map(|item| item.value)))
}

fn list_of(problems: &Problems<'_>, what: &str, value: &Value) -> Vec<At<String>> {
    let wrong = |span| problems.add_help(span, format!("{what} is not a list of texts"), "write [\"*\", \"!x\"]");
    let ValueKind::Array(items) = &value.kind else {
        wrong(value.span);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items {
        match &item.kind {
            ValueKind::String(text) => found.push(At { value: text.clone(), span: item.span }),
            _ => wrong(item.span),
        }
    }
    found
}
