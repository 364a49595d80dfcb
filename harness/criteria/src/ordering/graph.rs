//! Which units systemd may run at once.
//!
//! An edge orders two units only where both have a job, and a chain of edges only where every unit of the chain has one
//! (`job_compare` and `job_is_runnable` in systemd's src/core/job.c look at queued jobs alone).

use std::collections::{BTreeMap, BTreeSet};

use coldproof_evidence::ordering::UnitOrder;

/// When two units may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// In a switch that starts everything, as on a fresh host.
    Switch,
    /// In a later switch that restarts these two and not what stands between them.
    LaterSwitch,
}

/// The order among the units of a switch.
pub(super) struct Graph<'a>(pub(super) &'a BTreeMap<String, UnitOrder>);

impl<'a> Graph<'a> {
    /// When the two may run at once, if ever.
    pub(super) fn overlap(&self, one: &str, other: &str) -> Option<Moment> {
        if !self.ordered(one, other, |_| true) {
            return Some(Moment::Switch);
        }
        let restarted = self.restarted_with([one, other]);
        (!self.ordered(one, other, |unit| restarted.contains(unit))).then_some(Moment::LaterSwitch)
    }

    /// Whether one comes before the other by way of units that have a job.
    fn ordered(&self, one: &str, other: &str, has_job: impl Fn(&str) -> bool) -> bool {
        self.precedes(one, other, &has_job) || self.precedes(other, one, &has_job)
    }

    fn precedes(&self, first: &str, last: &str, has_job: &impl Fn(&str) -> bool) -> bool {
        self.before(last, has_job).contains(first)
    }

    /// Everything that comes before a unit by way of units that have a job.
    pub(super) fn before(&self, unit: &str, has_job: &impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
        let after = |unit: &str| self.0.get(unit).into_iter().flat_map(|order| &order.after).map(String::as_str);
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = after(unit).collect();
        while let Some(before) = open.pop() {
            if has_job(before) && seen.insert(before) {
                open.extend(after(before));
            }
        }
        seen
    }

    /// What has a job when these are restarted: they, and what systemd restarts along with them.
    fn restarted_with<'s>(&'s self, units: [&'s str; 2]) -> BTreeSet<&'s str> {
        let mut all = BTreeSet::from(units);
        let mut open = Vec::from(units);
        while let Some(unit) = open.pop() {
            let restarts = self.0.get(unit).into_iter().flat_map(|order| &order.restarts);
            open.extend(restarts.map(String::as_str).filter(|unit| all.insert(unit)));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn transaction(edges: &[(&str, &str)], restarts: &[(&str, &str)]) -> BTreeMap<String, UnitOrder> {
        let mut units: BTreeMap<String, UnitOrder> = BTreeMap::new();
        for (first, last) in edges {
            units.entry((*first).to_owned()).or_default();
            units.entry((*last).to_owned()).or_default().after.push((*first).to_owned());
        }
        for (cause, along) in restarts {
            units.entry((*cause).to_owned()).or_default().restarts.push((*along).to_owned());
        }
        units
    }

    #[rstest]
    #[case::no_edge(&[("a", "x"), ("b", "x")], &[], Some(Moment::Switch))]
    #[case::edge(&[("a", "b")], &[], None)]
    #[case::edge_the_other_way(&[("b", "a")], &[], None)]
    #[case::neighbours_only(&[("a", "m"), ("m", "b")], &[], Some(Moment::LaterSwitch))]
    #[case::every_predecessor(&[("a", "m"), ("m", "b"), ("a", "b")], &[], None)]
    #[case::middle_restarts_along(&[("a", "m"), ("m", "b")], &[("a", "m")], None)]
    #[case::end_restarts_along(&[("a", "m"), ("m", "b")], &[("a", "b")], Some(Moment::LaterSwitch))]
    #[case::circle(&[("a", "m"), ("m", "a"), ("m", "x")], &[], Some(Moment::Switch))]
    fn two_units_overlap(
        #[case] edges: &[(&str, &str)],
        #[case] restarts: &[(&str, &str)],
        #[case] expected: Option<Moment>,
    ) {
        let units = transaction(edges, restarts);
        assert_eq!(Graph(&units).overlap("a", "b"), expected);
        assert_eq!(Graph(&units).overlap("b", "a"), expected, "the order of asking makes no difference");
    }

    proptest! {
        /// A chain in which each names all that come before it leaves no pair; one of neighbours leaves all but those.
        #[test]
        fn a_chain_is_as_good_as_its_direct_edges(length in 2usize..8) {
            let names: Vec<String> = (0..length).map(|n| format!("unit-{n}")).collect();
            let chain = |all: bool| -> BTreeMap<String, UnitOrder> {
                let after = |n: usize| if all { names[..n].to_vec() } else { names[n.saturating_sub(1)..n].to_vec() };
                (0..length).map(|n| (names[n].clone(), UnitOrder { after: after(n), restarts: Vec::new() })).collect()
            };
            for (n, one) in names.iter().enumerate() {
                for (m, other) in names.iter().enumerate().skip(n + 1) {
                    prop_assert_eq!(Graph(&chain(true)).overlap(one, other), None);
                    let expected = (m > n + 1).then_some(Moment::LaterSwitch);
                    prop_assert_eq!(Graph(&chain(false)).overlap(one, other), expected);
                }
            }
        }
    }
}
