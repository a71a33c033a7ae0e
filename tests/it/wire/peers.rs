//! Independent WebSocket peers that close: what they report to their program.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::support::needs;
use crate::support::scene::Scene;

#[tokio::test]
async fn pythons_websockets_sees_its_close_answered_on_every_socket() {
    let Some(python) = needs::python("the closing handshake with websockets") else { return };
    let scene = Scene::set().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/wire/close.py");
    let peer = |url: &str, subprotocols: &str, auth: bool| {
        let mut peer = Command::new(&python);
        peer.arg(&script).args([url, subprotocols, "4001"]).args(auth.then_some("auth"));
        peer.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    };
    let devices = scene.relay.socket_url();
    let watchers = devices.replace("device", &format!("ceremonies/{}", scene.open.id));
    let ticket = format!("fido-relay.watch.v1,ticket.{}", scene.open.ticket);
    let closes = async |url: &str, subprotocols: &str, auth: bool| {
        let mut peer = peer(url, subprotocols, auth);
        let mut lines = BufReader::new(peer.stdout.take().unwrap()).lines();
        let mut line = lines.next_line().await.unwrap().expect("the peer prints a line");
        if auth {
            let proof = scene.ada.key.auth_proof(&devices, &line, scene.ada.device_id).unwrap();
            let input = peer.stdin.as_mut().unwrap();
            input.write_all(format!("{proof}\n").as_bytes()).await.unwrap();
            line = lines.next_line().await.unwrap().expect("the peer prints how it ended");
        }
        assert_eq!(line, "4001 True", "{url}, {auth}");
    };
    futures::join!(
        closes(&devices, "fido-relay.v1", false),
        closes(&devices, "fido-relay.v1", true),
        closes(&watchers, &ticket, false),
    );
}
