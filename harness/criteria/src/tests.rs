//! What holds for every criterion, and the fixtures' stated verdicts.

use std::collections::BTreeSet;

use coldproof_evidence::{Finding, Mismatch, Observed, Outcome, Record, guest::SystemObservation};

use crate::{
    CRITERIA, Criterion, Need,
    fixtures::{failing, good, reexecuted, undecided},
    judge, named,
};

/// Each finding that is no pass, as fixtures state it.
fn not_passed(findings: &[Finding]) -> BTreeSet<String> {
    let other = findings.iter().filter(|finding| finding.outcome != Outcome::Pass);
    other.map(|finding| format!("{} {}", finding.outcome.word(), finding.criterion)).collect()
}

fn text(finding: &Finding) -> String {
    match &finding.outcome {
        Outcome::Pass => "pass\n".to_owned(),
        Outcome::NotRun { reason } => format!("not-run: {reason}\n"),
        Outcome::Inconclusive { cause } => format!("inconclusive: {cause}\n"),
        Outcome::Fail { mismatches } => {
            let text = |wrong: &Mismatch| {
                let Mismatch { subject, expected, got, remedy } = wrong;
                format!("  {subject}\n    expected {expected}\n    got      {got}\n    remedy   {remedy}\n")
            };
            format!("fail (of {})\n{}", finding.subjects, mismatches.iter().map(text).collect::<String>())
        }
    }
}

#[test]
fn every_criterion_passes_on_the_good_record() {
    let findings = judge(&good());
    assert_eq!(findings.len(), CRITERIA.len());
    assert_eq!(not_passed(&findings), BTreeSet::new());
    for finding in findings {
        assert!(finding.subjects > 0, "{} passed without a subject", finding.criterion);
        assert!(!finding.evidence.is_empty(), "{} cites nothing", finding.criterion);
    }
}

#[test]
fn each_fixture_has_the_verdict_in_its_header_and_no_other() {
    for fixture in failing().chain(undecided()) {
        let expected: BTreeSet<_> = fixture.expect.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(not_passed(&judge(&fixture.record())), expected, "{}", fixture.about);
    }
}

#[test]
fn a_whole_journal_covers_the_time_in_which_systemd_executed_itself_anew() {
    let named = |record: &Record| named("convergence.no-failures").map(|criterion| criterion.judge(record)).unwrap();
    let mut record = good();
    let before = named(&record).subjects;
    reexecuted(&mut record);
    assert_eq!(not_passed(&judge(&record)), BTreeSet::new());
    assert_eq!(named(&record).subjects, before + 1, "the job in the journal counts");
}

#[test]
fn every_criterion_has_a_fixture_in_which_it_fails() {
    for criterion in CRITERIA {
        let header = format!("fail {}", criterion.name);
        assert!(failing().any(|fixture| fixture.expect.contains(&header.as_str())), "no fixture for `{header}`");
    }
}

#[test]
fn the_texts_of_findings_say_what_to_do() {
    let records: Vec<_> = failing().chain(undecided()).map(|fixture| (fixture, fixture.record())).collect();
    for criterion in CRITERIA {
        let texts: Vec<_> = records
            .iter()
            .map(|(fixture, record)| (fixture, criterion.judge(record)))
            .filter(|(_, finding)| finding.outcome != Outcome::Pass)
            .map(|(fixture, finding)| format!("# {}\n{}", fixture.about, text(&finding)))
            .collect();
        insta::assert_snapshot!(criterion.name, texts.join("\n"));
    }
}

#[test]
fn nothing_passes_on_a_record_of_nothing() {
    for finding in judge(&Record::default()) {
        assert!(matches!(finding.outcome, Outcome::NotRun { .. }), "{finding:?}");
    }
}

#[test]
fn nothing_passes_on_observations_of_nothing() {
    for expectations in [Record::default().expectations, good().expectations] {
        let mut record = Record { expectations, ..Record::default() };
        empty(&mut record);
        for finding in judge(&record) {
            assert!(finding.outcome != Outcome::Pass, "{finding:?}");
        }
    }
}

