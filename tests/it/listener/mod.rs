//! The listener: TLS of the relay's own, places and rates by address, proxies in front, pressure, and
//! a flood of those who never say what they want.

mod flood;
mod http2;
mod keep_alive;
mod leaving;
mod limits;
mod proxies;
mod reload;
mod tls;
#[cfg(target_os = "linux")]
mod unread;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::support::metric_samples::MetricSamples;
use crate::support::raw_socket::{Head, RawSocket};
use crate::support::relay::{TestRelay, http};

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection from this address of the loopback network.
async fn from(ip: [u8; 4], url: &str) -> RawSocket {
    RawSocket::tcp_from(SocketAddr::from((ip, 0)), url).await
}

/// Asks over this connection.
async fn asks(socket: &mut RawSocket, path: &str, headers: &[(&str, &str)]) -> Head {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    socket.send(request.as_bytes()).await;
    socket.head().await
}

/// Whether the relay hangs up on this connection before it answers a question.
async fn is_turned_away(socket: &mut RawSocket) -> bool {
    socket.send(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    timeout(PATIENCE, socket.says_nothing()).await.expect("the relay answers or hangs up")
}

/// Connections and requests that the relay refused under this name, of a relay whose configuration
/// has an `admin.listen`.
async fn refused(relay: &TestRelay, what: &str) -> f64 {
    let address = relay.running.admin_address().unwrap();
    let text = http().get(format!("http://{address}/metrics")).send().await.unwrap().text().await;
    MetricSamples::read(&text.unwrap()).sum("fido_relay_refused_total", &[("what", what)])
}
