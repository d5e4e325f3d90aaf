//! Validators and what they stand for: asking whether something has changed costs nothing of GitHub's limit, if one still has what it was.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Version of the file's form, and of the structures within.
const VERSION: u32 = 1;

/// The file of validators cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The disk says no.
    #[error("the file of validators {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It was not written by this program, or by another version of it. Everything is asked anew; nothing else is lost.
    #[error("the file of validators {} cannot be used: {why}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Pages and single things.
    pub entries: usize,
    /// Their size in bytes, roughly.
    pub bytes: usize,
}

/// What is kept of one answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// To be sent as `If-None-Match`.
    pub(crate) etag: Option<String>,
    /// To be sent as `If-Modified-Since`, when there is no `ETag`.
    pub(crate) last_modified: Option<String>,
    /// Address of the next page: an answer that nothing has changed does not repeat it.
    pub(crate) next: Option<String>,
    /// The items, as our structures write themselves.
    pub(crate) items: Box<RawValue>,
}

impl Entry {
    fn size(&self, url: &str) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        // The rest of the row, roughly.
        128 + url.len() + text(&self.etag) + text(&self.last_modified) + text(&self.next) + self.items.get().len()
    }
}

struct Slot {
    entry: Entry,
    /// When it was last used: a count, not a time.
    used: u64,
    size: usize,
}

/// The entries by address; the longest unused go first when there are too many bytes.
pub(crate) struct Cache {
    limit: usize,
    bytes: usize,
    ticks: u64,
    slots: HashMap<String, Slot>,
    by_use: BTreeMap<u64, String>,
}

#[derive(Serialize)]
struct FileOut<'a> {
    version: u32,
    base: &'a str,
    entries: BTreeMap<&'a str, &'a Entry>,
}

#[derive(Deserialize)]
struct FileIn {
    version: u32,
    base: String,
    entries: BTreeMap<String, Entry>,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Cache {
        Cache { limit, bytes: 0, ticks: 0, slots: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(crate) fn get(&mut self, url: &str) -> Option<Entry> {
        let slot = self.slots.get_mut(url)?;
        self.ticks += 1;
        self.by_use.remove(&slot.used);
        slot.used = self.ticks;
        self.by_use.insert(self.ticks, url.to_owned());
        Some(slot.entry.clone())
    }

    pub(crate) fn put(&mut self, url: &str, entry: Entry) {
        self.remove(url);
        let size = entry.size(url);
        if size > self.limit {
            return;
        }
        self.ticks += 1;
        self.bytes += size;
        self.by_use.insert(self.ticks, url.to_owned());
        self.slots.insert(url.to_owned(), Slot { entry, used: self.ticks, size });
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.bytes -= slot.size;
            }
        }
    }

    pub(crate) fn remove(&mut self, url: &str) {
        if let Some(slot) = self.slots.remove(url) {
            self.bytes -= slot.size;
            self.by_use.remove(&slot.used);
        }
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats { entries: self.slots.len(), bytes: self.bytes }
    }

    /// Everything as one JSON text.
    pub(crate) fn to_json(&self, base: &str) -> Result<Vec<u8>, String> {
        let entries = self.slots.iter().map(|(url, slot)| (url.as_str(), &slot.entry)).collect();
        serde_json::to_vec(&FileOut { version: VERSION, base, entries }).map_err(|error| error.to_string())
    }

    /// Takes over what [`Cache::to_json`] wrote. Entries that are here already are newer and stay.
    pub(crate) fn take_json(&mut self, base: &str, text: &[u8]) -> Result<(), String> {
        let file: FileIn = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if file.version != VERSION {
            return Err(format!("it has version {}, not {VERSION}", file.version));
        }
        if file.base != base {
            return Err(format!("it belongs to {}", file.base));
        }
        for (url, entry) in file.entries {
            if !self.slots.contains_key(&url) {
                self.put(&url, entry);
            }
        }
        Ok(())
    }
}

/// Replaces the file as a whole: a crash leaves the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    let io = |error: std::io::Error| CacheError::Io { path: path.to_owned(), error };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It holds what a token may see, so nobody else may read it: temporary files have mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(items: &str) -> Entry {
        Entry { etag: Some("\"e\"".into()), last_modified: None, next: None, items: RawValue::from_string(items.to_owned()).unwrap() }
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let size = entry("[1]").size("a");
        let mut cache = Cache::new(3 * size);
        for url in ["a", "b", "c"] {
            cache.put(url, entry("[1]"));
        }
        assert!(cache.get("a").is_some());
        cache.put("d", entry("[1]"));
        assert!(cache.get("b").is_none(), "it was the longest unused");
        assert!(["a", "c", "d"].iter().all(|url| cache.get(url).is_some()));
        cache.put("a", entry("[2]"));
        assert_eq!(cache.stats(), CacheStats { entries: 3, bytes: 3 * size });
        cache.put("big", entry(&format!("[{}]", "1".repeat(3 * size))));
        assert_eq!(cache.stats().entries, 3, "what does not fit at all drives nobody out");
        for url in ["a", "c", "d", "d"] {
            cache.remove(url);
        }
        assert_eq!((cache.stats(), cache.by_use.len()), (CacheStats::default(), 0));
    }

    #[test]
    fn a_file_of_another_server_or_version_is_not_used() {
        let mut cache = Cache::new(1 << 20);
        cache.put("u", entry("[1,2]"));
        let text = cache.to_json("https://a").unwrap();
        let mut other = Cache::new(1 << 20);
        assert!(other.take_json("https://b", &text).is_err());
        assert!(other.take_json("https://a", &text[..text.len() - 1]).is_err());
        assert!(other.take_json("https://a", String::from_utf8(text.clone()).unwrap().replace("\"version\":1", "\"version\":2").as_bytes()).is_err());
        assert_eq!(other.stats().entries, 0);
        other.take_json("https://a", &text).unwrap();
        assert_eq!(other.get("u").unwrap().items.get(), "[1,2]");
    }
}
