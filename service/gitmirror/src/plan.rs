//! What to push, decided from both sides and what we remember. Pure: tests give it anything.

use std::collections::{BTreeMap, BTreeSet};

use burrow_git::Oid;

use crate::config::Delete;
use crate::model::{Pin, Quarantined};
use crate::refs::{Change, Refs};
use crate::rules::Rules;

/// When deletions wait for a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// More than so many.
    pub count: usize,
    /// More than this part of all.
    pub percent: u8,
}

impl Cap {
    /// Whether so many of so many may be deleted without asking. One alone may be, however few there are.
    pub fn allows(self, deleted: usize, of: usize) -> bool {
        deleted <= self.count && (deleted <= 1 || deleted.saturating_mul(100) <= of.saturating_mul(usize::from(self.percent)))
    }
}

/// Both sides, and what is known.
pub struct Sides<'a> {
    /// What upstream has under the names of the destination.
    pub wanted: &'a Refs,
    /// What the destination has: read from it, or remembered.
    pub there: &'a Refs,
    /// What we put there, as far as we know.
    pub remembered: &'a Refs,
    /// Which of its names are ours.
    pub rules: &'a Rules,
    /// What becomes of what upstream does not have.
    pub delete: Delete,
    /// When deletions wait.
    pub cap: Cap,
    /// Whether what others moved is overwritten.
    pub force: bool,
    /// Deletions that may be done.
    pub confirmed: &'a [String],
    /// What it refused.
    pub quarantine: &'a BTreeMap<String, Quarantined>,
    /// What was undone.
    pub pins: &'a BTreeMap<String, Pin>,
    /// Now, Unix milliseconds.
    pub now: i64,
}

/// What to push, and what not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be pushed together.
    pub changes: Vec<Change>,
    /// To be pushed one by one: they were refused before.
    pub suspects: Vec<Change>,
    /// Those among both whose old value only the destination has; it must be fetched before it is overwritten.
    pub rescue: Vec<Oid>,
    /// Moved by somebody else, and left alone.
    pub diverged: Vec<Change>,
    /// In quarantine, and not due.
    pub waiting: Vec<String>,
    /// Deletions that wait, and of how many.
    pub hold: Option<(Vec<String>, usize)>,
    /// Undone values that upstream no longer has.
    pub released: Vec<String>,
}

/// What upstream has, under the names of a destination. When two become one name, the first in order has it.
pub fn mapped(upstream: &Refs, rules: &Rules) -> Refs {
    let mut there = Refs::new();
    for (name, id) in upstream {
        if let Some(name) = rules.map(name) {
            there.entry(name).or_insert(*id);
        }
    }
    there
}

impl Plan {
    /// Decides. `known` says whether we have an object: what we have can be restored, so that it may be replaced; what we do not have is somebody's work.
    pub fn make(sides: &Sides<'_>, known: impl Fn(Oid) -> bool) -> Plan {
        let mut plan = Plan::default();
        let mut deletions = Vec::new();
        let names: BTreeSet<&String> = sides.wanted.keys().chain(sides.there.keys()).chain(sides.pins.keys()).collect();
        let mut ours = 0;
        for name in names {
            let there = sides.there.get(name).copied();
            let upstream = sides.wanted.get(name).copied();
            if there.is_some() {
                if !sides.rules.owns(name) {
                    continue;
                }
                ours += 1;
            }
            let pin = sides.pins.get(name);
            let wanted = match pin {
                Some(pin) if pin.rejected == upstream => pin.value,
                Some(_) => {
                    plan.released.push(name.clone());
                    upstream
                }
                None => upstream,
            };
            if there == wanted || (wanted.is_none() && pin.is_none() && sides.delete == Delete::Never) {
                continue;
            }
            let change = Change { name: name.clone(), old: there, new: wanted };
            if let Some(old) = there
                && sides.remembered.get(name) != Some(&old)
                && !known(old)
            {
                if !sides.force {
                    plan.diverged.push(change);
                    continue;
                }
                plan.rescue.push(old);
            }
            match sides.quarantine.get(name).filter(|q| q.value == wanted) {
                Some(q) if q.next_ms > sides.now => plan.waiting.push(name.clone()),
                Some(_) => plan.suspects.push(change),
                None if wanted.is_none() && pin.is_none() => deletions.push(change),
                None => plan.changes.push(change),
            }
        }
        let unconfirmed: Vec<String> = deletions.iter().map(|c| &c.name).filter(|name| !sides.confirmed.contains(name)).cloned().collect();
        // A mirror is never emptied without a word, whatever the cap says.
        let emptied = sides.wanted.is_empty() && !deletions.is_empty();
        if !unconfirmed.is_empty() && (emptied || !sides.cap.allows(unconfirmed.len(), ours)) {
            plan.hold = Some((unconfirmed, ours));
            let held = plan.hold.as_ref().map(|(names, _)| names.clone()).unwrap_or_default();
            deletions.retain(|change| !held.contains(&change.name));
        }
        // First, so that a name is free when another begins with it (`a` goes, `a/b` comes).
        deletions.append(&mut plan.changes);
        plan.changes = deletions;
        plan
    }

