//! Rows in pages that are copied when they are written.
//!
//! A [`Table`] grows and changes in place as long as it is alone. Its clone costs one reference count and shows the rows as they were, whatever happens
//! afterwards: a page that somebody else still looks at is copied before it is written. That is what lets readers keep a consistent view for as long as they
//! like while updates go on. A page may also lie in a mapped file; then it is copied on its first write, too.

use std::fmt;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

/// About how large a page is, in bytes: small enough to copy in a few microseconds, large enough that the list of pages stays short.
const PAGE_BYTES: usize = 32 << 10;

/// Rows of one kind, numbered from 0.
pub(crate) struct Table<T: 'static> {
    pages: Arc<Vec<Page<T>>>,
    len: u32,
}

enum Page<T: 'static> {
    Owned(Arc<Vec<T>>),
    /// Rows of a mapped file, which `_file` keeps mapped.
    Mapped {
        rows: &'static [T],
        _file: Arc<Mmap>,
    },
}

impl<T: 'static> Page<T> {
    #[inline]
    fn rows(&self) -> &[T] {
        match self {
            Page::Owned(rows) => rows,
            Page::Mapped { rows, .. } => rows,
        }
    }
}

impl<T: 'static> Clone for Page<T> {
    fn clone(&self) -> Self {
        match self {
            Page::Owned(rows) => Page::Owned(Arc::clone(rows)),
            Page::Mapped { rows, _file } => Page::Mapped { rows, _file: Arc::clone(_file) },
        }
    }
}

impl<T: 'static> Clone for Table<T> {
    fn clone(&self) -> Self {
        Table { pages: Arc::clone(&self.pages), len: self.len }
    }
}

impl<T: 'static> Default for Table<T> {
    fn default() -> Self {
        Table { pages: Arc::default(), len: 0 }
    }
}

impl<T: 'static> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows)", self.len)
    }
}

impl<T: Copy + 'static> Table<T> {
    /// Rows of a page, as a power of two.
    const SHIFT: u32 = {
        let fit = PAGE_BYTES / if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        if fit == 0 { 0 } else { fit.ilog2() }
    };
    const ROWS: usize = 1 << Self::SHIFT;

    /// Number of rows.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// A row, if there is one of that number.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> Option<&T> {
        let page = self.pages.get((row >> Self::SHIFT) as usize)?;
        page.rows().get(row as usize & (Self::ROWS - 1))
    }

    /// A row to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut T> {
        let pages = Arc::make_mut(&mut self.pages);
        let page = pages.get_mut((row >> Self::SHIFT) as usize)?;
        if let Page::Mapped { rows, .. } = page {
            *page = Page::Owned(Arc::new(full(rows, Self::ROWS)));
        }
        let Page::Owned(rows) = page else { return None };
        if Arc::get_mut(rows).is_none() {
            *rows = Arc::new(full(rows, Self::ROWS));
        }
        Arc::get_mut(rows)?.get_mut(row as usize & (Self::ROWS - 1))
    }

    /// Adds a row and says its number. A table has at most 2³² − 2 rows: beyond that rows are dropped, which 100 times the largest known log does not reach.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let number = self.len;
        if number == u32::MAX - 1 {
            return number;
        }
        let pages = Arc::make_mut(&mut self.pages);
        if number as usize & (Self::ROWS - 1) == 0 {
            pages.push(Page::Owned(Arc::new(Vec::with_capacity(Self::ROWS))));
        }
        let Some(page) = pages.last_mut() else { return number };
        if let Page::Mapped { rows, .. } = page {
            *page = Page::Owned(Arc::new(full(rows, Self::ROWS)));
        }
        if let Page::Owned(rows) = page {
            if Arc::get_mut(rows).is_none() {
                *rows = Arc::new(full(rows, Self::ROWS));
            }
            if let Some(rows) = Arc::get_mut(rows) {
                rows.push(value);
                self.len += 1;
            }
        }
        number
    }

    /// All rows in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| page.rows())
    }
}

impl<T: Pod> Table<T> {
    /// A row, or zeros if there is none of that number.
    #[inline]
    pub(crate) fn at(&self, row: u32) -> T {
        self.get(row).copied().unwrap_or_else(T::zeroed)
    }

