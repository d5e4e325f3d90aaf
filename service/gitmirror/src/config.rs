//! What is mirrored from where to where: a TOML file, read again whenever it changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use burrow_certificates::config::Tls;
use burrow_site::FileError;
use serde::{Deserialize, Deserializer};

use crate::rules::{Pattern, Rename, Rules};

mod check;

pub use check::good_name;
use check::{check_dests, check_repo};

/// The configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to listen on.
    pub listen: Option<String>,
    /// Folder of the repositories and rows; of a configuration file, relative to it.
    pub data: Option<PathBuf>,
    /// File with the token that may confirm and undo; without one that is possible from this machine only.
    pub token_file: Option<PathBuf>,
    /// File with the secret of `POST /tickle/NAME`; without one tickles are taken from this machine only.
    pub tickle_secret_file: Option<PathBuf>,
    /// Where the certificate comes from; without it plain HTTP.
    pub tls: Option<Tls>,
    /// How often an upstream is asked when nothing wakes us.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// How often both ends are compared in full.
    #[serde(deserialize_with = "duration")]
    pub compare: Duration,
    /// Limit of one git program.
    #[serde(deserialize_with = "duration")]
    pub git_limit: Duration,
    /// A destination that is longer behind than this is unhealthy, and so is an upstream that has not answered for so long.
    #[serde(deserialize_with = "duration")]
    pub lag_limit: Duration,
    /// Upstreams looked at and fetched at a time.
    pub fetches: usize,
    /// Pushes at a time.
    pub pushes: usize,
    /// A pubsubhelper whose events wake repositories.
    pub events: Option<Events>,
    /// Who is told when a repository has changed.
    pub notify: Vec<Notify>,
    /// The repositories.
    pub repo: Vec<Repo>,
    /// Servers whose repositories are found by asking.
    pub discover: Vec<Discover>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
            data: None,
            token_file: None,
            tickle_secret_file: None,
            tls: None,
            poll: Duration::from_secs(60),
            compare: Duration::from_secs(600),
            git_limit: Duration::from_secs(600),
            lag_limit: Duration::from_secs(600),
            fetches: 4,
            pushes: 8,
            events: None,
            notify: Vec::new(),
            repo: Vec::new(),
            discover: Vec::new(),
        }
    }
}

/// A pubsubhelper.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Its address.
    pub url: String,
    /// File with the token it wants.
    pub token_file: Option<PathBuf>,
}

/// Somebody who is told by a push hook, as GitHub's, when a repository has changed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Where to; `{repo}` is filled in. A coordinator's is `http://HOST/hook/{repo}`.
    pub url: String,
    /// File with the secret that signs it.
    pub secret_file: Option<PathBuf>,
    /// Which repositories.
    #[serde(default = "everything")]
    pub repos: Vec<Pattern>,
}

/// How git shows who it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Private key for SSH.
    pub key_file: Option<PathBuf>,
    /// `known_hosts` for SSH; without one the user's own.
    pub known_hosts: Option<PathBuf>,
    /// Credentials for HTTP in the form of `git credential-store`: `https://user:password@host` on each line.
    pub credential_file: Option<PathBuf>,
    /// A token for HTTP, alone or as `user:token`.
    pub token_file: Option<PathBuf>,
    /// Cookies for HTTP in Netscape's format.
    pub cookie_file: Option<PathBuf>,
}

impl Access {
    pub(crate) fn files(&mut self) -> [&mut Option<PathBuf>; 5] {
        [&mut self.key_file, &mut self.known_hosts, &mut self.credential_file, &mut self.token_file, &mut self.cookie_file]
    }
}

/// Who may read a repository from here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Visibility {
    /// Everybody who can connect.
    #[default]
    Public,
    /// Who shows the token.
    Private,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repo {
    /// Its name here; `/` is allowed.
    pub name: String,
    /// Where git fetches from: https, ssh, git, a folder.
    pub upstream: String,
    /// Who may read it from here.
    #[serde(default)]
    pub visibility: Visibility,
    /// What is kept: patterns of full names.
    #[serde(default = "heads_and_tags")]
    pub refs: Vec<Pattern>,
    /// What is not kept of that.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// Fetches stop when the repository is larger on disk.
    #[serde(default, deserialize_with = "size")]
    pub max_size: Option<u64>,
    /// More deletions than this in one round wait for a confirmation.
    #[serde(default = "twenty")]
    pub max_delete: usize,
    /// And so does a round that deletes more than this part of all.
    #[serde(default = "half")]
    pub max_delete_percent: u8,
    /// How often it is asked when nothing wakes us; otherwise as the whole.
    #[serde(default, deserialize_with = "optional_duration")]
    pub poll: Option<Duration>,
    /// How git shows who it is.
    #[serde(default)]
    pub access: Access,
    /// Where it is pushed to.
    #[serde(default)]
    pub dest: Vec<Dest>,
}

