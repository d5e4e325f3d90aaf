//! The configuration in force at a line: ordered keys and values (`spec/perf.md` §2.2).

use std::collections::HashMap;

/// So many keys are found faster by looking at each.
const SCANNED: usize = 16;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    key: Box<[u8]>,
    value: Vec<u8>,
    file: bool,
}

impl Entry {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value; never empty, as an empty one deletes the key.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Whether it was read from a file; otherwise a tool put it there (`.file`).
    #[must_use]
    pub fn from_file(&self) -> bool {
        self.file
    }
}

/// Ordered keys and values: new keys go to the end, changed ones stay where they are, and the last key takes the place of one that is deleted.
#[derive(Clone, Debug, Default)]
pub struct Config {
    entries: Vec<Entry>,
    /// Where a key is; empty while there are few.
    places: HashMap<Box<[u8]>, usize>,
    bytes: usize,
    generation: u64,
}

impl Config {
    /// No keys.
    #[must_use]
    pub fn new() -> Config {
        Config::default()
    }

    /// A number that is another whenever a key, a value or its origin is another: what was derived from the configuration can be kept as long as it is the
    /// same. Of two configurations it says nothing.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Keys and values in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entry(key).map(Entry::value)
    }

    /// The entry of a key.
    #[must_use]
    pub fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(self.place(key)?)
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sets a key as a line of a file does; an empty value deletes it.
    pub fn set_file(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, value, true);
    }

    /// Sets a key as a tool does (`.file`); an empty value deletes it.
    pub fn set_internal(&mut self, key: &[u8], value: &[u8]) {
        self.set(key, value, false);
    }

    /// Deletes all keys.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
        self.bytes = 0;
        self.generation += 1;
    }

    fn set(&mut self, key: &[u8], value: &[u8], file: bool) {
        let place = self.place(key);
        if value.is_empty() {
            if let Some(place) = place {
                self.remove(place);
            }
            return;
        }
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place)) {
            if entry.value == value && entry.file == file {
                return;
            }
            self.bytes = self.bytes - entry.value.len() + value.len();
            entry.value.clear();
            entry.value.extend_from_slice(value);
            entry.file = file;
        } else {
            if self.entries.len() == SCANNED {
                self.places = self.entries.iter().enumerate().map(|(place, entry)| (entry.key.clone(), place)).collect();
            }
            if self.entries.len() >= SCANNED {
                self.places.insert(key.into(), self.entries.len());
            }
            self.bytes += key.len() + value.len();
            self.entries.push(Entry { key: key.into(), value: value.to_vec(), file });
        }
        self.generation += 1;
    }

    fn remove(&mut self, place: usize) {
        let gone = self.entries.swap_remove(place);
        self.bytes -= gone.key.len() + gone.value.len();
        if self.entries.len() < SCANNED {
            self.places.clear();
        } else {
            self.places.remove(&gone.key);
            if let Some(moved) = self.entries.get(place)
                && let Some(known) = self.places.get_mut(&moved.key)
            {
                *known = place;
            }
        }
        self.generation += 1;
    }

    fn place(&self, key: &[u8]) -> Option<usize> {
        if self.places.is_empty() { self.entries.iter().position(|entry| *entry.key == *key) } else { self.places.get(key).copied() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(config: &Config) -> Vec<String> {
        config.entries().iter().map(|entry| String::from_utf8_lossy(entry.key()).into_owned()).collect()
    }

    #[test]
    fn the_last_key_takes_the_place_of_a_deleted_one() {
        let mut config = Config::new();
        for key in ["a", "b", "c"] {
            config.set_file(key.as_bytes(), b"1");
        }
        config.set_file(b"b", b"2");
        config.set_file(b"a", b"");
        assert_eq!(keys(&config), ["c", "b"]);
        assert_eq!(config.get(b"b"), Some(&b"2"[..]));
    }

    #[test]
    fn what_changes_nothing_is_the_same_generation() {
        let mut config = Config::new();
        config.set_internal(b".file", b"x");
        let generation = config.generation();
        config.set_internal(b".file", b"x");
        config.set_file(b"absent", b"");
        assert_eq!(config.generation(), generation);
        config.set_file(b".file", b"x");
        assert_ne!(config.generation(), generation);
        assert!(config.entry(b".file").is_some_and(Entry::from_file));
    }

    proptest! {
        /// Few keys and many keys are kept in different ways.
        #[test]
        fn many_keys_are_as_few(changes in prop::collection::vec((0u8..40, 0u8..3), 0..400)) {
            let (mut config, mut model) = (Config::new(), Vec::<(Vec<u8>, Vec<u8>)>::new());
            for (key, value) in changes {
                let (key, value) = (format!("k{key}").into_bytes(), vec![b'v'; usize::from(value)]);
                config.set_file(&key, &value);
                match model.iter().position(|(known, _)| *known == key) {
                    Some(at) if value.is_empty() => { model.swap_remove(at); }
                    Some(at) => model[at].1 = value,
                    None if value.is_empty() => {}
                    None => model.push((key, value)),
                }
            }
            let found: Vec<_> = config.entries().iter().map(|entry| (entry.key().to_vec(), entry.value().to_vec())).collect();
            prop_assert_eq!(config.bytes(), model.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
            for (key, value) in &model {
                prop_assert_eq!(config.get(key), Some(value.as_slice()));
            }
            prop_assert_eq!(found, model);
        }
    }
}
