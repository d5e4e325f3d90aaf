//! A machine played by the test: registers with revdial and answers `/status` and `/halt`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use burrow_revdial::{BoxStream, Coordinator, Enrolled, RegisterError, Registration, Trust, register};
use protocol_revdial::RequestHead;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// What a machine does; shared with the test while it runs.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// It answers nothing any more, as after SIGSTOP.
    pub(crate) frozen: AtomicBool,
    /// `POST /halt` requests seen.
    pub(crate) halted: AtomicUsize,
}

/// A machine that is registered. Dropping it kills it: all its connections end.
pub(crate) struct Machine {
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) session: Option<String>,
    control: tokio::task::JoinHandle<()>,
    _connections: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.control.abort();
    }
}

impl Machine {
    /// Only the control connection ends; connections picked up before live on.
    pub(crate) fn cut_control(&self) {
        self.control.abort();
    }
}

pub(crate) fn classic(host_type: &str, hostname: &str, key: &str) -> Registration {
    Registration { host_type: host_type.into(), hostname: hostname.into(), version: "29".into(), key: Some(key.into()), enrolled: None }
}

pub(crate) fn modern(host_type: &str, machine: &str, secret: &str, instance: &str) -> Registration {
    Registration {
        host_type: host_type.into(),
        hostname: "mars".into(),
        version: "29".into(),
        key: None,
        enrolled: Some(Enrolled { instance: instance.into(), machine: Some(machine.into()), secret: Some(secret.into()) }),
    }
}

pub(crate) async fn join(address: &str, pin: [u8; 32], registration: &Registration, version: u32) -> Result<Machine, RegisterError> {
    let coordinator = Coordinator::new(address, &Trust::Pin(pin)).unwrap();
    let mut listener = register(Arc::new(coordinator), registration).await?;
    let behaviour = Arc::new(Behaviour::default());
    let session = listener.session().map(str::to_owned);
    let status = match &registration.enrolled {
        Some(enrolled) => format!("{{\"Version\":{version},\"Burrow\":{{\"protocol\":1,\"instance\":\"{}\",\"features\":[],\"slots\":2}}}}", enrolled.instance),
        None => format!("{{\"Version\":{version}}}"),
    };
    let connections = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
    let (kept, seen) = (connections.clone(), behaviour.clone());
    let control = tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            let (status, seen) = (status.clone(), seen.clone());
            kept.lock().await.spawn(answer(stream, status, seen));
        }
    });
    Ok(Machine { behaviour, session, control, _connections: connections })
}

async fn answer(mut stream: BoxStream, status: String, behaviour: Arc<Behaviour>) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            match RequestHead::parse(&buffer) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(_) => return,
            }
            if !matches!(stream.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
        };
        buffer.drain(..head.len);
        if behaviour.frozen.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let body = match (head.method.as_str(), head.path()) {
            ("GET", "/status") => status.as_str(),
            ("POST", "/halt") => {
                behaviour.halted.fetch_add(1, Ordering::SeqCst);
                ""
            }
            _ => "?",
        };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
