//! A name server for TXT records, over UDP and TCP.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// What a name gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One TXT record; it is cut into strings of at most 255 bytes.
    Text(String),
    /// Over UDP only that the answer is too long for it; over TCP the record.
    TextOverTcp(String),
    /// No such name.
    Missing,
    /// SERVFAIL.
    Failure,
    /// None at all.
    Silence,
}

#[derive(Debug, Default)]
struct State {
    names: HashMap<String, Answer>,
    asked: usize,
}

/// A running name server; it ends when it is dropped.
#[derive(Debug)]
pub struct Names {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Names {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start() -> Names {
        let state: Arc<Mutex<State>> = Arc::default();
        let mut tasks = JoinSet::new();
        // The same port is needed twice; another program may have the second.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            match TcpListener::bind(udp.local_addr().expect("a bound socket has an address")).await {
                Ok(tcp) => break (udp, tcp),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("cannot listen: {error}"),
            }
        };
        let address = udp.local_addr().expect("a bound socket has an address");
        let known = Arc::clone(&state);
        tasks.spawn(burrow_task::boxed(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                if let Some(reply) = answer(&buffer[..length], &known, false) {
                    let _ = udp.send_to(&reply, peer).await;
                }
            }
        }));
        let known = Arc::clone(&state);
        tasks.spawn(burrow_task::boxed(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                burrow_task::spawn(over_tcp(stream, Arc::clone(&known)));
            }
        }));
        Names { address, state, _tasks: tasks }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what `name` (without a dot at its end) gives.
    pub fn set(&self, name: &str, answer: Answer) {
        lock(&self.state).names.insert(name.to_ascii_lowercase(), answer);
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        lock(&self.state).asked
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn over_tcp(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut question = vec![0; usize::from(length)];
        if stream.read_exact(&mut question).await.is_err() {
            return;
        }
        let Some(reply) = answer(&question, &state, true) else { return };
        let length = u16::try_from(reply.len()).expect("an answer fits its frame");
        if stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await.is_err() {
            return;
        }
    }
}

/// Answer to a message with one question (RFC 1035 §4).
fn answer(message: &[u8], state: &Mutex<State>, tcp: bool) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let question = message.get(12..at + 4)?;
    let is_text = question.ends_with(&[0, 16, 0, 1]);
    let mut state = lock(state);
    state.asked += 1;
    let found = state.names.get(&labels.join(".")).cloned().unwrap_or(Answer::Missing);
    drop(state);
    // Flags: an answer, authoritative, recursion desired and available.
    let (flags, code, text) = match found {
        Answer::Silence => return None,
        Answer::Failure => (0x85, 2, None),
        Answer::Missing => (0x85, 3, None),
        Answer::TextOverTcp(_) if !tcp => (0x87, 0, None),
        Answer::Text(text) | Answer::TextOverTcp(text) => (0x85, 0, Some(text).filter(|_| is_text)),
    };
    let mut reply = message.get(..2)?.to_vec();
    reply.extend([flags, 0x80 | code, 0, 1, 0, u8::from(text.is_some()), 0, 0, 0, 0]);
    reply.extend(question);
    if let Some(text) = text {
        let data: Vec<u8> = text.as_bytes().chunks(255).flat_map(|part| [&[part.len() as u8][..], part].concat()).collect();
        // Name: as in the question; TXT, IN, 300 s.
        reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 1, 44]);
        reply.extend(u16::try_from(data.len()).expect("a record fits").to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}
