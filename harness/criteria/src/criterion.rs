//! A criterion, and what is settled before its rule is asked.

use coldproof_evidence::{Expectations, Finding, Outcome, Record};

use crate::{
    convergence,
    judgement::Judgement,
    named,
    need::{Need, Presence},
};

/// What must have happened on the machine before a criterion's facts mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    /// Nothing: the facts speak for themselves.
    Nothing,
    /// The switch put a system in place, whatever failed in it: else what is seen is not the host.
    System,
    /// The first switch succeeded in everything.
    Success,
}

/// One criterion: a stable name, what it needs, and its rule.
pub struct Criterion {
    /// The stable name, `family.what`.
    pub name: &'static str,
    /// When it holds, in one sentence.
    pub summary: &'static str,
    /// Observations without which nothing can be judged.
    pub needs: &'static [Need],
    /// Observations that are judged as well where the run was asked for them; to fail to make one is inconclusive.
    pub uses: &'static [Need],
    /// What must have happened before its facts mean anything; if it did not, `convergence.one-switch` blocks it.
    pub requires: Requires,
    /// Criteria that, where they do not hold, explain why something is absent.
    pub blocked_by: &'static [&'static str],
    declared: fn(&Expectations) -> bool,
    of_original: bool,
    rule: fn(&Record) -> Option<Judgement>,
}

impl Criterion {
    pub(crate) const fn new(
        name: &'static str,
        summary: &'static str,
        needs: &'static [Need],
        rule: fn(&Record) -> Option<Judgement>,
    ) -> Self {
        Self {
            name,
            summary,
            needs,
            uses: &[],
            requires: Requires::Nothing,
            blocked_by: &[],
            declared: |_| true,
            of_original: false,
            rule,
        }
    }

    pub(crate) const fn using(mut self, uses: &'static [Need]) -> Self {
        self.uses = uses;
        self
    }

    pub(crate) const fn requiring(mut self, requires: Requires) -> Self {
        self.requires = requires;
        self
    }

    pub(crate) const fn blocked_by(mut self, criteria: &'static [&'static str]) -> Self {
        self.blocked_by = criteria;
        self
    }

    pub(crate) const fn declared_when(mut self, declared: fn(&Expectations) -> bool) -> Self {
        self.declared = declared;
        self
    }

    /// It can be judged of a host that was there before and is only read.
    pub(crate) const fn of_an_original(mut self) -> Self {
        self.of_original = true;
        self
    }

    /// Whether a host definition declares a subject for it, so that it is required.
    #[must_use]
    pub fn is_declared(&self, expected: &Expectations) -> bool {
        (self.of_original || expected.original.is_none()) && (self.declared)(expected)
    }

    /// Whether a host that was there before, and is only read, can be judged by it.
    #[must_use]
    pub const fn is_of_an_original(&self) -> bool {
        self.of_original
    }

    /// The part of the name before the dot.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(family, _)| family)
    }

    /// Judges one record.
    #[must_use]
    pub fn judge(&self, record: &Record) -> Finding {
        match self.missing(record) {
            Some(outcome) => self.finding(outcome, 0),
            None => self.judge_facts(record),
        }
    }

    fn judge_facts(&self, record: &Record) -> Finding {
        let Some(mut judgement) = (self.rule)(record) else {
            let cause = "the rule reads an observation that the criterion does not list".to_owned();
            return self.finding(Outcome::Inconclusive { cause }, 0);
        };
        for need in self.uses {
            if let Presence::Unavailable(cause) = need.presence(record) {
                judgement.doubt(self.explained(record, format!("{need} could not be observed: {cause}")));
            }
        }
        let blocker = judgement.has_absences().then(|| self.blocker(record)).flatten();
        let (subjects, quote) = (judgement.count(), judgement.take_quote());
        let mut finding = self.finding(judgement.outcome(blocker), subjects);
        finding.quote = quote.filter(|_| finding.outcome == Outcome::Pass);
        let read = self.needs.iter().chain(self.uses);
        finding.evidence = read.filter_map(|need| need.digest(record)).collect();
        finding
    }

    /// Why there is nothing to judge, if so.
    fn missing(&self, record: &Record) -> Option<Outcome> {
        if !self.of_original
            && let Some(original) = &record.expectations.original
        {
            let reason =
                format!("{original} was there before and is only read; a machine made for the proof tells this");
            return Some(Outcome::NotRun { reason });
        }
        if let Some(cause) = convergence::unmet(self.requires, record) {
            let cause = format!("blocked by {}: {cause}", convergence::ONE_SWITCH.name);
            return Some(Outcome::Inconclusive { cause });
        }
        let mut skipped = None;
        for need in self.needs {
            match need.presence(record) {
                Presence::Facts(_) => {}
                Presence::NotObserved => skipped = skipped.or(Some(need)),
                Presence::Unavailable(cause) => {
                    let cause = format!("{need} could not be observed: {cause}");
                    return Some(Outcome::Inconclusive { cause: self.explained(record, cause) });
                }
            }
        }
        let need = skipped?;
        if !self.is_declared(&record.expectations) {
            let reason = format!("the host definition declares nothing for it, and {need} was not observed");
            return Some(Outcome::NotRun { reason });
        }
        let reason = format!("{need} was not observed in this run");
        Some(match self.blocker(record) {
            Some(name) => Outcome::Inconclusive { cause: format!("blocked by {name}: {reason}") },
            None => Outcome::NotRun { reason },
        })
    }

    fn explained(&self, record: &Record, cause: String) -> String {
        match self.blocker(record) {
            Some(name) => format!("blocked by {name}: {cause}"),
            None => cause,
        }
    }

    /// The first of the criteria that can block this one and do not hold.
    fn blocker(&self, record: &Record) -> Option<&'static str> {
        self.blocked_by.iter().copied().find(|name| {
            named(name).is_some_and(|blocker| {
                matches!(blocker.judge(record).outcome, Outcome::Fail { .. } | Outcome::Inconclusive { .. })
            })
        })
    }

    fn finding(&self, outcome: Outcome, subjects: usize) -> Finding {
        Finding { criterion: self.name.to_owned(), outcome, subjects, quote: None, evidence: Vec::new() }
    }
}
