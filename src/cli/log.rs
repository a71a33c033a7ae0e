//! Where log lines go: standard error, coloured for a person at a terminal, JSON for machines.

use std::io::IsTerminal as _;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use crate::config::{Log, LogFormat};

/// Sends log lines from now on to standard error.
pub(super) fn install(log: &Log) -> Result<(), Failure> {
    let filter: Targets = log.level.parse().map_err(Failure::usage)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let installed = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    installed.map_err(Failure::failed)
}
