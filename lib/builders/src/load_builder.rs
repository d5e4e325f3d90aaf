//! Reading `[host.<type>]` and `[builder.<name>]`.

use std::collections::BTreeMap;

use burrow_site::{At, Fields, Value, ValueKind};

use crate::load::{Loader, number, texts};
use crate::model::{Builder, Config, Helpers, Host, PoolKind};
use crate::policy::Policy;
use crate::up;
use crate::version::Version;

impl Loader<'_> {
    pub(crate) fn host(&self, name: &str, fields: &Fields<'_>) -> Host {
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

    pub(crate) fn builder(&self, name: &str, fields: &Fields<'_>, config: &Config) -> Builder {
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
