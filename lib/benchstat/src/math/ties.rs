//! How many labellings of pooled values that tie have at most a given U.

use std::sync::LazyLock;

use super::elementary::choose;

/// Pooled sizes up to here are counted in integers; the reference's numbers are exact there too.
const COUNTED: usize = 20;
/// Pooled sizes up to here have their binomial coefficients in a table.
const TABLED: usize = 50;
/// No such entry.
const ABSENT: f64 = -1.0;

/// Working memory, kept from test to test.
#[derive(Debug, Default)]
pub(super) struct Ties {
    counts: Vec<u32>,
    next: Vec<u32>,
    /// What is needed of each number of lowest ranks.
    needed: Vec<Vec<Entry>>,
    /// Which entries are in the list that is being made; all false between lists.
    seen: Vec<bool>,
    /// The numbers for one rank fewer, and those that are being made of them, by place; all [`ABSENT`] between tests.
    under: Vec<f64>,
    here: Vec<f64>,
}

/// Members of the first sample within the lowest ranks, and their doubled statistic.
#[derive(Debug, Clone, Copy)]
struct Entry {
    members: i64,
    twice: i64,
}

impl Entry {
    /// Its place in tables whose rows are this wide. `None` outside of them.
    fn place(self, width: usize) -> Option<usize> {
        let twice = usize::try_from(self.twice).ok().filter(|&twice| twice < width)?;
        Some(usize::try_from(self.members).ok()? * width + twice)
    }
}

/// [`choose`], looked up.
fn ways(n: i64, k: i64) -> f64 {
    static TABLE: LazyLock<Vec<f64>> = LazyLock::new(|| (0..=TABLED as i64).flat_map(|n| (0..=TABLED as i64).map(move |k| choose(n, k))).collect());
    let at = |n: i64| usize::try_from(n).ok().filter(|&n| n <= TABLED);
    let known = at(n).zip(at(k)).and_then(|(n, k)| TABLE.get(n * (TABLED + 1) + k));
    known.copied().unwrap_or_else(|| choose(n, k))
}

impl Ties {
    /// Share of the labellings (which `n1` of the pooled values are the first sample's) whose first-sample statistic, doubled, is at most `twice_u`. `ties` has at
    /// least two ranks.
    pub(super) fn cumulative(&mut self, twice_u: i64, n1: usize, n2: usize, ties: &[usize]) -> f64 {
        let all = choose((n1 + n2) as i64, n1 as i64);
        // With two ranks the recursion is only its base case, whose rounding towards zero counts what is not there if U is below all that is possible: kept, it is seen.
        let below = if n1 + n2 <= COUNTED && ties.len() > 2 { self.counted(twice_u, n1, ties) } else { self.recursive(twice_u, n1 as i64, ties) };
        below / all
    }

