//! The tar stream of a tree, byte for byte what `git archive --format=tar` gives.
//!
//! Trees are walked twice. The first walk reads only trees and attribute files and finds out whether everything in them can be done here; what cannot
//! (keyword substitution, other encodings, filters that the repository configures) is left to a `git archive` of that revision, before the first byte.
//! The second one writes. Nothing but the current path and file is held, so memory does not grow with the archive.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use burrow_git::program;
use gix::bstr::ByteSlice;
use gix::objs::tree::EntryKind;
use gix::objs::{Kind, TreeRefIter};
use gix::{ObjectId, Repository};

use crate::attributes::{Attributes, Crlf, Treatment, to_crlf};
use crate::tar::{Sink, Tar};

/// Trees deeper than this are not source code, and would cost stack.
const DEEPEST: usize = 1_000;
/// Files of more bytes are not held in memory: a `git cat-file` gives them piece by piece.
const LARGE: u64 = 32 << 20;
/// Attribute files of more bytes are nonsense.
const LARGEST_ATTRIBUTES: usize = 4 << 20;

/// What is archived.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The bare repository.
    pub(crate) dir: PathBuf,
    /// The settings of git programs.
    pub(crate) config: PathBuf,
    /// The commit whose name stands in the archive; `None` for a bare tree.
    pub(crate) commit: Option<ObjectId>,
    /// The tree of the archive's root.
    pub(crate) tree: ObjectId,
    /// For git: the directory below the root of the commit, or empty.
    pub(crate) path: String,
    /// Unix seconds for every entry. `None`: the commit says nothing that is understood here.
    pub(crate) time: Option<u64>,
    /// Stands before every name.
    pub(crate) prefix: String,
    /// More bytes than this are refused.
    pub(crate) most: Option<u64>,
}

/// Why there is no archive, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The repository's owner set a limit.
    #[error(
        "the files of this revision are larger than the {limit} bytes that this server packs into one archive; ask for a sub-directory with &path=, or clone"
    )]
    TooBig {
        /// The limit.
        limit: u64,
    },
    /// Objects are missing or broken.
    #[error("object {id} cannot be read: {message}")]
    Object {
        /// Which.
        id: ObjectId,
        /// How.
        message: String,
    },
    /// A git program failed.
    #[error("git {command} failed: {message}")]
    Git {
        /// The subcommand.
        command: &'static str,
        /// What it said.
        message: String,
    },
    /// Passing the bytes on failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How an archive is made, found out before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In this process.
    Here,
    /// By `git archive`.
    Git,
}

/// The first walk.
pub(crate) fn survey(repo: &Repository, order: &Order) -> Result<Way, Failure> {
    let mut way = if configured(repo) || order.time.is_none() { Way::Git } else { Way::Here };
    if way == Way::Git && order.most.is_none() {
        return Ok(way);
    }
    let mut total = 0u64;
    let mut walk = Walk::new(repo, &order.prefix);
    let all = walk.dir(order.tree, 0, &mut |_, item| {
        if let Item::File { id, treatment, .. } = item {
            if let Some(limit) = order.most {
                total = total.saturating_add(size_of(repo, id)?);
                if total > limit {
                    return Err(Failure::TooBig { limit });
                }
            }
            if way == Way::Here && beyond_us(repo, id, treatment)? {
                way = Way::Git;
            }
        }
        Ok(())
    })?;
    Ok(if all { way } else { Way::Git })
}

/// Writes the archive.
pub(crate) fn write(repo: &Repository, order: &Order, way: Way, out: &mut dyn Sink) -> Result<(), Failure> {
    match (way, order.time) {
        (Way::Here, Some(time)) => write_here(repo, order, time, out),
        _ => by_git(order, out),
    }
}

