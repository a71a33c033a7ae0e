//! Log lines on standard error: coloured text at a terminal, or JSON.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Failure;
use crate::config::{LogConfig, LogFormat};

/// Libraries that log whole messages, with proofs, challenges and answers, below this level. Their
/// finer lines are always dropped, at any `log.level`.
const MESSAGE_LOGGERS: [(&str, LevelFilter); 2] =
    [("tungstenite", LevelFilter::INFO), ("tokio_tungstenite", LevelFilter::INFO)];

/// Installs the subscriber of the process.
pub(super) fn install(log: &LogConfig) -> Result<(), Failure> {
    let filter: Targets = log.level.parse().map_err(Failure::usage)?;
    let bounds = Targets::new().with_default(LevelFilter::TRACE).with_targets(MESSAGE_LOGGERS);
    let filter = filter.and(bounds);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let installed = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    installed.map_err(Failure::failed)
}
