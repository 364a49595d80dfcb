//! What a run is asked to do, and how far it therefore has to go.

use std::path::PathBuf;

use coldproof_criteria::{CRITERIA, Criterion, Need, SelectError, select};
use coldproof_machines::image::Recipe;

use crate::host::{HostDefinition, Provider};

/// What to prove, on what, and where to put the evidence.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Criteria to judge, as globs; all of them when empty. Only what these need is observed.
    pub only: Vec<String>,
    /// Go no further than this, even if a criterion could be judged more thoroughly.
    pub at_most: Reach,
    /// Boot the machines instead of forking the `blank` stage.
    pub cold: bool,
    /// Go on from the machine that [`switched::save`](super::switched::save) left in this directory, instead of switching
    /// one. For tests of the tests: such a run proves nothing about the host.
    pub stage: Option<PathBuf>,
    /// Leave the machine running afterwards.
    pub keep: bool,
    /// Who makes the machines, instead of whom the host definition names.
    pub provider: Option<Provider>,
    /// Directory of the bundle; must not exist yet.
    pub out: PathBuf,
    /// Recipe of the blank image.
    pub image: Recipe,
}

/// How far the life of the subject machine goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// No machine at all: only what the repositories tell.
    Source,
    /// Up to the inventory of the blank machine.
    Blank,
    /// Up to the delivery of the one secret.
    Bootstrapped,
    /// Through the switch and everything after it.
    Switched,
}

impl Plan {
    /// Everything, on machines forked from the `blank` stage of `image`, recorded into `out`.
    #[must_use]
    pub const fn new(out: PathBuf, image: Recipe) -> Self {
        Self {
            only: Vec::new(),
            at_most: Reach::Switched,
            cold: false,
            stage: None,
            keep: false,
            provider: None,
            out,
            image,
        }
    }

    /// Who makes the machines, or reads the host that is there already.
    #[must_use]
    pub fn provider(&self, host: &HostDefinition) -> Provider {
        self.provider.unwrap_or(host.machine.provider)
    }

    /// The criteria that the plan selects.
    ///
    /// # Errors
    /// When a glob is malformed or selects nothing: a typing error must not shrink a proof unseen.
    pub fn selection(&self) -> Result<Selection, SelectError> {
        Selection::of(&self.only, self.at_most)
    }
}

/// The criteria that a plan selects, and what they need.
#[derive(Clone)]
pub struct Selection {
    criteria: Vec<&'static Criterion>,
    at_most: Reach,
    /// Whether a host that was there before is read, instead of a machine that is made.
    original: bool,
}

impl Selection {
    fn of(only: &[impl AsRef<str>], at_most: Reach) -> Result<Self, SelectError> {
        let criteria = if only.is_empty() { CRITERIA.iter().collect() } else { select(only)? };
        Ok(Self { criteria, at_most, original: false })
    }

    /// The same criteria; of a host that is only read, nothing is observed for those that it cannot be judged by.
    #[must_use]
    pub fn of_an_original(self) -> Self {
        Self { original: true, ..self }
    }

    fn observing(&self) -> impl Iterator<Item = &'static Criterion> {
        self.criteria.iter().copied().filter(|criterion| !self.original || criterion.is_of_an_original())
    }

    /// The selected criteria.
    #[must_use]
    pub fn criteria(&self) -> &[&'static Criterion] {
        &self.criteria
    }

    /// Whether the criterion is selected.
    #[must_use]
    pub fn contains(&self, criterion: &Criterion) -> bool {
        self.criteria.iter().any(|selected| selected.name == criterion.name)
    }

    /// Whether a selected criterion judges this observation, and the plan goes as far as making it.
    #[must_use]
    pub fn needs(&self, need: Need) -> bool {
        reach_of(need) <= self.at_most && self.observing().any(|c| c.needs.contains(&need) || c.uses.contains(&need))
    }

    /// Whether a criterion of this family is selected.
    #[must_use]
    pub fn has_family(&self, family: &str) -> bool {
        self.criteria.iter().any(|criterion| criterion.family() == family)
    }

    /// How far a machine has to go for the selected criteria.
    #[must_use]
    pub fn reach(&self) -> Reach {
        self.reach_for(|_| true)
    }

    /// How far the subject machine has to go. What another machine is for is no reason to make this one.
    #[must_use]
    pub fn subject_reach(&self) -> Reach {
        self.reach_for(|need| !is_elsewhere(need))
    }

    fn reach_for(&self, counts: fn(Need) -> bool) -> Reach {
        // What is said of the repositories is judged in a guest's checkout as well, but is no reason to make a machine.
        let used = |criterion: &Criterion| if criterion.family() == "source" { &[] } else { criterion.uses };
        let needed = self.observing().flat_map(|criterion| criterion.needs.iter().chain(used(criterion)));
        let needed = needed.copied().filter(|&need| counts(need));
        needed.map(reach_of).max().unwrap_or(Reach::Source).min(self.at_most)
    }
}

