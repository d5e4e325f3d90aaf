//! Hashes of labels, which the index is kept by, and the lists of chunks behind them.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Makes hashes. The salt is a secret of each store, so that nobody can send labels whose hashes are equal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hasher {
    salt: u64,
}

impl Hasher {
    pub(crate) fn new(salt: u64) -> Hasher {
        Hasher { salt }
    }

    /// Stands for a key with any value.
    pub(crate) fn key(self, key: &[u8]) -> i64 {
        xxh3_64_with_seed(key, self.salt) as i64
    }

    /// Stands for a key (by its hash) with this value.
    pub(crate) fn value(self, key: i64, value: &[u8]) -> i64 {
        xxh3_64_with_seed(value, (key as u64).rotate_left(17) ^ 0x9e37_79b9_7f4a_7c15) as i64
    }
}

/// Numbers of chunks, rising. Most labels of an upload are in one chunk or in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunks {
    One(u32),
    Many(Vec<u32>),
}

impl Chunks {
    /// One more; the newest may be told again.
    pub(crate) fn add(&mut self, chunk: u32) {
        match self {
            Chunks::One(one) if *one != chunk => *self = Chunks::Many(vec![*one, chunk]),
            Chunks::One(_) => {}
            Chunks::Many(many) => {
                if many.last() != Some(&chunk) {
                    many.push(chunk);
                }
            }
        }
    }

    /// As it is stored, where there are `all` chunks.
    pub(crate) fn stored(&self, all: u32) -> Vec<u8> {
        match self {
            _ if self.len() == all as usize => Vec::new(),
            Chunks::One(one) => crate::varint::put_rising(&[*one]),
            Chunks::Many(many) => crate::varint::put_rising(many),
        }
    }

    fn len(&self) -> usize {
        match self {
            Chunks::One(_) => 1,
            Chunks::Many(many) => many.len(),
        }
    }
}

/// Whether a file may not set this label: the server does, or nobody.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    key == b"by" || key == b"upload" || key.starts_with(b"upload-")
}

/// The server's labels that the index leaves out: each upload or file has its own, and its row tells.
pub(crate) fn is_by_row(key: &[u8]) -> bool {
    matches!(key, b"upload" | b"upload-part" | b"upload-time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_all_chunks_is_stored_as_nothing() {
        let mut chunks = Chunks::One(0);
        chunks.add(0);
        assert_eq!(chunks.stored(2), crate::varint::put_rising(&[0]));
        chunks.add(1);
        chunks.add(1);
        assert_eq!(chunks.stored(2), Vec::<u8>::new());
        assert_eq!(crate::varint::rising(&chunks.stored(9)).unwrap(), [0, 1]);
    }

    #[test]
    fn hashes_depend_on_salt_key_and_value() {
        let (a, b) = (Hasher::new(1), Hasher::new(2));
        assert_ne!(a.key(b"k"), b.key(b"k"));
        assert_ne!(a.value(a.key(b"k"), b"v"), a.value(a.key(b"l"), b"v"));
        assert_ne!(a.value(a.key(b"k"), b"v"), a.value(a.key(b"k"), b"w"));
        assert_ne!(a.value(a.key(b"k"), b""), a.key(b"k"));
    }
}
