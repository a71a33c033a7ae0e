//! Every route that verifies something stops answering an address that sends only what is wrong.

use std::net::{Ipv4Addr, SocketAddr};

use fido_relay_proto::DeviceId;
use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use crate::http_access::{ROUTES, Route, concrete};
use crate::support::raw_socket::{Head, RawSocket};
use crate::support::relay::TestRelay;

/// Routes without a credential that verify nothing.
const VERIFY_NOTHING: [&str; 13] = [
    // Each connection may try once, and how many of an address may be open and how fast they come
    // is limited: see `listener::limits` and `device_socket`.
    "/v1/device/socket",
    "/fidoapi/certify/attestation/options",
    "/fidoapi/certify/assertion/options",
    "/fidoapi/register/begin",
    "/fidoapi/authenticate/begin",
    "/.well-known/oauth-authorization-server",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/",
    "/asyncapi.json",
    "/docs",
    "/healthz",
    "/readyz",
];

/// Something well-formed that is not good, with its media type.
fn wrong(relay: &TestRelay, route: &Route) -> Option<(&'static str, String)> {
    let json = |value: Value| Some(("application/json", value.to_string()));
    let (key, next) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let url = format!("{}{}", relay.url(), route.path);
    match route.path {
        "/v1/devices" => json(json!({
            "pairing_token": "x", "jwk": key.jwk(), "platform": "other",
            "proof": key.pairing_proof(&url, "x").unwrap(),
        })),
        "/v1/device/key" => {
            let nobody = DeviceId::from_bytes([7; 16]);
            let (old, new) = key.rotation_proofs(&next, &url, nobody).unwrap();
            json(json!({ "new_jwk": next.jwk(), "old_proof": old, "new_proof": new }))
        }
        "/oauth/token" => Some((
            "application/x-www-form-urlencoded",
            "grant_type=client_credentials&client_assertion=x&client_assertion_type=\
             urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
                .to_owned(),
        )),
        _ if route.is_guarded() => json(route.body.map_or(json!({}), |body| body())),
        path if VERIFY_NOTHING.contains(&path) => None,
        _ => {
            json(json!({ "id": "AQIDBA", "rawId": "AQIDBA", "type": "public-key", "response": {} }))
        }
    }
}

async fn sends(
    socket: &mut RawSocket,
    route: &Route,
    (kind, body): &(&str, String),
    bearer: Option<&str>,
) -> Head {
    let path = concrete(route.path, "cer_AAAAAAAAAAAAAAAAAAAAAA");
    let authorization = bearer.map(|bearer| format!("Authorization: Bearer {bearer}\r\n"));
    let request = format!(
        "{} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{}\
         Content-Length: {}\r\n\r\n{body}",
        route.method,
        authorization.unwrap_or_default(),
        body.len()
    );
    socket.send(request.as_bytes()).await;
    socket.head().await
}

/// An address of this machine for each route, so that none uses up another's allowance.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_route_that_verifies_ends_in_429_and_a_good_key_still_passes() {
    const BURST: u32 = 12;
    let relay = TestRelay::start_with(|config| {
        let rates = &mut config.limits.rates;
        (rates.attempts_per_s, rates.attempts_burst) = (1, BURST);
    })
    .await;
    let initiator = relay.initiator().await;
    let me = ROUTES.iter().find(|route| route.path == "/v1/clients/self").unwrap();
    for (n, route) in (1..).zip(ROUTES) {
        let what = format!("{} {}", route.method, route.path);
        let Some(order) = wrong(&relay, route) else {
            assert!(!route.is_guarded(), "{what}");
            continue;
        };
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 9, n), 0));
        let mut socket = RawSocket::tcp_from(from, &relay.url()).await;
        let bearer = route.is_guarded().then_some("rk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let mut tries = 0;
        let refused = loop {
            let head = sends(&mut socket, route, &order, bearer).await;
            if head.status == 429 {
                break head;
            }
            assert!(matches!(head.status, 400 | 401 | 408), "{what}: {head:?}");
            tries += 1;
            assert!(tries < 10 * BURST, "{what} has no limit");
        };
        assert!(tries > 0, "{what}: the first is still looked at");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(wait >= 1, "{what}");
        if route.is_guarded() {
            // A client with a good key at the same address is not shut out.
            let nothing = ("application/json", String::new());
            let head = sends(&mut socket, me, &nothing, Some(&initiator.key)).await;
            assert_eq!(head.status, 200, "{what}: {head:?}");
        }
    }
}
