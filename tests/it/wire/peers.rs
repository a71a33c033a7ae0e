//! Independent WebSocket peers that close: what they report to their program.

use std::path::Path;

use tokio::process::Command;

use crate::support::child::ChildProcess;
use crate::support::fixture::Fixture;
use crate::support::needs;

#[tokio::test]
async fn pythons_websockets_sees_its_close_answered_on_every_socket() {
    let Some(python) = needs::python("the closing handshake with websockets") else { return };
    let fixture = Fixture::new().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire/close.py");
    let peer = |url: &str, subprotocols: &str, auth: bool| {
        let mut peer = Command::new(&python);
        peer.arg(&script).args([url, subprotocols, "4001"]).args(auth.then_some("auth"));
        ChildProcess::start(&mut peer)
    };
    let devices = fixture.relay.socket_url();
    let watchers = devices.replace("device", &format!("ceremonies/{}", fixture.open.id));
    let ticket = format!("fido-relay.watch.v1,ticket.{}", fixture.open.ticket);
    let closes = async |url: &str, subprotocols: &str, auth: bool| {
        let mut peer = peer(url, subprotocols, auth);
        let mut line = peer.prints("").await;
        if auth {
            let proof = fixture.ada.key.auth_proof(&devices, &line, fixture.ada.device_id).unwrap();
            peer.types(&format!("{proof}\n")).await;
            line = peer.prints("").await;
        }
        assert_eq!(line, "4001 True", "{url}, {auth}");
    };
    futures::join!(
        closes(&devices, "fido-relay.v1", false),
        closes(&devices, "fido-relay.v1", true),
        closes(&watchers, &ticket, false),
    );
}
