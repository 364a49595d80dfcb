//! The observations that a criterion can need.

use std::fmt;

use coldproof_evidence::{Digest, Observed, Record};

/// One observation of a [`Record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// [`Record::source`].
    Source,
    /// [`Record::sops`].
    Sops,
    /// [`Record::blank`].
    Blank,
    /// [`Record::bootstrap`].
    Bootstrap,
    /// [`Record::switch`].
    Switch,
    /// [`Record::system`].
    System,
    /// [`Record::leaks`].
    Leaks,
    /// [`Record::own_leaks`].
    OwnLeaks,
    /// [`Record::tls`].
    Tls,
    /// [`Record::http`].
    Http,
    /// [`Record::original`].
    Original,
    /// [`Record::reproduction`].
    Reproduction,
    /// [`Record::repeated_builds`].
    RepeatedBuilds,
    /// [`Record::source_forms`].
    SourceForms,
    /// [`Record::second_switch`].
    SecondSwitch,
    /// [`Record::second_system`].
    SecondSystem,
    /// [`Record::missing_key`].
    MissingKey,
    /// [`Record::wrong_key`].
    WrongKey,
    /// [`Record::missing_certificate`].
    MissingCertificate,
    /// [`Record::reboot`].
    Reboot,
    /// [`Record::resize`].
    Resize,
    /// [`Record::ordering`].
    Ordering,
    /// [`Record::upgrade`].
    Upgrade,
    /// [`Record::egress`].
    Egress,
    /// [`Record::budget`].
    Budget,
    /// [`Record::teardown`].
    Teardown,
}

/// Whether an observation is there.
pub(crate) enum Presence<'r> {
    NotObserved,
    Unavailable(&'r str),
    Facts(Digest),
}

impl Need {
    /// Whether it takes a machine and a switch, or another start of a machine, that serve for nothing else.
    #[must_use]
    pub const fn is_apart(self) -> bool {
        matches!(
            self,
            Self::MissingKey
                | Self::WrongKey
                | Self::MissingCertificate
                | Self::Reboot
                | Self::Resize
                | Self::Upgrade
                | Self::Ordering
        )
    }

    pub(crate) fn presence(self, record: &Record) -> Presence<'_> {
        match self {
            Self::Source => presence(&record.source),
            Self::Sops => presence(&record.sops),
            Self::Blank => presence(&record.blank),
            Self::Bootstrap => presence(&record.bootstrap),
            Self::Switch => presence(&record.switch),
            Self::System => presence(&record.system),
            Self::Leaks => presence(&record.leaks),
            Self::OwnLeaks => presence(&record.own_leaks),
            Self::Tls => presence(&record.tls),
            Self::Http => presence(&record.http),
            Self::Original => presence(&record.original),
            Self::Reproduction => presence(&record.reproduction),
            Self::RepeatedBuilds => presence(&record.repeated_builds),
            Self::SourceForms => presence(&record.source_forms),
            Self::SecondSwitch => presence(&record.second_switch),
            Self::SecondSystem => presence(&record.second_system),
            Self::MissingKey => presence(&record.missing_key),
            Self::WrongKey => presence(&record.wrong_key),
            Self::MissingCertificate => presence(&record.missing_certificate),
            Self::Reboot => presence(&record.reboot),
            Self::Resize => presence(&record.resize),
            Self::Ordering => presence(&record.ordering),
            Self::Upgrade => presence(&record.upgrade),
            Self::Egress => presence(&record.egress),
            Self::Budget => presence(&record.budget),
            Self::Teardown => presence(&record.teardown),
        }
    }

    pub(crate) fn digest(self, record: &Record) -> Option<Digest> {
        match self.presence(record) {
            Presence::Facts(digest) => Some(digest),
            _ => None,
        }
    }
}

fn presence<T>(observed: &Observed<T>) -> Presence<'_> {
    match observed {
        Observed::NotObserved => Presence::NotObserved,
        Observed::Unavailable { cause } => Presence::Unavailable(cause),
        Observed::Facts { digest, .. } => Presence::Facts(*digest),
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the fresh clone",
            Self::Sops => "the content of the sops files",
            Self::Blank => "the blank machine",
            Self::Bootstrap => "the delivery of the bootstrap key",
            Self::Switch => "the switch",
            Self::System => "the guest after the switch",
            Self::Leaks => "the search for secrets in the guest",
            Self::OwnLeaks => "the search for secrets in what the harness wrote",
            Self::Tls => "TLS from outside",
            Self::Http => "HTTP from outside",
            Self::Original => "the original",
            Self::Reproduction => "the build on a second machine",
            Self::RepeatedBuilds => "building again on the second machine",
            Self::SourceForms => "the evaluation of another source form",
            Self::SecondSwitch => "the second switch",
            Self::SecondSystem => "the guest after the second switch",
            Self::MissingKey => "a switch without the age key",
            Self::WrongKey => "a switch with another age key",
            Self::MissingCertificate => "a switch without the certificate",
            Self::Reboot => "the reboot",
            Self::Resize => "the resize",
            Self::Ordering => "the trace of the units",
            Self::Upgrade => "the upgrade from the previous revision",
            Self::Egress => "the guest's network traffic",
            Self::Budget => "what ran beside the machines",
            Self::Teardown => "the teardown",
        })
    }
}
