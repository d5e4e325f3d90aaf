//! From the document to the types: reading every table, and noting everything that is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use burrow_site::{At, ConfigErrors, Document, Fields, Problems, Secret, Site, Span, Storage, Table, Value, ValueKind, nearest};
use sha2::{Digest, Sha256};

use crate::load_recipe::{read_recipe, read_steps_recipe};
use crate::model::{Builder, Config, Helpers, Host, Pool, PoolKind, Project, Repo, SkipTests, TestPolicy};
use crate::pattern::{Patterns, Sets};
use crate::policy::{Clause, Policy};
use crate::recipe::Recipe;
use crate::version::{Version, VersionRange};
use crate::{check, up};
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
    fn refer(&self, section: &str, name: &At<String>) {
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
        for (name, span, table) in root.section(section) {
            self.check_name(section, name, span);
            let full = self.expand(table, templates, &mut vec![]);
            let fields = Fields::new(format!("{section} `{name}`"), &full, self.problems);
            fields.value("use");
            found.insert(name.to_owned(), read(name, &fields));
            fields.finish();
        }
        for (name, _, table) in root.section(templates) {
            self.expand(table, templates, &mut vec![name.to_owned()]);
        }
        found
    }

    /// The table with the templates it uses laid under it: later ones win, its own keys win over all, `env` goes key by key.
    fn expand(&self, table: &Table, templates: &'static str, path: &mut Vec<String>) -> Table {
        let fields = Fields::new("`use`", table, self.problems);
        let mut full = Table::default();
        for name in fields.string_or_strings("use").unwrap_or_default() {
            let template = match self.document.root().get(templates) {
                Some(Value { kind: ValueKind::Table(all), .. }) => all.get(&name.value),
                _ => None,
            };
            match template {
                Some(Value { kind: ValueKind::Table(template), .. }) if !path.contains(&name.value) => {
                    path.push(name.value.clone());
                    let under = self.expand(template, templates, path);
                    path.pop();
                    full.overlay(&under, &["env"]);
                }
                Some(_) if path.contains(&name.value) => {
                    self.problems.add(name.span, format!("template {:?} uses itself: {} → {}", name.value, path.join(" → "), name.value));
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
        for name in sets.keys() {
            if self.leads_to(&sets, name, name, &mut vec![])
                && let Some(span) = table.key_span(name)
            {
                self.problems.add(span, format!("reposet {name:?} contains itself"));
            }
        }
        sets
    }

    fn leads_to(&self, sets: &Sets, from: &str, to: &str, seen: &mut Vec<String>) -> bool {
        let Some(set) = sets.get(from) else { return false };
        set.set_names().any(|name| {
            let again = seen.iter().any(|known| known == name);
            name == to
                || (!again && {
                    seen.push(name.to_owned());
                    self.leads_to(sets, name, to, seen)
                })
        })
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
    fn policy(&self, fields: &Fields<'_>, key: &'static str, config: &Config) -> Option<(Policy, Option<String>)> {
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
    fn project_of(&self, fields: &Fields<'_>) -> String {
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

    fn host(&self, name: &str, fields: &Fields<'_>) -> Host {
        let text = |key| fields.string(key).map(|text: At<String>| text.value);
        let default = Host::default();
        let pool = fields.required("pool");
        if let Some(pool) = &pool {
            self.refer("pool", pool);
        }
        // `host-<os>-<arch>[-…]`; 32-bit ARM is version 7 unless the name is overruled.
        let from_name = name.strip_prefix("host-").and_then(|rest| {
            let mut parts = rest.split('-');
            let (os, arch) = (parts.next()?, parts.next()?);
            Some(if arch == "arm" { format!("{os}-arm-7") } else { format!("{os}-{arch}") })
        });
        Host {
            arch: text("arch").or(from_name),
            image: text("image"),
            container: text("container"),
            machine: text("machine"),
            disk_gb: number(fields, "disk_gb", 1, 1_000_000),
            disk: fields.one_of("disk", &["ssd", "hdd"]).map(|text| text.value),
            min_cpu: text("min_cpu"),
            cpus: number(fields, "cpus", 1, 100_000),
            memory: fields.size("memory"),
            nested_virt: fields.boolean("nested_virt").unwrap_or(false),
            host_image: text("host_image"),
            host_os: text("host_os"),
            delete_after: fields.duration("delete_after").unwrap_or(default.delete_after),
            boot_timeout: fields.duration("boot_timeout").unwrap_or(default.boot_timeout),
            max_age: fields.duration("max_age"),
            bootstrap: text("bootstrap"),
            expect: number(fields, "expect", 0, 100_000).unwrap_or(0),
            hermetic: fields.boolean("hermetic").unwrap_or(false),
            trusted: fields.boolean("trusted").unwrap_or(false),
            min_buildlet: number(fields, "min_buildlet", 0, 1_000_000).unwrap_or(default.min_buildlet),
            env: fields.map("env"),
            ssh_user: text("ssh_user"),
            owners: self.owners(fields),
            notes: text("notes").unwrap_or_default(),
            max_concurrent: number(fields, "max_concurrent", 1, 100_000),
            legacy_auth: fields.one_of("auth", &["machine-key", "legacy-hmac"]).is_some_and(|word| word.value == "legacy-hmac"),
            pool: pool.map(|pool| pool.value).unwrap_or_default(),
        }
    }

    fn owners(&self, fields: &Fields<'_>) -> Vec<String> {
        let owners = fields.strings("owners").unwrap_or_default();
        for owner in &owners {
            if !owner.value.starts_with("github:") && !owner.value.starts_with("mailto:") {
                self.problems.add_help(
                    owner.span,
                    format!("{:?} is not an address of an owner", owner.value),
                    "write \"github:name\" or \"mailto:name@example.org\"",
                );
            }
        }
        owners.into_iter().map(|owner| owner.value).collect()
    }

    fn builder(&self, name: &str, fields: &Fields<'_>, config: &Config) -> Builder {
        let text = |key| fields.string(key).map(|text: At<String>| text.value);
        let yes = |key, default| fields.boolean(key).unwrap_or(default);
        let host = fields.required("host");
        if let Some(host) = &host {
            self.refer("host", host);
        }
        let project = self.project_of(fields);
        let recipe = match fields.string("recipe") {
            Some(recipe) => {
                self.refer("recipe", &recipe);
                recipe.value
            }
            None => config.projects.get(&project).and_then(|project| project.recipe.clone()).unwrap_or_else(|| {
                if config.projects.contains_key(&project) {
                    self.problems.add_help(
                        fields.span(),
                        format!("{} has no recipe, and neither has its project", fields.what()),
                        format!("set `recipe` in [builder.{name}] or in [project.{project}]"),
                    );
                }
                String::new()
            }),
        };
        // The policy called `default` is what a builder builds that says nothing; without one, everything.
        let (builds, builds_name) = self.policy(fields, "builds", config).unwrap_or_else(|| match config.policies.get("default") {
            Some(policy) => (policy.clone(), Some("default".to_owned())),
            None => (Policy::always(), None),
        });
        let (try_, try_name) = self.policy(fields, "try", config).map_or((None, None), |(policy, name)| (Some(policy), name));
        let parts: Vec<&str> = name.split('-').collect();
        let named = |part: &str| config.site.go_names && parts.contains(&part);
        let place = self.platform(name, host.as_ref().and_then(|host| config.hosts.get(&host.value)), config);
        let tests = fields.string("tests");
        if let Some(tests) = &tests {
            self.refer("test_policy", tests);
        }
        let until = fields.string("known_issues_until");
        if let Some(date) = until.as_ref().filter(|date| !is_date(&date.value)) {
            self.problems.add_help(date.span, format!("{:?} is not a date", date.value), "write YYYY-MM-DD");
        }
        let min_version = fields.string("min_version").and_then(|text| {
            let version = Version::parse(&text.value);
            if version.is_none() {
                self.problems.add_help(text.span, format!("{:?} is not a version", text.value), "write for example \"1.20\"");
            }
            version
        });
        let snapshot_from = fields.string("snapshot_from").map(|other| {
            self.refer("builder", &other);
            other.value
        });
        Builder {
            host: host.map(|host| host.value).unwrap_or_default(),
            project,
            recipe,
            builds,
            builds_name,
            try_,
            try_name,
            post: yes("post", true),
            tests: tests.map(|name| name.value),
            helpers: self.helpers(fields),
            env: fields.map("env"),
            timeout_scale: fields.positive("timeout_scale").or_else(|| config_scale(fields, config)).unwrap_or(1.0),
            race: fields.boolean("race").unwrap_or_else(|| named("race")),
            long: fields.boolean("long").unwrap_or_else(|| named("longtest")),
            os: text("os").unwrap_or(place.0),
            arch: text("arch").unwrap_or(place.1),
            offline: yes("offline", false),
            flaky_net: yes("flaky_net", false),
            snapshot: yes("snapshot", true),
            snapshot_from,
            compile_only: yes("compile_only", false),
            stop_after_build: fields.one_of("stop_after", &["build"]).is_some(),
            race_install: fields.strings("race_install").map(|list| list.into_iter().map(|item| item.value).collect()),
            go_proxy: fields.one_of("go_proxy", &["relay", "public", "own"]).map(|word| word.value),
            bench: yes("bench", false),
            args: texts(fields, "args"),
            min_version,
            requires_commits: texts(fields, "requires_commits"),
            known_issues: fields.integers("known_issues", 1, i64::from(u32::MAX)).into_iter().filter_map(|issue| u32::try_from(issue.value).ok()).collect(),
            known_issues_until: until.map(|date| date.value),
            restricted: texts(fields, "restricted"),
            aliases: texts(fields, "aliases"),
            notes: text("notes").unwrap_or_default(),
        }
    }

    /// Operating system and architecture of a builder that does not say.
    fn platform(&self, name: &str, host: Option<&Host>, config: &Config) -> (String, String) {
        let split = |text: &str| {
            let mut parts = text.split('-');
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        };
        if config.site.go_names {
            return split(name).unwrap_or_default();
        }
        let Some(host) = host else { return Default::default() };
        match (host.arch.as_deref().and_then(split), config.pools.get(&host.pool).map(|pool| &pool.kind)) {
            (Some(found), _) => found,
            (None, Some(PoolKind::Process { .. })) => up::this_machine(),
            _ => Default::default(),
        }
    }

    /// One number, or one for after submit and one for try runs.
    fn helpers(&self, fields: &Fields<'_>) -> Helpers {
        let one = |item: &At<i64>| u32::try_from(item.value).unwrap_or(0);
        match fields.value("helpers") {
            Some(Value { kind: ValueKind::Array(_), span }) => match fields.integers("helpers", 0, 1000).as_slice() {
                [post, try_] => Helpers { post: one(post), try_: one(try_) },
                _ => {
                    self.problems.add_help(
                        *span,
                        format!("`helpers` of {} is not two numbers", fields.what()),
                        "write [after submit, in try runs], for example [1, 4]",
                    );
                    Helpers::default()
                }
            },
            Some(_) => fields.integer("helpers", 0, 1000).map(|number| Helpers { post: one(&number), try_: 0 }).unwrap_or_default(),
            None => Helpers::default(),
        }
    }
}

/// Go's own variable in the environments, for configurations that were imported.
fn config_scale(fields: &Fields<'_>, config: &Config) -> Option<f64> {
    if !config.site.go_names {
        return None;
    }
    let scale = |env: &BTreeMap<String, String>| {
        env.get("GO_TEST_TIMEOUT_SCALE").and_then(|text| text.parse::<f64>().ok()).filter(|scale| *scale > 0.0 && scale.is_finite())
    };
    let host = fields.string("host").and_then(|host| config.hosts.get(&host.value).cloned());
    scale(&fields.map("env")).or_else(|| host.and_then(|host| scale(&host.env)))
}

fn is_date(text: &str) -> bool {
    let part =
        |range: std::ops::Range<usize>| text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).and_then(|part| part.parse::<u32>().ok());
    text.len() == 10
        && text.get(4..5) == Some("-")
        && text.get(7..8) == Some("-")
        && part(0..4).is_some()
        && part(5..7).is_some_and(|month| (1..=12).contains(&month))
        && part(8..10).is_some_and(|day| (1..=31).contains(&day))
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