    /// Ranks from low to high, keeping (members of the first sample, twice U) → labellings. A rank of size t that gives r members adds 2r·(second sample's below) +
    /// r(t−r) and can be chosen in C(t, r) ways.
    fn counted(&mut self, twice_u: i64, n1: usize, ties: &[usize]) -> f64 {
        let width = twice_u as usize + 1;
        for counts in [&mut self.counts, &mut self.next] {
            counts.clear();
            counts.resize((n1 + 1) * width, 0);
        }
        if let Some(none) = self.counts.first_mut() {
            *none = 1;
        }
        let mut below = 0;
        for &size in ties {
            self.next.fill(0);
            for members in 0..=n1.min(below) {
                let from = self.counts.get(members * width..(members + 1) * width).unwrap_or_default();
                for chosen in 0..=size.min(n1 - members) {
                    let shift = 2 * chosen * (below - members) + chosen * (size - chosen);
                    if shift >= width {
                        continue;
                    }
                    let ways = choose(size as i64, chosen as i64) as u32;
                    let row = (members + chosen) * width;
                    let to = self.next.get_mut(row + shift..row + width).unwrap_or_default();
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += ways * from;
                    }
                }
            }
            std::mem::swap(&mut self.counts, &mut self.next);
            below += size;
        }
        self.counts.get(n1 * width..).unwrap_or_default().iter().map(|&count| f64::from(count)).sum()
    }

    /// Cheung and Klotz' recursion, because beyond 20 pooled values the reference's binomial coefficients are rounded and its sums keep that: the same numbers in the
    /// same order. Needed entries are found from the highest rank down, filled from the lowest up.
    fn recursive(&mut self, twice_u: i64, n1: i64, ties: &[usize]) -> f64 {
        let sizes: Vec<i64> = ties.iter().map(|&t| t as i64).collect();
        let ranks = sizes.len();
        let size = |k: usize| k.checked_sub(1).and_then(|i| sizes.get(i)).copied().unwrap_or(0);
        // Twice the mid-rank of rank k, counted from the lowest.
        let mut middle = vec![0; ranks + 1];
        let mut below = vec![0; ranks + 1];
        for k in 1..=ranks {
            let at = |list: &[i64], k: usize| list.get(k).copied().unwrap_or(0);
            let value = at(&middle, k - 1) + size(k - 1) + size(k);
            let sum = at(&below, k - 1) + size(k);
            if let (Some(m), Some(b)) = (middle.get_mut(k), below.get_mut(k)) {
                (*m, *b) = (value, sum);
            }
        }
        let middle = |k: usize| middle.get(k).copied().unwrap_or(0);
        let below = |k: usize| below.get(k).copied().unwrap_or(0);
        let bound = |members: i64, order: &mut dyn Iterator<Item = usize>| {
            let mut left = members;
            let mut twice = -members * members;
            for k in order {
                let here = left.min(size(k));
                twice += here * middle(k);
                left -= here;
            }
            twice
        };
        // Bounds of twice U by (ranks, members): asked for again and again.
        let wide = (n1 + 1) as usize;
        let mut lowest = Vec::with_capacity((ranks + 1) * wide);
        let mut highest = Vec::with_capacity((ranks + 1) * wide);
        for k in 0..=ranks {
            for members in 0..=n1 {
                lowest.push(bound(members, &mut (1..=k)));
                highest.push(bound(members, &mut (1..=k).rev()));
            }
        }
        let limit = |list: &[i64], k: usize, members: i64| usize::try_from(members).ok().and_then(|m| list.get(k * wide + m)).copied().unwrap_or(0);

        let width = usize::try_from(twice_u).unwrap_or(0) + 1;
        let size_of_table = wide * width;
        if self.seen.len() < size_of_table {
            self.seen.resize(size_of_table, false);
            self.under.resize(size_of_table, ABSENT);
            self.here.resize(size_of_table, ABSENT);
        }
        self.needed.resize_with(self.needed.len().max(ranks + 1), Vec::new);
        self.needed.iter_mut().for_each(Vec::clear);
        let start = Entry { members: n1, twice: twice_u };
        if let Some(top) = self.needed.get_mut(ranks) {
            top.push(start);
        }
        for k in (2..ranks).rev() {
            let (lower, upper) = self.needed.split_at_mut(k + 1);
            let (Some(list), Some(above)) = (lower.last_mut(), upper.first()) else { continue };
            let (below, size, middle) = (below(k), size(k + 1), middle(k + 1));
            for &Entry { members, twice } in above {
                for chosen in (members - below).max(0)..=members.min(size) {
                    let entry = Entry { members: members - chosen, twice: twice - chosen * (middle - 2 * members + chosen) };
                    let possible = limit(&lowest, k, entry.members) <= entry.twice && entry.twice <= limit(&highest, k, entry.members);
                    if possible
                        && let Some(seen) = entry.place(width).and_then(|place| self.seen.get_mut(place))
                        && !std::mem::replace(seen, true)
                    {
                        list.push(entry);
                    }
                }
            }
            for place in list.iter().filter_map(|entry| entry.place(width)) {
                if let Some(seen) = self.seen.get_mut(place) {
                    *seen = false;
                }
            }
        }
        for k in 2..=ranks {
            let (size_here, below_under, middle) = (size(k), below(k - 1), middle(k));
            for &entry in self.needed.get(k).map_or(&[][..], Vec::as_slice) {
                let Entry { members, twice } = entry;
                let mut sum = 0.0;
                if k == 2 {
                    for second in (members - size(1)).max(0)..=(twice - members * (size(1) - members)) / (size(1) + size(2)) {
                        sum += ways(size(1), members - second) * ways(size(2), second);
                    }
                } else {
                    for chosen in (members - below_under).max(0)..=members.min(size_here) {
                        let under = Entry { members: members - chosen, twice: twice - chosen * (middle - 2 * members + chosen) };
                        let known = under.place(width).and_then(|place| self.under.get(place)).copied().filter(|&value| value != ABSENT);
                        let labellings = match known {
                            Some(labellings) => labellings,
                            None if limit(&highest, k - 1, under.members) < under.twice => ways(below_under, under.members),
                            None => 0.0,
                        };
                        sum += labellings * ways(size_here, chosen);
                    }
                }
                if let Some(value) = entry.place(width).and_then(|place| self.here.get_mut(place)) {
                    *value = sum;
                }
            }
            self.forget(k - 1, width);
            std::mem::swap(&mut self.under, &mut self.here);
        }
        let found = start.place(width).and_then(|place| self.under.get(place)).copied().unwrap_or(0.0);
        self.forget(ranks, width);
        found
    }

    /// Takes the numbers for this many ranks out of the table that holds them.
    fn forget(&mut self, ranks: usize, width: usize) {
        for place in self.needed.get(ranks).into_iter().flatten().filter_map(|entry| entry.place(width)) {
            if let Some(value) = self.under.get_mut(place) {
                *value = ABSENT;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All labellings, one by one.
    fn enumerated(twice_u: i64, n1: usize, ties: &[usize]) -> f64 {
        let pooled: Vec<usize> = ties.iter().enumerate().flat_map(|(rank, &size)| std::iter::repeat_n(rank, size)).collect();
        let mut below = 0;
        let mut all = 0;
        for mask in 0_u32..1 << pooled.len() {
            if mask.count_ones() as usize != n1 {
                continue;
            }
            all += 1;
            let of = |first: bool| pooled.iter().enumerate().filter(move |(i, _)| (mask >> i & 1 == 1) == first).map(|(_, &rank)| rank);
            let twice: i64 = of(true)
                .flat_map(|x| {
                    of(false).map(move |y| match x.cmp(&y) {
                        std::cmp::Ordering::Greater => 2,
                        std::cmp::Ordering::Equal => 1,
                        std::cmp::Ordering::Less => 0,
                    })
                })
                .sum();
            below += u32::from(twice <= twice_u);
        }
        f64::from(below) / f64::from(all)
    }

    #[test]
    fn both_ways_count_what_enumeration_counts() {
        let mut ties = Ties::default();
        for (n1, shape) in [(3, vec![1, 2, 3]), (4, vec![4, 4]), (2, vec![1, 1, 1, 5]), (5, vec![2, 1, 2, 1, 2, 2]), (6, vec![7, 1, 1, 3])] {
            let pooled: usize = shape.iter().sum();
            for twice_u in 0..=(n1 * (pooled - n1)) as i64 {
                let expected = enumerated(twice_u, n1, &shape);
                let all = choose(pooled as i64, n1 as i64);
                assert_eq!(ties.cumulative(twice_u, n1, pooled - n1, &shape), expected, "{shape:?} {n1} {twice_u}");
                assert_eq!(ties.recursive(twice_u, n1 as i64, &shape) / all, expected, "recursion: {shape:?} {n1} {twice_u}");
            }
        }
    }
}
