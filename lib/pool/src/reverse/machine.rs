//! The life of one connected machine: watched until it is lost.

use std::sync::Arc;
use std::time::Duration;

use burrow_buildlet_client::Client;
use burrow_revdial::Dialer;
use tokio::time::timeout;

use super::Shared;
use super::link::Link;
use crate::PoolEvent;
use crate::heartbeat::{Noticed, Probe, Watch};

/// Says once more whether an entry with this serial is there, and changes how it is shown.
fn show(shared: &Shared, id: &str, serial: u64, unreachable: Option<String>) -> bool {
    let mut state = shared.lock();
    let Some(entry) = state.machines.get_mut(id).filter(|e| e.serial == serial) else {
        return false;
    };
    if entry.unreachable.is_some() == unreachable.is_some() {
        entry.unreachable = unreachable;
        return true;
    }
    let (id, instance) = (id.to_owned(), entry.instance.clone());
    // Told under the lock, so that it never comes after the loss.
    shared.tell(match unreachable.clone() {
        Some(reason) => PoolEvent::Unreachable { id, instance, reason },
        None => PoolEvent::Reachable { id, instance },
    });
    entry.unreachable = unreachable;
    true
}

/// Watches one machine until it is lost. `instance` is that of a modern machine, which may come back; a classic one is lost with its connection.
#[allow(clippy::too_many_arguments, reason = "one call; a struct of the same fields would say nothing more")]
pub(super) async fn live(
    shared: Arc<Shared>,
    id: String,
    serial: u64,
    instance: Option<String>,
    link: Arc<Link>,
    client: Client,
    mut dialer: Dialer,
    probe: Probe,
) {
    let timing = shared.config.timing;
    let grace = if instance.is_some() { timing.grace } else { Duration::ZERO };
    let mut watch = Watch::new(probe, instance, timing);
    let reason = loop {
        tokio::select! {
            () = link.closed() => return,
            reason = dialer.closed() => {
                let reason = format!("its control connection ended: {reason}");
                if grace.is_zero() {
                    break reason;
                }
                link.broken(&dialer);
                if link.dialer().is_none_or(|d| d.is(&dialer)) && !show(&shared, &id, serial, Some(reason.clone())) {
                    return;
                }
                match timeout(grace, link.other_than(&dialer)).await {
                    Ok(Some(new)) => dialer = new,
                    Ok(None) => return,
                    Err(_) => break format!("{reason}, and it did not come back within {:.0} s", grace.as_secs_f64()),
                }
                client.forget_idle();
                watch.reconnected();
                if !show(&shared, &id, serial, None) {
                    return;
                }
            }
            noticed = watch.next() => match noticed {
                Noticed::Silent(reason) => break reason,
                Noticed::Restarted => break "another worker process answers in its place".to_owned(),
                Noticed::Late(reason) => if !show(&shared, &id, serial, Some(reason)) {
                    return;
                },
                Noticed::Back => if !show(&shared, &id, serial, None) {
                    return;
                },
            },
        }
    };
    let mut state = shared.lock();
    shared.lose(&mut state, &id, serial, &reason);
}
