//! The settings of the edge and the core, made from the configuration.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::TenantId;
use url::Url;

use super::base;
use crate::app::audit::refusals::RefusalCounts;
use crate::app::ceremonies::OpenLimits;
use crate::config::{Config, Limits, Prompts, RateLimits};
use crate::core::prompt_limits::Policy;
use crate::core::session;
use crate::edge;
use crate::metrics::Metrics;
use crate::security::limits::Rates;

pub(super) fn edge(
    config: &Config,
    metrics: Metrics,
    refusals: Arc<RefusalCounts>,
) -> edge::EdgeSettings {
    let limits = &config.limits;
    edge::EdgeSettings {
        tenant: TenantId::default(),
        rp_id: config.tenant.rp_id.clone(),
        network_in_result: config.tenant.network_in_result,
        public_url: base(&config.public_url),
        public_aliases: aliases(&config.public_url),
        tenant_origins: config.tenant.origins.clone(),
        device_origins: config.device_origins.clone(),
        socket_limits: socket_limits(limits),
        socket_write: limits.write,
        body_bytes: limits.body_bytes,
        unauthenticated_per_ip: limits.unauthenticated_per_ip,
        unauthenticated_per_node: limits.unauthenticated_per_node,
        watch: edge::WatchLimits {
            per_ceremony: limits.watchers_per_ceremony,
            per_node: limits.watchers_per_node,
        },
        rates: rates(limits),
        metrics,
        refusals,
    }
}

pub(crate) fn prompt_policy(prompts: &Prompts) -> Policy {
    Policy {
        live: prompts.live,
        ringing: prompts.ringing,
        free_prompts: prompts.free,
        waits_ms: prompts.waits.iter().copied().map(millis).collect(),
        prompts_per_hour: prompts.per_hour,
        vouched_per_hour: prompts.vouched_per_hour,
        declined_quiet_ms: millis(prompts.declined_quiet),
        not_me_mute_ms: millis(prompts.not_me_mute),
        wrong_codes_per_day: prompts.wrong_codes_per_day,
        wrong_codes_in_a_row: prompts.wrong_codes_in_a_row,
        same_network: prompts.same_network,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn socket_limits(limits: &Limits) -> session::SessionLimits {
    let defaults = session::SessionLimits::default();
    session::SessionLimits {
        frame_after_auth: limits.frame_bytes,
        text: session::FrameBudget {
            every_ms: 1000 / u64::from(limits.frames_per_s.max(1)),
            burst: limits.frames_burst,
        },
        ping_every_ms: millis(limits.heartbeat),
        // ± 20 %
        ping_jitter_ms: millis(limits.heartbeat) / 5,
        silent_pings: limits.silent_pings,
        auth_lifetime_ms: millis(limits.auth_lifetime),
        auth_jitter_ms: millis(limits.auth_lifetime) / 12,
        reauth_within_ms: defaults.reauth_within_ms.min(millis(limits.auth_lifetime) / 2),
        ..defaults
    }
}

/// A device may send as many requests over HTTP as frames over its socket.
fn rates(all: &Limits) -> Rates {
    let limits = &all.rates;
    Rates {
        calls_per_s: all.frames_per_s,
        calls_burst: all.frames_burst,
        opens_per_s: limits.opens_per_s,
        opens_burst: limits.opens_burst,
        attempts_per_s: limits.attempts_per_s,
        attempts_burst: limits.attempts_burst,
        sockets_per_min: limits.sockets_per_min,
    }
}

pub(super) fn open_limits(limits: &RateLimits) -> OpenLimits {
    OpenLimits { per_client: limits.open_per_client, per_node: limits.open_per_node }
}

/// Other spellings of a loopback URL: a device's proof names the one that it dialled.
fn aliases(url: &Url) -> Vec<String> {
    let spellings = ["localhost", "127.0.0.1", "[::1]"];
    let Some(host) = url.host_str().filter(|host| spellings.contains(host)) else {
        return Vec::new();
    };
    let others = spellings.into_iter().filter(|spelling| *spelling != host);
    let respell = |spelling: &str| {
        let mut url = url.clone();
        url.set_host(Some(spelling)).is_ok().then(|| base(&url))
    };
    others.filter_map(respell).collect()
}
