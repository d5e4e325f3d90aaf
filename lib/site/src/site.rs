//! Addresses, storage and what else is true of the whole installation (`builders.md` §10, tables `site`, `storage`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::{At, Document, Span};
use crate::fields::Fields;
use crate::problem::Problems;

/// The table `[site]`: what is true of the whole installation.
///
/// ```toml
/// [site]
/// name        = "example farm"
/// url         = "https://builds.example.org"
/// listen      = "127.0.0.1:8080"
/// data        = "/var/lib/burrow"
/// admin_token = "admin"                    # the name of a [secret]
/// storage     = { logs = "blobs", snapshots = "blobs" }
/// mirror      = { url = "http://gitmirror.internal:8585" }
/// events      = { url = "https://events.example.org", token = "events" }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    /// What pages call it. Default `Burrow`.
    pub name: String,
    /// Where people reach it, without a slash at the end. `None`: the address it listens on.
    pub url: Option<String>,
    /// Address of the pages and the API. `None`: the program's default (127.0.0.1:8080).
    pub listen: Option<String>,
    /// Address for machines that dial in. `None`: the same as `listen`.
    pub worker_listen: Option<String>,
    /// Folder that holds all state. `None`: the program's default (`./.burrow`).
    pub data: Option<String>,
    /// Certificate and key of `listen` and `worker_listen`.
    pub tls: Option<Tls>,
    /// The gitmirror that all sources are taken from: repository `r` is fetched from `<url>/r.git`, never from its own address. `None`: from there.
    pub mirror: Option<Neighbour>,
    /// The pubsubhelper whose events say that somebody pushed. `None`: hooks and polling only.
    pub events: Option<Neighbour>,
    /// The secret that administrators present.
    pub admin_token: Option<String>,
    /// Whom to tell: a mail address or a URL.
    pub contact: Option<String>,
    /// Where issue `{n}` is shown.
    pub issue_url: Option<String>,
    /// Which `[storage]` holds what.
    pub storage: StorageRoles,
    /// `names = "go"`: race, long, os and arch may be read off builder names, and release branches are named by Go's rules.
    pub go_names: bool,
    /// An explicit request for a builder has to obey its policy too.
    pub strict_requests: bool,
    /// Builds that may run at once. `None`: as many as there are machines.
    pub max_builds: Option<u32>,
}

impl Default for Site {
    fn default() -> Self {
        Site {
            name: "Burrow".to_owned(),
            url: None,
            listen: None,
            worker_listen: None,
            data: None,
            tls: None,
            mirror: None,
            events: None,
            admin_token: None,
            contact: None,
            issue_url: None,
            storage: StorageRoles::default(),
            go_names: false,
            strict_requests: false,
            max_builds: None,
        }
    }
}

/// Names of `[storage]` tables, by what they hold. `None`: the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageRoles {
    /// Programs for machines.
    pub buildlets: Option<String>,
    /// Logs of builds.
    pub logs: Option<String>,
    /// Trees of built software, to go on from.
    pub snapshots: Option<String>,
    /// Files that people send to and fetch from machines.
    pub transfer: Option<String>,
}

/// Files with a certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The certificate chain.
    pub cert: String,
    /// The private key.
    pub key: String,
}

/// Another service of the farm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its address, without a slash at the end.
    pub url: String,
    /// The secret that is shown to it, if it wants one.
    pub token: Option<String>,
}

/// A table `[storage.<name>]`: a place for bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// `file:///folder`, `s3://bucket/prefix` or `gs://bucket/prefix`.
    pub url: String,
    /// Where anybody can read it, if anybody can.
    pub public_base: Option<String>,
}

