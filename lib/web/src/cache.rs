//! Pages that were rendered, kept until something changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Rendered;

/// Bytes kept at most.
const LIMIT: usize = 64 << 20;

/// What a page was made from: two pages of one address with equal stamps are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the newest change.
    pub generation: u64,
    /// The minute it was made in: texts like "3 min ago" grow old without any change.
    pub minute: i64,
}

/// Rendered pages by address.
#[derive(Default)]
pub struct PageCache {
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    by_address: HashMap<String, (Stamp, Arc<Rendered>)>,
    bytes: usize,
}

impl PageCache {
    /// The page at this address, if it was made from the same state.
    pub fn get(&self, address: &str, stamp: Stamp) -> Option<Arc<Rendered>> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.by_address.get(address).filter(|(made, _)| *made == stamp).map(|(_, page)| page.clone())
    }

    /// Keeps a page. When there is no room, what is out of date goes first, then everything.
    pub fn put(&self, address: String, stamp: Stamp, page: Arc<Rendered>) {
        if page.len() > LIMIT / 8 {
            return;
        }
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.bytes + page.len() > LIMIT {
            pages.by_address.retain(|_, (made, _)| *made == stamp);
            pages.bytes = pages.by_address.values().map(|(_, page)| page.len()).sum();
            if pages.bytes + page.len() > LIMIT {
                pages.by_address.clear();
                pages.bytes = 0;
            }
        }
        pages.bytes += page.len();
        if let Some((_, old)) = pages.by_address.insert(address, (stamp, page)) {
            pages.bytes = pages.bytes.saturating_sub(old.len());
        }
    }
}
