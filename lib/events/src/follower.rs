//! Events of a pubsubhelper elsewhere: ours, or the reference's.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use burrow_http_client::{Client, Request};
use futures_util::stream::{self, BoxStream};
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{After, Event, Feed, Item, Topics, json, time};

/// Longest time that an answer may take: the server holds questions for 30 s.
const LIMIT: Duration = Duration::from_secs(90);
/// Largest answer: a hundred of the largest events never come, but some large ones may.
const MAX: usize = 16 << 20;
/// Events asked for at once.
const BATCH: usize = 100;
/// Pause after a failure; doubled with every further one up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause when the server answers without getting on.
const STANDING: Duration = Duration::from_secs(1);
/// Says that events before these are not kept any more.
pub(crate) const GAP: &str = "burrow-gap";

/// Why there can be no follower.
#[derive(Debug, thiserror::Error)]
#[error("events cannot be followed at {base:?}: {why}")]
pub struct FollowerError {
    /// The address.
    pub base: String,
    /// What is wrong with it.
    pub why: String,
}

/// Follows `/waitevent` of a pubsubhelper. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Follower {
    client: Client,
    base: Arc<str>,
    token: Option<Arc<str>>,
}

impl Follower {
    /// A follower of the pubsubhelper at `base` (`https://events.example.org`). `token` is sent as bearer token.
    ///
    /// # Errors
    /// [`FollowerError`]: it is not an address.
    pub fn new(client: Client, base: &str, token: Option<&str>) -> Result<Follower, FollowerError> {
        let base = base.trim_end_matches('/');
        let wrong = |why: burrow_http_client::Error| FollowerError { base: base.to_owned(), why: why.to_string() };
        let request = Request::get(&format!("{base}/waitevent")).map_err(wrong)?;
        if let Some(token) = token {
            request.secret_header(AUTHORIZATION, &format!("Bearer {token}")).map_err(wrong)?;
        }
        Ok(Follower { client, base: base.into(), token: token.map(Into::into) })
    }

    async fn ask(&self, cursor: &Cursor, topics: &Topics) -> Result<Answered, String> {
        let mut query = match cursor {
            // Answered at once with where the log stands, by a server that knows `max`; by the reference with its next event.
            Cursor::Now => "max=0".to_owned(),
            Cursor::Oldest => format!("max={BATCH}&after_id=0&after=0001-01-01T00:00:00Z"),
            Cursor::At { id, time } => {
                let id = id.map(|id| format!("&after_id={id}")).unwrap_or_default();
                let time = time.map(|time| format!("&after={}", time::format(time))).unwrap_or_default();
                format!("max={BATCH}{id}{time}")
            }
        };
        for pattern in topics.patterns() {
            query.push_str("&topic=");
            query.extend(utf8_percent_encode(pattern, NON_ALPHANUMERIC));
        }
        let text = |error: burrow_http_client::Error| error.to_string();
        let mut request = Request::get(&format!("{}/waitevent?{query}", self.base)).map_err(text)?.head_limit(LIMIT);
        if let Some(token) = &self.token {
            request = request.secret_header(AUTHORIZATION, &format!("Bearer {token}")).map_err(text)?;
        }
        let response = self.client.send(request).await.map_err(text)?;
        let status = response.status();
        if status.as_u16() != 200 {
            let said = response.beginning(300).await;
            return Err(format!("{} answers {status}: {}", self.base, String::from_utf8_lossy(&said).trim()));
        }
        let gap = response.headers().contains_key(GAP);
        let body = response.bytes(MAX).await.map_err(text)?;
        let answers = json::parse_many(&body).map_err(|error| format!("{}: {error}", self.base))?;
        Ok(Answered { gap, answers })
    }
}

struct Answered {
    gap: bool,
    answers: Vec<json::Answer>,
}

/// Where the next question begins. A time is told besides the number, for a reference pubsubhelper that knows only times.
#[derive(Debug, Clone, Copy)]
enum Cursor {
    Now,
    Oldest,
    At { id: Option<u64>, time: Option<Timestamp> },
}

impl Cursor {
    fn new(after: After) -> Cursor {
        match after {
            After::Now => Cursor::Now,
            After::Oldest => Cursor::Oldest,
            After::Id(id) => Cursor::At { id: Some(id), time: None },
            After::Time(time) => Cursor::At { id: None, time: Some(time) },
        }
    }

    /// Whether an event is behind it already.
    fn has_passed(&self, event: &Event) -> bool {
        match self {
            Cursor::At { id: Some(id), .. } if event.id != 0 => event.id <= *id,
            Cursor::At { time: Some(time), .. } if event.id == 0 => event.time <= *time,
            _ => false,
        }
    }
}

struct Following {
    follower: Follower,
    topics: Topics,
    cursor: Cursor,
    ready: VecDeque<Item>,
    up: bool,
    failures: u32,
    pause: Duration,
}

impl Following {
    async fn next(&mut self) -> Item {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return item;
            }
            if !self.pause.is_zero() {
                tokio::time::sleep(std::mem::take(&mut self.pause)).await;
            }
            let asked = tokio::time::Instant::now();
            match self.follower.ask(&self.cursor, &self.topics).await {
                Ok(answered) => self.take(answered, asked.elapsed() < STANDING),
                Err(why) => {
                    let doubled = PAUSE.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
                    self.failures = self.failures.saturating_add(1);
                    self.pause = doubled.min(LONGEST_PAUSE);
                    self.up = false;
                    return Item::Down(why);
                }
            }
        }
    }

    /// Takes what was answered; `soon` when it took hardly any time.
    fn take(&mut self, answered: Answered, soon: bool) {
        self.failures = 0;
        if !std::mem::replace(&mut self.up, true) {
            self.ready.push_back(Item::Up);
        }
        // A server without numbers cannot go on after one.
        let numbers_lost = matches!(self.cursor, Cursor::At { id: Some(_), time: None }) && answered.answers.iter().all(|answer| answer.event.id == 0);
        let mut gap = answered.gap || numbers_lost;
        let mut moved = false;
        for json::Answer { event, timeout, .. } in answered.answers {
            // After a gap the numbers may be those of another log.
            if !timeout && !gap && self.cursor.has_passed(&event) {
                continue;
            }
            let begun = matches!(self.cursor, Cursor::At { .. });
            self.cursor = Cursor::At { id: Some(event.id).filter(|id| *id != 0), time: Some(event.time) };
            moved |= !timeout || !begun;
            if std::mem::take(&mut gap) {
                self.ready.push_back(Item::Gap);
            }
            // The server chose by the first choice of topics; the others are ours.
            if !timeout && self.topics.matches(&event.topics) {
                self.ready.push_back(Item::Event(Arc::new(event)));
            }
        }
        if !moved && soon {
            self.pause = STANDING;
        }
    }
}

impl Feed for Follower {
    fn follow(&self, after: After, topics: Topics) -> BoxStream<'static, Item> {
        let following =
            Following { follower: self.clone(), topics, cursor: Cursor::new(after), ready: VecDeque::new(), up: false, failures: 0, pause: Duration::ZERO };
        Box::pin(stream::unfold(following, |mut following| async move { Some((following.next().await, following)) }))
    }

    fn place(&self) -> String {
        self.base.to_string()
    }
}