/// What becomes of references that upstream deletes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delete {
    /// They are deleted here, too.
    #[default]
    Follow,
    /// They stay.
    Never,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dest {
    /// Its name, for status and journal.
    pub name: String,
    /// Where git pushes to; of `[[discover]]`, `{name}` is filled in.
    pub url: String,
    /// What is pushed: patterns of full names.
    #[serde(default = "heads_and_tags")]
    pub refs: Vec<Pattern>,
    /// What is not pushed of that.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// Names that are other ones there; the first that fits counts.
    #[serde(default)]
    pub rename: Vec<Rename>,
    /// Sent along with each push.
    #[serde(default)]
    pub push_options: Vec<String>,
    /// What becomes of references that upstream deletes.
    #[serde(default)]
    pub delete: Delete,
    /// More deletions than this in one round wait for a confirmation.
    #[serde(default = "twenty")]
    pub max_delete: usize,
    /// And so does a round that deletes more than this part of all.
    #[serde(default = "half")]
    pub max_delete_percent: u8,
    /// Overwrite what somebody else pushed there instead of reporting it. The old value is fetched and journalled first.
    #[serde(default)]
    pub force: bool,
    /// How git shows who it is.
    #[serde(default)]
    pub access: Access,
}

/// A server whose repositories are found by asking. Exactly one of `gerrit`, `folder`, `gitea`, `github` is given.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discover {
    /// Address of a Gerrit: all of its projects.
    pub gerrit: Option<String>,
    /// A folder: every repository in it.
    pub folder: Option<PathBuf>,
    /// Address of a Gitea or Forgejo with the owner, for example `https://git.example.org/team`.
    pub gitea: Option<String>,
    /// Name of an owner on GitHub, or the address of the interface of a GitHub of one's own with the owner: `https://github.example.org/api/v3/team`.
    pub github: Option<String>,
    /// Which of them.
    #[serde(default = "everything")]
    pub include: Vec<Pattern>,
    /// And which not.
    #[serde(default)]
    pub exclude: Vec<Pattern>,
    /// Where git fetches from; `{name}` is filled in. Otherwise as the server says.
    pub upstream: Option<String>,
    /// How often the server is asked.
    #[serde(default = "ten_minutes", deserialize_with = "duration")]
    pub every: Duration,
    /// What each repository is like; `name` and `upstream` come from the server.
    #[serde(default)]
    pub template: Template,
    /// Where each is pushed to.
    #[serde(default)]
    pub dest: Vec<Dest>,
}

/// What discovered repositories have in common. As in [`Repo`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// As [`Repo::visibility`].
    pub visibility: Visibility,
    /// As [`Repo::refs`].
    pub refs: Vec<Pattern>,
    /// As [`Repo::exclude`].
    pub exclude: Vec<Pattern>,
    /// As [`Repo::max_size`].
    #[serde(deserialize_with = "size")]
    pub max_size: Option<u64>,
    /// As [`Repo::max_delete`].
    pub max_delete: usize,
    /// As [`Repo::max_delete_percent`].
    pub max_delete_percent: u8,
    /// As [`Repo::access`].
    pub access: Access,
}

impl Default for Template {
    fn default() -> Self {
        Template {
            visibility: Visibility::Public,
            refs: heads_and_tags(),
            exclude: Vec::new(),
            max_size: None,
            max_delete: twenty(),
            max_delete_percent: half(),
            access: Access::default(),
        }
    }
}

impl Discover {
    /// The repository of this name, whose server says that it is fetched from `url`.
    pub fn repo(&self, name: &str, url: &str) -> Repo {
        let t = &self.template;
        let mut dest = self.dest.clone();
        for dest in &mut dest {
            dest.url = dest.url.replace("{name}", name);
        }
        Repo {
            name: name.to_owned(),
            upstream: self.upstream.as_ref().map_or_else(|| url.to_owned(), |form| form.replace("{name}", name)),
            visibility: t.visibility,
            refs: t.refs.clone(),
            exclude: t.exclude.clone(),
            max_size: t.max_size,
            max_delete: t.max_delete,
            max_delete_percent: t.max_delete_percent,
            poll: None,
            access: t.access.clone(),
            dest,
        }
    }

