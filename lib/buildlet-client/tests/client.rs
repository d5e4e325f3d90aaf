//! The client against a worker played byte by byte.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use burrow_buildlet_client::{Body, Client, Error, ExecForm, ExecRequest, ListOptions, Outcome};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the worker does with a request.
enum Do {
    /// Answers and waits for the next one.
    Answer(String),
    /// Answers and closes without having said so.
    AnswerAndClose(String),
    /// Answers and reads nothing more.
    AnswerAndHang(String),
    /// Closes without an answer.
    Close,
    /// Never answers.
    Hang,
    /// Answers, then echoes.
    Echo(String),
}

struct Worker {
    client: Client,
    connections: Arc<AtomicUsize>,
    requests: mpsc::UnboundedReceiver<String>,
    ended: mpsc::UnboundedReceiver<()>,
    _tasks: JoinSet<()>,
}

/// Reads one request whole: head, and a body of known or chunked length.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
            // `/endless` is answered without its body being read.
            let whole = head.contains("want=endless") || if chunked { body.ends_with("0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) };
            if whole {
                buffer.clear();
                return Ok(text);
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

impl Worker {
    /// `act` gets the number of the request and its text.
    async fn start(password: Option<&str>, act: impl Fn(usize, &str) -> Do + Send + Sync + 'static) -> Worker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::tcp(&listener.local_addr().unwrap().to_string(), password);
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, requests) = mpsc::unbounded_channel();
        let (ending, ended) = mpsc::unbounded_channel();
        let (act, counted, number) = (Arc::new(act), connections.clone(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (act, sender, number, ending) = (act.clone(), sender.clone(), number.clone(), ending.clone());
                open.spawn(async move {
                    let mut buffer = Vec::new();
                    while let Ok(text) = request(&mut stream, &mut buffer).await {
                        let todo = act(number.fetch_add(1, Ordering::SeqCst), &text);
                        let _ = sender.send(text);
                        let (Do::Answer(answer) | Do::AnswerAndHang(answer) | Do::AnswerAndClose(answer) | Do::Echo(answer)) = &todo else {
                            match todo {
                                Do::Close => return,
                                _ => std::future::pending().await,
                            }
                        };
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                        match todo {
                            Do::AnswerAndHang(_) => std::future::pending().await,
                            Do::AnswerAndClose(_) => return,
                            Do::Echo(_) => {
                                let (mut read, mut write) = stream.split();
                                let _ = tokio::io::copy(&mut read, &mut write).await;
                                return;
                            }
                            _ => {}
                        }
                    }
                    let _ = ending.send(());
                });
            }
        });
        Worker { client, connections, requests, ended, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const STATUS: &str = "{\"Version\":29,\"Burrow\":{\"protocol\":1,\"instance\":\"i\",\"features\":[\"x\"],\"slots\":2,\"new\":1}}";

#[tokio::test]
async fn quiet_requests_share_one_connection() {
    let worker = Worker::start(None, |_, _| Do::Answer(ok(STATUS))).await;
    for _ in 0..10 {
        assert_eq!(worker.client.status().await.unwrap().burrow.unwrap().slots, 2);
    }
    assert_eq!(worker.connections(), 1);
    worker.client.forget_idle();
    worker.client.clone().status().await.unwrap();
    assert_eq!(worker.connections(), 2);
}

#[tokio::test]
async fn the_password_is_sent_as_basic() {
    let mut worker = Worker::start(Some("secret"), |_, _| Do::Answer(ok("/w"))).await;
    assert_eq!(worker.client.workdir().await.unwrap(), "/w");
    let text = worker.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(text.contains("authorization: basic z29tb3rlonnly3jlda=="), "{text}");
}

#[tokio::test]
async fn a_kept_connection_that_broke_is_replaced_where_that_is_safe() {
    // The second request is read and not answered: whether it was acted on is not known.
    let mut worker = Worker::start(None, |n, _| if n == 1 { Do::Close } else { Do::Answer(ok(STATUS)) }).await;
    worker.client.status().await.unwrap();
    worker.client.status().await.unwrap();
    assert_eq!(worker.connections(), 2);

    worker = Worker::start(None, |n, _| if n == 1 { Do::Close } else { Do::Answer(ok(STATUS)) }).await;
    worker.client.status().await.unwrap();
    let error = worker.client.exec(&ExecForm { cmd: "rm".into(), ..ExecForm::default() }).await.unwrap_err();
    assert!(error.is_transport(), "{error}");
    let mut seen = 0;
    while let Ok(text) = worker.requests.try_recv() {
        seen += usize::from(text.starts_with("POST /exec"));
    }
    assert_eq!(seen, 1, "a command must not be sent twice");

    // A worker that closes after its answer, without a word.
    let worker = Worker::start(None, |_, _| Do::AnswerAndClose(ok(STATUS))).await;
    for _ in 0..20 {
        worker.client.status().await.unwrap();
    }
    assert_eq!(worker.connections(), 20);
}

#[tokio::test]
async fn errors_tell_who_failed() {
    let answers = [
        "HTTP/1.1 409 Conflict\r\nContent-Length: 23\r\n\r\n{\"error\":\"another one\"}".to_owned(),
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\nbad dirs!\n".to_owned(),
        ok("{\"Version\":"),
        "SSH-2.0-OpenSSH\r\n".to_owned(),
    ];
    let worker = Worker::start(None, move |n, _| Do::AnswerAndClose(answers[n].clone())).await;
    match worker.client.status().await.unwrap_err() {
        Error::Refused { status: 409, text } => assert_eq!(text, "another one"),
        other => panic!("{other}"),
    }
    let error = worker.client.status().await.unwrap_err();
    assert_eq!((error.refused_status(), error.to_string().as_str()), (Some(400), "the worker answered 400: bad dirs!"));
    assert!(matches!(worker.client.status().await, Err(Error::Protocol(_))));
    assert!(worker.client.status().await.unwrap_err().is_transport());
    assert!(matches!(worker.client.execution("../x", None).await, Err(Error::Protocol(_))));
    assert!(Client::unix("/nonexistent/sock").status().await.unwrap_err().is_transport());
}

#[tokio::test]
async fn a_silent_worker_costs_no_more_than_the_limit() {
    let worker = Worker::start(None, |n, _| if n == 0 { Do::Answer(ok(STATUS)) } else { Do::Hang }).await;
    worker.client.status().await.unwrap();
    tokio::time::pause();
    let begin = Instant::now();
    assert!(worker.client.status().await.unwrap_err().is_transport());
    assert_eq!(begin.elapsed().as_secs(), 20);
    let begin = Instant::now();
    let wait = Duration::from_secs(60);
    assert!(worker.client.start_execution("a", &ExecRequest::default(), Some(wait)).await.unwrap_err().is_transport());
    assert_eq!(begin.elapsed().as_secs(), 80);
}

fn chunked(body: &str, trailer: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTrailer: Process-State\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n{trailer}\r\n", body.len())
}

#[tokio::test]
async fn a_commands_end_is_in_its_trailer() {
    let answers = [chunked("hi\n", "Process-State: ok\r\n"), chunked("hi\n", "Process-State: exit status 3\r\n"), chunked("hi\n", "")];
    let mut worker = Worker::start(None, move |n, _| Do::Answer(answers[n].clone())).await;
    let form = ExecForm {
        cmd: "bin/go".into(),
        args: vec!["a b".into(), "c&d".into()],
        env: vec!["K=V".into()],
        path: Some(Vec::new()),
        dir: "d".into(),
        system: true,
        debug: false,
    };
    let mut output = worker.client.exec(&form).await.unwrap();
    assert_eq!(output.chunk().await.unwrap().as_deref(), Some(&b"hi\n"[..]));
    assert_eq!(output.chunk().await.unwrap(), None);
    assert_eq!(output.outcome().await.unwrap(), Outcome::Success);
    let text = worker.requests.recv().await.unwrap();
    assert!(text.to_ascii_lowercase().contains("\r\nte: trailers\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\ncmd=bin%2Fgo&mode=sys&dir=d&cmdArg=a+b&cmdArg=c%26d&env=K%3DV&path=%24EMPTY&debug=false"), "{text}");
    assert_eq!(worker.client.exec(&form).await.unwrap().outcome().await.unwrap(), Outcome::Failed("exit status 3".into()));
    assert!(matches!(worker.client.exec(&form).await.unwrap().outcome().await, Err(Error::Protocol(_))));
    assert_eq!(worker.connections(), 1);
}

#[tokio::test]
async fn output_begins_where_it_was_asked_for_and_ends_when_it_is_dropped() {
    let mut worker = Worker::start(None, |n, _| {
        let begins = if n == 0 { 5 } else { 0 };
        Do::Answer(format!("HTTP/1.1 200 OK\r\nX-Output-Offset: {begins}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"))
    })
    .await;
    let mut output = worker.client.output("e", 5, true).await.unwrap();
    assert!(worker.requests.recv().await.unwrap().starts_with("GET /executions/e/output?offset=5&follow=1 HTTP/1.1\r\n"));
    assert_eq!(output.chunk().await.unwrap().as_deref(), Some(&b"abc"[..]));
    drop(output);
    // The worker sees that nobody listens any more.
    worker.ended.recv().await.unwrap();
    assert!(matches!(worker.client.output("e", 5, true).await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_refused_upload_does_not_hang_on_its_body() {
    let mut worker = Worker::start(None, |_, text| {
        if text.contains("want=endless") {
            Do::AnswerAndHang("HTTP/1.1 409 Conflict\r\nContent-Length: 17\r\n\r\n{\"error\":\"stale\"}".into())
        } else {
            Do::Answer(ok("{\"tree\":\"t\"}"))
        }
    })
    .await;
    let endless = Body::stream(futures_util::stream::repeat_with(|| Ok(Bytes::from(vec![0; 64 * 1024]))));
    let error = worker.client.put_tree("src", Some("old"), "endless", false, endless).await.unwrap_err();
    assert_eq!(error.refused_status(), Some(409), "{error}");
    worker.requests.recv().await.unwrap();
    let broken = Body::stream(futures_util::stream::iter([Ok(Bytes::from("x")), Err(io::Error::other("disk"))]));
    assert!(worker.client.put_tree("src", None, "t", false, broken).await.unwrap_err().is_transport());
    let state = worker.client.put_tree("a b", None, "t", true, Bytes::from_static(b"tar").into()).await.unwrap();
    assert_eq!(state.tree.as_deref(), Some("t"));
    let text = loop {
        let text = worker.requests.recv().await.unwrap();
        if text.contains("dir=a+b") {
            break text;
        }
    };
    assert!(text.starts_with("POST /tree?dir=a+b&base=&want=t HTTP/1.1\r\n"), "{text}");
    assert!(text.to_ascii_lowercase().contains("content-encoding: gzip") && text.ends_with("\r\n\r\ntar"), "{text}");
}

#[tokio::test]
async fn what_an_ssh_server_says_first_is_not_lost() {
    let worker = Worker::start(None, |n, _| {
        if n == 0 {
            Do::Echo("HTTP/1.1 101 Switching Protocols\r\nUpgrade: ssh\r\nConnection: Upgrade\r\n\r\nSSH-2.0-x\r\n".into())
        } else {
            Do::Answer("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 8\r\n\r\nno sshd\n".into())
        }
    })
    .await;
    let mut stream = worker.client.connect_ssh("root", "ssh-ed25519 AAAA").await.unwrap();
    let mut banner = [0; 11];
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-2.0-x\r\n");
    stream.write_all(b"echo").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"echo");
    match worker.client.connect_ssh("root", "ssh-ed25519 AAAA").await {
        Err(Error::Refused { status: 502, text }) => assert_eq!(text, "no sshd"),
        other => panic!("{:?}", other.map(drop)),
    }
    assert!(matches!(worker.client.connect_ssh("a\nb", "k").await, Err(Error::Protocol(_))));
}

#[tokio::test]
async fn a_listing_is_read_however_it_is_cut() {
    let lines = "drwxr-xr-x\tsrc/\n-rw-r--r--\tsrc/go.mod\t21\t2024-05-01T10:00:00Z\n";
    let cut: String = lines.as_bytes().chunks(7).map(|c| format!("{:x}\r\n{}\r\n", c.len(), String::from_utf8_lossy(c))).collect();
    let mut worker = Worker::start(None, move |_, _| Do::Answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{cut}0\r\n\r\n"))).await;
    let mut names = Vec::new();
    let options = ListOptions { recursive: true, digest: false, skip: vec!["a&b".into()] };
    worker.client.ls("src", &options, |line| names.push(line.name)).await.unwrap();
    assert_eq!(names.len(), 2);
    assert!(worker.requests.recv().await.unwrap().starts_with("GET /ls?dir=src&recursive=true&digest=false&skip=a%26b HTTP/1.1\r\n"));
}
