//! The result of one check, with a remedy.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FindingLevel {
    Good,
    /// This machine cannot decide it, or the operator has chosen it.
    Doubtful,
    Wrong,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    about: &'static str,
    verdict: FindingLevel,
    says: String,
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn good(about: &'static str, says: impl fmt::Display) -> Self {
        Self { about, verdict: FindingLevel::Good, says: says.to_string(), remedy: None }
    }

    pub(super) fn doubtful(
        about: &'static str,
        says: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        let (says, remedy) = (says.to_string(), Some(remedy.into()));
        Self { about, verdict: FindingLevel::Doubtful, says, remedy }
    }

    pub(super) fn wrong(
        about: &'static str,
        says: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        let (says, remedy) = (says.to_string(), Some(remedy.into()));
        Self { about, verdict: FindingLevel::Wrong, says, remedy }
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.verdict == FindingLevel::Wrong
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            FindingLevel::Good => "ok",
            FindingLevel::Doubtful => "warning",
            FindingLevel::Wrong => "WRONG",
        };
        write!(f, "{verdict:<8} {}: {}", self.about, self.says)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n         → {remedy}"),
            None => Ok(()),
        }
    }
}
