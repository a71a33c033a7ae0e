//! What the rig's subcommands share: how they fail, and how they print.

use std::fmt;

use fido_relay_kit::signals::Stop;

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

/// A number with its noun: `1 client`, `2 clients`.
pub(crate) fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
