//! A server with the reference's `/logs` (`spec/maintner.md` §5.1), and a second one where frozen segments may be. Both do what a test tells them to.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::{Response, StatusCode};
use futures_util::stream::{self, StreamExt};
use protocol_mutlog::{Index, Segment, SegmentName, Sha224, append_record};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// What goes wrong with one answer.
pub(crate) enum Fault {
    /// Another status, and nothing else.
    Status(u16),
    /// The connection breaks after so many bytes of the body.
    Cut(usize),
    /// The whole segment instead of the part, with 200.
    Whole,
    /// The same, and nobody says how long it is.
    WholeUnmeasured,
    /// The whole segment with 206, and nobody says that it is the whole.
    WholeWith206,
    /// The part that was asked for, in a body that never ends.
    Endless,
    /// The part that was asked for, with 200 and without saying which part it is.
    PartWith200,
    /// A byte of the answer is another one.
    Flip(usize),
    /// The body ends early, in good order.
    Short(usize),
    /// The body is sent byte by byte: one for each that the test sends.
    Slow(mpsc::UnboundedReceiver<()>),
    /// The answer waits until so many are asked for at once.
    Together(Arc<tokio::sync::Barrier>),
}

/// How frozen segments are listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    /// As Burrow does: here, and the index says that they are frozen.
    Said,
    /// As a server would that serves them itself and knows nothing of that key.
    Unsaid,
    /// As the reference does: in a bucket.
    Bucket,
}

pub(crate) struct Book {
    pub(crate) segments: Vec<Vec<u8>>,
    pub(crate) listing: Listing,
    /// `/logs/N` of a frozen segment leads to the second host.
    pub(crate) redirect: bool,
    /// Questions for the index are answered with these, whatever is asked; `None`: with 304.
    pub(crate) indexes: VecDeque<Option<Result<String, u16>>>,
    /// What goes wrong with the next answers for a segment.
    pub(crate) faults: HashMap<u32, VecDeque<Fault>>,
    /// Everything that was asked: method and target, range, credentials.
    pub(crate) asked: Vec<String>,
    /// Downloads that are being answered now, and the most there were.
    pub(crate) active: (usize, usize),
}

#[derive(Clone)]
pub(crate) struct Leader {
    book: Arc<Mutex<Book>>,
    changed: watch::Sender<u64>,
    pub(crate) address: String,
    pub(crate) second: String,
}

