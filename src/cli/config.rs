//! `fido-relay config`: prints the effective configuration with the source of each value.

use clap::Args;

use super::{ConfigFile, Failure, answer, complain};

/// The output is itself a configuration file. It never contains a secret.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fido-relay config                                  the configuration that serve would use
  FIDO_RELAY_UPSTREAM__URL=https://fido.example.com \\
    fido-relay config --check                        check it only; exit code 2 if it is wrong
  fido-relay config > fido-relay.toml                a file to start from

Every key is described in docs/configuration.md.")]
pub(super) struct ConfigArguments {
    /// Print only errors and warnings
    #[arg(long)]
    check: bool,
}

pub(super) fn run(file: &ConfigFile, arguments: &ConfigArguments) -> Result<(), Failure> {
    let loaded = file.load()?;
    for weakness in loaded.config.weaknesses() {
        complain(&format!("warning: {weakness}"));
    }
    if !arguments.check {
        answer(loaded.to_toml().trim_end());
    }
    Ok(())
}
