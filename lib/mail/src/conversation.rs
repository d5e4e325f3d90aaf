//! One connection: bytes to lines to the session, and what the session wants.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::line::Lines;
use crate::session::{Session, Step, Want};
use crate::{Refusal, Server, Taken, letter};

/// Bytes to read at a time: few while a client is likely to be silent, since it may be silent for long.
const SMALL: usize = 512;
const LARGE: usize = 16 << 10;

/// Why the talk stopped.
enum End {
    Closed,
    Handshake,
}

struct Conversation<'a> {
    server: &'a Server,
    session: Session,
    lines: Lines,
    out: String,
    /// Memory for a header block.
    memory: Option<OwnedSemaphorePermit>,
    /// When the whole connection ends.
    end: Instant,
    /// When the mail ends that is on its way.
    mail_end: Option<Instant>,
}

impl Server {
    /// Talks over any stream until it ends. [`Server::run`] does this for every connection.
    pub async fn converse<S>(&self, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        self.counters.opened();
        let limits = &self.config.limits;
        let mut conversation = Conversation {
            server: self,
            session: Session::new(Arc::clone(&self.config), self.tls.is_some()),
            lines: Lines::default(),
            out: String::new(),
            memory: None,
            end: Instant::now() + limits.connection,
            mail_end: None,
        };
        conversation.session.greeting(&mut conversation.out);
        let whole = async {
            match (conversation.talk(&mut stream).await, &self.tls) {
                (End::Handshake, Some(tls)) => match tokio::time::timeout(limits.command, tls.accept(stream)).await {
                    Ok(Ok(mut stream)) => {
                        conversation.session.secured();
                        conversation.talk(&mut stream).await;
                        // Tells the client that nobody cut the connection.
                        let _ = tokio::time::timeout(limits.command, stream.shutdown()).await;
                    }
                    _ => self.refuse(Refusal::Handshake),
                },
                _ => {
                    let _ = tokio::time::timeout(limits.command, stream.shutdown()).await;
                }
            }
        };
        tokio::select! {
            () = whole => {}
            () = self.kill.cancelled() => {}
        }
        self.counters.closed();
    }
}

impl Conversation<'_> {
    async fn talk<S>(&mut self, stream: &mut S) -> End
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        loop {
            // Answers to what came together go out together, before more is waited for.
            if !self.out.is_empty() && !self.write(stream).await {
                return End::Closed;
            }
            if !self.read(stream).await {
                let _ = self.write(stream).await;
                return End::Closed;
            }
            loop {
                let range = match self.lines.next(self.server.config.limits.line) {
                    Ok(Some(range)) => range,
                    Ok(None) => break,
                    Err(why) => {
                        self.close(why);
                        let _ = self.write(stream).await;
                        return End::Closed;
                    }
                };
                let said = self.out.len();
                let step = self.session.line(self.lines.get(range), &mut self.out);
                match self.fulfil(step).await {
                    None => {}
                    Some(End::Closed) => {
                        let _ = self.write(stream).await;
                        return End::Closed;
                    }
                    Some(End::Handshake) => {
                        // What came behind it was not sent under the protection that is about to begin.
                        if !self.lines.is_empty() {
                            self.out.truncate(said);
                            self.close(Refusal::Injected);
                            let _ = self.write(stream).await;
                            return End::Closed;
                        }
                        return if self.write(stream).await { End::Handshake } else { End::Closed };
                    }
                }
            }
        }
    }

    /// Does what the session wants; `Some`: the talk is over.
    async fn fulfil(&mut self, mut step: Step) -> Option<End> {
        loop {
            if let Some(why) = step.refused {
                self.server.refuse(why);
            }
            step = match step.want {
                Want::Line => {
                    if !self.session.is_in_mail() {
                        self.mail_end = None;
                    }
                    if !self.session.holds_header() {
                        self.memory = None;
                    }
                    return None;
                }
                Want::Room => {
                    let kib = u32::try_from(self.server.config.limits.header.div_ceil(1 << 10)).unwrap_or(u32::MAX);
                    self.memory = Arc::clone(&self.server.memory).try_acquire_many_owned(kib).ok();
                    self.mail_end = Some(Instant::now() + self.server.config.limits.data);
                    self.session.room(self.memory.is_some(), &mut self.out)
                }
                Want::Judgement { header, sender } => {
                    let judgement = self.judge(header, &sender).await;
                    self.session.judged(judgement);
                    self.memory = None;
                    return None;
                }
                Want::Storing(mail) => {
                    let change = mail.url.clone();
                    let taken = self.server.sink.take(mail).await;
                    match &taken {
                        Taken::Durably => self.server.counters.accept(self.server.clock.now_ms()),
                        Taken::NotNow(why) => tracing::warn!("a mail of {change} could not be stored, and its sender keeps it: {why}"),
                    }
                    self.session.stored(&taken, &mut self.out)
                }
                Want::Handshake => return Some(End::Handshake),
                Want::Close => return Some(End::Closed),
            };
        }
    }

    async fn judge(&self, header: Vec<u8>, sender: &str) -> Result<crate::signature::Body, Refusal> {
        let now = u64::try_from(self.server.clock.now_ms() / 1_000).unwrap_or(0);
        let candidate = letter::examine(header, sender, &self.server.config, now)?;
        let key = self.server.keys.get(&candidate.key).await?;
        self.server.checker.header(candidate, &key).await
    }

    fn close(&mut self, why: Refusal) {
        self.server.refuse(why);
        self.out.push_str(why.reply());
        self.out.push_str("\r\n");
    }

    /// Whether everything was written in time.
    async fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> bool {
        let written = tokio::time::timeout(self.server.config.limits.command, async {
            stream.write_all(self.out.as_bytes()).await?;
            stream.flush().await
        });
        let sent = matches!(written.await, Ok(Ok(())));
        self.out.clear();
        sent
    }

    /// Whether there is more to read; if not, what to say about it is in `out`.
    async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> bool {
        self.lines.make_room(if self.session.is_in_mail() { LARGE } else { SMALL });
        let silence = Instant::now() + self.server.config.limits.command;
        let until = [Some(silence), Some(self.end), self.mail_end].into_iter().flatten().min().unwrap_or(silence);
        let between_mails = !self.session.is_in_mail();
        // Who never stops sending has no more time than who waits.
        if until <= Instant::now() {
            return self.late(until);
        }
        let read = tokio::select! {
            // What has arrived is heard before the shutdown is.
            biased;
            read = stream.read_buf(self.lines.buffer()) => read,
            () = tokio::time::sleep_until(until) => {
                return self.late(until);
            }
            () = self.server.shutdown.cancelled(), if between_mails => {
                self.out.push_str("421 4.3.2 The server stops; try again later\r\n");
                return false;
            }
        };
        matches!(read, Ok(n) if n > 0)
    }

    /// The time is up; there is no more to read.
    fn late(&mut self, until: Instant) -> bool {
        let slow = self.mail_end.is_some_and(|end| end <= until);
        self.close(if slow { Refusal::SlowData } else { Refusal::Timeout });
        false
    }
}
