//! The world: accounts, projects, branches. What happens to changes is in `changes.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use burrow_clock::{Clock as _, TestClock};

use crate::model::{Account, Change, Label, Ms, Policy, Project, Strategy, Style};
use crate::store::{Stamp, Store};

/// Everything there is. The repositories lie in a temporary folder, gone with it.
#[derive(Debug)]
pub struct World {
    /// How this Gerrit is set up.
    pub policy: Policy,
    pub(crate) base: String,
    pub(crate) clock: TestClock,
    dir: tempfile::TempDir,
    accounts: Vec<Account>,
    projects: BTreeMap<String, (Project, Store)>,
    pub(crate) changes: BTreeMap<i64, Change>,
    pub(crate) next_change: i64,
    /// Counts whatever must be unique.
    pub(crate) serial: u64,
}

/// Name of this server in addresses of accounts.
pub(crate) const SERVER_ID: &str = "62eb7196-b449-3ce5-99f1-c037f21e1705";

impl World {
    pub(crate) fn new(clock: TestClock) -> World {
        let label = |name: &str, min, max, sticky| Label { name: name.to_owned(), min, max, sticky };
        let policy = Policy {
            style: Style::Old,
            strategy: Strategy::MergeIfNecessary,
            login: None,
            page_size: 500,
            labels: vec![
                label("Code-Review", -2, 2, true),
                label("Run-TryBot", 0, 1, false),
                label("TryBot-Result", -1, 1, false),
                label("Auto-Submit", 0, 1, true),
                label("Hold", 0, 1, true),
            ],
        };
        World {
            policy,
            base: String::new(),
            clock,
            dir: tempfile::tempdir().expect("a temporary folder"),
            accounts: Vec::new(),
            projects: BTreeMap::new(),
            changes: BTreeMap::new(),
            next_change: 1_000,
            serial: 0,
        }
    }

    /// Now, in Unix milliseconds.
    pub fn now(&self) -> Ms {
        self.clock.now_ms()
    }

    /// Forty hex digits that were never there before.
    pub(crate) fn unique(&mut self) -> String {
        self.serial += 1;
        use sha1::Digest as _;
        sha1::Sha1::digest(format!("unique {}", self.serial)).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Number of an account, made when there is none of this name.
    pub fn account(&mut self, name: &str) -> i64 {
        if let Some(account) = self.accounts.iter().find(|account| account.name == name) {
            return account.id;
        }
        let id = 5_000 + i64::try_from(self.accounts.len()).expect("not so many accounts");
        let email = format!("{}@example.org", name.to_lowercase().replace(' ', "."));
        self.accounts.push(Account { id, name: name.to_owned(), email });
        id
    }

    /// All accounts.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// An account by number.
    pub fn account_by_id(&self, id: i64) -> Option<&Account> {
        self.accounts.iter().find(|account| account.id == id)
    }

    /// How an account signs commits of code.
    pub(crate) fn stamp(&self, account: i64) -> Stamp {
        let (name, email) = self.account_by_id(account).map_or(("", ""), |account| (account.name.as_str(), account.email.as_str()));
        Stamp { name: name.to_owned(), email: email.to_owned(), seconds: self.now() / 1000 }
    }

    /// How an account is named within the history of changes.
    pub(crate) fn ident(&self, account: i64) -> String {
        format!("Gerrit User {account} <{account}@{SERVER_ID}>")
    }

    /// How Gerrit itself signs.
    pub(crate) fn server_stamp(&self) -> Stamp {
        Stamp { name: "Gerrit Code Review".into(), email: "noreply-gerritcodereview@example.org".into(), seconds: self.now() / 1000 }
    }

    /// All projects.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.projects.values().map(|(project, _)| project)
    }

    pub(crate) fn has_project(&self, name: &str) -> bool {
        self.projects.contains_key(name)
    }

    pub(crate) fn project(&self, name: &str) -> &Project {
        &self.entry(name).0
    }

    pub(crate) fn store(&self, name: &str) -> &Store {
        &self.entry(name).1
    }

    fn entry(&self, name: &str) -> &(Project, Store) {
        self.projects.get(name).unwrap_or_else(|| panic!("no project {name}"))
    }

    /// Folder of a project's bare repository.
    pub fn repository(&self, project: &str) -> &Path {
        self.store(project).dir()
    }

    /// Makes a project whose `master` has one empty commit. Nothing when there is one.
    pub fn create_project(&mut self, name: &str) {
        if self.has_project(name) {
            return;
        }
        let store = Store::create(self.dir.path().join(format!("{name}.git")), None);
        let server = self.server_stamp();
        let tree = store.tree_with(None, []);
        let first = store.commit(&tree, &[], &server, &server, b"Initial empty repository\n");
        store.set_ref("refs/heads/master", &first);
        self.add_project(name, store);
    }

