//! Who may connect: bounds on open connections and on how often one address comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use burrow_clock::SharedClock;

use crate::{Limits, Refusal};

/// Addresses whose connections of the last minute are counted. Others come in uncounted; the bound on open connections holds for them too.
const ADDRESSES: usize = 20_000;
const MINUTE: u64 = 60_000;

/// An address as its owner has it: providers give out IPv6 by the /64.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[derive(Debug, Default)]
struct Inner {
    open: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Start of a minute, in monotonic milliseconds, and the connections in it.
    rate: HashMap<IpAddr, (u64, u32)>,
}

/// Lets connections in.
#[derive(Debug)]
pub(crate) struct Gate {
    inner: Mutex<Inner>,
    clock: SharedClock,
}

/// One open connection; it makes room when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(crate) fn new(clock: SharedClock) -> Arc<Gate> {
        Arc::new(Gate { inner: Mutex::default(), clock })
    }

    /// Lets a connection of `address` in, or says why not.
    pub(crate) fn enter(self: &Arc<Gate>, address: IpAddr, limits: &Limits) -> Result<Ticket, Refusal> {
        let (address, now) = (owner(address), self.clock.monotonic_ms());
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.open >= limits.connections {
            return Err(Refusal::Crowded);
        }
        if inner.by_address.get(&address).is_some_and(|open| *open >= limits.connections_per_address) {
            return Err(Refusal::CrowdedAddress);
        }
        if inner.rate.len() >= ADDRESSES && !inner.rate.contains_key(&address) {
            inner.rate.retain(|_, (start, _)| now.saturating_sub(*start) < MINUTE);
        }
        if inner.rate.len() < ADDRESSES || inner.rate.contains_key(&address) {
            let (start, count) = inner.rate.entry(address).or_insert((now, 0));
            if now.saturating_sub(*start) >= MINUTE {
                (*start, *count) = (now, 0);
            }
            if *count >= limits.connections_per_minute {
                return Err(Refusal::Rate);
            }
            *count += 1;
        }
        inner.open += 1;
        *inner.by_address.entry(address).or_default() += 1;
        Ok(Ticket { gate: Arc::clone(self), address })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.gate.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open = inner.open.saturating_sub(1);
        if let Some(open) = inner.by_address.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                inner.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burrow_clock::TestClock;

    use super::*;

    fn limits(connections: usize, per_address: usize, per_minute: u32) -> Limits {
        Limits { connections, connections_per_address: per_address, connections_per_minute: per_minute, ..Limits::default() }
    }

    #[test]
    fn one_address_cannot_take_the_places_of_all() {
        let gate = Gate::new(Arc::new(TestClock::at(0)));
        let limits = limits(3, 2, 100);
        let [a, b, c] = ["192.0.2.1", "2001:db8:0:1::1", "198.51.100.7"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let first = gate.enter(a, &limits).expect("the first");
        let _second = gate.enter("::ffff:192.0.2.1".parse().expect("an address"), &limits).expect("the second");
        assert_eq!(gate.enter(a, &limits).err(), Some(Refusal::CrowdedAddress));
        let _third = gate.enter(b, &limits).expect("of another address");
        assert_eq!(gate.enter(c, &limits).err(), Some(Refusal::Crowded));
        drop(first);
        assert!(gate.enter(a, &limits).is_ok(), "whoever leaves makes room");
    }

    #[test]
    fn who_comes_too_often_waits_for_the_next_minute() {
        let clock = TestClock::at(0);
        let gate = Gate::new(Arc::new(clock.clone()));
        let limits = limits(10, 10, 2);
        let enter = |address: &str| gate.enter(address.parse().expect("an address"), &limits).map(drop);
        assert_eq!(enter("2001:db8:0:1::1"), Ok(()));
        assert_eq!(enter("2001:db8:0:1::ffff"), Ok(()), "the same /64");
        assert_eq!(enter("2001:db8:0:1:8::1"), Err(Refusal::Rate));
        assert_eq!(enter("2001:db8:0:2::1"), Ok(()));
        clock.advance_ms(60_000);
        assert_eq!(enter("2001:db8:0:1::1"), Ok(()));
    }
}