/// How far a machine has to go before this can be observed.
const fn reach_of(need: Need) -> Reach {
    match need {
        Need::Source | Need::Sops | Need::OwnLeaks => Reach::Source,
        Need::Blank | Need::Budget | Need::Teardown => Reach::Blank,
        Need::Bootstrap => Reach::Bootstrapped,
        Need::Switch
        | Need::System
        | Need::Leaks
        | Need::Tls
        | Need::Http
        | Need::Original
        | Need::Reproduction
        | Need::RepeatedBuilds
        | Need::SourceForms
        | Need::MissingKey
        | Need::WrongKey
        | Need::MissingCertificate
        | Need::Ordering
        | Need::SecondSwitch
        | Need::SecondSystem
        | Need::Reboot
        | Need::Resize
        | Need::Upgrade
        | Need::Egress => Reach::Switched,
    }
}

/// Whether it is observed on another machine than the subject.
const fn is_elsewhere(need: Need) -> bool {
    matches!(
        need,
        Need::Original
            | Need::Reproduction
            | Need::RepeatedBuilds
            | Need::SourceForms
            | Need::MissingKey
            | Need::WrongKey
            | Need::MissingCertificate
            | Need::Ordering
            | Need::Upgrade
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&["source.*"], Reach::Source)]
    #[case(&["blank.inventory"], Reach::Blank)]
    #[case(&["blank.*"], Reach::Bootstrapped)]
    #[case(&["source.private", "tls.names"], Reach::Switched)]
    #[case(&[], Reach::Switched)]
    fn a_machine_goes_as_far_as_the_criteria_need(#[case] only: &[&str], #[case] reach: Reach) {
        assert_eq!(Selection::of(only, Reach::Switched).unwrap().reach(), reach);
        assert_eq!(Selection::of(only, Reach::Source).unwrap().reach(), Reach::Source);
    }

    #[test]
    fn what_another_machine_tells_needs_no_subject() {
        let selection =
            Selection::of(&["secrets.missing-key-is-loud", "identity.deterministic", "ordering.*"], Reach::Switched)
                .unwrap();
        assert_eq!((selection.reach(), selection.subject_reach()), (Reach::Switched, Reach::Source));
        assert_eq!(Selection::of(&["identity.reproduced"], Reach::Switched).unwrap().subject_reach(), Reach::Switched);
        let no_machine = Selection::of(&["secrets.*"], Reach::Source).unwrap();
        assert!(!no_machine.needs(Need::MissingKey));
    }

    #[test]
    fn of_an_original_nothing_is_observed_that_needs_a_machine_of_ones_own() {
        let selection = Selection::of(&[] as &[&str], Reach::Switched).unwrap().of_an_original();
        for need in [Need::Source, Need::Sops, Need::System, Need::Original, Need::Tls, Need::Http, Need::Reproduction]
        {
            assert!(selection.needs(need), "{need:?}");
        }
        for need in [Need::Blank, Need::Bootstrap, Need::SecondSwitch, Need::Reboot, Need::MissingKey, Need::Leaks] {
            assert!(!selection.needs(need), "{need:?}");
        }
        assert_eq!(selection.criteria().len(), CRITERIA.len());
    }

    #[test]
    fn a_glob_that_selects_nothing_is_refused() {
        assert!(Selection::of(&["tsl.*"], Reach::Switched).is_err());
    }
}
