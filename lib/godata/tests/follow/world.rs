//! What a follower in a test is given: a directory, a network with holes, and pauses that are written down instead of made.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burrow_godata::{Ask, Bearer, Event, Http, Options, Pause, Source, Update};
use burrow_http_client::{Client, Error as HttpError, Response, Settings};
use futures_util::future::BoxFuture;
use tempfile::TempDir;

use crate::leader::Leader;

type Hook = Box<dyn FnMut(Duration) + Send>;

/// A place where followers live.
pub(crate) struct World {
    pub(crate) leader: Leader,
    pub(crate) dir: TempDir,
    pub(crate) network: Arc<Network>,
    pub(crate) pauses: Arc<Pauses>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

pub(crate) struct Network {
    client: Client,
    /// Where the bucket is.
    bucket: String,
    /// Hosts whose names nobody knows just now.
    pub(crate) unknown: Mutex<HashSet<String>>,
}

impl Network {
    pub(crate) fn forget(&self, host: &str) {
        self.unknown.lock().unwrap().insert(host.to_owned());
    }

    pub(crate) fn remember(&self, host: &str) {
        self.unknown.lock().unwrap().remove(host);
    }
}

impl Http for Network {
    fn get<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Response, HttpError>> {
        Box::pin(async move {
            let host = ask.url.split('/').nth(2).unwrap().split(':').next().unwrap();
            if self.unknown.lock().unwrap().contains(host) {
                return Err(HttpError::NoSuchHost { host: host.to_owned(), message: "the test says so".to_owned() });
            }
            let mut ask = ask.clone();
            ask.url = ask.url.replace("https://storage.googleapis.com/", &format!("http://{}/", self.bucket));
            self.client.get(&ask).await
        })
    }
}

#[derive(Default)]
pub(crate) struct Pauses {
    seconds: Mutex<Vec<f64>>,
    /// Runs at every pause.
    hook: Mutex<Option<Hook>>,
}

impl Pauses {
    /// Whole seconds since the last call.
    pub(crate) fn taken(&self) -> Vec<u64> {
        std::mem::take(&mut *self.seconds.lock().unwrap()).into_iter().map(|seconds| seconds.ceil() as u64).collect()
    }

    pub(crate) fn at_each(&self, hook: impl FnMut(Duration) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }
}

impl Pause for Pauses {
    fn pause(&self, time: Duration) -> BoxFuture<'_, ()> {
        self.seconds.lock().unwrap().push(time.as_secs_f64());
        if let Some(hook) = &mut *self.hook.lock().unwrap() {
            hook(time);
        }
        Box::pin(tokio::task::yield_now())
    }
}

impl World {
    pub(crate) async fn new() -> World {
        let leader = Leader::start().await;
        let client = Client::new(Settings::default()).unwrap();
        let network = Network { client, bucket: leader.second.clone(), unknown: Mutex::default() };
        World { dir: tempfile::tempdir().unwrap(), network: Arc::new(network), pauses: Arc::default(), events: Arc::default(), leader }
    }

    pub(crate) fn options(&self) -> Options {
        let events = Arc::clone(&self.events);
        Options {
            bearer: Some(Bearer::new("secret")),
            watch: Arc::new(move |event| events.lock().unwrap().push(event.clone())),
            pause: self.pauses.clone(),
            http: Some(self.network.clone()),
            ..Options::default()
        }
    }

    pub(crate) fn source(&self) -> Source {
        Source::open(&self.leader.url(), self.dir.path(), self.options()).unwrap()
    }

    /// Names of all files in the cache but the lock.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }

    /// The cache has exactly these segments with the server's bytes: `true` for a final name.
    pub(crate) fn assert_files(&self, frozen: &[bool]) {
        let want: Vec<String> = frozen.iter().enumerate().map(|(number, frozen)| self.leader.name(number, *frozen)).collect();
        assert_eq!(self.names(), want);
        for (number, name) in want.iter().enumerate() {
            assert!(std::fs::read(self.dir.path().join(name)).unwrap() == self.leader.segment(number), "{name} has not the server's bytes");
        }
    }

    pub(crate) fn progress(&self) -> Vec<(u64, u64)> {
        let events = self.events.lock().unwrap();
        events.iter().filter_map(|event| if let Event::Progress { done, total } = event { Some((*done, *total)) } else { None }).collect()
    }
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "burrow.lock");
    names.sort();
    names
}

/// Segment, first and last of the new bytes.
pub(crate) fn new(update: &Update) -> Vec<(u32, u64, u64)> {
    update.new_ranges().map(|(segment, range)| (segment.number, range.start, range.end)).collect()
}