    /// Whether a repository of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.include.iter().any(|p| p.matches(name)) && !self.exclude.iter().any(|p| p.matches(name)) && good_name(name)
    }
}

impl Repo {
    /// Which references are kept.
    pub fn rules(&self) -> Rules {
        Rules::new(self.refs.clone(), self.exclude.clone(), Vec::new())
    }

    /// A repository that is only kept, not pushed anywhere.
    pub fn kept(name: &str, upstream: &str) -> Repo {
        Repo {
            name: name.to_owned(),
            upstream: upstream.to_owned(),
            visibility: Visibility::Public,
            refs: heads_and_tags(),
            exclude: Vec::new(),
            max_size: None,
            max_delete: twenty(),
            max_delete_percent: half(),
            poll: None,
            access: Access::default(),
            dest: Vec::new(),
        }
    }
}

impl Dest {
    /// Which references are pushed, and under which names.
    pub fn rules(&self) -> Rules {
        Rules::new(self.refs.clone(), self.exclude.clone(), self.rename.clone())
    }

    /// A destination that gets branches and tags.
    pub fn plain(name: &str, url: &str) -> Dest {
        Dest {
            name: name.to_owned(),
            url: url.to_owned(),
            refs: heads_and_tags(),
            exclude: Vec::new(),
            rename: Vec::new(),
            push_options: Vec::new(),
            delete: Delete::Follow,
            max_delete: twenty(),
            max_delete_percent: half(),
            force: false,
            access: Access::default(),
        }
    }
}

impl Config {
    /// Reads a file. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`FileError`], with the line where there is one.
    pub fn load(path: &Path) -> Result<Config, FileError> {
        let mut config: Config = burrow_site::read_toml(path)?;
        config.anchor(&burrow_site::folder_of(path));
        config.check().map_err(|why| FileError::value(path.display(), why))?;
        Ok(config)
    }

    /// Makes relative paths relative to `folder`.
    fn anchor(&mut self, folder: &Path) {
        let mut files: Vec<&mut Option<PathBuf>> = vec![&mut self.data, &mut self.token_file, &mut self.tickle_secret_file];
        files.extend(self.events.as_mut().map(|events| &mut events.token_file));
        files.extend(self.notify.iter_mut().map(|notify| &mut notify.secret_file));
        for repo in &mut self.repo {
            files.extend(repo.access.files());
            files.extend(repo.dest.iter_mut().flat_map(|dest| dest.access.files()));
        }
        for discover in &mut self.discover {
            files.push(&mut discover.folder);
            files.extend(discover.template.access.files());
            files.extend(discover.dest.iter_mut().flat_map(|dest| dest.access.files()));
        }
        for file in files.into_iter().flatten() {
            *file = folder.join(&*file);
        }
        if let Some(tls) = &mut self.tls {
            tls.anchor(folder);
        }
        let own = self.repo.iter_mut().flat_map(|repo| std::iter::once(&mut repo.upstream).chain(repo.dest.iter_mut().map(|dest| &mut dest.url)));
        let discovered = self.discover.iter_mut().flat_map(|discover| discover.dest.iter_mut().map(|dest| &mut dest.url));
        for url in own.chain(discovered).filter(|url| url.starts_with("./") || url.starts_with("../")) {
            let path = folder.join(&*url);
            // git is run in other folders.
            *url = std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned();
        }
    }

    /// Looks at what no type checks.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for repo in &self.repo {
            check_repo(repo)?;
            // A file system may not tell two names apart that differ only in case.
            if !names.insert(repo.name.to_lowercase()) {
                return Err(format!("two repositories are called {:?} (upper and lower case do not count); give one another name", repo.name));
            }
        }
        for discover in &self.discover {
            let kinds = [discover.gerrit.is_some(), discover.folder.is_some(), discover.gitea.is_some(), discover.github.is_some()];
            if kinds.iter().filter(|given| **given).count() != 1 {
                return Err("[[discover]] needs exactly one of gerrit, folder, gitea, github".into());
            }
            check_dests("[[discover]]", &discover.dest)?;
            if let Some(dest) = discover.dest.iter().find(|dest| !dest.url.contains("{name}")) {
                return Err(format!("[[discover]]: the url of destination {:?} must hold {{name}}, or all repositories would go to one place", dest.name));
            }
        }
        for notify in &self.notify {
            if !notify.url.starts_with("http://") && !notify.url.starts_with("https://") {
                return Err(format!("[[notify]]: {:?} is not an http address", notify.url));
            }
        }
        if self.fetches == 0 || self.pushes == 0 {
            return Err("fetches and pushes must be at least 1".into());
        }
        Ok(())
    }
}

