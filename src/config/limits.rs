//! What a connection, an address, a client and the node may cost: the table `limits` of the
//! configuration.

use std::time::Duration;

use fido_relay_proto::limits::{FRAME_AFTER_AUTH, HTTP_BODY};

use super::limit::{Limit, LimitValue, Weakness, limits};
use super::reader::ConfigReader;

limits! {
    /// What one connection may cost.
    pub struct Limits {
        /// Seconds from the TCP connection to an authenticated device.
        accept_to_auth: Duration = Limit::new("limits.accept_to_auth_s", 10, 1..=60)
            .weak_above(30, "a connection may stay unauthenticated for more than 30 s");
        /// Seconds for a request's headers to arrive: of the first from the connection (with TLS
        /// from the end of its handshake), of any other from their first byte.
        headers: Duration = Limit::new("limits.headers_s", 5, 1..=60)
            .weak_above(15, "a request's headers may take more than 15 s");
        /// Bytes of a request's headers.
        header_bytes: usize = Limit::new("limits.header_bytes", 16_384, 8_192..=262_144)
            .weak_above(65_536, "a request may have more than 64 KiB of headers");
        /// Headers of a request.
        header_count: usize = Limit::new("limits.header_count", 64, 16..=256)
            .weak_above(128, "a request may have more than 128 headers");
        /// Bytes of a request's body.
        body_bytes: usize = Limit::new("limits.body_bytes", HTTP_BODY as u64, 8_192..=1_048_576)
            .weak_above(262_144, "a request's body may have more than 256 KiB");
        /// Bytes of one frame of an authenticated device; before authentication always 2,048.
        frame_bytes: usize =
            Limit::new("limits.frame_bytes", FRAME_AFTER_AUTH as u64, 8_192..=262_144)
                .weak_above(65_536, "each device may send frames of more than 64 KiB");
        /// Frames a second of one device, sustained; the same for requests over HTTP.
        frames_per_s: u32 = Limit::new("limits.frames_per_s", 10, 1..=1_000)
            .weak_above(100, "each device may send more than 100 frames a second");
        /// Frames at once after a pause.
        frames_burst: u32 = Limit::new("limits.frames_burst", 30, 1..=10_000)
            .weak_above(300, "each device may send more than 300 frames at once");
        /// Seconds between two pings, ± 20 %. Mobile networks drop connections that are idle for
        /// half a minute.
        heartbeat: Duration = Limit::new("limits.heartbeat_s", 25, 5..=300);
        /// Seconds that a stopping relay still works while its phones reconnect elsewhere; then
        /// work in progress has 20 s more, so the service manager must wait longer than both
        /// together before killing it.
        drain: Duration = Limit::new("limits.drain_s", 2, 0..=20);
        /// Pings that may stay unanswered before the socket ends.
        silent_pings: u8 = Limit::new("limits.silent_pings", 2, 1..=10)
            .weak_above(4, "a lost device is noticed only after 5 pings");
        /// Seconds for which one proof is valid on a socket; then the device signs again on it.
        auth_lifetime: Duration = Limit::new("limits.auth_lifetime_s", 3_600, 300..=86_400)
            .weak_above(14_400, "one proof keeps a socket for more than 4 hours");
        /// Seconds for one write to a device's socket.
        write: Duration = Limit::new("limits.write_s", 5, 1..=60)
            .weak_above(30, "a device may keep a write waiting for more than 30 s");
        /// Device sockets of one address (IPv6: of one /64) that have not authenticated yet. Behind
        /// a proxy that `proxy.trusted` does not name, all phones share its address: name it.
        unauthenticated_per_ip: usize =
            Limit::new("limits.unauthenticated_per_ip", 20, 1..=100_000)
                .weak_above(5_000, "one address may hold more than 5,000 unauthenticated sockets");
        /// Device sockets of the whole relay that have not authenticated yet.
        unauthenticated_per_node: usize =
            Limit::new("limits.unauthenticated_per_node", 2_000, 1..=1_000_000)
                .weak_above(20_000, "more than 20,000 sockets may be unauthenticated");
        /// Watchers of one ceremony at the same time, by long poll, server-sent events and sockets
        /// together; the next gets 429.
        watchers_per_ceremony: usize = Limit::new("limits.watchers_per_ceremony", 16, 1..=10_000);
        /// Watchers on this relay at the same time; the next gets 503.
        watchers_per_node: usize = Limit::new("limits.watchers_per_node", 20_000, 1..=1_000_000);
        and {
            /// Of the listener itself.
            listener: ListenerLimits = ListenerLimits::read;
            /// Of clients, addresses and devices.
            rates: RateLimits = RateLimits::read;
        }
    }
}

