//! `fido-relay device`: the phones of a user, and one that is lost.

use std::sync::Arc;

use fido_relay::app::devices;
use fido_relay::backends::embedded::FileStore;
use fido_relay_rig::phone::wire::Socket;

use super::{run, run_json};
use crate::support::relay::TestRelay;
use crate::support::wire_phone::WirePhone;

/// One that must be encoded on its way.
const ADA: &str = "ada+cards@example.com";

#[tokio::test]
async fn the_operator_lists_a_users_phones_and_revokes_a_lost_one() {
    let relay = TestRelay::start().await;
    relay.running.serve_admin().unwrap();
    let data_dir = &relay.running.config().data_dir;
    let bank = relay.initiator().await;
    let lost = relay.pair(&bank, ADA).await;
    let kept = relay.pair(&bank, ADA).await;
    relay.pair(&bank, "bob").await;
    let mut phone = WirePhone::connect(lost.clone()).await;

    let listed = run_json(data_dir, &["device", "list", ADA, "--json"]).await;
    let ids = |listed: &serde_json::Value| -> Vec<String> {
        let devices = listed.as_array().unwrap().iter();
        devices.map(|device| device["device_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&listed), [lost.device_id.to_string(), kept.device_id.to_string()]);
    assert_eq!((&listed[0]["online"], &listed[1]["online"]), (&true.into(), &false.into()));
    let shown = run(data_dir, &["device", "list", ADA]).await;
    assert!(shown.out.contains(&lost.device_id.to_string()));

    let id = lost.device_id.to_string();
    let revoked = run(data_dir, &["device", "revoke", &id]).await;
    assert!(revoked.code == Some(0), "{}", revoked.err);
    assert_eq!(phone.end().await, (Some(4403), "revoked".to_owned()));
    let listed = run_json(data_dir, &["device", "list", ADA, "--json"]).await;
    assert_eq!(ids(&listed), [kept.device_id.to_string()]);
    let mut again = Socket::connect(&lost.socket_url).await.unwrap();
    let end = again.authenticate(&lost.key, lost.device_id).await.unwrap_err();
    assert_eq!(end.code(), Some(4401), "it comes back as nobody");

    for unknown in [id.as_str(), "dev_AAAAAAAAAAAAAAAAAAAAAA"] {
        let refused = run(data_dir, &["device", "revoke", unknown]).await.with_code(1);
        assert!(refused.contains("no such device"), "{refused}");
    }
    let wrong = run(data_dir, &["device", "revoke", "dev_x"]).await;
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
}

#[tokio::test]
async fn a_phone_is_revoked_while_no_relay_runs_and_stays_so_with_a_restored_store() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let lost = relay.pair(&bank, ADA).await;
    let (config, directory) = relay.stop().await;
    let store = config.data_dir.join(fido_relay::serve::STORE_FILE);
    let backup = std::fs::read(&store).unwrap();

    let listed = run_json(&config.data_dir, &["device", "list", ADA, "--json"]).await;
    assert_eq!(listed[0]["device_id"], lost.device_id.to_string());
    assert!(listed[0]["online"].is_null(), "nobody knows: {listed}");
    let id = lost.device_id.to_string();
    let revoked = run(&config.data_dir, &["device", "revoke", &id]).await;
    assert!(revoked.code == Some(0), "{}", revoked.err);
    let shown = run(&config.data_dir, &["device", "list", ADA]).await;
    assert!(shown.out.contains("no phone"));
    {
        let store = Arc::new(FileStore::open(&store, &[]).unwrap());
        let tenant = fido_relay_proto::TenantId::default();
        let found = devices::load(&*store, &tenant, lost.device_id).await.unwrap();
        assert!(found.is_none(), "it is revoked in the store");
    }

    // The store as it was before; the list beside it is not part of that backup.
    std::fs::write(&store, backup).unwrap();
    let relay = TestRelay::start_again(&config, directory).await;
    let mut socket = Socket::connect(&lost.socket_url).await.unwrap();
    let end = socket.authenticate(&lost.key, lost.device_id).await.unwrap_err();
    assert_eq!(end.code(), Some(4401));
    relay.stop().await;
}
