//! Dividing tests among machines: which run together, and who takes what next.
//!
//! (Source: `coordinator.md` §9.3–9.4, generalised: the numbers and the grouping rule come from the recipe.) The main
//! worker goes through the sets in order; helpers take the set with the most work left. A test whose run was lost
//! with its worker is given back and taken again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::pattern::Sets;
use crate::recipe::Tests;

/// Tests that run in one command: positions in the list of names.
pub type Set = Vec<usize>;

/// Who asks for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// The worker that built: it goes on in the order of the sets.
    Main,
    /// Any other: it takes the longest set that is left.
    Helper,
}

/// Puts every test into exactly one set, in the order the main worker goes through them.
///
/// Tests that may share a command (`batch`) come first, those of `last` after the others, each group by name, and are
/// put together until their expected times pass `batch_target`; one that is longer by itself stays alone. The rest
/// follow one by one, in the order of `names`. `known` holds expected times; a test that is not in it counts as `unknown`.
pub fn sets(names: &[String], known: &BTreeMap<String, Duration>, rules: &Tests) -> Vec<Set> {
    let none = Sets::new();
    let (mut together, alone): (Vec<usize>, Vec<usize>) = (0..names.len()).partition(|at| names.get(*at).is_some_and(|name| rules.batch.has(name, &none)));
    together.sort_by_key(|at| names.get(*at).map(|name| (rules.last.has(name, &none), name)));
    let mut found: Vec<Set> = Vec::new();
    let mut set = Set::new();
    let mut sum = Duration::ZERO;
    for at in together {
        let time = expected(names, at, known, rules);
        if !set.is_empty() && (sum + time > rules.batch_target || set.len() >= rules.max_batch.max(1)) {
            found.push(std::mem::take(&mut set));
            sum = Duration::ZERO;
        }
        set.push(at);
        sum += time;
    }
    if !set.is_empty() {
        found.push(set);
    }
    found.extend(alone.into_iter().map(|at| vec![at]));
    found
}

fn expected(names: &[String], at: usize, known: &BTreeMap<String, Duration>, rules: &Tests) -> Duration {
    names.get(at).and_then(|name| known.get(name)).copied().unwrap_or(rules.unknown)
}

/// The tests of one build while they are handed out.
#[derive(Debug, Clone)]
pub struct Partition {
    names: Vec<String>,
    times: Vec<Duration>,
    sets: Vec<Set>,
    taken: Vec<bool>,
}

impl Partition {
    /// Nothing is taken yet.
    pub fn new(names: Vec<String>, known: &BTreeMap<String, Duration>, rules: &Tests) -> Self {
        let times = (0..names.len()).map(|at| expected(&names, at, known, rules)).collect();
        let sets = sets(&names, known, rules);
        let taken = vec![false; names.len()];
        Partition { names, times, sets, taken }
    }

    /// The names, in the order that positions mean.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The sets as they were planned.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The next tests for a worker, now taken; `None` when nothing is left. Only what nobody else took: a set of which
    /// some tests were taken gives the others.
    pub fn take(&mut self, who: Taker) -> Option<Set> {
        let left = |set: &Set| set.iter().copied().filter(|at| self.taken.get(*at) == Some(&false)).collect::<Set>();
        let time = |set: &Set| set.iter().filter_map(|at| self.times.get(*at)).sum::<Duration>();
        let open = self.sets.iter().map(left).filter(|set| !set.is_empty());
        let chosen = match who {
            Taker::Main => open.into_iter().next(),
            // Of equally long ones the last: it is the farthest from where the main worker is.
            Taker::Helper => open.max_by_key(time),
        }?;
        for at in &chosen {
            if let Some(taken) = self.taken.get_mut(*at) {
                *taken = true;
            }
        }
        Some(chosen)
    }

    /// Gives tests back that were taken but not run to an end.
    pub fn give_back(&mut self, tests: &[usize]) {
        for at in tests {
            if let Some(taken) = self.taken.get_mut(*at) {
                *taken = false;
            }
        }
    }

