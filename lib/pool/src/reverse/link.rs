//! The way to a machine that survives its control connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use burrow_buildlet_client::Dial;
use burrow_revdial::{BoxStream, DialError, Dialer};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

/// Limit for one pick-up.
const DIAL_LIMIT: Duration = Duration::from_secs(20);

/// Which control connection leads to a machine at the moment.
#[derive(Debug)]
pub(crate) struct Link {
    current: watch::Sender<Way>,
}

#[derive(Clone, Debug)]
enum Way {
    Open(Dialer),
    /// It broke; the machine may come back.
    Broken,
    Closed(Arc<str>),
}

impl Link {
    pub(crate) fn new(dialer: Dialer) -> Arc<Link> {
        Arc::new(Link { current: watch::channel(Way::Open(dialer)).0 })
    }

    /// The control connection, unless it is broken or closed.
    pub(crate) fn dialer(&self) -> Option<Dialer> {
        match &*self.current.borrow() {
            Way::Open(dialer) if dialer.closed_reason().is_none() => Some(dialer.clone()),
            _ => None,
        }
    }

    /// The machine came back: everybody who waits goes on over this connection. The old one, if it still is there, is closed.
    pub(crate) fn replace(&self, dialer: Dialer) {
        if let Way::Open(old) = self.current.send_replace(Way::Open(dialer)) {
            old.close();
        }
    }

    /// The machine is lost: everything waiting fails, and the connection is closed.
    pub(crate) fn close(&self, reason: &str) {
        if let Way::Open(old) = self.current.send_replace(Way::Closed(reason.into())) {
            old.close();
        }
    }

    /// Notes that this control connection broke, unless another has taken its place.
    pub(crate) fn broken(&self, dialer: &Dialer) {
        self.current.send_if_modified(|way| {
            let same = matches!(way, Way::Open(current) if current.is(dialer));
            if same {
                *way = Way::Broken;
            }
            same
        });
    }

    /// Waits until there is a control connection other than `than`, or the link was closed.
    pub(crate) async fn other_than(&self, than: &Dialer) -> Option<Dialer> {
        let mut current = self.current.subscribe();
        let way = current
            .wait_for(|way| match way {
                Way::Open(dialer) => !dialer.is(than),
                Way::Broken => false,
                Way::Closed(_) => true,
            })
            .await;
        match way.as_deref() {
            Ok(Way::Open(dialer)) => Some(dialer.clone()),
            _ => None,
        }
    }

    /// Waits until the machine is lost.
    pub(crate) async fn closed(&self) {
        let mut current = self.current.subscribe();
        let _ = current.wait_for(|way| matches!(way, Way::Closed(_))).await;
    }

    fn not_connected(&self) -> io::Error {
        let reason = match &*self.current.borrow() {
            Way::Closed(reason) => reason.to_string(),
            _ => "the machine is not connected".into(),
        };
        io::Error::new(io::ErrorKind::NotConnected, reason)
    }
}

impl Dial for Link {
    fn dial(&self) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let mut current = self.current.subscribe();
            loop {
                let way = current.borrow_and_update().clone();
                match way {
                    Way::Open(dialer) => match dialer.dial(DIAL_LIMIT).await {
                        // Wait for the next connection of the machine, or for its loss; the caller has the limit.
                        Err(DialError::Closed(_)) => match self.other_than(&dialer).await {
                            Some(_) => continue,
                            None => return Err(self.not_connected()),
                        },
                        result => return result.map_err(io::Error::from),
                    },
                    Way::Broken => {
                        if current.changed().await.is_err() {
                            return Err(self.not_connected());
                        }
                    }
                    Way::Closed(_) => return Err(self.not_connected()),
                }
            }
        })
    }
}