    /// `len` rows of zeros.
    pub(crate) fn zeroed(len: u32) -> Table<T> {
        let mut pages = Vec::new();
        let mut left = len as usize;
        while left > 0 {
            let rows = left.min(Self::ROWS);
            pages.push(Page::Owned(Arc::new(vec![T::zeroed(); rows])));
            left -= rows;
        }
        Table { pages: Arc::new(pages), len }
    }

    /// The bytes of all rows, page by page: what a snapshot holds.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().map(|page| bytemuck::cast_slice(page.rows()))
    }

    /// Rows that lie in a mapped file from byte `at` on; `None` if they do not fit there or are not aligned.
    pub(crate) fn mapped(file: &Arc<Mmap>, at: usize, len: u32) -> Option<Table<T>> {
        let bytes = file.get(at..at.checked_add((len as usize).checked_mul(size_of::<T>())?)?)?;
        let all: &[T] = bytemuck::try_cast_slice(bytes).ok()?;
        let pages = all
            .chunks(Self::ROWS)
            .map(|rows| {
                // SAFETY: the rows lie in the mapping that `_file` keeps alive at least as long as the page; the mapping is private to us and read-only.
                // Any bytes are a valid `T`, since it is `Pod`.
                let rows: &'static [T] = unsafe { std::slice::from_raw_parts(rows.as_ptr(), rows.len()) };
                Page::Mapped { rows, _file: Arc::clone(file) }
            })
            .collect();
        Some(Table { pages: Arc::new(pages), len })
    }
}

/// A copy with room for a whole page.
fn full<T: Copy>(rows: &[T], page: usize) -> Vec<T> {
    let mut copy = Vec::with_capacity(page.max(rows.len()));
    copy.extend_from_slice(rows);
    copy
}

/// Row numbers by hash, in open addressing. The table knows neither keys nor rows: callers say what is equal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// Row number + 1; 0 is a free place. As many as a power of two.
    pub(crate) slots: Table<u32>,
    pub(crate) used: u32,
}

impl Index {
    /// With room for about `rows` rows before it has to grow.
    pub(crate) fn with_room(rows: u32) -> Index {
        Index { slots: Table::zeroed((rows.min(1 << 29).saturating_mul(3) / 2).next_power_of_two().max(64)), used: 0 }
    }

    #[inline]
    fn place(&self, hash: u64) -> u32 {
        // Fibonacci hashing: the upper bits of the product depend on all bits.
        let bits = self.slots.len().trailing_zeros();
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 >> (32 - bits.clamp(1, 32))) as u32
    }

    /// The row with this hash for which `equal` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut equal: impl FnMut(u32) -> bool) -> Option<u32> {
        let size = self.slots.len();
        if size == 0 {
            return None;
        }
        let mut place = self.place(hash);
        for _ in 0..size {
            match self.slots.get(place & (size - 1)) {
                None | Some(0) => return None,
                Some(found) if equal(found - 1) => return Some(found - 1),
                Some(_) => place = place.wrapping_add(1),
            }
        }
        None
    }

    /// Adds a row that is not there yet. `hash_of` gives the hash of any row that was added before.
    pub(crate) fn add(&mut self, hash: u64, row: u32, hash_of: impl Fn(u32) -> u64) {
        let size = self.slots.len();
        if u64::from(self.used + 1) * 4 > u64::from(size) * 3 {
            let mut larger = Index { slots: Table::zeroed(size.max(32) * 2), used: 0 };
            for found in self.slots.iter().filter(|found| **found != 0) {
                larger.put(hash_of(found - 1), *found);
            }
            *self = larger;
        }
        self.put(hash, row + 1);
    }

    fn put(&mut self, hash: u64, value: u32) {
        let size = self.slots.len();
        let mut place = self.place(hash);
        for _ in 0..size {
            let at = place & (size - 1);
            if self.slots.get(at) == Some(&0) {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = value;
                    self.used += 1;
                }
                return;
            }
            place = place.wrapping_add(1);
        }
    }
}

/// Hash of two numbers.
#[inline]
pub(crate) fn hash_numbers(a: u64, b: u64) -> u64 {
    let mut hash = a.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ b.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ hash >> 29
}

