//! A project's repository on disk: objects and references, written in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gix::ObjectId;
use gix::objs::Write as _;
use gix::objs::tree::EntryKind;

/// A bare repository.
pub(crate) struct Store {
    dir: PathBuf,
    repo: gix::ThreadSafeRepository,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.dir.display())
    }
}

/// Who wrote a commit, and when (Unix seconds).
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) seconds: i64,
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} <{}> {} +0000", self.name, self.email, self.seconds)
    }
}

/// A path in parts, and the file that is to be there.
type Edit<'a> = (&'a [&'a str], Option<ObjectId>);

fn id(hash: &str) -> ObjectId {
    ObjectId::from_hex(hash.as_bytes()).expect("a hash of ours")
}

impl Store {
    /// Makes it. `objects`: another repository's folder of objects, which count as ours.
    pub(crate) fn create(dir: PathBuf, objects: Option<&Path>) -> Store {
        std::fs::create_dir_all(&dir).expect("make the repository's folder");
        let done = Command::new("git")
            .args(["init", "--quiet", "--bare", "--template=", "--initial-branch=master"])
            .current_dir(&dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("GIT_DIR")
            .status();
        assert!(done.expect("git is installed").success(), "git init in {}", dir.display());
        let config = dir.join("config");
        let mut text = std::fs::read_to_string(&config).expect("git has written its configuration");
        // Gerrit lets clients ask for any object that they may see, and never collects behind our back.
        text.push_str("[uploadpack]\n\tallowAnySHA1InWant = true\n\tallowFilter = true\n[gc]\n\tauto = 0\n[receive]\n\tautogc = false\n");
        std::fs::write(&config, text).expect("write the repository's configuration");
        if let Some(objects) = objects {
            std::fs::create_dir_all(dir.join("objects/info")).expect("make a folder");
            std::fs::write(dir.join("objects/info/alternates"), format!("{}\n", objects.display())).expect("write a file");
        }
        let options = gix::open::Options::isolated().open_path_as_is(true).with(gix::sec::Trust::Full);
        let repo = gix::ThreadSafeRepository::open_opts(&dir, options).expect("the repository that was just made");
        Store { dir, repo }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn write(&self, kind: gix::objs::Kind, bytes: &[u8]) -> String {
        self.repo.to_thread_local().objects.write_buf(kind, bytes).expect("write an object").to_string()
    }

    fn read(&self, hash: &str) -> Vec<u8> {
        let found = self.repo.to_thread_local().find_object(id(hash)).unwrap_or_else(|error| panic!("read object {hash}: {error}")).detach();
        found.data
    }

    /// Hash of the tree of a commit.
    pub(crate) fn tree_of(&self, commit: &str) -> String {
        let text = self.read(commit);
        String::from_utf8_lossy(&text).lines().next().and_then(|line| line.strip_prefix("tree ")).expect("a commit names its tree").to_owned()
    }

    /// A tree with some files changed (or removed).
    pub(crate) fn tree_with<'a>(&self, base: Option<&str>, files: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> String {
        let changes: Vec<(Vec<&str>, Option<ObjectId>)> =
            files.into_iter().map(|(path, content)| (path.split('/').collect(), content.map(|bytes| id(&self.write(gix::objs::Kind::Blob, bytes))))).collect();
        let changes: Vec<Edit<'_>> = changes.iter().map(|(path, content)| (path.as_slice(), *content)).collect();
        self.edit(base.map(id), &changes).map_or_else(|| self.write(gix::objs::Kind::Tree, b""), |id| id.to_string())
    }

    fn edit(&self, base: Option<ObjectId>, changes: &[Edit<'_>]) -> Option<ObjectId> {
        // Trees sort their directories as if they ended in a slash.
        let mut entries: BTreeMap<Vec<u8>, (EntryKind, ObjectId)> = BTreeMap::new();
        let key = |name: &[u8], kind: EntryKind| if kind == EntryKind::Tree { [name, b"/"].concat() } else { name.to_owned() };
        if let Some(base) = base {
            let data = self.read(&base.to_string());
            for entry in gix::objs::TreeRefIter::from_bytes(&data, gix::hash::Kind::Sha1) {
                let entry = entry.expect("a tree of ours");
                entries.insert(key(entry.filename, entry.mode.kind()), (entry.mode.kind(), entry.oid.to_owned()));
            }
        }
        let mut below: BTreeMap<&str, Vec<Edit<'_>>> = BTreeMap::new();
        for (path, content) in changes {
            match path {
                [name] => {
                    entries.remove(&key(name.as_bytes(), EntryKind::Tree));
                    match content {
                        Some(blob) => entries.insert(name.as_bytes().to_owned(), (EntryKind::Blob, *blob)),
                        None => entries.remove(name.as_bytes()),
                    };
                }
                [name, rest @ ..] => below.entry(name).or_default().push((rest, *content)),
                [] => {}
            }
        }
        for (name, changes) in below {
            entries.remove(name.as_bytes());
            let place = key(name.as_bytes(), EntryKind::Tree);
            let old = entries.get(&place).map(|(_, id)| *id);
            match self.edit(old, &changes) {
                Some(tree) => entries.insert(place, (EntryKind::Tree, tree)),
                None => entries.remove(&place),
            };
        }
        let mut bytes = Vec::new();
        for (name, (kind, id)) in &entries {
            bytes.extend_from_slice(kind.as_octal_str());
            bytes.push(b' ');
            bytes.extend_from_slice(name.strip_suffix(b"/").unwrap_or(name));
            bytes.push(0);
            bytes.extend_from_slice(id.as_slice());
        }
        (!entries.is_empty()).then(|| id(&self.write(gix::objs::Kind::Tree, &bytes)))
    }

    pub(crate) fn commit(&self, tree: &str, parents: &[&str], author: &Stamp, committer: &Stamp, message: &[u8]) -> String {
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        text.push_str(&format!("author {author}\ncommitter {committer}\n\n"));
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(message);
        self.write(gix::objs::Kind::Commit, &bytes)
    }

    pub(crate) fn tag(&self, target: &str, name: &str, tagger: &Stamp, message: &str) -> String {
        self.write(gix::objs::Kind::Tag, format!("object {target}\ntype commit\ntag {name}\ntagger {tagger}\n\n{message}\n").as_bytes())
    }

    /// Message of a commit.
    pub(crate) fn message(&self, commit: &str) -> String {
        let text = String::from_utf8_lossy(&self.read(commit)).into_owned();
        text.split_once("\n\n").map(|(_, message)| message.to_owned()).unwrap_or_default()
    }

    /// Parents of a commit.
    pub(crate) fn parents(&self, commit: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.read(commit)).into_owned();
        text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("parent ")).map(str::to_owned).collect()
    }

    /// Sets a reference: whoever reads it meanwhile sees the old or the new.
    pub(crate) fn set_ref(&self, name: &str, hash: &str) {
        let path = self.dir.join(name);
        let folder = path.parent().expect("a reference lies in a folder");
        std::fs::create_dir_all(folder).expect("make a folder for a reference");
        let mut file = tempfile::NamedTempFile::new_in(folder).expect("make a reference");
        std::io::Write::write_all(&mut file, format!("{hash}\n").as_bytes()).expect("write a reference");
        file.persist(&path).expect("move a reference to its place");
    }

    pub(crate) fn delete_ref(&self, name: &str) {
        let _ = std::fs::remove_file(self.dir.join(name));
    }

    /// All references by full name, without `HEAD`.
    pub(crate) fn refs(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.dir.join("refs")];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    left.push(path);
                } else if let (Ok(name), Ok(hash)) = (path.strip_prefix(&self.dir), std::fs::read_to_string(&path)) {
                    found.insert(name.to_string_lossy().into_owned(), hash.trim().to_owned());
                }
            }
        }
        found
    }
}