impl Leader {
    pub(crate) async fn start() -> Leader {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let leader = Leader {
            book: Arc::new(Mutex::new(Book {
                segments: Vec::new(),
                listing: Listing::Said,
                redirect: false,
                indexes: VecDeque::new(),
                faults: HashMap::new(),
                asked: Vec::new(),
                active: (0, 0),
            })),
            changed: watch::channel(0).0,
            address: first.local_addr().unwrap().to_string(),
            second: second.local_addr().unwrap().to_string(),
        };
        for listener in [first, second] {
            let app = Router::new().fallback(answer).with_state(leader.clone());
            tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        }
        leader
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/logs", self.address)
    }

    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.lock().unwrap();
        let total = |book: &Book| book.segments.iter().map(|segment| segment.len() as u64).sum::<u64>();
        let before = total(&book);
        let result = change(&mut book);
        if total(&book) != before {
            self.changed.send_modify(|count| *count += 1);
        }
        result
    }

    /// Appends records to the last segment.
    pub(crate) fn append(&self, payloads: &[&[u8]]) {
        self.with(|book| {
            if book.segments.is_empty() {
                book.segments.push(Vec::new());
            }
            let last = book.segments.last_mut().unwrap();
            for payload in payloads {
                let offset = last.len() as u64;
                append_record(last, offset, payload);
            }
        });
    }

    /// Freezes the last segment and begins another one.
    pub(crate) fn turn(&self, payloads: &[&[u8]]) {
        self.with(|book| {
            let mut segment = Vec::new();
            for payload in payloads {
                let offset = segment.len() as u64;
                append_record(&mut segment, offset, payload);
            }
            book.segments.push(segment);
        });
    }

    pub(crate) fn fault(&self, segment: u32, fault: Fault) {
        self.with(|book| book.faults.entry(segment).or_default().push_back(fault));
    }

    pub(crate) fn total(&self) -> u64 {
        self.with(|book| book.segments.iter().map(|segment| segment.len() as u64).sum())
    }

    pub(crate) fn segment(&self, number: usize) -> Vec<u8> {
        self.with(|book| book.segments[number].clone())
    }

    /// What was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.with(|book| std::mem::take(&mut book.asked))
    }

    /// Name of a segment's file in a follower's cache.
    pub(crate) fn name(&self, number: usize, frozen: bool) -> String {
        let sha224 = frozen.then(|| Sha224::of(&self.segment(number)));
        SegmentName { number: number as u32, sha224 }.to_string()
    }

    pub(crate) fn index(&self) -> Index {
        self.with(|book| {
            let count = book.segments.len();
            let segment = |(number, bytes): (usize, &Vec<u8>)| {
                let (number, frozen) = (number as u32, number + 1 < count);
                let sha224 = Sha224::of(bytes);
                let url = if frozen && book.listing == Listing::Bucket {
                    format!("https://storage.googleapis.com/bucket/{}", SegmentName { number, sha224: Some(sha224) })
                } else {
                    format!("/logs/{number}")
                };
                Segment { number, size: bytes.len() as u64, sha224, url, frozen: (frozen && book.listing == Listing::Said).then_some(true) }
            };
            Index { segments: book.segments.iter().enumerate().map(segment).collect() }
        })
    }

    async fn list(&self, query: &str) -> Response<Body> {
        if let Some(said) = self.with(|book| book.indexes.pop_front()) {
            return match said {
                None => status(304),
                Some(Ok(text)) => Response::new(Body::from(text)),
                Some(Err(code)) => status(code),
            };
        }
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            let index = self.index();
            if query != format!("waitsizenot={}", index.total()) {
                return Response::builder().header("X-Sum-Segment-Size", index.total()).body(Body::from(index.encode())).unwrap();
            }
            changes.changed().await.unwrap();
        }
    }

    async fn bytes(&self, number: u32, range: Option<(usize, usize)>, redirect: bool) -> Response<Body> {
        let (fault, bytes, location) = self.with(|book| {
            let frozen = (number as usize) + 1 < book.segments.len();
            let location = (frozen && redirect && book.redirect).then(|| format!("http://{}/bucket/{number:04}.x.mutlog", self.second));
            let fault = if location.is_some() { None } else { book.faults.get_mut(&number).and_then(VecDeque::pop_front) };
            (fault, book.segments.get(number as usize).cloned(), location)
        });
        if let Some(location) = location {
            return Response::builder().status(302).header(LOCATION, location).body(Body::empty()).unwrap();
        }
        let Some(bytes) = bytes else { return status(400) };
        let (first, last) = range.unwrap_or((0, bytes.len().saturating_sub(1)));
        if first >= bytes.len() {
            return status(416);
        }
        let last = last.min(bytes.len() - 1);
        let part = bytes[first..=last].to_vec();
        let partial = |part: Vec<u8>| {
            let range = format!("bytes {first}-{last}/{}", bytes.len());
            Response::builder().status(206).header(CONTENT_RANGE, range).header(CONTENT_LENGTH, part.len()).body(Body::from(part)).unwrap()
        };
        match fault {
            None => partial(part),
            Some(Fault::Status(code)) => status(code),
            Some(Fault::Cut(after)) => {
                // A body that has nothing ready lets the server send what it has.
                let sent = stream::iter([Ok(Bytes::copy_from_slice(&part[..after]))]);
                let cut = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(io::Error::other("cut"))
                });
                let pieces = sent.chain(cut);
                Response::builder().status(206).header(CONTENT_LENGTH, part.len()).body(Body::from_stream(pieces)).unwrap()
            }
            Some(Fault::Whole) => Response::new(Body::from(bytes)),
            Some(Fault::WholeUnmeasured) => Response::new(Body::from_stream(stream::iter([Ok::<_, io::Error>(Bytes::from(bytes))]))),
            Some(Fault::WholeWith206) => Response::builder().status(206).header(CONTENT_LENGTH, bytes.len()).body(Body::from(bytes)).unwrap(),
            Some(Fault::Endless) => {
                let pieces = stream::iter([Ok::<_, io::Error>(Bytes::from(part))]).chain(stream::pending());
                Response::builder().status(206).body(Body::from_stream(pieces)).unwrap()
            }
            Some(Fault::PartWith200) => Response::new(Body::from(part)),
            Some(Fault::Flip(at)) => {
                let mut part = part;
                part[at] ^= 1;
                partial(part)
            }
            Some(Fault::Short(to)) => Response::builder().status(206).body(Body::from(part[..to].to_vec())).unwrap(),
            Some(Fault::Slow(ticks)) => {
                let pieces = stream::unfold((part.into_iter(), ticks), |(mut bytes, mut ticks)| async move {
                    ticks.recv().await?;
                    let byte = bytes.next()?;
                    Some((Ok::<_, io::Error>(Bytes::from(vec![byte])), (bytes, ticks)))
                });
                Response::builder().status(206).header(CONTENT_LENGTH, last - first + 1).body(Body::from_stream(pieces)).unwrap()
            }
            Some(Fault::Together(barrier)) => {
                self.with(|book| {
                    book.active.0 += 1;
                    book.active.1 = book.active.1.max(book.active.0);
                });
                barrier.wait().await;
                self.with(|book| book.active.0 -= 1);
                partial(part)
            }
        }
    }
}

async fn answer(State(leader): State<Leader>, request: Request) -> Response<Body> {
    // The body of the request must not live across a pause.
    let (head, _) = request.into_parts();
    let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let range = header(RANGE);
    let line = [Some(head.uri.to_string()), range.clone(), header(AUTHORIZATION)].into_iter().flatten().collect::<Vec<_>>().join(" ");
    leader.with(|book| book.asked.push(line));
    let range = range.map(|text| {
        let (first, last) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')).unwrap();
        (first.parse().unwrap(), last.parse().unwrap())
    });
    let path = head.uri.path();
    if path == "/logs" {
        return leader.list(head.uri.query().unwrap_or_default()).await;
    }
    if let Some(number) = path.strip_prefix("/logs/").and_then(|number| number.parse().ok()) {
        return leader.bytes(number, range, true).await;
    }
    match path.strip_prefix("/bucket/").and_then(|name| name.get(..4)).and_then(|number| number.parse().ok()) {
        Some(number) => leader.bytes(number, range, false).await,
        None => status(404),
    }
}

fn status(code: u16) -> Response<Body> {
    let body = if code == 304 { Body::empty() } else { Body::from("as the test wants it\n") };
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(body).unwrap()
}
