//! The best division of a series into pieces of one level each, with a price per piece.

/// Sums over a prefix: what a piece costs is a subtraction.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    weight: Vec<f64>,
    value: Vec<f64>,
    square: Vec<f64>,
}

impl Sums {
    /// Of values with their scales: each counts by the inverse square of its scale.
    pub fn new(values: &[f64], scales: &[f64]) -> Sums {
        let mut sums = Sums { weight: vec![0.0], value: vec![0.0], square: vec![0.0] };
        // Around the first value, or large levels would eat the digits of small noise.
        let origin = values.first().copied().unwrap_or_default();
        let (mut weight, mut value, mut square) = (0.0, 0.0, 0.0);
        for (&x, &scale) in values.iter().zip(scales) {
            let (w, x) = (1.0 / (scale * scale), x - origin);
            weight += w;
            value += w * x;
            square += w * x * x;
            sums.weight.push(weight);
            sums.value.push(value);
            sums.square.push(square);
        }
        sums
    }

    /// Values covered.
    pub fn len(&self) -> usize {
        self.weight.len().saturating_sub(1)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weighted squares around the piece's own mean. 0 for an empty piece.
    pub fn cost(&self, from: usize, to: usize) -> f64 {
        let part = |sums: &[f64]| sums.get(to).copied().unwrap_or_default() - sums.get(from).copied().unwrap_or_default();
        let (weight, value, square) = (part(&self.weight), part(&self.value), part(&self.square));
        if weight <= 0.0 { 0.0 } else { (square - value * value / weight).max(0.0) }
    }
}

/// Boundaries (each the first index of its piece, without 0) that make cost + `price` per boundary smallest. No piece is shorter than `shortest`.
pub fn divide(sums: &Sums, price: f64, shortest: usize) -> Vec<usize> {
    let len = sums.len();
    let shortest = shortest.max(1);
    let mut best = vec![f64::INFINITY; len + 1];
    let mut from = vec![0_usize; len + 1];
    // Starts that can still be part of a best division, each with the end from which on it cannot.
    let mut starts: Vec<(usize, usize)> = vec![(0, usize::MAX)];
    if let Some(first) = best.first_mut() {
        *first = -price;
    }
    let get = |best: &[f64], at: usize| best.get(at).copied().unwrap_or(f64::INFINITY);
    for end in shortest..=len {
        let mut least = (f64::INFINITY, 0);
        for &(start, _) in &starts {
            if end - start < shortest {
                continue;
            }
            let total = get(&best, start) + sums.cost(start, end) + price;
            if total < least.0 {
                least = (total, start);
            }
        }
        if let (Some(slot), Some(back)) = (best.get_mut(end), from.get_mut(end)) {
            (*slot, *back) = least;
        }
        // A start that is worse by a whole price than ending here can never win again, once a piece that begins here is long enough.
        for (start, hopeless) in &mut starts {
            if *hopeless == usize::MAX && end - *start >= shortest && get(&best, *start) + sums.cost(*start, end) > least.0 {
                *hopeless = end + shortest;
            }
        }
        starts.retain(|(_, hopeless)| end + 1 < *hopeless);
        if end + shortest <= len {
            starts.push((end, usize::MAX));
        }
    }
    let mut boundaries = Vec::new();
    let mut at = len;
    while at > 0 {
        at = from.get(at).copied().unwrap_or(0);
        if at > 0 {
            boundaries.push(at);
        }
    }
    boundaries.reverse();
    boundaries
}

/// The boundary between `from` and `to` that costs least, and the range of boundaries that cost at most `slack` more. `None` if there is no room.
pub fn place(sums: &Sums, from: usize, to: usize, shortest: usize, slack: f64) -> Option<(usize, usize, usize)> {
    let shortest = shortest.max(1);
    let range = (from + shortest)..=to.checked_sub(shortest)?;
    let total = |at: usize| sums.cost(from, at) + sums.cost(at, to);
    let best = range.clone().min_by(|a, b| total(*a).total_cmp(&total(*b)))?;
    let limit = total(best) + slack;
    let earliest = range.clone().find(|at| total(*at) <= limit)?;
    let latest = range.rev().find(|at| total(*at) <= limit)?;
    Some((best, earliest, latest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(values: &[f64]) -> Sums {
        Sums::new(values, &vec![1.0; values.len()])
    }

    /// Every division, for short series.
    fn brute(values: &[f64], price: f64, shortest: usize) -> f64 {
        let sums = sums(values);
        let mut best = f64::INFINITY;
        for mask in 0..1_u32 << (values.len() - 1) {
            let mut bounds = vec![0];
            bounds.extend((1..values.len()).filter(|i| mask & (1 << (i - 1)) != 0));
            bounds.push(values.len());
            if bounds.windows(2).all(|w| w[1] - w[0] >= shortest) {
                best = best.min(bounds.windows(2).map(|w| sums.cost(w[0], w[1])).sum::<f64>() + price * (bounds.len() - 2) as f64);
            }
        }
        best
    }

    #[test]
    fn the_division_is_the_best_of_all() {
        let mut state = 7_u64;
        for round in 0..200 {
            let values: Vec<f64> = (0..11)
                .map(|i| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 40) as f64 / (1 << 22) as f64 + if i > 5 { f64::from(round % 5) } else { 0.0 }
                })
                .collect();
            for shortest in 1..4 {
                let sums = sums(&values);
                let mut bounds = vec![0];
                bounds.extend(divide(&sums, 1.5, shortest));
                bounds.push(values.len());
                let cost = bounds.windows(2).map(|w| sums.cost(w[0], w[1])).sum::<f64>() + 1.5 * (bounds.len() - 2) as f64;
                assert!((cost - brute(&values, 1.5, shortest)).abs() < 1e-9, "{values:?} {bounds:?}");
            }
        }
    }

    #[test]
    fn a_clear_step_is_placed_and_a_weak_one_has_a_range() {
        let clear = sums(&[1.0, 1.1, 0.9, 1.0, 5.0, 5.1, 4.9]);
        assert_eq!(place(&clear, 0, 7, 1, 1.0), Some((4, 4, 4)));
        let weak = sums(&[1.0, 1.1, 0.9, 1.0, 1.1, 1.2, 1.0]);
        let (_, earliest, latest) = place(&weak, 0, 7, 1, 1.0).unwrap();
        assert!(latest - earliest > 2);
        assert_eq!(place(&clear, 2, 3, 1, 1.0), None);
    }
}