    /// Whether there is nothing to push.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.suspects.is_empty()
    }
}

/// Whether one of the new names needs the place of a deleted one: then deletions must be over first.
pub fn in_the_way(changes: &[Change]) -> bool {
    let deleted: BTreeSet<&str> = changes.iter().filter(|c| c.new.is_none()).map(|c| c.name.as_str()).collect();
    if deleted.is_empty() {
        return false;
    }
    changes.iter().filter(|c| c.new.is_some() && c.old.is_none()).any(|c| {
        let below = format!("{}/", c.name);
        c.name.match_indices('/').any(|(at, _)| c.name.get(..at).is_some_and(|parent| deleted.contains(parent)))
            || deleted.range(below.as_str()..).next().is_some_and(|name| name.starts_with(&below))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::Pattern;

    fn oid(n: u8) -> Oid {
        format!("{n:040x}").parse().unwrap()
    }

    fn refs(list: &[(&str, u8)]) -> Refs {
        list.iter().map(|(name, n)| ((*name).to_owned(), oid(*n))).collect()
    }

    fn usual() -> Rules {
        Rules::new(vec![Pattern::below("refs/heads/"), Pattern::below("refs/tags/")], vec![], vec![])
    }

    struct Setting {
        wanted: Refs,
        there: Refs,
        remembered: Refs,
        rules: Rules,
        delete: Delete,
        cap: Cap,
        force: bool,
        confirmed: Vec<String>,
        quarantine: BTreeMap<String, Quarantined>,
        pins: BTreeMap<String, Pin>,
    }

    fn setting(wanted: &[(&str, u8)], there: &[(&str, u8)]) -> Setting {
        Setting {
            wanted: refs(wanted),
            there: refs(there),
            remembered: Refs::new(),
            rules: usual(),
            delete: Delete::Follow,
            cap: Cap { count: 20, percent: 50 },
            force: false,
            confirmed: vec![],
            quarantine: BTreeMap::new(),
            pins: BTreeMap::new(),
        }
    }

    impl Setting {
        fn plan(&self) -> Plan {
            let Setting { wanted, there, remembered, rules, confirmed, quarantine, pins, .. } = self;
            let sides =
                Sides { wanted, there, remembered, rules, delete: self.delete, cap: self.cap, force: self.force, confirmed, quarantine, pins, now: 1_000 };
            // Small numbers are objects that we have.
            Plan::make(&sides, |id| id < oid(100))
        }
    }

    fn names(changes: &[Change]) -> Vec<&str> {
        changes.iter().map(|c| c.name.as_str()).collect()
    }

    #[test]
    fn strays_in_our_namespaces_go_and_others_are_untouched() {
        let plan = setting(&[("refs/heads/main", 1)], &[("refs/heads/main", 1), ("refs/heads/x", 2), ("refs/extra/y", 2), ("refs/pull/1/head", 3)]).plan();
        assert_eq!(names(&plan.changes), ["refs/heads/x"]);
        assert!(plan.diverged.is_empty() && plan.hold.is_none());
    }

    #[test]
    fn what_somebody_else_pushed_is_reported_and_overwritten_only_on_request() {
        let mut setting = setting(&[("refs/heads/main", 1)], &[("refs/heads/main", 200), ("refs/heads/theirs", 201)]);
        let plan = setting.plan();
        assert_eq!((names(&plan.diverged), plan.is_empty()), (vec!["refs/heads/main", "refs/heads/theirs"], true));
        setting.force = true;
        let plan = setting.plan();
        assert_eq!((plan.changes.len(), plan.rescue.len()), (2, 2));
        setting.force = false;
        setting.remembered = refs(&[("refs/heads/main", 200)]);
        assert_eq!(names(&setting.plan().changes), ["refs/heads/main"], "what we put there ourselves is ours");
    }

    #[test]
    fn many_deletions_wait_while_the_rest_goes_on() {
        let there: Vec<(String, u8)> = (0..10).map(|n| (format!("refs/heads/b{n}"), 1)).collect();
        let there: Vec<(&str, u8)> = there.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let mut setting = setting(&[("refs/heads/b0", 2), ("refs/heads/new", 3)], &there);
        let plan = setting.plan();
        assert_eq!(names(&plan.changes), ["refs/heads/b0", "refs/heads/new"]);
        let (held, of) = plan.hold.unwrap();
        assert_eq!((held.len(), of), (9, 10));
        setting.confirmed = held;
        assert_eq!(setting.plan().changes.len(), 11);
        setting.wanted.clear();
        setting.confirmed.clear();
        setting.cap = Cap { count: 1000, percent: 100 };
        assert!(setting.plan().hold.is_some(), "a mirror is never emptied without a word");
        setting.delete = Delete::Never;
        assert_eq!(setting.plan(), Plan::default());
    }

    #[test]
    fn an_undone_value_stays_away_until_upstream_has_another() {
        let mut setting = setting(&[("refs/heads/main", 2)], &[("refs/heads/main", 2)]);
        setting.pins.insert("refs/heads/main".into(), Pin { rejected: Some(oid(2)), value: Some(oid(1)) });
        setting.pins.insert("refs/heads/old".into(), Pin { rejected: None, value: Some(oid(5)) });
        let plan = setting.plan();
        assert_eq!(plan.changes.iter().map(|c| c.new).collect::<Vec<_>>(), [Some(oid(1)), Some(oid(5))]);
        setting.there = refs(&[("refs/heads/main", 1), ("refs/heads/old", 5)]);
        assert!(setting.plan().is_empty());
        setting.wanted = refs(&[("refs/heads/main", 3)]);
        let plan = setting.plan();
        assert_eq!((plan.changes[0].new, plan.released), (Some(oid(3)), vec!["refs/heads/main".to_owned()]));
    }

    #[test]
    fn a_refused_value_waits_for_its_time_and_another_value_does_not() {
        let mut setting = setting(&[("refs/heads/a", 1), ("refs/heads/b", 1), ("refs/heads/c", 2)], &[]);
        let refused = |value, next_ms| Quarantined { value: Some(oid(value)), reason: String::new(), tries: 1, next_ms, since_ms: 0 };
        setting.quarantine = [("refs/heads/a", refused(1, 5_000)), ("refs/heads/b", refused(1, 500)), ("refs/heads/c", refused(1, 5_000))]
            .map(|(n, q)| (n.to_owned(), q))
            .into();
        let plan = setting.plan();
        assert_eq!(
            (plan.waiting.as_slice(), names(&plan.suspects), names(&plan.changes)),
            (&["refs/heads/a".to_owned()][..], vec!["refs/heads/b"], vec!["refs/heads/c"])
        );
    }

    #[test]
    fn a_name_in_the_way_of_another_is_seen() {
        let change = |name: &str, new: bool| Change { name: name.into(), old: (!new).then(|| oid(1)), new: new.then(|| oid(1)) };
        assert!(in_the_way(&[change("refs/heads/a", false), change("refs/heads/a/b", true)]));
        assert!(in_the_way(&[change("refs/heads/a/b", false), change("refs/heads/a", true)]));
        assert!(!in_the_way(&[change("refs/heads/a", false), change("refs/heads/ab", true), change("refs/heads/a-b", true)]));
    }

    proptest! {
        /// Applying a plan makes both sides equal in our namespaces but for what it reports, and touches nothing else.
        #[test]
        fn a_plan_leads_to_equality_and_nothing_else(
            wanted in proptest::collection::btree_map("refs/(heads|tags)/[ab]", 0u8..3, 0..6),
            there in proptest::collection::btree_map("refs/(heads|tags|x)/[abc]", prop_oneof![0u8..3, 200u8..202], 0..8),
            force in any::<bool>(),
        ) {
            let to = |map: BTreeMap<String, u8>| map.into_iter().map(|(n, v)| (n, oid(v))).collect::<Refs>();
            let mut setting = setting(&[], &[]);
            setting.wanted = to(wanted);
            setting.there = to(there);
            setting.force = force;
            let plan = setting.plan();
            let mut after = setting.there.clone();
            for change in &plan.changes {
                prop_assert_eq!(after.get(&change.name).copied(), change.old);
                match change.new {
                    Some(new) => after.insert(change.name.clone(), new),
                    None => after.remove(&change.name),
                };
            }
            let held: Vec<String> = plan.hold.map(|(names, _)| names).unwrap_or_default();
            let diverged: Vec<&str> = names(&plan.diverged);
            for (name, id) in setting.there.iter().filter(|(name, _)| !usual().owns(name)) {
                prop_assert_eq!(after.get(name), Some(id));
            }
            for name in after.keys().chain(setting.wanted.keys()).filter(|name| usual().owns(name)) {
                let excused = held.contains(name) || diverged.contains(&name.as_str());
                prop_assert!(excused || after.get(name) == setting.wanted.get(name), "{}", name);
                if excused {
                    prop_assert_eq!(after.get(name), setting.there.get(name));
                }
            }
            prop_assert!(!force || diverged.is_empty());
        }
    }
}
