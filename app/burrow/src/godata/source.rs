//! Where the log comes from: a server and its cache, the cache alone, or files of this disk.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burrow_clock::{Clock as _, SystemClock};
use burrow_godata::{Ask, Bearer, Error, Event, GetError, GetOptions, Http, Live, Options, System};
use burrow_http_client::{Error as HttpError, Response};
use burrow_maintner::{Corpus, LoadError, Part, RecordError, View};
use protocol_mutlog::FrameError;

use super::args::SourceArgs;
use crate::client::read_secret;
use crate::failure::Failure;
use crate::mutlog::files;
use crate::progress::{Bytes, note};

/// A log that was read.
pub(crate) struct Loaded {
    pub(crate) view: View,
    /// The server's address, or the files' folder.
    pub(crate) origin: String,
    /// The folder with the bytes.
    pub(crate) folder: String,
    pub(crate) segments: usize,
    pub(crate) load_ms: u64,
    /// Whether the tables came from a snapshot.
    pub(crate) snapshot: bool,
    /// Why the server was not asked.
    pub(crate) offline: Option<String>,
    /// What follows the server; `None`: the log is files of this disk.
    live: Option<Live>,
}

impl Loaded {
    /// Waits, after the answer, for the snapshot with which the next call need not read the log.
    pub(crate) async fn end(self) {
        if let Some(mut live) = self.live {
            live.snapshot_written().await;
        }
    }
}

/// A server and what is needed to ask it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    bar: Bytes,
}

impl Server {
    /// Takes the download's bar away.
    pub(crate) fn arrived(&self) {
        self.bar.end();
    }
}

/// Which server is meant, and which cache.
pub(crate) fn server(args: &SourceArgs) -> Result<Server, Failure> {
    let url = whole_address(&args.server);
    let dir = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let Some(home) = std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) else {
                return Err(Failure::usage("there is no home folder to keep a cache in; name a folder with --dir"));
            };
            let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            burrow_godata::default_dir(&url, caches.as_deref(), &home, System::here()).map_err(|error| from_source(&error))?
        }
    };
    let bearer = args.token_file.as_deref().map(read_secret).transpose()?.map(Bearer::new);
    let bar = Bytes::begin("downloading");
    let watched = bar.clone();
    let watch = move |event: &Event| match event {
        Event::Progress { done, total } => watched.at(*done, *total),
        Event::Retry { doing, attempt, of, pause, cause } => {
            let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
            note(format_args!("{doing} failed: {cause}; attempt {}{of} follows in {} s", attempt + 1, pause.as_secs_f64()));
        }
        Event::Again { url } => note(format_args!("{url} is not what the server's index promises, and is downloaded again from its first byte")),
        Event::Waiting { lock } => note(format_args!("another program is writing to the cache; waiting for {}", lock.display())),
        _ => {}
    };
    Ok(Server { url, dir, options: Options { bearer, watch: Arc::new(watch), ..Options::default() }, bar })
}

/// An address without a path means the place where every maintnerd has its index.
fn whole_address(server: &str) -> String {
    match server.split_once("://") {
        Some((_, rest)) if !rest.is_empty() && !rest.trim_end_matches('/').contains(['/', '?', '#']) => format!("{}/logs", server.trim_end_matches('/')),
        _ => server.to_owned(),
    }
}

/// Reads the log.
pub(crate) async fn load(args: &SourceArgs) -> Result<Loaded, Failure> {
    if args.log.is_empty() {
        return from_server(args).await;
    }
    if args.offline || args.dir.is_some() || args.token_file.is_some() {
        return Err(Failure::usage("--log reads files of this disk; --dir, --offline and --token-file are of no use beside it"));
    }
    from_files(&args.log)
}

async fn from_server(args: &SourceArgs) -> Result<Loaded, Failure> {
    let clock = SystemClock::new();
    let mut server = server(args)?;
    if args.offline {
        server.options.http = Some(Arc::new(NoNetwork));
    }
    let reading = Bytes::begin("reading");
    let read = Arc::new(AtomicBool::new(false));
    let (bar, seen) = (reading.clone(), Arc::clone(&read));
    let progress = move |progress: burrow_maintner::Progress| {
        seen.store(true, Ordering::Relaxed);
        bar.at(progress.done, progress.total);
    };
    let options = GetOptions { source: server.options.clone(), threads: threads(), reading: Arc::new(progress), ..GetOptions::default() };
    let got = burrow_godata::get(&server.url, &server.dir, options).await;
    server.arrived();
    reading.end();
    let live = got.map_err(|error| match error {
        GetError::Source(Error::Offline { dir, server, .. }) if args.offline => {
            Failure::infrastructure(format!("{} holds no log of {server}; leave out --offline once, and it will be downloaded", dir.display()))
        }
        GetError::Source(error) => from_source(&error),
        GetError::Load(error) => damaged(&error, &server.dir),
        error => Failure::infrastructure(error),
    })?;
    let offline = live.offline().map(|cause| if args.offline { "--offline was given".to_owned() } else { cause.to_owned() });
    if let Some(cause) = offline.as_ref().filter(|_| !args.offline) {
        note(format_args!("{} cannot be reached ({cause}); this is what the cache in {} has", server.url, server.dir.display()));
    }
    Ok(Loaded {
        view: live.view(),
        origin: server.url.clone(),
        folder: server.dir.display().to_string(),
        segments: live.segments().len(),
        load_ms: clock.monotonic_ms(),
        snapshot: !read.load(Ordering::Relaxed),
        offline,
        live: Some(live),
    })
}

