//! Running the suite.

use std::fmt;

use super::cases::cases;
use super::failure::Failure;
use super::subject::Subject;

/// The outcome of one case.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The case's name.
    pub case: &'static str,
    /// Whether the promise was kept.
    pub result: Result<(), Failure>,
}

/// The outcomes of all cases. Its text lists them, a line each, and how many failed.
#[derive(Debug)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

/// Runs every case, also after one failed.
#[must_use]
pub fn run<S: Subject>(subject: &S) -> Report {
    let outcome = |case: &super::Case| Outcome { case: case.name(), result: case.run(subject) };
    Report { outcomes: cases().map(outcome).collect() }
}

/// Runs every case and returns their report.
///
/// # Panics
/// When the backend doesn't keep a promise; the message lists those that it doesn't keep.
pub fn assert_conforms<S: Subject>(subject: &S) -> Report {
    let report = run(subject);
    assert!(report.conforms(), "the backend doesn't conform:\n{}", report.failures());
    report
}

impl Report {
    /// Returns the outcome of each case, in the order of [`cases`].
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn conforms(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The names of all cases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.outcomes.iter().map(|outcome| outcome.case)
    }

    /// The names of the cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.outcomes.iter().filter(|outcome| outcome.result.is_err()).map(|outcome| outcome.case)
    }
}

impl Report {
    /// Its text without the cases that passed.
    fn failures(&self) -> String {
        let failed = self.outcomes.iter().filter(|outcome| outcome.result.is_err());
        let lines: String = failed.map(|outcome| format!("{outcome}\n")).collect();
        lines + &self.summary()
    }

    fn summary(&self) -> String {
        format!("{} cases, {} failed", self.outcomes.len(), self.failed().count())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(()) => write!(f, "    ok  {}", self.case),
            Err(failure) => write!(f, "FAILED  {}: {failure}", self.case),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcomes.iter().try_for_each(|outcome| writeln!(f, "{outcome}"))?;
        f.write_str(&self.summary())
    }
}