    /// How many tests nobody has taken, and how long they are expected to take one after the other.
    pub fn left(&self) -> (usize, Duration) {
        let open = self.taken.iter().zip(&self.times).filter(|(taken, _)| !**taken);
        open.fold((0, Duration::ZERO), |(count, sum), (_, time)| (count + 1, sum + *time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Patterns;
    use proptest::prelude::*;

    fn rules() -> Tests {
        Tests { batch: Patterns::new(["go_test:*"]), last: Patterns::new(["go_test:cmd/*"]), ..Tests::default() }
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn unknown_tests_share_three_by_three_and_commands_come_last() {
        let names = names(&["race", "go_test:cmd/go", "go_test:b", "go_test:a", "go_test:c", "go_test:d", "api"]);
        let planned = sets(&names, &BTreeMap::new(), &rules());
        let shown: Vec<Vec<&str>> = planned.iter().map(|set| set.iter().map(|at| names[*at].as_str()).collect()).collect();
        assert_eq!(shown, [vec!["go_test:a", "go_test:b", "go_test:c"], vec!["go_test:d", "go_test:cmd/go"], vec!["race"], vec!["api"]]);
    }

    #[test]
    fn a_long_test_stays_alone() {
        let names = names(&["go_test:a", "go_test:b", "go_test:c"]);
        let known = BTreeMap::from([("go_test:b".to_owned(), Duration::from_secs(60))]);
        assert_eq!(sets(&names, &known, &rules()), [vec![0], vec![1], vec![2]]);
    }

    #[test]
    fn a_helper_takes_the_longest_and_the_main_worker_goes_in_order() {
        let names = names(&["x", "y", "z"]);
        let known = BTreeMap::from([("y".to_owned(), Duration::from_secs(9))]);
        let mut partition = Partition::new(names, &known, &rules());
        assert_eq!(partition.take(Taker::Helper), Some(vec![1]));
        assert_eq!(partition.take(Taker::Main), Some(vec![0]));
        partition.give_back(&[1]);
        assert_eq!(partition.left(), (2, Duration::from_secs(12)));
        assert_eq!(partition.take(Taker::Main), Some(vec![1]));
        assert_eq!(partition.take(Taker::Main), Some(vec![2]));
        assert_eq!(partition.take(Taker::Helper), None);
    }

    proptest! {
        /// However tests are named and timed, whoever takes when, and whatever is given back: every test is run to an
        /// end exactly once, sets keep to the target, and only tests that may share do.
        #[test]
        fn every_test_exactly_once(
            tests in proptest::collection::btree_map("(go_test:(cmd/)?)?[a-z]{1,3}", proptest::option::of(0u64..40_000), 0..60),
            turns in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..400),
            max_batch in 0usize..6,
        ) {
            let names: Vec<String> = tests.keys().cloned().collect();
            let known: BTreeMap<String, Duration> = tests.iter().filter_map(|(name, ms)| Some((name.clone(), Duration::from_millis((*ms)?)))).collect();
            let rules = Tests { max_batch, ..rules() };
            let planned = sets(&names, &known, &rules);
            let mut all: Vec<usize> = planned.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..names.len()).collect::<Vec<_>>());
            for set in &planned {
                let sum: Duration = set.iter().map(|at| expected(&names, *at, &known, &rules)).sum();
                prop_assert!(set.len() == 1 || (sum <= rules.batch_target && set.len() <= max_batch.max(1)));
                prop_assert!(set.len() == 1 || set.iter().all(|at| names[*at].starts_with("go_test:")));
            }
            let mut partition = Partition::new(names.clone(), &known, &rules);
            let mut runs = vec![0; names.len()];
            let mut turns = turns.into_iter();
            loop {
                let (helper, lost) = turns.next().unwrap_or((false, false));
                let Some(set) = partition.take(if helper { Taker::Helper } else { Taker::Main }) else { break };
                if lost {
                    partition.give_back(&set);
                } else {
                    for at in set { runs[at] += 1; }
                }
            }
            prop_assert!(runs.iter().all(|count| *count == 1));
            prop_assert_eq!(partition.left().0, 0);
        }
    }
}
