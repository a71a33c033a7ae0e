//! The keys of the admin listener and of the rates.

use super::{size, small};
use crate::config::reader::Reader;
use crate::config::{AdminListener, RateLimits};

pub(super) fn read_admin(reader: &mut Reader) -> AdminListener {
    let listen: Option<std::net::SocketAddr> = reader.optional("admin.listen");
    let allow_remote = reader.take("admin.allow_remote", false);
    match listen {
        Some(address) if !address.ip().is_loopback() && !allow_remote => {
            let text = "must be a loopback address, such as \"127.0.0.1:9090\": whoever reaches it \
                        reads the figures without a credential; or set admin.allow_remote = true";
            reader.wrong("admin.listen", text);
        }
        Some(_) | None => {}
    }
    AdminListener { listen, allow_remote }
}

pub(super) fn read_limits(reader: &mut Reader) -> RateLimits {
    RateLimits {
        opens_per_s: small(reader.number("limits.opens_per_s", 50, 1..=100_000)),
        opens_burst: small(reader.number("limits.opens_burst", 200, 1..=1_000_000)),
        open_per_client: size(reader.number("limits.open_per_client", 1_000, 1..=1_000_000)),
        open_per_node: size(reader.number("limits.open_per_node", 50_000, 1..=10_000_000)),
        attempts_per_s: small(reader.number("limits.attempts_per_s", 10, 1..=100_000)),
        attempts_burst: small(reader.number("limits.attempts_burst", 100, 10..=1_000_000)),
        sockets_per_min: small(reader.number("limits.sockets_per_min", 30, 3..=100_000)),
    }
}