/// Hash of bytes. It is part of the snapshot's format.
#[inline]
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// A moment, or none. Ordered by time; none is before all others.
#[derive(Clone, Copy, PartialEq, Eq, Pod, Zeroable, Debug)]
#[repr(C)]
pub(crate) struct Stamp {
    low: u32,
    high: u32,
    nanos: i32,
    set: u32,
}

impl Stamp {
    pub(crate) const NONE: Stamp = Stamp { low: 0, high: 0, nanos: 0, set: 0 };

    /// A moment of a mutation. Go's zero time, the start of year 1, is none.
    pub(crate) fn of(seconds: i64, nanos: i32) -> Stamp {
        let carried = seconds.saturating_add(i64::from(nanos.div_euclid(1_000_000_000)));
        let nanos = nanos.rem_euclid(1_000_000_000);
        if carried == -62_135_596_800 && nanos == 0 {
            return Stamp::NONE;
        }
        Stamp { low: carried as u32, high: (carried >> 32) as u32, nanos, set: 1 }
    }

    pub(crate) fn get(self) -> Option<crate::Time> {
        (self.set != 0).then_some(crate::Time { seconds: i64::from(self.high as i32) << 32 | i64::from(self.low), nanos: self.nanos })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shows_what_was_there_when_it_was_made() {
        let mut table = Table::default();
        for number in 0..20_000_u64 {
            table.push(number);
        }
        let before = table.clone();
        *table.get_mut(5).unwrap() = 99;
        table.push(7);
        assert_eq!((before.at(5), before.len(), before.get(20_000)), (5, 20_000, None));
        assert_eq!((table.at(5), table.at(20_000), table.len()), (99, 7, 20_001));
        assert_eq!(before.iter().sum::<u64>(), (0..20_000).sum::<u64>());
        assert_eq!(table.get(20_001), None);
    }

    #[test]
    fn mapped_rows_are_read_in_place_and_copied_when_written() {
        let mut table = Table::default();
        for number in 0..10_000_u64 {
            table.push(number * 3);
        }
        let mut file = tempfile::tempfile().unwrap();
        for bytes in table.bytes() {
            std::io::Write::write_all(&mut file, bytes).unwrap();
        }
        // SAFETY: nobody else knows the file.
        let map = Arc::new(unsafe { Mmap::map(&file) }.unwrap());
        let mut mapped: Table<u64> = Table::mapped(&map, 0, 10_000).unwrap();
        assert_eq!(mapped.at(9_999), 29_997);
        *mapped.get_mut(9_999).unwrap() = 1;
        mapped.push(2);
        assert_eq!((mapped.at(0), mapped.at(9_999), mapped.at(10_000)), (0, 1, 2));
        assert!(Table::<u64>::mapped(&map, 8, 10_000).is_none(), "past the end");
        assert!(Table::<u64>::mapped(&map, 4, 1).is_none(), "not aligned");
    }

    #[test]
    fn an_index_finds_what_was_added_however_it_grew() {
        let keys: Vec<u64> = (0..50_000).map(|n| n * n).collect();
        let mut index = Index::default();
        assert_eq!(index.find(1, |_| true), None);
        for (row, key) in keys.iter().enumerate() {
            index.add(hash_numbers(*key, 1), row as u32, |row| hash_numbers(keys[row as usize], 1));
        }
        for (row, key) in keys.iter().enumerate() {
            assert_eq!(index.find(hash_numbers(*key, 1), |row| keys[row as usize] == *key), Some(row as u32));
        }
        assert_eq!(index.find(hash_numbers(3, 1), |row| keys[row as usize] == 3), None);
    }

    #[test]
    fn moments_before_1970_and_far_away_are_kept() {
        for seconds in [0, -1, -62_135_596_800, i64::MAX, i64::MIN] {
            assert_eq!(Stamp::of(seconds, 5).get(), Some(crate::Time { seconds, nanos: 5 }));
        }
        assert_eq!(Stamp::NONE.get(), None);
        assert_eq!(Stamp::of(-62_135_596_800, 0).get(), None);
        assert_eq!(Stamp::of(5, -1).get(), Some(crate::Time { seconds: 4, nanos: 999_999_999 }));
    }
}
