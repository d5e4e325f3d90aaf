//! Strings as numbers: names and values repeat in every result.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A string of an [`Interner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Symbol(u32);

impl Symbol {
    /// The empty string.
    pub const EMPTY: Symbol = Symbol(0);

    /// Its number: small, counted from 0.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// For maps whose keys are hashes, or tuples of small numbers that nobody outside chooses.
#[derive(Debug, Default)]
pub(crate) struct Numbers(u64);

impl Hasher for Numbers {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(32) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

/// A map with such keys.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Numbers>>;

/// No string.
const NONE: u32 = u32::MAX;

/// Keeps every string once.
#[derive(Debug)]
pub struct Interner {
    /// Each string, and the string before it with the same hash.
    texts: Vec<(Box<[u8]>, u32)>,
    heads: NumberMap<u64, u32>,
    /// Another one in every run: names come from outside, and must not be made to collide.
    seed: u64,
}

impl Default for Interner {
    fn default() -> Interner {
        let mut interner = Interner { texts: Vec::new(), heads: NumberMap::default(), seed: RandomState::new().hash_one(0) };
        interner.intern(b"");
        interner
    }
}

impl Interner {
    /// Its number, now if it is new.
    pub fn intern(&mut self, text: &[u8]) -> Symbol {
        let hash = xxh3_64_with_seed(text, self.seed);
        let head = self.heads.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while let Some((known, before)) = self.texts.get(at as usize) {
            if **known == *text {
                return Symbol(at);
            }
            at = *before;
        }
        // Four billion different strings do not fit into memory.
        let number = u32::try_from(self.texts.len()).unwrap_or(NONE);
        self.texts.push((text.into(), head));
        self.heads.insert(hash, number);
        Symbol(number)
    }

    /// The string.
    #[must_use]
    pub fn text(&self, symbol: Symbol) -> &[u8] {
        self.texts.get(symbol.index()).map_or(&[], |(text, _)| text)
    }
}
