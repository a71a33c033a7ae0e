//! Connections between two requests.

use std::time::Duration;

use fido_relay::config::Config;
use tokio::time::{Instant, sleep, timeout};

use super::{PATIENCE, asks, refused};
use crate::support::raw_socket::{RawSocket, UPGRADE};
use crate::support::relay::TestRelay;

const HEADERS: Duration = Duration::from_secs(1);

async fn relay(idle: Duration) -> TestRelay {
    TestRelay::start_with(|config| {
        config.limits.headers = HEADERS;
        config.limits.listener.idle = idle;
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await
}

#[tokio::test]
async fn a_connection_outlives_the_header_limit_between_two_requests() {
    let relay = relay(Duration::from_secs(60)).await;
    let mut socket = RawSocket::tcp(&relay.url()).await;
    for _ in 0..2 {
        assert_eq!(asks(&mut socket, "/healthz", &[]).await.status, 200);
        // A balancer's pause, and not a wait for anything.
        sleep(HEADERS + Duration::from_millis(200)).await;
    }
    // A body that comes after its head begins no request either.
    socket.send(b"POST /v1/pairings HTTP/1.1\r\nHost: relay\r\nContent-Length: 2\r\n\r\n").await;
    socket.send(b"{}").await;
    assert_eq!(socket.head().await.status, 401);
    sleep(HEADERS + Duration::from_millis(200)).await;
    assert_eq!(asks(&mut socket, "/healthz", &[]).await.status, 200);
    // The next request's headers have their limit from the first byte.
    let began = Instant::now();
    socket.send(b"G").await;
    timeout(PATIENCE, socket.hung_up()).await.expect("it dribbles");
    assert!(began.elapsed() >= HEADERS, "{:?}", began.elapsed());
    assert_eq!(refused(&relay, "headers").await, 1.0);
}

/// Balancers and HTTP libraries upgrade connections that they have kept.
#[tokio::test]
async fn a_device_on_a_kept_connection_has_its_whole_time_to_authenticate() {
    let to_authenticate = Duration::from_secs(2);
    let relay =
        TestRelay::start_with(|config| config.limits.accept_to_auth = to_authenticate).await;
    let phone = relay.pair(&relay.initiator().await, "ada").await;
    let mut socket = RawSocket::tcp(&relay.url()).await;
    assert_eq!(asks(&mut socket, "/healthz", &[]).await.status, 200);
    sleep(to_authenticate + Duration::from_millis(100)).await;
    assert_eq!(asks(&mut socket, "/v1/device/socket", &UPGRADE).await.status, 101);
    socket.authenticates(&phone).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_order() {
    let idle = Duration::from_millis(300);
    let relay = relay(idle).await;
    let mut socket = RawSocket::tcp(&relay.url()).await;
    assert_eq!(asks(&mut socket, "/healthz", &[]).await.status, 200);
    let answered = Instant::now();
    timeout(PATIENCE, socket.hung_up()).await.expect("it is kept");
    assert!(answered.elapsed() + Duration::from_millis(50) >= idle, "{:?}", answered.elapsed());
}

#[test]
fn the_defaults_let_a_balancer_be_idle_for_a_minute() {
    let listener = Config::default().limits.listener;
    assert_eq!(listener.idle, Duration::from_secs(75));
    assert_eq!(Config::default().limits.headers, Duration::from_secs(5));
}
