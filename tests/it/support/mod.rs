//! What the tests stand on.

pub(crate) mod accepting_server;
pub(crate) mod actions;
#[cfg(target_os = "linux")]
pub(crate) mod attached_phone;
pub(crate) mod authority;
pub(crate) mod bare_relay;
pub(crate) mod child;
pub(crate) mod child_relay;
pub(crate) mod client_direct;
pub(crate) mod faulty_disk;
pub(crate) mod faulty_store;
pub(crate) mod fido2_server;
pub(crate) mod fixture;
pub(crate) mod kept_output;
pub(crate) mod kernel;
pub(crate) mod key_pair;
pub(crate) mod metric_samples;
pub(crate) mod needs;
pub(crate) mod origins;
pub(crate) mod own_port;
pub(crate) mod pull_phone;
pub(crate) mod raw_socket;
pub(crate) mod relay;
pub(crate) mod samples;
pub(crate) mod scripted_upstream;
pub(crate) mod stub_push;
pub(crate) mod stub_relay;
pub(crate) mod tls_front;
pub(crate) mod wire_phone;

use std::time::Duration;

use fido_relay::config::Prompts;
use fido_relay::core::prompt_limits::Policy;
use fido_relay::journal::Journal;
use fido_relay::node::RelayLimits;
use fido_relay::ports::ExportHealth;
use tokio::sync::watch;

/// How the journal is written in these tests.
pub(crate) fn journal() -> Journal {
    let issuer = "https://relay.example.com".to_owned();
    Journal { issuer, receipts: false, audited: true }
}

/// A recording that never fails.
pub(crate) fn recording() -> watch::Receiver<ExportHealth> {
    watch::channel(ExportHealth::Healthy).1
}

/// A person who never tires: for tests that ask more of one user in a second than anybody would in
/// a day. The rules themselves have tests of their own.
pub(crate) fn patient() -> RelayLimits {
    let prompts = Policy {
        live: usize::MAX,
        ringing: usize::MAX,
        free_prompts: u32::MAX,
        waits_ms: vec![0],
        prompts_per_hour: usize::MAX,
        vouched_per_hour: usize::MAX,
        declined_quiet_ms: 0,
        not_me_mute_ms: 0,
        wrong_codes_per_day: usize::MAX,
        wrong_codes_in_a_row: u32::MAX,
        same_network: false,
    };
    RelayLimits { prompts, ..RelayLimits::default() }
}

/// [`patient`] as a configuration.
pub(crate) fn patient_config() -> Prompts {
    Prompts {
        live: usize::MAX,
        ringing: usize::MAX,
        free: u32::MAX,
        waits: vec![Duration::ZERO],
        per_hour: usize::MAX,
        vouched_per_hour: usize::MAX,
        declined_quiet: Duration::ZERO,
        not_me_mute: Duration::ZERO,
        wrong_codes_per_day: usize::MAX,
        wrong_codes_in_a_row: u32::MAX,
        same_network: false,
    }
}