fn empty(record: &mut Record) {
    fn of<T: Default + serde::Serialize>(observed: &mut Observed<T>) {
        *observed = Observed::of(T::default());
    }
    of(&mut record.source);
    of(&mut record.sops);
    of(&mut record.blank);
    of(&mut record.bootstrap);
    of(&mut record.switch);
    of(&mut record.system);
    of(&mut record.leaks);
    of(&mut record.own_leaks);
    of(&mut record.tls);
    of(&mut record.http);
    of(&mut record.original);
    of(&mut record.reproduction);
    of(&mut record.repeated_builds);
    of(&mut record.source_forms);
    of(&mut record.second_switch);
    of(&mut record.second_system);
    of(&mut record.missing_key);
    of(&mut record.wrong_key);
    of(&mut record.missing_certificate);
    of(&mut record.reboot);
    of(&mut record.resize);
    of(&mut record.ordering);
    of(&mut record.upgrade);
    of(&mut record.egress);
    of(&mut record.budget);
    of(&mut record.teardown);
}

#[test]
fn what_could_not_be_observed_is_inconclusive_and_never_a_verdict() {
    let unavailable = || Some("the provider went away".to_owned());
    for criterion in CRITERIA {
        for need in criterion.needs {
            let mut record = good();
            set(&mut record, *need, unavailable());
            let finding = criterion.judge(&record);
            let Outcome::Inconclusive { cause } = &finding.outcome else { panic!("{need:?}: {finding:?}") };
            assert!(cause.contains("the provider went away"), "{cause}");
            assert_eq!(finding.subjects, 0);

            set(&mut record, *need, None);
            let finding = criterion.judge(&record);
            assert!(matches!(finding.outcome, Outcome::NotRun { .. }), "{need:?}: {finding:?}");
        }
        for need in criterion.uses {
            let mut record = good();
            set(&mut record, *need, unavailable());
            let finding = criterion.judge(&record);
            assert!(matches!(finding.outcome, Outcome::Inconclusive { .. }), "{need:?}: {finding:?}");
        }
    }
}

/// A rule must not read what its criterion does not list, or plans made from the lists would starve it.
#[test]
fn a_criterion_is_judged_on_the_observations_that_it_lists() {
    for criterion in CRITERIA {
        let mut record = good();
        for need in ALL.iter().filter(|need| !criterion.needs.contains(need) && !criterion.uses.contains(need)) {
            set(&mut record, *need, None);
        }
        assert_eq!(criterion.judge(&record).outcome, Outcome::Pass, "{}", criterion.name);
    }
}

const ALL: [Need; 24] = [
    Need::Source,
    Need::Sops,
    Need::Blank,
    Need::Bootstrap,
    Need::Switch,
    Need::System,
    Need::Tls,
    Need::Http,
    Need::Original,
    Need::Reproduction,
    Need::RepeatedBuilds,
    Need::SourceForms,
    Need::SecondSwitch,
    Need::SecondSystem,
    Need::MissingKey,
    Need::WrongKey,
    Need::MissingCertificate,
    Need::Reboot,
    Need::Resize,
    Need::Ordering,
    Need::Upgrade,
    Need::Egress,
    Need::Budget,
    Need::Teardown,
];

