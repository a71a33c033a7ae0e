//! Where log lines go: standard error, coloured for a person at a terminal, JSON for machines.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use crate::config::{Log, LogFormat};

/// Libraries that write down whole messages, with proofs, challenges and answers in them, below
/// this level. However fine a log an operator asks for, they are not heard below it.
const TOLD_OF_MESSAGES: [(&str, LevelFilter); 2] =
    [("tungstenite", LevelFilter::INFO), ("tokio_tungstenite", LevelFilter::INFO)];

/// Sends log lines from now on to standard error.
pub(super) fn install(log: &Log) -> Result<(), Failure> {
    let filter: Targets = log.level.parse().map_err(Failure::usage)?;
    let bounds = Targets::new().with_default(LevelFilter::TRACE).with_targets(TOLD_OF_MESSAGES);
    let filter = filter.and(bounds);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let installed = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    installed.map_err(Failure::failed)
}
