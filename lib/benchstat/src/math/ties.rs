//! How many labellings of pooled values that tie have at most a given U.

use super::elementary::choose;

/// Pooled sizes up to here are counted in integers; the reference's numbers are exact there too.
const COUNTED: usize = 20;
/// The largest first sample, and room for its largest twice U: the same for every test, so that levels are reused.
const MEMBERS: i64 = 25;
const WIDTH: usize = 626;
/// No such entry.
const ABSENT: f64 = -1.0;

/// Working memory, kept from test to test.
#[derive(Debug, Default)]
pub(super) struct Ties {
    counts: Vec<u32>,
    next: Vec<u32>,
    levels: Vec<Level>,
}

/// Numbers for the lowest ranks only, by (members of the first sample, twice U).
#[derive(Debug, Default)]
struct Level {
    width: usize,
    values: Vec<f64>,
    needed: Vec<(i64, i64)>,
}

impl Level {
    /// Forgets what was there; room for `members` and twice U up to `most`.
    fn reset(&mut self, members: i64, most: i64) {
        let width = WIDTH.max((most + 1) as usize);
        let size = (MEMBERS.max(members) + 1) as usize * width;
        if width == self.width && size <= self.values.len() {
            for at in std::mem::take(&mut self.needed) {
                if let Some(value) = Self::index(width, at).and_then(|i| self.values.get_mut(i)) {
                    *value = ABSENT;
                }
            }
        } else {
            self.needed.clear();
            self.values.clear();
            self.values.resize(size, ABSENT);
            self.width = width;
        }
    }

    fn index(width: usize, (members, twice): (i64, i64)) -> Option<usize> {
        let twice = usize::try_from(twice).ok().filter(|&twice| twice < width)?;
        Some(usize::try_from(members).ok()? * width + twice)
    }

    fn get(&self, at: (i64, i64)) -> Option<f64> {
        Self::index(self.width, at).and_then(|i| self.values.get(i)).copied().filter(|&value| value != ABSENT)
    }

    fn set(&mut self, at: (i64, i64), to: f64) {
        if let Some(value) = Self::index(self.width, at).and_then(|i| self.values.get_mut(i)) {
            *value = to;
        }
    }

    fn need(&mut self, at: (i64, i64)) {
        if self.get(at).is_none() {
            self.set(at, 0.0);
            self.needed.push(at);
        }
    }
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

        self.levels.resize_with(self.levels.len().max(ranks + 1), Level::default);
        for level in self.levels.iter_mut().take(ranks + 1) {
            level.reset(n1, twice_u);
        }
        let start = (n1, twice_u);
        if let Some(top) = self.levels.get_mut(ranks) {
            top.need(start);
        }
        for k in (2..ranks).rev() {
            let (lower, upper) = self.levels.split_at_mut(k + 1);
            let (Some(level), Some(above)) = (lower.last_mut(), upper.first()) else { continue };
            for &(members, twice) in &above.needed {
                for chosen in (members - below(k)).max(0)..=members.min(size(k + 1)) {
                    let rest = members - chosen;
                    let twice = twice - chosen * (middle(k + 1) - 2 * members + chosen);
                    if limit(&lowest, k, rest) <= twice && twice <= limit(&highest, k, rest) {
                        level.need((rest, twice));
                    }
                }
            }
        }
        for k in 2..=ranks {
            let (lower, upper) = self.levels.split_at_mut(k);
            let (Some(under), Some(level)) = (lower.last(), upper.first_mut()) else { continue };
            let needed = std::mem::take(&mut level.needed);
            for &(members, twice) in &needed {
                let mut sum = 0.0;
                if k == 2 {
                    for second in (members - size(1)).max(0)..=(twice - members * (size(1) - members)) / (size(1) + size(2)) {
                        sum += choose(size(1), members - second) * choose(size(2), second);
                    }
                } else {
                    for chosen in (members - below(k - 1)).max(0)..=members.min(size(k)) {
                        let rest = members - chosen;
                        let twice = twice - chosen * (middle(k) - 2 * members + chosen);
                        let ways = match under.get((rest, twice)) {
                            Some(ways) => ways,
                            None if limit(&highest, k - 1, rest) < twice => choose(below(k - 1), rest),
                            None => 0.0,
                        };
                        sum += ways * choose(size(k), chosen);
                    }
                }
                level.set((members, twice), sum);
            }
            level.needed = needed;
        }
        self.levels.get(ranks).and_then(|top| top.get(start)).unwrap_or(0.0)
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