fn everything() -> Vec<Pattern> {
    vec![Pattern::everything()]
}

fn heads_and_tags() -> Vec<Pattern> {
    vec![Pattern::below("refs/heads/"), Pattern::below("refs/tags/")]
}

fn twenty() -> usize {
    20
}

fn half() -> u8 {
    50
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    burrow_site::parse_duration(&text)
        .filter(|d| !d.is_zero())
        .ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is not a duration such as \"30s\" or \"10m\"")))
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(from)?;
    burrow_site::parse_size(&text).map(Some).ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is not a size such as \"2GiB\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = burrow_site::parse_toml(Path::new("m.toml"), text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn the_example_in_the_documentation_is_right() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gitmirror.md")).unwrap();
        let example = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let config = parse(example).unwrap();
        assert_eq!((config.repo.len(), config.discover.len(), config.notify.len()), (2, 2, 1));
        assert_eq!(config.repo[0].dest[0].push_options, ["nokeycheck"]);
    }

    #[test]
    fn folders_that_it_names_are_found_from_everywhere() {
        let dir = tempfile::Builder::new().prefix("config").tempdir_in(".").unwrap();
        let file = dir.path().join("m.toml");
        std::fs::write(
            &file,
            "data = \"data\"\n[[repo]]\nname = \"a\"\nupstream = \"./a.git\"\n[[discover]]\nfolder = \"all\"\n[[discover.dest]]\nname = \"d\"\nurl = \"./to/{name}.git\"\n",
        )
        .unwrap();
        let config = Config::load(Path::new(dir.path().file_name().unwrap()).join("m.toml").as_path()).unwrap();
        let folder = dir.path().canonicalize().unwrap();
        assert_eq!(config.data.as_deref(), Some(folder.join("data").as_path()));
        assert_eq!(config.repo[0].upstream, folder.join("a.git").to_string_lossy());
        assert_eq!(config.discover[0].dest[0].url, folder.join("to/{name}.git").to_string_lossy());
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let error = parse("poll = \"30s\"\n[[repo]]\nname = \"a\"\nupstrem = \"x\"\n").unwrap_err();
        assert!(error.starts_with("m.toml:4: ") && error.contains("upstrem"), "{error}");
        let error = parse("poll = \"often\"\n").unwrap_err();
        assert!(error.starts_with("m.toml:1: ") && error.contains("often"), "{error}");
    }

    #[test]
    fn addresses_that_git_would_take_for_something_else_are_refused() {
        for url in [
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch",
            "https://me:secret@host/x",
            "http://token@host/x",
            "-x",
            "ssh://-oProxyCommand=x/y",
            "ftp://h/x",
            "",
        ] {
            let error = parse(&format!("[[repo]]\nname = \"a\"\nupstream = {url:?}\n")).unwrap_err();
            assert!(error.contains("upstream of a"), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for url in ["https://host/x", "git@host:x/y.git", "ssh://git@host:2222/x", "/srv/x.git", "../x", "file:///srv/x"] {
            parse(&format!("[[repo]]\nname = \"a\"\nupstream = {url:?}\n")).unwrap();
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_or_collide_are_refused() {
        for name in ["..", "a/../b", "/a", "a/", ".git", "a.git", "-a", "a b", "a\\b", "objects.lock"] {
            assert!(parse(&format!("[[repo]]\nname = {name:?}\nupstream = \"/x\"\n")).is_err(), "{name}");
        }
        let error = parse("[[repo]]\nname = \"A\"\nupstream = \"/x\"\n[[repo]]\nname = \"a\"\nupstream = \"/y\"\n").unwrap_err();
        assert!(error.contains("two repositories"), "{error}");
        let error = parse("[[discover]]\ngerrit = \"https://g\"\n[[discover.dest]]\nname = \"d\"\nurl = \"/one\"\n").unwrap_err();
        assert!(error.contains("{name}"), "{error}");
    }
}
