//! The command line: one file per subcommand. The only module that prints.

mod administration;
pub mod audit;
mod card;
mod client;
mod config;
mod device;
mod doctor;
mod health;
mod log;
mod pairing;
#[cfg(feature = "rig")]
pub mod rig;
mod schema;
mod serve;
mod user;
mod webhook;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, Loaded};
use crate::serve::StartError;

/// Relays FIDO2 ceremonies from a web page to the card that only the user's phone can read.
#[derive(Debug, Parser)]
#[command(name = "fido-relay", version, about, propagate_version = true)]
#[command(after_help = "Examples:
  fido-relay serve                          everything on this machine, nothing configured
  fido-relay demo --keep                    a complete run, with a page for your browser
  fido-relay client create --name Shop      an API key for a backend that opens ceremonies
  fido-relay config                         the effective configuration and its sources
  fido-relay doctor                         the problems of this installation, and their remedies

Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.")]
struct CommandLine {
    #[command(flatten)]
    file: ConfigFile,
    #[command(subcommand)]
    command: Command,
}

/// Where the configuration is.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// Configuration file (TOML); without it, fido-relay.toml in the working directory if it
    /// exists. FIDO_RELAY_* variables win over it.
    #[arg(long, global = true, value_name = "FILE", env = "FIDO_RELAY_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn load(&self) -> Result<Loaded, Failure> {
        crate::config::load(self.config.as_deref()).map_err(|error| Failure::usage(&error))
    }

    fn config(&self) -> Result<Config, Failure> {
        Ok(self.load()?.config)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay
    Serve(serve::ServeArguments),
    /// Run a relay, a page, a phone and a card on this machine, through complete ceremonies
    #[cfg(feature = "rig")]
    Demo(fido_relay_rig::demo::DemoArguments),
    /// Measure the memory of an idle phone and the time of a ceremony
    #[cfg(feature = "rig")]
    Bench(fido_relay_rig::bench::BenchArguments),
    /// Print the effective configuration with the source of each value
    Config(config::ConfigArguments),
    /// Create, list, change and remove initiators
    Client(client::ClientArguments),
    /// Register, list, test and remove webhook endpoints, and send dead letters again
    Webhook(webhook::WebhookArguments),
    /// Create a one-time token that pairs a phone with a user
    Pairing(pairing::PairingArguments),
    /// List a user's phones and revoke them
    Device(device::DeviceArguments),
    /// List a user's cards and remove them
    Card(card::CardArguments),
    /// Show, unlock or remove a user
    User(user::UserArguments),
    /// Simulate an app and its card against any relay
    #[cfg(feature = "rig")]
    Phone(Box<fido_relay_rig::phone_command::PhoneArguments>),
    /// Check whether the relay of this configuration is alive
    Health(health::HealthArguments),
    /// Verify and export the audit log, verify receipts
    Audit(audit::AuditArguments),
    /// Print the OpenAPI or AsyncAPI document
    Schema(schema::SchemaArguments),
    /// Check configuration, files, store and services, and print a remedy for each problem
    Doctor(doctor::DoctorArguments),
}

/// Why a command failed: the text on standard error and the exit code.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// The command was tried and failed: exit code 1.
    pub fn failed(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// The relay or its data directory cannot be used: the error and its remedy in one line.
    fn unstarted(error: &StartError) -> Self {
        match error.remedy() {
            Some(remedy) => Self::failed(format!("{error}. To go on, {remedy}")),
            None => Self::failed(error),
        }
    }

    /// Wrong arguments or a wrong configuration: exit code 2.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 2 }
    }
}

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let CommandLine { file, command } = CommandLine::parse();
    let done = match command {
        Command::Serve(arguments) => serve::run(&file, &arguments),
        #[cfg(feature = "rig")]
        Command::Demo(arguments) => {
            fido_relay_rig::demo::run(arguments, &rig::Host).map_err(Failure::from)
        }
        #[cfg(feature = "rig")]
        Command::Bench(arguments) => {
            fido_relay_rig::bench::run(&arguments, &rig::Host).map_err(Failure::from)
        }
        Command::Config(arguments) => config::run(&file, &arguments),
        Command::Client(arguments) => client::run(&file, arguments),
        Command::Webhook(arguments) => webhook::run(&file, arguments),
        Command::Pairing(arguments) => pairing::run(&file, arguments),
        Command::Device(arguments) => device::run(&file, arguments),
        Command::Card(arguments) => card::run(&file, arguments),
        Command::User(arguments) => user::run(&file, arguments),
        #[cfg(feature = "rig")]
        Command::Phone(arguments) => {
            block_on(async { Ok(fido_relay_rig::phone_command::run(&arguments).await?) })
        }
        Command::Health(arguments) => health::run(&file, &arguments),
        Command::Audit(arguments) => audit::run(&file, &arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&file, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place that prints to standard error")]
fn complain(text: &str) {
    eprintln!("fido-relay: {text}");
}

/// Prints a remark to standard error, apart from the output for programs.
fn note(text: &str) {
    complain(text);
}

/// Prints the output of a command. A reader that closes the pipe (`| head`) is no failure.
fn answer(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
}

/// Prints a value as JSON, or as text by the given function.
fn show<T: Serialize + ?Sized>(
    value: &T,
    json: bool,
    print: impl FnOnce(&T),
) -> Result<(), Failure> {
    if json {
        answer(&serde_json::to_string(value).map_err(Failure::failed)?);
    } else {
        print(value);
    }
    Ok(())
}

/// Parses one of a few names. The help lists them, and so does the error, with the most similar
/// one.
fn one_of<T: Clone + Send + Sync + 'static>(
    names: impl IntoIterator<Item = &'static str>,
    parse: fn(&str) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    let known = PossibleValuesParser::new(names);
    known.try_map(move |name| parse(&name).ok_or("is not known"))
}

/// A number with its noun: `1 client`, `2 clients`.
fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Runs a command's few calls on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_every_command_says_what_it_does() {
        let mut command = CommandLine::command();
        command.build();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands() {
            assert!(subcommand.get_about().is_some(), "{}", subcommand.get_name());
        }
    }
}
