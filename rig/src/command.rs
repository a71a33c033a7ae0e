//! What the rig's subcommands share: how they fail, and how they print.

use std::fmt;
use std::io::Write as _;

use fido_relay_kit::signals::Stop;

use crate::host::HostError;

/// Why a subcommand failed, for the program that runs it to print and to exit with.
#[derive(Debug)]
pub struct Failure {
    pub text: String,
    pub exit_code: u8,
}

impl Failure {
    /// It was tried and did not work: exit code 1.
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), exit_code: 1 }
    }

    /// A signal ended it before it was done: the exit code that shells give for that signal.
    pub(crate) fn stopped(by: Stop) -> Self {
        Self { text: "interrupted".to_owned(), exit_code: by.exit_code() }
    }

    /// Wrong arguments: exit code 2.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), exit_code: 2 }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::failed(match &error {
            HostError::Start(_, Some(remedy)) => format!("{error}. To go on, {remedy}"),
            HostError::Start(_, None)
            | HostError::Settings(_)
            | HostError::Client(_)
            | HostError::Store(_) => error.to_string(),
        })
    }
}

/// Prints what a command was asked for. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// A number with its noun: `1 client`, `2 clients`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