    /// Makes a project whose `master` is what `HEAD` of an existing repository is; the objects are shared with it, not copied.
    ///
    /// # Panics
    /// There is no repository with a commit at `path`.
    pub fn from_clone(&mut self, name: &str, path: &Path) {
        assert!(!self.has_project(name), "{name} is there already");
        let options = gix::open::Options::isolated().with(gix::sec::Trust::Full);
        let source = gix::open_opts(path, options).unwrap_or_else(|error| panic!("open {}: {error}", path.display()));
        let head = source.head_id().expect("a commit at HEAD").to_string();
        let objects = std::fs::canonicalize(source.common_dir().join("objects")).expect("the folder of objects");
        let store = Store::create(self.dir.path().join(format!("{name}.git")), Some(&objects));
        store.set_ref("refs/heads/master", &head);
        self.add_project(name, store);
    }

    fn add_project(&mut self, name: &str, store: Store) {
        let server = self.server_stamp();
        let config = store.tree_with(None, [("project.config", Some(b"[access]\n\tinheritFrom = All-Projects\n".as_slice()))]);
        let meta = store.commit(&config, &[], &server, &server, b"Created project\n");
        store.set_ref("refs/meta/config", &meta);
        self.projects.insert(name.to_owned(), (Project { name: name.to_owned(), head: "refs/heads/master".to_owned() }, store));
    }

    /// All references of a project by full name, without `HEAD`.
    pub fn refs(&self, project: &str) -> BTreeMap<String, String> {
        self.store(project).refs()
    }

    /// Tip of a branch.
    ///
    /// # Panics
    /// There is no such branch.
    pub fn tip(&self, project: &str, branch: &str) -> String {
        let name = format!("refs/heads/{branch}");
        self.refs(project).remove(&name).unwrap_or_else(|| panic!("{project} has no branch {branch}"))
    }

    /// Puts a commit on a branch without review; its hash.
    pub fn push(&mut self, project: &str, branch: &str, author: &str, message: &str, files: &[(&str, &str)]) -> String {
        let author = self.account(author);
        let (tip, stamp) = (self.tip(project, branch), self.stamp(author));
        let store = self.store(project);
        let tree = store.tree_with(Some(&store.tree_of(&tip)), files.iter().map(|(path, content)| (*path, Some(content.as_bytes()))));
        let commit = store.commit(&tree, &[&tip], &stamp, &stamp, message.as_bytes());
        store.set_ref(&format!("refs/heads/{branch}"), &commit);
        commit
    }

    /// Makes or moves a branch.
    pub fn set_branch(&mut self, project: &str, branch: &str, commit: &str) {
        self.store(project).set_ref(&format!("refs/heads/{branch}"), commit);
    }

    /// Sets any reference, as hand-made tests want it.
    pub fn set_ref(&mut self, project: &str, name: &str, hash: &str) {
        self.store(project).set_ref(name, hash);
    }

    /// Deletes a branch.
    pub fn delete_branch(&mut self, project: &str, branch: &str) {
        self.store(project).delete_ref(&format!("refs/heads/{branch}"));
    }

    /// Makes a tag: with a message an annotated one, which is an object of its own. The hash that the reference then has.
    pub fn tag(&mut self, project: &str, name: &str, commit: &str, tagger: &str, message: Option<&str>) -> String {
        let tagger = self.account(tagger);
        let stamp = self.stamp(tagger);
        let store = self.store(project);
        let hash = message.map_or_else(|| commit.to_owned(), |message| store.tag(commit, name, &stamp, message));
        store.set_ref(&format!("refs/tags/{name}"), &hash);
        hash
    }

    /// Deletes a tag.
    pub fn delete_tag(&mut self, project: &str, name: &str) {
        self.store(project).delete_ref(&format!("refs/tags/{name}"));
    }

    /// A commit of any bytes on any tree, for what no program writes any more.
    pub fn raw_commit(&mut self, project: &str, parents: &[&str], author: &str, message: &[u8], files: &[(&str, &[u8])]) -> String {
        let author = self.account(author);
        let stamp = self.stamp(author);
        let store = self.store(project);
        let base = parents.first().map(|parent| store.tree_of(parent));
        let tree = store.tree_with(base.as_deref(), files.iter().map(|(path, content)| (*path, Some(*content))));
        store.commit(&tree, parents, &stamp, &stamp, message)
    }

    /// All changes by number.
    pub fn changes(&self) -> &BTreeMap<i64, Change> {
        &self.changes
    }

    /// A change.
    ///
    /// # Panics
    /// There is none.
    pub fn change(&self, number: i64) -> &Change {
        self.changes.get(&number).unwrap_or_else(|| panic!("no change {number}"))
    }
}
