//! Both ends over real TLS sockets; the slow cases over pipes with a paused clock.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use burrow_revdial::{
    BoxStream, Connect, Coordinator, DialError, Dialer, Dialers, Prefixed, RegisterError, Registration, Trust, accept, certificate_fingerprint, register,
    server_config,
};
use protocol_revdial::{MAX_LINE_READ, Refusal, RequestHead, SWITCHING_CLASSIC, switching_with_session};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How the test's coordinator answers a registration.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spelling {
    Classic,
    Session,
    Redirected,
    RedirectedAway,
    Refused,
}

struct Farm {
    address: String,
    pin: [u8; 32],
    registered: mpsc::UnboundedReceiver<Dialer>,
    _tasks: JoinSet<()>,
}

async fn head_of(stream: &mut BoxStream) -> io::Result<(RequestHead, Vec<u8>)> {
    let mut buffer = Vec::new();
    loop {
        if let Some(head) = RequestHead::parse(&buffer).map_err(io::Error::other)? {
            let surplus = buffer.split_off(head.len);
            return Ok((head, surplus));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn serve(mut stream: BoxStream, spelling: Spelling, dialers: Dialers, registered: mpsc::UnboundedSender<Dialer>) -> io::Result<()> {
    let (mut head, mut surplus) = head_of(&mut stream).await?;
    if head.path() == "/revdial" {
        match dialers.claim(&head.target) {
            Ok(pickup) => {
                stream.write_all(SWITCHING_CLASSIC).await?;
                stream.flush().await?;
                pickup.deliver(Prefixed::new(surplus, stream).boxed());
            }
            Err(refusal) => stream.write_all(&refusal.answer()).await?,
        }
        return Ok(());
    }
    let redirect = |to: &str| format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 9\r\n\r\nelsewhere");
    let switch = match spelling {
        Spelling::Classic => SWITCHING_CLASSIC.to_vec(),
        Spelling::Session => switching_with_session("s-1").unwrap(),
        Spelling::Redirected => {
            stream.write_all(redirect("/other/reverse").as_bytes()).await?;
            (head, surplus) = head_of(&mut stream).await?;
            assert_eq!(head.target, "/other/reverse");
            assert_eq!(head.header("X-Go-Host-Type"), Some("host-test"));
            SWITCHING_CLASSIC.to_vec()
        }
        Spelling::RedirectedAway => redirect("https://evil.example/reverse").into_bytes(),
        Spelling::Refused => Refusal::InvalidKey.answer(),
    };
    stream.write_all(&switch).await?;
    stream.flush().await?;
    if !matches!(spelling, Spelling::RedirectedAway | Spelling::Refused) {
        let _ = registered.send(Dialer::new(stream, &surplus, "/revdial", &dialers));
    }
    Ok(())
}

impl Farm {
    async fn start(spelling: Spelling) -> Farm {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let config = server_config(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dialers = Dialers::default();
        let (sender, registered) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let known = dialers.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (config, known, sender) = (config.clone(), known.clone(), sender.clone());
                connections.spawn(async move {
                    if let Ok(tls) = accept(config, tcp).await {
                        let _ = serve(Box::new(tls), spelling, known, sender).await;
                    }
                });
            }
        });
        Farm { address, pin: certificate_fingerprint(made.cert.der()), registered, _tasks: tasks }
    }

    fn coordinator(&self) -> Arc<Coordinator> {
        Arc::new(Coordinator::new(&self.address, &Trust::Pin(self.pin)).unwrap())
    }
}

fn registration() -> Registration {
    Registration { host_type: "host-test".into(), hostname: "test".into(), version: "29".into(), key: Some("k".into()), enrolled: None }
}

/// Serves every accepted connection: first its number, then an echo.
fn number_and_echo(mut listener: burrow_revdial::Listener) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        let mut number = 0u64;
        while let Ok(mut stream) = listener.accept().await {
            number += 1;
            connections.spawn(async move {
                if stream.write_all(&number.to_be_bytes()).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
                let mut byte = [0; 64];
                while let Ok(count @ 1..) = stream.read(&mut byte).await {
                    if stream.write_all(&byte[..count]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    tasks
}

async fn number_of(stream: &mut BoxStream) -> u64 {
    let mut number = [0; 8];
    stream.read_exact(&mut number).await.unwrap();
    let token: [u8; 16] = rand::random();
    stream.write_all(&token).await.unwrap();
    stream.flush().await.unwrap();
    let mut back = [0; 16];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, token, "the stream is shared with somebody");
    u64::from_be_bytes(number)
}

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn both_spellings_of_the_101_and_a_redirect_lead_to_a_dial() {
    for (spelling, session) in [(Spelling::Classic, None), (Spelling::Session, Some("s-1")), (Spelling::Redirected, None)] {
        let mut farm = Farm::start(spelling).await;
        let listener = register(farm.coordinator(), &registration()).await.unwrap();
        assert_eq!(listener.session(), session, "{spelling:?}");
        let _machine = number_and_echo(listener);
        let dialer = farm.registered.recv().await.unwrap();
        let mut stream = dialer.dial(LIMIT).await.unwrap();
        assert_eq!(number_of(&mut stream).await, 1);
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_a_redirect_elsewhere_is_not_followed() {
    let farm = Farm::start(Spelling::Refused).await;
    match register(farm.coordinator(), &registration()).await {
        Err(RegisterError::Refused { status: 412, text }) => assert_eq!(text, "invalid build key"),
        other => panic!("{other:?}"),
    }
    let farm = Farm::start(Spelling::RedirectedAway).await;
    assert!(matches!(register(farm.coordinator(), &registration()).await, Err(RegisterError::Redirect(_))));
}

#[tokio::test]
async fn another_certificate_than_the_pinned_one_is_refused() {
    let farm = Farm::start(Spelling::Classic).await;
    let other = Coordinator::new(&farm.address, &Trust::Pin([7; 32])).unwrap();
    assert!(matches!(register(Arc::new(other), &registration()).await, Err(RegisterError::Transport(_))));
    let public = Coordinator::new(&farm.address, &Trust::PublicRoots).unwrap();
    assert!(matches!(register(Arc::new(public), &registration()).await, Err(RegisterError::Transport(_))));
    let any = Coordinator::new(&farm.address, &Trust::Anything).unwrap();
    assert!(register(Arc::new(any), &registration()).await.is_ok());
}

/// `spec/buildlet.md` §13.8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_dials_half_of_them_cancelled_never_share_a_stream() {
    let mut farm = Farm::start(Spelling::Session).await;
    let _machine = number_and_echo(register(farm.coordinator(), &registration()).await.unwrap());
    let dialer = farm.registered.recv().await.unwrap();
    let mut dials = JoinSet::new();
    for _ in 0..1000 {
        let dialer = dialer.clone();
        dials.spawn(async move {
            // Some are given up before anything was sent, some in the middle, some never.
            let patience = match rand::random_range(0..4u32) {
                0 => Duration::ZERO,
                1 => Duration::from_micros(rand::random_range(0..200_000)),
                _ => LIMIT,
            };
            match tokio::time::timeout(patience, dialer.dial(LIMIT)).await {
                Ok(Ok(mut stream)) => Some(number_of(&mut stream).await),
                Ok(Err(error)) => panic!("a dial nobody gave up failed: {error}"),
                Err(_) => None,
            }
        });
    }
    let mut seen = HashSet::new();
    let mut finished = 0;
    while let Some(result) = dials.join_next().await {
        if let Some(number) = result.unwrap() {
            finished += 1;
            assert!(seen.insert(number), "connection {number} was given out twice");
        }
    }
    assert!(finished >= 300, "only {finished} dials came through");
    // None of the streams that came too late was kept for the next dial.
    let mut stream = dialer.dial(LIMIT).await.unwrap();
    assert!(seen.insert(number_of(&mut stream).await));
}

#[tokio::test]
async fn a_pick_up_is_given_out_once_and_only_with_its_nonce() {
    let dialers = Dialers::default();
    let (near, far) = duplex(64 * 1024);
    let dialer = Dialer::new(Box::new(near), b"", "/revdial?a=b", &dialers);
    let mut lines = Lines::new(far);
    assert_eq!(lines.next().await, "{\"command\":\"keep-alive\"}");
    let waiting = tokio::spawn({
        let dialer = dialer.clone();
        async move { dialer.dial(LIMIT).await }
    });
    let path = lines.conn_ready().await;
    assert!(path.starts_with("/revdial?a=b&revdial.dialer="), "{path}");
    let without_nonce = path.split("&n=").next().unwrap();
    for wrong in [without_nonce, "/revdial", "/revdial?revdial.dialer=00000000000000000000000000000000&n=1", &format!("{without_nonce}&n=1")] {
        assert_eq!(dialers.claim(wrong).unwrap_err(), Refusal::UnknownDialer, "{wrong}");
    }
    let pickup = dialers.claim(&path).unwrap();
    assert_eq!(dialers.claim(&path).unwrap_err(), Refusal::UnknownDialer);
    pickup.deliver(Box::new(duplex(1).0));
    waiting.await.unwrap().unwrap();
    // A pick-up that breaks before its 101 fails the dial at once.
    let (broken, ()) = tokio::join!(dialer.dial(LIMIT), async { drop(dialers.claim(&lines.conn_ready().await).unwrap()) });
    assert!(matches!(broken, Err(DialError::PickupFailed(_))));
}

#[tokio::test(start_paused = true)]
async fn failures_reach_the_dial_they_belong_to() {
    let dialers = Dialers::default();
    let (near, far) = duplex(64 * 1024);
    let dialer = Dialer::new(Box::new(near), b"", "/revdial", &dialers);
    let mut lines = Lines::new(far);
    lines.next().await;
    let dial = |limit: u64| {
        let dialer = dialer.clone();
        tokio::spawn(async move { dialer.dial(Duration::from_secs(limit)).await.map(drop) })
    };
    // Named, as Burrow's listeners do.
    let (first, second) = (dial(20), dial(20));
    let (first_path, second_path) = (lines.conn_ready().await, lines.conn_ready().await);
    lines.send(&format!("{{\"command\":\"pickup-failed\",\"connPath\":\"{second_path}\",\"err\":\"no route\"}}\n")).await;
    // Either spawned task may have been announced first; exactly one of them fails now.
    let pickup = dialers.claim(&first_path).unwrap();
    pickup.deliver(Box::new(duplex(1).0));
    let results = [first.await.unwrap(), second.await.unwrap()];
    assert!(results.contains(&Ok(())) && results.contains(&Err(DialError::PickupFailed("no route".into()))), "{results:?}");
    // Nameless, as Go does after a refusal: with two dials outstanding it says nothing of either.
    let (first, second) = (dial(20), dial(20));
    let (first_path, second_path) = (lines.conn_ready().await, lines.conn_ready().await);
    lines.send("{\"command\":\"pickup-failed\",\"err\":\"refused\"}\n").await;
    dialers.claim(&first_path).unwrap().deliver(Box::new(duplex(1).0));
    lines.send("{\"command\":\"pickup-failed\",\"err\":\"refused\"}\n").await;
    let results = [first.await.unwrap(), second.await.unwrap()];
    assert!(results.contains(&Ok(())) && results.contains(&Err(DialError::PickupFailed("refused".into()))), "{results:?}");
    assert!(dialers.claim(&second_path).is_err());
    // No answer at all.
    assert_eq!(dial(20).await.unwrap(), Err(DialError::TimedOut(LIMIT)));
    // The end of the channel ends every dial.
    let last = dial(20);
    lines.conn_ready().await;
    drop(lines);
    assert!(matches!(last.await.unwrap(), Err(DialError::Closed(_))));
    assert!(matches!(dial(20).await.unwrap(), Err(DialError::Closed(_))));
    assert!(dialers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_channel_gets_keep_alives_and_a_stuck_one_is_closed() {
    let dialers = Dialers::default();
    let (near, far) = duplex(64);
    let dialer = Dialer::new(Box::new(near), b"", "/revdial", &dialers);
    let mut lines = Lines::new(far);
    lines.next().await;
    let begin = Instant::now();
    assert_eq!(lines.next().await, "{\"command\":\"keep-alive\"}");
    assert_eq!(begin.elapsed().as_secs(), 30);
    // Nobody reads any more: the pipe fills up, and 10 s later the peer counts as dead.
    let begin = Instant::now();
    let reason = dialer.closed().await;
    assert!(reason.contains("10 s"), "{reason}");
    // Two lines fit into the pipe; the third one waits.
    assert_eq!(begin.elapsed().as_secs(), 30 + 30 + 30 + 10);
}

/// The other end of a dialer in a test.
struct Lines {
    stream: DuplexStream,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(stream: DuplexStream) -> Lines {
        Lines { stream, buffer: Vec::new() }
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line = self.buffer.drain(..=end).collect::<Vec<u8>>();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "closed");
        }
    }

    async fn conn_ready(&mut self) -> String {
        loop {
            match protocol_revdial::Message::decode(self.next().await.as_bytes()).unwrap() {
                protocol_revdial::Message::ConnReady { path } => return path,
                protocol_revdial::Message::KeepAlive => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn send(&mut self, line: &str) {
        self.stream.write_all(line.as_bytes()).await.unwrap();
    }
}

/// Gives out one prepared control connection, then pick-ups that count themselves and never finish.
struct Prepared {
    control: Mutex<Option<DuplexStream>>,
    open: Arc<AtomicUsize>,
    most: AtomicUsize,
    fail: bool,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Connect for Prepared {
    fn connect(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async {
            if let Some(control) = self.control.lock().await.take() {
                return Ok(Box::new(control) as BoxStream);
            }
            if self.fail {
                return Err(io::Error::other("no route ".repeat(1000)));
            }
            let now = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let _counted = Counted(self.open.clone());
            std::future::pending().await
        })
    }
}

/// A registered listener whose control channel the test writes by hand.
async fn by_hand(fail: bool) -> (burrow_revdial::Listener, DuplexStream, Arc<Prepared>) {
    let (near, mut far) = duplex(1 << 20);
    let prepared = Arc::new(Prepared { control: Mutex::new(Some(near)), open: Arc::default(), most: AtomicUsize::new(0), fail });
    let registering = tokio::spawn({
        let prepared = prepared.clone();
        async move { register(prepared, &registration()).await }
    });
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        far.read_buf(&mut request).await.unwrap();
    }
    // The first line in the same piece as the head: it must not be lost.
    far.write_all(b"HTTP/0.0 101 Switching Protocols\r\n\r\n{\"command\":\"keep-a").await.unwrap();
    (registering.await.unwrap().unwrap(), far, prepared)
}

#[tokio::test(start_paused = true)]
async fn a_listener_gives_up_after_three_missed_keep_alives() {
    let (mut listener, mut far, _) = by_hand(false).await;
    far.write_all(b"live\"}\n").await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(89)).await;
        far.write_all(b"{\"command\":\"keep-alive\"}\n").await.unwrap();
    }
    let begin = Instant::now();
    let closed = listener.accept().await.unwrap_err();
    assert!(closed.0.contains("90 s"), "{closed}");
    assert_eq!(begin.elapsed().as_secs(), 90);
    assert_eq!(listener.accept().await.unwrap_err(), closed);
}

/// `spec/buildlet.md` §13.7.
#[tokio::test(start_paused = true)]
async fn bad_lines_close_the_channel_and_odd_ones_do_not() {
    for (bytes, closes) in [
        (b"live\"}\nnot json\n".to_vec(), true),
        (b"live\"}\n[1]\n".to_vec(), true),
        (b"live\"}\n\xff\xfe\n".to_vec(), true),
        ([b"live\"}\n".to_vec(), vec![b'x'; MAX_LINE_READ + 1]].concat(), true),
        (b"live\"}\n{\"command\":\"from the future\",\"x\":{\"y\":[]}}\n{}\n".to_vec(), false),
        (format!("live\"}}\n{{\"command\":\"x\",\"err\":\"{}\"}}\n", "y".repeat(4063)).into_bytes(), false),
    ] {
        let (mut listener, mut far, _) = by_hand(false).await;
        for piece in bytes.chunks(7) {
            if far.write_all(piece).await.is_err() {
                break;
            }
        }
        let begin = Instant::now();
        listener.accept().await.unwrap_err();
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert_eq!(begin.elapsed() < Duration::from_secs(1), closes, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_requests_is_bounded_and_every_failure_fits_gos_line_buffer() {
    let (_listener, far, prepared) = by_hand(false).await;
    let mut flood = b"live\"}\n".to_vec();
    for n in 0..5000 {
        flood.extend(format!("{{\"command\":\"conn-ready\",\"connPath\":\"/revdial?revdial.dialer=00&n={n}\"}}\n").bytes());
    }
    let (mut reader, mut writer) = tokio::io::split(far);
    let writing = tokio::spawn(async move {
        writer.write_all(&flood).await.unwrap();
        writer
    });
    // 5000 less 4096 are refused at once, the others when their time is over; each has its answer.
    let mut answers = Vec::new();
    while answers.iter().filter(|&&b| b == b'\n').count() < 5000 {
        assert_ne!(reader.read_buf(&mut answers).await.unwrap(), 0);
    }
    assert!(prepared.most.load(Ordering::SeqCst) <= 128, "{:?}", prepared.most);
    drop(writing.await.unwrap());

    let (_listener, mut far, _) = by_hand(true).await;
    far.write_all(b"live\"}\n{\"command\":\"conn-ready\",\"connPath\":\"/revdial?n=1\"}\n").await.unwrap();
    let line = Lines::new(far).next().await;
    assert!(line.len() < 4096, "{}", line.len());
    assert!(line.starts_with("{\"command\":\"pickup-failed\",\"connPath\":\"/revdial?n=1\",\"err\":\"no route"), "{line}");
}
