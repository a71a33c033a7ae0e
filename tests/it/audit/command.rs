//! `fido-relay audit` as an operator and an auditor run it.

use std::path::Path;

use serde_json::{Value, json};

use super::{files, lines};
use crate::support::child::{self, Exit, fido_relay_at};
use crate::support::relay::TestRelay;

async fn run(data_dir: &Path, arguments: &[&str]) -> Exit {
    child::run(&mut fido_relay_at(data_dir, &[&["audit"], arguments].concat())).await
}

#[tokio::test]
async fn the_log_of_a_running_relay_and_its_receipts_verify_from_the_command_line() {
    let relay = TestRelay::start_with(|config| config.receipts = true).await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let words = json!({ "title": "Payment", "fields": [{ "label": "To", "value": "Grace" }] });
    let mut approval = None;
    for body in [
        json!({ "type": "registration", "username": "ada" }),
        json!({ "type": "approval", "username": "ada", "transaction": words }),
    ] {
        let opened = bank.open(&body).await;
        phone.types(&opened);
        bank.outcome(opened.id).await;
        approval = Some(opened.id);
    }
    let approval = approval.unwrap();
    relay.running.audit().unwrap().caught_up().await.unwrap();
    let data = relay.running.config().data_dir.clone();
    let write = |name: &str, text: &str| std::fs::write(data.join(name), text).unwrap();
    let receipt = bank.get(&format!("/v1/ceremonies/{approval}/receipt")).await;
    assert_eq!(receipt.headers()["content-type"], "application/jose");
    write("receipt.jws", &receipt.text().await.unwrap());
    write("jwks.json", &bank.get("/.well-known/jwks.json").await.text().await.unwrap());
    write("payment.json", &words.to_string());
    write("other.json", &words.to_string().replace("Grace", "Mallory"));

    let ran = run(&data, &["verify", "--jwks", "jwks.json"]).await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    let ran = run(&data, &["verify"]).await;
    assert!(ran.code == Some(0) && ran.out.contains("NOT verified"), "{}", ran.out);

    let receipt = ["receipt", "receipt.jws", "--jwks", "jwks.json"];
    let ran = run(&data, &receipt).await;
    assert!(
        ran.code == Some(0) && ran.out.contains("which was NOT given"),
        "{} {}",
        ran.out,
        ran.err
    );
    let ran = run(&data, &[&receipt[..], &["--transaction", "payment.json"]].concat()).await;
    assert!(ran.out.contains("covers exactly the given transaction"), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("Not proven"), "{}", ran.out);
    let ran = run(&data, &[&receipt[..], &["--transaction", "other.json"]].concat()).await;
    assert!(ran.code == Some(1) && ran.err.contains("not the approved one"), "{}", ran.err);
    let ran = run(&data, &["receipt", "receipt.jws"]).await;
    assert_eq!(ran.code, Some(2), "{}", ran.err);

    let id = approval.to_string();
    let ran = run(&data, &["export", "--ceremony", &id]).await;
    let events: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.first().unwrap()["event"], "opened");
    let closed = events.last().unwrap();
    assert_eq!(closed["outcome"], "succeeded");
    let payload = std::fs::read_to_string(data.join("receipt.jws")).unwrap();
    let payload = payload.split('.').nth(1).unwrap();
    use base64::Engine as _;
    let b64 = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &b64.decode(payload).unwrap());
    assert_eq!(closed["receipt_sha256"], b64.encode(hash), "the log names the receipt");
    let ran = run(&data, &["export", "--user", "ada", "--format", "csv"]).await;
    assert!(ran.out.starts_with("seq,time,event,"), "{}", ran.out);
    assert!(ran.out.lines().count() > 14, "{}", ran.out);
    let ran = run(&data, &["export", "--until", "2020-01-01"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""));

    let directory = data.join("audit");
    let all = lines(&directory);
    let _kept = relay.stop().await;
    let file = files(&directory).remove(0);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("\"user\":\"ada\"", "\"user\":\"eve\"", 1)).unwrap();
    let changed = all.iter().position(|line| line.contains("\"user\":\"ada\"")).unwrap() + 1;
    let ran = run(&data, &["verify", "--jwks", "jwks.json"]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.out);
    let told = format!("jsonl:{}: entry {} does not follow", changed + 1, changed + 1);
    assert!(ran.err.contains(&told), "{} in {}", told, ran.err);
}
