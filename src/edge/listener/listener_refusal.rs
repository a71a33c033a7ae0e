//! Why the listener refuses or ends a connection. The reason's name is a label of the counter
//! `fido_relay_refused_total`; log lines would themselves be a flood.

/// Why a connection or a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerRefusal {
    /// Too many connections a second of one address.
    HandshakesPerIp,
    /// Too many connections a second.
    HandshakesPerNode,
    /// Too many connections of one address that have not authenticated.
    ConnectionsPerIp,
    /// Too many connections.
    ConnectionsPerNode,
    /// No TLS handshake, a bad one, or none in time.
    Tls,
    /// A proxy's connection without a proper PROXY protocol header.
    ProxyHeader,
    /// No first request in time.
    Silent,
    /// A later request whose headers took too long from their first byte.
    Headers,
    /// A peer that read nothing of an answer for too long, or an unauthenticated one that took too
    /// long over all of it.
    Stalled,
    /// An unauthenticated peer that made room for a newcomer.
    Evicted,
    /// A device socket without TLS, from another machine.
    Plaintext,
    /// Too many device sockets of one address, or of the node, that have not authenticated.
    Sockets,
    /// Too many device sockets a second of one client behind a proxy.
    SocketsPerClient,
    /// A request that begins something while nearly all connections are taken.
    PressureConnections,
    /// A request that begins something while memory is short.
    PressureMemory,
}

impl ListenerRefusal {
    /// Every name, for counters that start at zero.
    pub const ALL: [Self; 15] = [
        Self::HandshakesPerIp,
        Self::HandshakesPerNode,
        Self::ConnectionsPerIp,
        Self::ConnectionsPerNode,
        Self::Tls,
        Self::ProxyHeader,
        Self::Silent,
        Self::Headers,
        Self::Stalled,
        Self::Evicted,
        Self::Plaintext,
        Self::Sockets,
        Self::SocketsPerClient,
        Self::PressureConnections,
        Self::PressureMemory,
    ];

    /// Its name, for the counter's label `what`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandshakesPerIp => "handshakes_per_ip",
            Self::HandshakesPerNode => "handshakes_per_node",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::ConnectionsPerNode => "connections_per_node",
            Self::Tls => "tls",
            Self::ProxyHeader => "proxy_header",
            Self::Silent => "silent",
            Self::Headers => "headers",
            Self::Stalled => "stalled",
            Self::Evicted => "evicted",
            Self::Plaintext => "plaintext",
            Self::Sockets => "sockets",
            Self::SocketsPerClient => "sockets_per_client",
            Self::PressureConnections => "pressure_connections",
            Self::PressureMemory => "pressure_memory",
        }
    }
}
