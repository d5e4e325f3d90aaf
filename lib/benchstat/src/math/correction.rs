//! Many tests at once: of a hundred comparisons of the same code, five have p ≤ 0.05. A gate that looks at all of them needs corrected values.

/// How p-values of many tests are corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Benjamini and Hochberg: of the differences that are reported, at most this share is false.
    #[default]
    BenjaminiHochberg,
    /// Holm: the chance that any reported difference is false is at most this.
    Holm,
    /// As they are.
    None,
}

impl Correction {
    /// From its name on a command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Correction> {
        match name {
            "bh" | "benjamini-hochberg" => Some(Correction::BenjaminiHochberg),
            "holm" => Some(Correction::Holm),
            "none" => Some(Correction::None),
            _ => None,
        }
    }

    /// Corrected values, in the order of `p`; at most 1.
    #[must_use]
    pub fn apply(self, p: &[f64]) -> Vec<f64> {
        let count = p.len();
        let mut order: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut corrected: Vec<f64> = p.iter().map(|p| p.min(1.0)).collect();
        let mut set = |at: usize, value: f64| {
            if let Some(corrected) = corrected.get_mut(at) {
                *corrected = value;
            }
        };
        match self {
            Correction::None => {}
            Correction::BenjaminiHochberg => {
                let mut least = 1.0_f64;
                for (rank, &(at, p)) in order.iter().enumerate().rev() {
                    least = least.min(p * count as f64 / (rank + 1) as f64);
                    set(at, least);
                }
            }
            Correction::Holm => {
                let mut most = 0.0_f64;
                for (rank, &(at, p)) in order.iter().enumerate() {
                    most = most.max((p * (count - rank) as f64).min(1.0));
                    set(at, most);
                }
            }
        }
        corrected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(corrected: &[f64], expected: &[f64]) {
        assert!(corrected.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12) && corrected.len() == expected.len(), "{corrected:?}");
    }

    #[test]
    fn textbook_values() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.5), "BH") and "holm".
        let p = [0.01, 0.04, 0.03, 0.5];
        near(&Correction::BenjaminiHochberg.apply(&p), &[0.04, 0.04 * 4.0 / 3.0, 0.04 * 4.0 / 3.0, 0.5]);
        near(&Correction::Holm.apply(&p), &[0.04, 0.09, 0.09, 0.5]);
        near(&Correction::None.apply(&[0.3, 1.5]), &[0.3, 1.0]);
        near(&Correction::Holm.apply(&[]), &[]);
    }
}