impl Site {
    /// Reads `[site]`; absent keys get their defaults. Whether the storage and secret names exist is for
    /// [`Site::check`] to say.
    pub fn read<'t>(document: &'t Document, problems: &'t Problems<'t>) -> Site {
        let root = Fields::new("the document", document.root(), problems);
        let Some(table) = root.table("site") else { return Site::default() };
        let fields = Fields::new("[site]", table, problems);
        let text = |key| fields.string(key).map(|text: At<String>| text.value);
        let web_address = |key: &str, url: At<String>| {
            if !url.value.starts_with("http://") && !url.value.starts_with("https://") {
                problems.add_help(url.span, format!("`{key}` of [site] is not an address"), "it must begin with http:// or https://");
            }
            url.value.trim_end_matches('/').to_owned()
        };
        let url = |key| fields.string(key).map(|url| web_address(key, url));
        let neighbour = |key| {
            let table = Fields::new(format!("`{key}` of [site]"), fields.table(key)?, problems);
            let found = table.required("url").map(|url| Neighbour { url: web_address(key, url), token: table.string("token").map(|text| text.value) });
            table.finish();
            found
        };
        let address = |key| {
            let text: At<String> = fields.string(key)?;
            let port = text.value.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() {
                problems.add_help(
                    text.span,
                    format!("`{key}` of [site] is not an address to listen on"),
                    "write host:port, for example \"127.0.0.1:8080\" or \"[::]:8080\"",
                );
            }
            Some(text.value)
        };
        let storage = fields.table("storage").map(|table| {
            let roles = Fields::new("`storage` of [site]", table, problems);
            let role = |key| roles.string(key).map(|text: At<String>| text.value);
            let found = StorageRoles { buildlets: role("buildlets"), logs: role("logs"), snapshots: role("snapshots"), transfer: role("transfer") };
            roles.finish();
            found
        });
        let tls = fields.table("tls").and_then(|table| {
            let files = Fields::new("`tls` of [site]", table, problems);
            let found = files.required("cert").zip(files.required("key")).map(|(cert, key)| Tls { cert: cert.value, key: key.value });
            files.finish();
            found
        });
        let site = Site {
            name: text("name").unwrap_or_else(|| Site::default().name),
            url: url("url"),
            listen: address("listen"),
            worker_listen: address("worker_listen"),
            data: text("data"),
            tls,
            mirror: neighbour("mirror"),
            events: neighbour("events"),
            admin_token: text("admin_token"),
            contact: text("contact"),
            issue_url: text("issue_url"),
            storage: storage.unwrap_or_default(),
            go_names: fields.one_of("names", &["go", "none"]).is_some_and(|word| word.value == "go"),
            strict_requests: fields.boolean("strict_requests").unwrap_or(false),
            max_builds: fields.integer("max_builds", 1, 1_000_000).and_then(|number| u32::try_from(number.value).ok()),
        };
        if let Some(pattern) = fields.string("issue_url")
            && !pattern.value.contains("{n}")
        {
            problems.add_help(pattern.span, "`issue_url` of [site] has no place for the number", "write {n} where the number belongs");
        }
        fields.finish();
        site
    }

    /// Notes storage and secret names that do not exist.
    pub fn check<'t>(
        &self,
        document: &'t Document,
        problems: &'t Problems<'t>,
        storage: &BTreeMap<String, Storage>,
        secrets: &BTreeMap<String, crate::Secret>,
    ) {
        let Some(crate::Value { kind: crate::ValueKind::Table(site), .. }) = document.root().get("site") else { return };
        if let (Some(name), Some(value)) = (&self.admin_token, site.get("admin_token")) {
            unknown(problems, value.span, "secret", name, secrets.keys());
        }
        for (key, neighbour) in [("mirror", &self.mirror), ("events", &self.events)] {
            if let Some(crate::Value { kind: crate::ValueKind::Table(table), .. }) = site.get(key)
                && let (Some(name), Some(value)) = (neighbour.as_ref().and_then(|n| n.token.as_ref()), table.get("token"))
            {
                unknown(problems, value.span, "secret", name, secrets.keys());
            }
        }
        if let Some(crate::Value { kind: crate::ValueKind::Table(roles), .. }) = site.get("storage") {
            for (_, _, value) in roles.iter() {
                if let crate::ValueKind::String(name) = &value.kind {
                    unknown(problems, value.span, "storage", name, storage.keys());
                }
            }
        }
    }
}

/// Notes that nothing of this kind is called so, unless something is.
fn unknown<'a>(problems: &Problems<'_>, span: Span, kind: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) {
    if known.clone().any(|have| have == name) {
        return;
    }
    let help = match crate::nearest(name, known.clone().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.clone().next().is_none() => format!("add a table [{kind}.{name}]"),
        None => format!("known: {}", known.map(String::as_str).collect::<Vec<_>>().join(", ")),
    };
    problems.add_help(span, format!("no {kind} is called {name:?}"), help);
}

impl Storage {
    /// Reads all `[storage.<name>]`.
    pub fn read_all<'t>(document: &'t Document, problems: &'t Problems<'t>) -> BTreeMap<String, Storage> {
        let root = Fields::new("the document", document.root(), problems);
        let mut found = BTreeMap::new();
        for (name, _, table) in root.section("storage") {
            let fields = Fields::new(format!("storage `{name}`"), table, problems);
            let url = fields.required("url");
            if let Some(url) = &url
                && !["file:", "s3:", "gs:"].iter().any(|scheme| url.value.starts_with(scheme))
            {
                problems.add_help(url.span, format!("storage `{name}` has an address of an unknown kind"), "it must begin with file:, s3: or gs:");
            }
            let public_base = fields.string("public_base").map(|text| text.value.trim_end_matches('/').to_owned());
            fields.finish();
            if let Some(url) = url {
                found.insert(name.to_owned(), Storage { url: url.value, public_base });
            }
        }
        found
    }
}
