//! The Python sample for client-direct, unchanged but for its base URL.

use std::path::Path;

use fido_relay::{config, serve};
use reqwest::header::HeaderValue;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::child::run;
use crate::support::fido2_server::Fido2Server;
use crate::support::needs;
use crate::support::relay::http;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// Runs the sample against a server; what it printed, if it reported success. `None`, and said
/// so, where there is no Python for it.
pub(crate) async fn run_sample(what: &str, base_url: &str) -> Option<Result<String, String>> {
    let python = needs::python(what)?;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/client_direct.py");
    let exit = run(Command::new(python).arg(sample).arg(base_url)).await;
    Some(if exit.code == Some(0) { Ok(exit.out) } else { Err(exit.text()) })
}

#[tokio::test]
async fn the_sample_registers_and_authenticates_at_an_independent_server() {
    let what = "the client-direct sample at an independent server";
    let Some(server) = Fido2Server::start(what, &[]).await else { return };
    let printed = run_sample(what, server.url()).await.unwrap().unwrap();
    assert_eq!(printed.matches("'status': 'ok'").count(), 2, "{printed}");
    assert!(printed.contains("Registration:") && printed.contains("Authentication:"));
}

/// A relay that serves client-direct, in front of the FIDO2 server that `upstream` names.
async fn relay(
    listener: TcpListener,
    data: &Path,
    upstream: &[(&str, &str)],
) -> serve::RunningServer {
    let mut variables = vec![
        ("FIDO_RELAY_LISTEN", "127.0.0.1:0"),
        ("FIDO_RELAY_DATA_DIR", data.to_str().unwrap()),
        ("FIDO_RELAY_CLIENT_DIRECT", "true"),
    ];
    variables.extend_from_slice(upstream);
    let config = config::from_texts(None, &variables).unwrap().config;
    serve::start(config, listener).await.unwrap()
}

#[tokio::test]
async fn the_sample_gets_through_the_relay_to_an_external_server() {
    let what = "the client-direct sample through the relay";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // The origin that the sample's card signs is the one that the sample calls.
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let Some(server) = Fido2Server::start(what, &[&origin]).await else { return };
    let data = tempfile::tempdir().unwrap();
    let relay = relay(listener, data.path(), &[("FIDO_RELAY_UPSTREAM__URL", server.url())]).await;
    let printed = run_sample(what, &origin).await.unwrap().unwrap();
    assert_eq!(printed.matches("'status': 'ok'").count(), 2, "{printed}");
    assert!(relay.stop().await);
}

#[tokio::test]
async fn the_sample_registers_and_authenticates_at_the_built_in_server() {
    let what = "the client-direct sample at the built-in server";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // The relying party without configuration is `localhost`.
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    let data = tempfile::tempdir().unwrap();
    let relay = relay(listener, data.path(), &[]).await;
    let Some(came_to) = run_sample(what, &url).await else { return };
    let printed = came_to.unwrap();
    assert_eq!(printed.matches("'status': 'ok'").count(), 2, "{printed}");
    assert!(relay.stop().await);
}

#[tokio::test]
async fn the_sample_says_so_when_the_server_refuses() {
    let what = "the client-direct sample at a server that refuses";
    let refusing = ScriptedUpstream::listening(|_, _| {
        let answer = Answer::json(403, r#"{"status":"failed","errorMessage":"no account"}"#);
        Reply::Answer(answer)
    });
    let Some(came_to) = run_sample(what, &refusing.url()).await else { return };
    assert!(came_to.unwrap_err().contains("'status': 'failed'"));
}

/// As from a server that compresses whatever it is asked, with a cookie that is not ASCII.
#[tokio::test]
async fn an_external_servers_cookies_and_encoding_pass_through_the_relay() {
    let server = ScriptedUpstream::listening(|_, _| {
        let answer = Answer::json(200, "as if compressed")
            .with("Content-Encoding", "gzip")
            .with("Set-Cookie", "sid=é; Path=/pre/fidoapi; Secure; HttpOnly");
        Reply::Answer(answer)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let data = tempfile::tempdir().unwrap();
    let upstream = format!("{}/pre", server.url());
    let relay = relay(listener, data.path(), &[("FIDO_RELAY_UPSTREAM__URL", &upstream)]).await;
    let call = http()
        .post(format!("{url}/fidoapi/certify/assertion/options"))
        .header("Content-Type", "application/json")
        .header("Cookie", HeaderValue::from_bytes("old=é".as_bytes()).unwrap())
        .body(r#"{"username":"ada"}"#);
    let response = call.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let cookie = response.headers()["set-cookie"].as_bytes();
    assert_eq!(cookie, "sid=é; Path=/fidoapi; HttpOnly".as_bytes());
    assert_eq!(response.text().await.unwrap(), "as if compressed");
    assert_eq!(server.received()[0].all("cookie"), ["old=é"]);
    assert!(relay.stop().await);
}