/// What cannot be asked of files, and needs a server.
pub(crate) fn refuse_files(args: &SourceArgs, command: &str) -> Result<(), Failure> {
    if args.log.is_empty() && !args.offline {
        return Ok(());
    }
    Err(Failure::usage(format!("`burrow godata {command}` asks a server; --log and --offline are of no use with it")))
}

/// Reads a log on this disk. A last record that is not finished is left out: somebody may be writing it.
pub(crate) fn from_files(paths: &[PathBuf]) -> Result<Loaded, Failure> {
    let clock = SystemClock::new();
    let mut found = Vec::new();
    for path in paths {
        found.extend(files::of(path)?);
    }
    let bar = Bytes::begin("reading");
    let loaded = read_files(&found, &bar);
    bar.end();
    let corpus = loaded?;
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Ok(Loaded {
        view: corpus.view(),
        origin: names.join(" "),
        folder: found.first().and_then(|file| file.path.parent()).map(|folder| folder.display().to_string()).unwrap_or_default(),
        segments: found.len(),
        load_ms: clock.monotonic_ms(),
        snapshot: false,
        offline: None,
        live: None,
    })
}

fn read_files(found: &[files::LogFile], bar: &Bytes) -> Result<Corpus, Failure> {
    let mut parts: Vec<Part> = found.iter().map(|file| Part::file(&file.path, 0, file.size)).collect();
    let read = |parts: &[Part]| Corpus::load(parts, threads(), &|progress| bar.at(progress.done, progress.total));
    let error = match read(&parts) {
        Ok(corpus) => return Ok(corpus),
        Err(error) => error,
    };
    if let (LoadError::Record { name, error: RecordError::Frame(fault) }, Some(last)) = (&error, found.last())
        && *name == last.path.display().to_string()
        && is_unfinished(fault, &last.path)
        && let Some(part) = parts.last_mut()
    {
        note(format_args!("{name} ends within the record at offset {}, which is left out; a writer may be at it", fault.offset()));
        *part = Part::file(&last.path, 0, fault.offset());
        return read(&parts).map_err(|error| damaged(&error, &last.path));
    }
    Err(damaged(&error, found.first().and_then(|file| file.path.parent()).unwrap_or(Path::new("."))))
}

/// Whether a log may end so while a leader writes: in the middle of a record, or with a batch that has not got its first byte yet.
fn is_unfinished(fault: &FrameError, path: &Path) -> bool {
    let first = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::Start(fault.offset()))?;
        let mut byte = [1];
        file.read_exact(&mut byte)?;
        std::io::Result::Ok(byte == [0])
    };
    matches!(fault, FrameError::Truncated { .. }) || matches!(fault, FrameError::Malformed { .. }) && first().unwrap_or(false)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, |count| count.get().clamp(1, 8))
}

/// A sentence about a log that cannot be read.
fn damaged(error: &LoadError, place: &Path) -> Failure {
    match error {
        LoadError::Record { .. } => {
            Failure::infrastructure(format!("the log is damaged: {error}; `burrow mutlog verify {}` names every fault", place.display()))
        }
        error => Failure::infrastructure(error),
    }
}

/// What kind of failure an error of a server or cache is.
pub(crate) fn from_source(error: &Error) -> Failure {
    match error {
        Error::BadServer { .. } => Failure::usage(error),
        Error::Offline { .. } | Error::Retryable { .. } => {
            Failure::infrastructure(format!("{error}; name another server with --server, or a log on this disk with --log"))
        }
        error => Failure::infrastructure(error),
    }
}

/// The network for those who want none.
struct NoNetwork;

impl Http for NoNetwork {
    fn get<'a>(&'a self, ask: &'a Ask) -> Pin<Box<dyn Future<Output = Result<Response, HttpError>> + Send + 'a>> {
        Box::pin(async move { Err(HttpError::NoSuchHost { host: ask.url.clone(), message: "--offline was given".into() }) })
    }
}

#[cfg(test)]
mod tests {
    use super::whole_address;

    #[test]
    fn an_address_without_a_path_means_the_index() {
        for (given, whole) in [
            ("http://ci.example:8080", "http://ci.example:8080/logs"),
            ("http://ci.example/", "http://ci.example/logs"),
            ("https://ci.example/logs", "https://ci.example/logs"),
            ("https://ci.example/a/b", "https://ci.example/a/b"),
            ("ci.example", "ci.example"),
            ("http://", "http://"),
        ] {
            assert_eq!(whole_address(given), whole);
        }
    }
}