limits! {
    /// How many connections the listener takes, how fast, and how long each may stay idle.
    pub struct ListenerLimits {
        /// Seconds from the TCP connection to the end of the TLS handshake.
        tls: Duration = Limit::new("limits.tls_s", 5, 1..=30)
            .weak_above(15, "a TLS handshake may take more than 15 s");
        /// Seconds that a connection stays open without a request after its last answer. It must be
        /// longer than the idle time of any balancer or proxy in front (60 s with most), or
        /// requests are lost that the balancer sends while the relay closes.
        idle: Duration = Limit::new("limits.idle_s", 75, 5..=3_600)
            .weak_above(600, "a connection without a request stays for over 10 min");
        /// Seconds for which an unauthenticated peer may read nothing of what waits for it (an
        /// answer, events, frames) before its connection is reset. The kernel shows progress in
        /// steps of some 20 KiB, so a peer that reads a larger answer at less than about 2 KiB a
        /// second may be reset too.
        unread: Duration = Limit::new("limits.unread_s", 10, 1..=120)
            .weak_above(
                30,
                "an unauthenticated peer may leave its answer unread for more than 30 s",
            );
        /// Seconds for which an authenticated client or device, or a proxy that `proxy.trusted`
        /// names, may read nothing of what waits for it.
        unread_known: Duration = Limit::new("limits.unread_known_s", 30, 1..=600)
            .weak_above(120, "a client may leave its answer unread for more than 2 minutes");
        /// Seconds that an unauthenticated peer may take to read one whole answer.
        answer: Duration = Limit::new("limits.answer_s", 60, 5..=3_600)
            .weak_above(300, "an unauthenticated peer may take more than 5 min over one answer");
        /// Seconds after which an unauthenticated connection or device socket may be evicted for a
        /// new one, where `limits.connections_per_…` or `limits.unauthenticated_per_…` is reached.
        /// The most crowded network (/24, /48) loses its oldest; for a new one of a less crowded
        /// network at any age.
        eviction_age: Duration = Limit::new("limits.eviction_age_s", 2, 1..=60)
            .weak_above(
                10,
                "an unauthenticated connection keeps its slot from devices for more than 10 s",
            );
        /// Connections of one address (IPv6: of one /64) without an authenticated device or client:
        /// a device's proof or a client's key removes a connection from the count, since thousands
        /// of phones may share one address. A ticket does not; so this also limits the pages per
        /// address that wait for an outcome (behind a proxy the address that it names).
        connections_per_ip: usize = Limit::new("limits.connections_per_ip", 200, 1..=1_000_000)
            .weak_above(5_000, "one address may hold more than 5,000 connections");
        /// Connections of the whole relay, authenticated or not. From nine tenths of it on nothing
        /// new is accepted: 503 with `Retry-After`. Also bounded by the limit of open files, which
        /// `serve` raises as far as the system allows.
        connections_per_node: usize =
            Limit::new("limits.connections_per_node", 50_000, 10..=10_000_000)
                .weak_above(500_000, "more than 500,000 connections");
        /// New connections a second of one address (IPv6: of one /64), sustained; ten seconds'
        /// worth at once. Behind a trusted proxy: device sockets of one client. A backend should
        /// keep its connections open rather than need more.
        handshakes_per_s_per_ip: u32 =
            Limit::new("limits.handshakes_per_s_per_ip", 20, 1..=100_000)
                .weak_above(500, "one address may begin more than 500 connections a second");
        /// New connections a second of the whole relay, sustained; four seconds' worth at once.
        handshakes_per_s_per_node: u32 =
            Limit::new("limits.handshakes_per_s_per_node", 1_000, 1..=1_000_000)
                .weak_above(10_000, "more than 10,000 new connections a second, each a signature");
        /// Resident memory of the relay in MiB above which nothing new is accepted: 503 with
        /// `Retry-After`. Linux only; set it a little below what the container or the service may
        /// use.
        memory_mib: Option<u64> = Limit::unset("limits.memory_mib", 64..=1_048_576);
    }
}

limits! {
    /// How fast clients, addresses and devices may go on, and how much they may have open. A burst
    /// is what may come at once after a silence.
    #[derive(Copy)]
    pub struct RateLimits {
        /// Ceremonies a second that one client may open, sustained.
        opens_per_s: u32 = Limit::new("limits.opens_per_s", 50, 1..=100_000);
        /// Ceremonies that one client may open at once after a pause.
        opens_burst: u32 = Limit::new("limits.opens_burst", 200, 1..=1_000_000);
        /// Ceremonies of one client that may be open at a time.
        open_per_client: usize = Limit::new("limits.open_per_client", 1_000, 1..=1_000_000);
        /// Ceremonies of all clients that may be open at a time.
        open_per_node: usize = Limit::new("limits.open_per_node", 50_000, 1..=10_000_000);
        /// Attempts a second of one address (IPv6: of one /64) to pair a phone, to exchange its key
        /// or to get a token. A failed one counts as ten. The same number of wrong credentials and
        /// card answers (counted separately, each as one) get their specific error, more get 429.
        attempts_per_s: u32 = Limit::new("limits.attempts_per_s", 10, 1..=100_000).weak_above(
            500,
            "one address may try more than 500 pairing tokens a second, or 50 that fail",
        );
        /// Attempts at once after a pause.
        attempts_burst: u32 = Limit::new("limits.attempts_burst", 100, 10..=1_000_000);
        /// New sockets that one device may authenticate within a minute; the next is closed with
        /// 4429. It stops apps that reconnect without a pause, or that share a key and replace one
        /// another.
        sockets_per_min: u32 = Limit::new("limits.sockets_per_min", 30, 3..=100_000);
    }
}
