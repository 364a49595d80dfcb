//! A report as text for a person.

use std::fmt::{self, Display, Formatter};

use coldproof_evidence::Mismatch;

use crate::{
    CriterionReport, Report, Verdict,
    lines::{listed, mebibytes, time, used, wrapped},
};

/// Renders a report: one line a criterion, grouped by family; whatever is wrong indented below it; the verdict last.
///
/// Escape sequences for colours are written only where `color` is set, which is for terminals.
#[must_use]
pub fn render(report: &Report, color: bool) -> String {
    Text { report, color }.to_string()
}

struct Text<'r> {
    report: &'r Report,
    color: bool,
}

/// SGR parameters of ECMA-48.
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const FAINT: &str = "2";
const BOLD: &str = "1";

/// How much of the image's digest is enough to recognise it.
const DIGEST_LEN: usize = "sha256:".len() + 12;

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.heading(f)?;
        let mut family = "";
        for criterion in &self.report.criteria {
            if criterion.family() != family {
                family = criterion.family();
                writeln!(f, "\n{}", self.paint(BOLD, family))?;
            }
            self.criterion(f, criterion)?;
        }
        self.footing(f)
    }
}

impl Text<'_> {
    fn heading(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.report;
        let mut parts = vec![report.host.clone()];
        parts.push(report.system.clone().unwrap_or_else(|| "no system observed".to_owned()));
        if matches!(report.provider.as_str(), "" | "none") {
            parts.push("no machine".to_owned());
        } else {
            parts.push(report.provider.clone());
            parts.push(if report.cold { "booted cold" } else { "forked from the blank stage" }.to_owned());
        }
        if let Some(image) = report.image.map(|image| image.to_string()) {
            parts.push(format!("image {}…", image.get(..DIGEST_LEN).unwrap_or(&image)));
        }
        parts.retain(|part| !part.is_empty());
        let heading = wrapped("", &parts, " · ");
        let rest = heading.strip_prefix(&report.host).unwrap_or(&heading);
        writeln!(f, "{}{rest}", self.paint(BOLD, &report.host))
    }

    fn criterion(&self, f: &mut Formatter<'_>, criterion: &CriterionReport) -> fmt::Result {
        let (mark, style) = match criterion.outcome.as_str() {
            "pass" => ("✓", GREEN),
            "fail" => ("✗", RED),
            "inconclusive" => ("?", YELLOW),
            _ => ("–", FAINT),
        };
        let width = self.report.criteria.iter().map(|other| other.name.len()).max().unwrap_or_default();
        write!(f, "  {} {:width$}  ", self.paint(style, mark), criterion.name)?;
        match &criterion.cause {
            Some(cause) if criterion.required => writeln!(f, "{}, required: {cause}", criterion.outcome)?,
            Some(cause) => writeln!(f, "{}: {cause}", criterion.outcome)?,
            None => writeln!(f, "{}", plural(criterion.subjects, "subject"))?,
        }
        if let Some(quote) = &criterion.quote {
            writeln!(f, "      {}", self.paint(FAINT, quote))?;
        }
        for (position, mismatch) in criterion.mismatches.iter().enumerate() {
            // A remedy that fits a run of subjects is said once, after the last.
            let next = criterion.mismatches.get(position + 1);
            self.mismatch(f, mismatch, next.is_none_or(|next| next.remedy != mismatch.remedy))?;
        }
        Ok(())
    }

    fn mismatch(&self, f: &mut Formatter<'_>, mismatch: &Mismatch, with_remedy: bool) -> fmt::Result {
        writeln!(f, "      {}", mismatch.subject)?;
        writeln!(f, "        expected  {}", mismatch.expected)?;
        writeln!(f, "        got       {}", self.paint(RED, &mismatch.got))?;
        if with_remedy {
            // Words that are quoted below a remedy stand below it.
            writeln!(f, "        remedy    {}", mismatch.remedy.replace('\n', "\n                    "))?;
        }
        Ok(())
    }

    fn footing(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.report;
        writeln!(f)?;
        writeln!(f, "{}", listed("delivered from outside: ", &report.preconditions))?;
        let attempts = report.egress.iter().map(|attempt| match attempt.declared_as.as_str() {
            "" => attempt.destination.clone(),
            declared => format!("{} ({declared})", attempt.destination),
        });
        writeln!(f, "{}", listed("the guest tried to reach: ", &attempts.collect::<Vec<_>>()))?;
        if !report.label_only.is_empty() {
            writeln!(f, "{}", listed("label only, their keys are not held: ", &report.label_only))?;
        }
        if let Some(closure) = report.closure {
            writeln!(f, "closure: {}, {} of them built here", plural(closure.paths, "path"), closure.built_here)?;
        }
        if let Some(usage) = &report.rebuild {
            writeln!(f, "{}", listed("the rebuild used: ", &used(usage)))?;
        }
        if let Some(time) = time(&report.timings) {
            writeln!(f, "{time}")?;
        }
        if let Some(bytes) = report.harness_peak_bytes {
            writeln!(f, "coldproof itself held: {} of memory at most", mebibytes(bytes))?;
        }
        writeln!(f, "bundle: {}", report.bundle)?;
        if !report.only.is_empty() {
            writeln!(f, "restricted to {}: this proves no more than that", report.only.join(", "))?;
        }
        if let Some(fault) = &report.fault {
            let text = format!("the fault {fault} was injected on purpose: this proves nothing about the host");
            writeln!(f, "{}", self.paint(YELLOW, &text))?;
        }
        let style = match report.verdict {
            Verdict::Pass => GREEN,
            Verdict::Fail => RED,
            Verdict::Inconclusive | Verdict::NotRun => YELLOW,
        };
        writeln!(
            f,
            "{}: {} passed, {} failed, {} inconclusive, {} not run",
            self.paint(style, &report.verdict.word().to_uppercase()),
            report.count("pass"),
            report.count("fail"),
            report.count("inconclusive"),
            report.count("not-run"),
        )
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.color { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use coldproof_criteria::{fixtures, judge};
    use coldproof_evidence::{Record, expectations::ExpectedRecipient};

    use super::*;
    use crate::Policy;

    fn report(record: &Record) -> Report {
        let policy = Policy::of(&record.expectations).unwrap();
        Report::new(record, &judge(record), &policy, "proofs/c0ffee")
    }

    #[test]
    fn a_pass_is_one_line_a_criterion() {
        insta::assert_snapshot!(render(&report(&fixtures::good()), false));
    }

    #[test]
    fn a_failure_says_what_was_expected_what_was_found_and_what_to_do() {
        let about = "the committed key is another one, so that nginx does not start";
        let mut record = fixtures::failing().find(|fixture| fixture.about == about).unwrap().record();
        record.context.fault = Some("wrong-key".into());
        record.context.timings_ms = [("total_ms".to_owned(), 23_700), ("switch_ms".to_owned(), 9_820)].into();
        record.context.harness_peak_bytes = Some(43 << 20);
        let offline = ExpectedRecipient { age: "age1offline".into(), host_key: false, held: false };
        record.expectations.recipients.insert("offline".into(), offline);
        insta::assert_snapshot!(render(&report(&record), false));
    }

    #[test]
    fn a_record_of_nothing_is_rendered_too() {
        insta::assert_snapshot!(render(&report(&Record::default()).restricted_to(&["tls.*".to_owned()]), false));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let report = report(&fixtures::good());
        assert!(!render(&report, false).contains('\x1b'));
        let colored = render(&report, true);
        assert!(colored.contains("\x1b[32m✓\x1b[0m"));
        assert!(colored.contains("\x1b[32mPASS\x1b[0m"));
    }
}
