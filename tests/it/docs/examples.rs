//! The JSON blocks of the device protocol and of the page for initiators.

use fido_relay::security::device_proof;
use fido_relay_proto::device::{AuthClaims, KeyClaims, PairingClaims, PullClaims};
use fido_relay_proto::http::{
    CeremonyView, OpenCeremony, OpenedCeremony, P256Jwk, PairDevice, PairedDevice, Pulled,
    RotateDeviceKey, RotatedDeviceKey, SetPush, UserPrompts,
};
use fido_relay_proto::{DeviceFrame, RelayFrame, TypedCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::read;

fn blocks() -> Vec<String> {
    blocks_of("docs/protocol.md")
}

fn blocks_of(document: &str) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("```json\n").skip(1);
    blocks.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

/// Reads a block as what it is and writes it again: nothing may be left out or made up.
#[track_caller]
fn is_all_of<T: DeserializeOwned + Serialize>(block: &str) -> T {
    let value: T = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
    same(&serde_json::to_string(&value).unwrap(), block);
    value
}

#[track_caller]
fn same(written: &str, block: &str) {
    let (written, block): (Value, Value) =
        (serde_json::from_str(written).unwrap(), serde_json::from_str(block).unwrap());
    assert_eq!(written, block);
}

#[test]
fn every_example_is_a_message_of_this_protocol() {
    let mut types = Vec::new();
    for block in blocks() {
        let value: Value =
            serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
        match value["type"].as_str() {
            Some(kind) => {
                types.push(kind.to_owned());
                if let Ok(frame) = RelayFrame::decode(&block) {
                    same(&frame.encode(), &block);
                } else {
                    same(&DeviceFrame::decode(&block).unwrap().encode(), &block);
                }
            }
            None if value["pairing_token"].is_string() => drop(is_all_of::<PairDevice>(&block)),
            None if value["new_jwk"].is_object() => drop(is_all_of::<RotateDeviceKey>(&block)),
            None if value["new_jkt"].is_string() => drop(is_all_of::<KeyClaims>(&block)),
            None if value["jkt"].is_string() && value["device_id"].is_string() => {
                drop(is_all_of::<RotatedDeviceKey>(&block));
            }
            None if value["socket_url"].is_string() => drop(is_all_of::<PairedDevice>(&block)),
            None if value["jkt"].is_string() => drop(is_all_of::<PairingClaims>(&block)),
            None if value["body_sha256"].is_string() => drop(is_all_of::<PullClaims>(&block)),
            None if value["state"].is_string() => {
                same(&serde_json::to_string(&Pulled::decode(&block).unwrap()).unwrap(), &block);
            }
            None if value.get("push").is_some() => drop(is_all_of::<SetPush>(&block)),
            None if value["nonce"].is_string() => drop(is_all_of::<AuthClaims>(&block)),
            None => drop(is_all_of::<P256Jwk>(&block)),
        }
    }
    for kind in [
        "hello",
        "welcome",
        "offer",
        "challenge",
        "accepted",
        "closed",
        "error",
        "reauth",
        "goaway",
        "notice",
        "pong",
        "auth",
        "ack",
        "claim",
        "card",
        "answer",
        "decline",
        "ping",
    ] {
        assert!(types.iter().any(|shown| shown == kind), "no example of {kind}");
    }
}

/// The block that has this key at its top.
fn block_with(key: &str) -> String {
    let has = |block: &String| serde_json::from_str::<Value>(block).unwrap().get(key).is_some();
    blocks().into_iter().find(has).unwrap()
}

#[test]
fn the_proofs_of_the_examples_verify() {
    let pairing: PairDevice = is_all_of(&block_with("pairing_token"));
    let claims: PairingClaims = is_all_of(&block_with("jkt"));
    assert_eq!(device_proof::thumbprint(&pairing.jwk), claims.jkt);
    let hash = fido_relay::app::pairings::token_hash(pairing.pairing_token.as_deref().unwrap());
    assert_eq!(hash, claims.token_hash);
    device_proof::verify_pairing(&pairing.proof, &pairing.jwk, &claims.aud, &hash).unwrap();
    let typed: TypedCode = "7k3d9 qxm2v".parse().unwrap();
    let hash = fido_relay::app::pairings::token_hash(typed.as_str());
    assert!(read("docs/protocol.md").contains(&format!("  → {hash}")));

    let device: PairedDevice = is_all_of(&block_with("socket_url"));
    let hello: Value = serde_json::from_str(&block_with("auth_within_s")).unwrap();
    let nonce = hello["nonce"].as_str().unwrap();
    let auth: Value = serde_json::from_str(
        &blocks().into_iter().find(|block| block.contains(r#""type":"auth""#)).unwrap(),
    )
    .unwrap();
    let proof = auth["proof"].as_str().unwrap();
    let urls = [device.socket_url];
    let proven = device_proof::verify_auth(proof, &pairing.jwk, &urls, nonce).unwrap();
    assert_eq!(proven.device_id, device.device_id);
}

/// Of the proof that is shown: whose body is the claim that is shown.
#[test]
fn the_claims_of_a_request_name_its_body_and_nothing() {
    let claims: PullClaims = is_all_of(&block_with("body_sha256"));
    let is_claim = |block: &String| block.starts_with(r#"{"type":"claim","code""#);
    let body = blocks().into_iter().find(is_claim).unwrap();
    assert_eq!(claims.body_sha256, fido_relay::app::pairings::token_hash(&body));
    let nothing = fido_relay::app::pairings::token_hash("");
    assert!(read("docs/protocol.md").contains(&format!("without a body `{nothing}`")));
    assert_eq!(claims.htu, format!("{}/v1/device/claim", claims.aud));
}

#[test]
fn the_key_rotation_of_the_examples_verifies() {
    let claims: KeyClaims = is_all_of(&block_with("old_jkt"));
    let rotation: RotateDeviceKey = is_all_of(&block_with("new_jwk"));
    let rotated: RotatedDeviceKey = {
        let is_it = |block: &String| block.contains("device_id") && block.contains(r#""jkt""#);
        is_all_of(&blocks().into_iter().find(is_it).unwrap())
    };
    let of = |block: &String| serde_json::from_str::<P256Jwk>(block).ok();
    let keys = blocks().iter().filter_map(of).collect::<Vec<_>>();
    let old = keys.iter().find(|key| device_proof::thumbprint(key) == claims.old_jkt).unwrap();
    let proofs = (rotation.old_proof.as_str(), rotation.new_proof.as_str());
    let audiences = [claims.aud.clone()];
    let proven = device_proof::verify_rotation(proofs, (old, &rotation.new_jwk), &audiences);
    assert_eq!(proven, Ok(claims));
    assert_eq!(rotated.jkt, device_proof::thumbprint(&rotation.new_jwk));
}

#[test]
fn what_initiators_are_shown_is_what_they_send_and_get() {
    let blocks = blocks_of("docs/initiators.md");
    assert!(blocks.len() >= 2, "{blocks:?}");
    for block in blocks {
        if block.contains(r#""progress""#) {
            drop(is_all_of::<CeremonyView>(&block));
        } else if block.contains(r#""stranger""#) {
            is_all_of::<UserPrompts>(&block);
        } else {
            drop(is_all_of::<OpenedCeremony>(&block));
        }
    }
    for document in ["README.md", "docs/initiators.md"] {
        let text = read(document);
        let bodies: Vec<_> = text.split("-d '").skip(1).collect();
        assert!(!bodies.is_empty(), "{document} opens nothing");
        for body in bodies {
            let (body, _) = body.split_once('\'').unwrap();
            let order: OpenCeremony = serde_json::from_str(body).unwrap();
            assert_eq!(order.username.as_str(), "ada@example.com");
        }
    }
}