/// Makes one observation unavailable, or never made where there is no cause.
fn set(record: &mut Record, need: Need, cause: Option<String>) {
    fn of<T>(cause: Option<String>) -> Observed<T> {
        cause.map_or(Observed::NotObserved, |cause| Observed::Unavailable { cause })
    }
    match need {
        Need::Source => record.source = of(cause),
        Need::Sops => record.sops = of(cause),
        Need::Blank => record.blank = of(cause),
        Need::Bootstrap => record.bootstrap = of(cause),
        Need::Switch => record.switch = of(cause),
        Need::System => record.system = of(cause),
        Need::Tls => record.tls = of(cause),
        Need::Http => record.http = of(cause),
        Need::Original => record.original = of(cause),
        Need::Reproduction => record.reproduction = of(cause),
        Need::RepeatedBuilds => record.repeated_builds = of(cause),
        Need::SourceForms => record.source_forms = of(cause),
        Need::SecondSwitch => record.second_switch = of(cause),
        Need::SecondSystem => record.second_system = of(cause),
        Need::MissingKey => record.missing_key = of(cause),
        Need::WrongKey => record.wrong_key = of(cause),
        Need::MissingCertificate => record.missing_certificate = of(cause),
        Need::Reboot => record.reboot = of(cause),
        Need::Resize => record.resize = of(cause),
        Need::Ordering => record.ordering = of(cause),
        Need::Upgrade => record.upgrade = of(cause),
        Need::Egress => record.egress = of(cause),
        Need::Leaks => record.leaks = of(cause),
        Need::OwnLeaks => record.own_leaks = of(cause),
        Need::Budget => record.budget = of(cause),
        Need::Teardown => record.teardown = of(cause),
    }
}

#[test]
fn criteria_that_block_each_other_form_no_circle() {
    fn visit(criterion: &Criterion, above: &[&str]) {
        assert!(!above.contains(&criterion.name), "{} blocks itself by way of {above:?}", criterion.name);
        let above = [above, &[criterion.name]].concat();
        for blocker in criterion.blocked_by {
            visit(named(blocker).expect(blocker), &above);
        }
    }
    CRITERIA.iter().for_each(|criterion| visit(criterion, &[]));
}

#[test]
fn families_stand_together() {
    let mut families: Vec<_> = CRITERIA.iter().map(Criterion::family).collect();
    families.dedup();
    let distinct: BTreeSet<_> = families.iter().collect();
    assert_eq!(distinct.len(), families.len(), "{families:?}");
}

#[test]
fn names_are_unique_and_have_a_family() {
    let names: BTreeSet<_> = CRITERIA.iter().map(|criterion| criterion.name).collect();
    assert_eq!(names.len(), CRITERIA.len());
    assert!(CRITERIA.iter().all(|criterion| criterion.name.contains('.') && !criterion.summary.is_empty()));
    assert_eq!(named("tls.chain").map(|criterion| criterion.family()), Some("tls"));
}

/// Of a host that is only read, what it takes a machine of one's own to see is neither judged nor required.
#[test]
fn an_original_is_judged_by_what_can_be_read() {
    let mut record = good();
    let of_a_machine = record.expectations.clone();
    record.expectations.original = Some("root@cc-ci".into());
    for criterion in CRITERIA {
        let finding = criterion.judge(&record);
        let expected = if criterion.is_of_an_original() { "pass" } else { "not-run" };
        assert_eq!(finding.outcome.word(), expected, "{}", criterion.name);
        let declared = criterion.is_declared(&of_a_machine) && criterion.is_of_an_original();
        assert_eq!(criterion.is_declared(&record.expectations), declared, "{}", criterion.name);
    }
    for name in ["convergence.one-switch", "lifecycle.reboot", "blank.inventory", "identity.toplevel"] {
        assert!(!named(name).unwrap().is_of_an_original(), "{name}");
    }
}

/// A switch that never activated: the machine is not the host, and one criterion takes the blame.
#[test]
fn a_switch_that_never_activated_blocks_what_looks_at_the_machine() {
    let mut record = good();
    let mut switch = record.switch.facts().cloned().unwrap();
    switch.exit_code = Some(1);
    let journal = record.system.facts().unwrap().journal.clone();
    record.switch = Observed::of(switch);
    record.system =
        Observed::of(SystemObservation { journal, system_state: "running".into(), ..SystemObservation::default() });
    (record.second_switch, record.second_system) = (Observed::NotObserved, Observed::NotObserved);

    let findings = judge(&record);
    let texts = findings.iter().filter(|finding| finding.outcome != Outcome::Pass);
    let texts: Vec<_> = texts.map(|finding| format!("{} {}", finding.criterion, text(finding))).collect();
    assert_eq!(texts.iter().filter(|text| text.contains(" fail ")).count(), 1);
    insta::assert_snapshot!("never-activated", texts.concat());
}