fn write_here(repo: &Repository, order: &Order, time: u64, out: &mut dyn Sink) -> Result<(), Failure> {
    let mut tar = Tar::begin(out, order.commit, time)?;
    if order.prefix.ends_with('/') {
        tar.directory(order.prefix.as_bytes(), order.tree)?;
    }
    let mut walk = Walk::new(repo, &order.prefix);
    walk.dir(order.tree, 0, &mut |path, item| {
        match item {
            Item::Directory { id } => tar.directory(path, id)?,
            Item::Link { id } => {
                let target = blob(repo, id)?;
                tar.link(path, id, &target.data)?;
            }
            Item::File { id, kind, treatment } => {
                let size = size_of(repo, id)?;
                if size > LARGE {
                    tar.file(path, id, kind, size)?;
                    large_file(order, id, size, &mut tar)?;
                } else {
                    let found = blob(repo, id)?;
                    let converted = to_crlf(&found.data, treatment.crlf);
                    let bytes = converted.as_deref().unwrap_or(&found.data);
                    tar.file(path, id, kind, bytes.len() as u64)?;
                    tar.body(bytes)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(tar.finish()?)
}

/// Settings in the repository that change what archives contain.
fn configured(repo: &Repository) -> bool {
    let config = repo.config_snapshot();
    let has = |key: &str| config.string(key).is_some();
    let any = ["core.autocrlf", "core.eol", "core.attributesFile", "tar.umask"].iter().any(|key| has(key))
        || config.plumbing().sections_by_name("filter").is_some_and(|mut sections| sections.next().is_some());
    any || repo.git_dir().join("info/attributes").exists()
}

/// True for a file that git must write.
fn beyond_us(repo: &Repository, id: ObjectId, treatment: Treatment) -> Result<bool, Failure> {
    if treatment.encoded {
        return Ok(true);
    }
    if !treatment.substituted && !treatment.ident && treatment.crlf == Crlf::Never {
        return Ok(false);
    }
    if size_of(repo, id)? > LARGE {
        return Ok(true);
    }
    if !treatment.substituted && !treatment.ident {
        return Ok(false);
    }
    let found = blob(repo, id)?;
    Ok((treatment.substituted && found.data.contains_str("$Format:")) || (treatment.ident && found.data.contains_str("$Id")))
}

enum Item {
    Directory { id: ObjectId },
    Link { id: ObjectId },
    File { id: ObjectId, kind: EntryKind, treatment: Treatment },
}

struct Walk<'r> {
    repo: &'r Repository,
    attributes: Option<Attributes>,
    /// The prefix and the path of the current entry.
    path: Vec<u8>,
    prefix: usize,
    /// Directories that have not been written: git writes one when it meets the first entry in it that is not a directory itself.
    waiting: Vec<(usize, ObjectId)>,
}

type Visit<'v> = dyn FnMut(&[u8], Item) -> Result<(), Failure> + 'v;

impl<'r> Walk<'r> {
    fn new(repo: &'r Repository, prefix: &str) -> Walk<'r> {
        Walk { repo, attributes: None, path: prefix.as_bytes().to_vec(), prefix: prefix.len(), waiting: Vec::new() }
    }

    /// Visits everything in a directory, whose name with a slash is the end of the path. False: its attributes are not understood here.
    fn dir(&mut self, tree: ObjectId, depth: usize, visit: &mut Visit<'_>) -> Result<bool, Failure> {
        if depth > DEEPEST {
            return Err(Failure::Object { id: tree, message: "directories are nested too deeply".to_owned() });
        }
        let found = object(self.repo, tree, Kind::Tree)?;
        let mut all = true;
        let entered = match self.attribute_file(&found.data)? {
            None => false,
            Some(None) => return Ok(false),
            Some(Some(file)) => {
                let here = self.path.get(self.prefix..).unwrap_or_default();
                let here = here.strip_suffix(b"/").unwrap_or(here).to_vec();
                all &= self.attributes.get_or_insert_with(Attributes::new).push(&here, &file);
                true
            }
        };
        let length = self.path.len();
        for entry in TreeRefIter::from_bytes(&found.data, self.repo.object_hash()) {
            let entry = entry.map_err(|error| Failure::Object { id: tree, message: error.to_string() })?;
            self.path.truncate(length);
            self.path.extend_from_slice(entry.filename);
            let (kind, id) = (entry.mode.kind(), entry.oid.to_owned());
            let directory = matches!(kind, EntryKind::Tree | EntryKind::Commit);
            let treatment = match &mut self.attributes {
                Some(attributes) => attributes.of(self.path.get(self.prefix..).unwrap_or_default(), directory),
                None => Treatment::default(),
            };
            if kind == EntryKind::Tree {
                if !treatment.ignored {
                    self.path.push(b'/');
                    self.waiting.push((self.path.len(), id));
                    let waiting = self.waiting.len();
                    all &= self.dir(id, depth + 1, visit)?;
                    // Nothing in it, so it is not in the archive.
                    if self.waiting.len() == waiting {
                        self.waiting.pop();
                    }
                }
                continue;
            }
            for (length, id) in self.waiting.drain(..) {
                visit(self.path.get(..length).unwrap_or_default(), Item::Directory { id })?;
            }
            if treatment.ignored {
                continue;
            }
            let item = match kind {
                EntryKind::Commit => {
                    self.path.push(b'/');
                    Item::Directory { id }
                }
                EntryKind::Link => Item::Link { id },
                _ => Item::File { id, kind, treatment },
            };
            visit(&self.path, item)?;
        }
        self.path.truncate(length);
        if entered && let Some(attributes) = &mut self.attributes {
            attributes.pop();
        }
        Ok(all)
    }

    /// The attribute file of a directory. `Some(None)`: there is something of that name that only git knows what to do with.
    fn attribute_file(&self, tree: &[u8]) -> Result<Option<Option<Vec<u8>>>, Failure> {
        let entry = TreeRefIter::from_bytes(tree, self.repo.object_hash()).filter_map(Result::ok).find(|entry| entry.filename == ".gitattributes");
        match entry {
            Some(entry) if matches!(entry.mode.kind(), EntryKind::Blob | EntryKind::BlobExecutable) => {
                let found = blob(self.repo, entry.oid.to_owned())?;
                Ok(Some((found.data.len() <= LARGEST_ATTRIBUTES).then(|| found.data.clone())))
            }
            Some(_) => Ok(Some(None)),
            None => Ok(None),
        }
    }
}

fn object(repo: &Repository, id: ObjectId, kind: Kind) -> Result<gix::Object<'_>, Failure> {
    let failure = |message: String| Failure::Object { id, message };
    let found = repo.find_object(id).map_err(|error| failure(error.to_string()))?;
    if found.kind == kind { Ok(found) } else { Err(failure(format!("it is a {}, not a {kind}", found.kind))) }
}

fn blob(repo: &Repository, id: ObjectId) -> Result<gix::Object<'_>, Failure> {
    object(repo, id, Kind::Blob)
}

fn size_of(repo: &Repository, id: ObjectId) -> Result<u64, Failure> {
    repo.find_header(id).map(|header| header.size()).map_err(|error| Failure::Object { id, message: error.to_string() })
}

/// A git that takes longer is ended: it has met a broken disk.
const GIT_LIMIT: Duration = Duration::from_secs(600);

/// A running git whose output is read by a thread. It is killed, with all it started, when this is dropped.
struct Child {
    group: program::Group,
    /// Ends it when it hangs, and so the reading.
    watch: tokio::task::JoinHandle<()>,
    command: &'static str,
    out: std::fs::File,
    err: std::fs::File,
}

impl Child {
    fn start(dir: &Path, config: &Path, command: &'static str, args: &[&str]) -> Result<Child, Failure> {
        let failure = |message: String| Failure::Git { command, message };
        let mut git = program::command(dir, config, args);
        git.env("GIT_NO_REPLACE_OBJECTS", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = program::Group::start(git).map_err(|error| failure(error.to_string()))?;
        let (Some(out), Some(err)) = (group.child.stdout.take(), group.child.stderr.take()) else {
            return Err(failure("it has no output".to_owned()));
        };
        let leader = group.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let watch = burrow_task::spawn(async move {
            tokio::time::sleep(GIT_LIMIT).await;
            if let Some(leader) = leader {
                let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
            }
        });
        Ok(Child { group, watch, command, out: out.into_owned_fd()?.into(), err: err.into_owned_fd()?.into() })
    }

    fn copy(&mut self, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.out.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => to(buffer.get(..n).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        // It has closed its output, so what it had to say is in the pipe.
        let mut message = Vec::new();
        let _ = (&mut self.err).take(2_000).read_to_end(&mut message);
        let status = tokio::runtime::Handle::current().block_on(self.group.child.wait())?;
        self.watch.abort();
        if status.success() {
            return Ok(());
        }
        Err(Failure::Git { command: self.command, message: message.to_str_lossy().trim().replace('\n', "; ") })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn large_file(order: &Order, id: ObjectId, size: u64, tar: &mut Tar<'_>) -> Result<(), Failure> {
    let name = id.to_hex().to_string();
    let mut child = Child::start(&order.dir, &order.config, "cat-file", &["-c", "core.bigFileThreshold=16m", "cat-file", "blob", &name])?;
    let mut given = 0u64;
    child.copy(|bytes| {
        given += bytes.len() as u64;
        if given > size { Err(io::Error::other("a file is longer than its object says")) } else { tar.part(bytes) }
    })?;
    child.finish()?;
    if given != size {
        return Err(Failure::Object { id, message: format!("{given} of its {size} bytes are there") });
    }
    Ok(tar.pad()?)
}

fn by_git(order: &Order, out: &mut dyn Sink) -> Result<(), Failure> {
    let prefix = format!("--prefix={}", order.prefix);
    // A hash is never an option. Of a sub-directory's tree git would not know the commit, so that one is named by its path where there is a commit.
    let name = order.commit.unwrap_or(order.tree).to_hex().to_string();
    if !order.path.is_empty() && order.commit.is_some() {
        return sub_directory_by_git(order, &name, &prefix, out);
    }
    let args = ["-c", "core.bigFileThreshold=16m", "archive", "--format=tar", &prefix, "--end-of-options", &name];
    let mut child = Child::start(&order.dir, &order.config, "archive", &args)?;
    child.copy(|bytes| out.put(bytes))?;
    child.finish()
}

/// git takes the current directory inside a work tree for the part of the commit that is wanted; an empty directory of that name is enough of a work tree.
fn sub_directory_by_git(order: &Order, commit: &str, prefix: &str, out: &mut dyn Sink) -> Result<(), Failure> {
    let root = Scratch::new(order.config.parent().unwrap_or(Path::new(".")), commit)?;
    let place = root.0.join(&order.path);
    std::fs::create_dir_all(&place)?;
    let git_dir = format!("--git-dir={}", order.dir.display());
    let work_tree = format!("--work-tree={}", root.0.display());
    let args =
        [&git_dir, &work_tree, "-c", "core.bare=false", "-c", "core.bigFileThreshold=16m", "archive", "--format=tar", prefix, "--end-of-options", commit];
    let mut child = Child::start(&place, &order.config, "archive", &args)?;
    child.copy(|bytes| out.put(bytes))?;
    child.finish()
}

/// A directory that goes away again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path, name: &str) -> io::Result<Scratch> {
        for number in 0..10_000 {
            let path = parent.join(format!("scratch-{name}-{number}"));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
