//! `fido-relay doctor`: checks everything that a relay of this configuration needs, and prints a
//! remedy for each problem.
//! It leaves no change: one record is written and removed, to test the disk. If a relay runs on the
//! store, that relay is asked instead.

mod files;
mod finding;
mod network;
mod push;
mod revocations;
mod store;
mod tls;
mod upstream;

use clap::Args;

use super::{ConfigFile, Failure, answer, block_on};
use crate::config::{Loaded, Source};
pub(super) use files::open_to_others;
use finding::Finding;

/// Checks configuration, files and their permissions, free space, store, clock, FIDO2 server, push
/// services and public_url. Run it on the relay's machine and as the relay's user.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fido-relay doctor
  fido-relay --config /etc/fido-relay.toml doctor
  fido-relay doctor --min-free-mb 4096

Exit codes: 0 no problem (there may be warnings), 1 problems were found.")]
pub(super) struct DoctorArguments {
    /// Free space required on the store's disk, in MiB
    #[arg(long, value_name = "MIB", default_value = "256")]
    min_free_mb: u64,
}

pub(super) fn run(file: &ConfigFile, arguments: &DoctorArguments) -> Result<(), Failure> {
    let findings = match crate::config::load(file.config.as_deref()) {
        Ok(loaded) => block_on(async { Ok(all(&loaded, arguments).await) })?,
        Err(errors) => errors.0.iter().map(config_error).collect(),
    };
    for finding in &findings {
        answer(&finding.to_string());
    }
    match findings.iter().filter(|finding| finding.is_wrong()).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("1 problem found")),
        many => Err(Failure::failed(format!("{many} problems found"))),
    }
}

fn config_error(error: &crate::config::ConfigError) -> Finding {
    let remedy = "correct it; docs/configuration.md has every key with its bounds. Nothing else was \
                  checked";
    Finding::wrong("configuration", error, remedy)
}

async fn all(loaded: &Loaded, arguments: &DoctorArguments) -> Vec<Finding> {
    let config = &loaded.config;
    let mut findings = vec![configuration(loaded)];
    findings.extend(config.weaknesses().into_iter().map(|weakness| {
        let says = format!("{}: {}", weakness.key, weakness.text);
        Finding::doubtful("configuration", says, weakness.remedy)
    }));
    findings.extend(tls::check(config));
    findings.push(network::authorities());
    findings.extend(upstream::check(config).await);
    findings.extend(push::check(config).await);
    if let Some(unreadable) = files::unreadable(config) {
        findings.push(unreadable);
        return findings;
    }
    findings.extend(files::check(config, arguments.min_free_mb));
    let store = store::check(config).await;
    let runs = store.runs;
    findings.extend(store.findings);
    if !runs {
        findings.push(network::listen(config).await);
    }
    findings.push(network::public_url(config, runs).await);
    findings
}

fn configuration(loaded: &Loaded) -> Finding {
    let given = loaded.settings.iter().filter(|setting| setting.source != Source::Default).count();
    let says = match given {
        0 => "no key is set; all have their defaults".to_owned(),
        given => format!("valid; {given} set, the others have their defaults"),
    };
    Finding::good("configuration", says)
}
