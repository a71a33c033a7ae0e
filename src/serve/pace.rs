//! How fast the node lets anybody go on, and the listener where it is watched, as they are
//! configured.

use std::net::SocketAddr;

use super::{StartError, listening};
use crate::app::ceremonies::OpenLimits;
use crate::config::{Config, Limits, RateLimits};
use crate::edge::listener::{self, Listener};
use crate::edge::{self, Edge};
use crate::node::Dependencies;
use crate::security::limits::Rates;

/// A device may ask over HTTP as often as it may send frames over its socket.
pub(super) fn rates(all: &Limits) -> Rates {
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

/// Serves the admin listener, if there is to be one, and tells where.
pub(super) fn serve_probes(
    config: &Config,
    edge: Edge,
    world: &Dependencies,
) -> Result<Option<SocketAddr>, StartError> {
    let Some(wanted) = config.admin.listen else { return Ok(None) };
    let failed = |error| StartError::Listen(wanted, error);
    let socket = listener::bind(wanted).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let settings = listening::admin_settings(config);
    let listener = Listener::start(settings, &world.clock, &world.tasks)?;
    let serving = listener::serve(socket, edge::probes(edge), world.tasks.clone(), listener);
    world.tasks.spawn_vital("accept on admin.listen", serving);
    Ok(Some(address))
}
