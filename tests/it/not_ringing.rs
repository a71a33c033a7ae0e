//! How a developer finds out why no phone rings: from the log, and by the settings that the
//! document for initiators gives.

use std::path::Path;
use std::time::Duration;

use fido_relay::config::{Config, from_texts};
use serde_json::json;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::support::kept_output::KeptOutput;
use crate::support::relay::TestRelay;
use crate::support::wire_phone::WirePhone;

/// The first line with this text.
fn line(written: &KeptOutput, text: &str) -> Option<String> {
    written.text().lines().find(|line| line.contains(text)).map(str::to_owned)
}

#[tokio::test]
async fn the_log_says_which_rule_holds_a_prompt_back_and_for_how_long() {
    let written = KeptOutput::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let logging = subscriber.finish().set_default();
    let relay = TestRelay::start_with(|config| config.prompts = Config::default().prompts).await;
    let bank = relay.initiator().await;
    let order = json!({ "type": "authentication", "username": "canary-name" });
    let mut phone = WirePhone::connect(relay.pair(&bank, "canary-name").await).await;
    for _ in 0..3 {
        let opened = bank.open(&order).await;
        phone.offer().await;
        phone.hears_nothing().await;
        bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
        phone.closed().await;
    }
    assert_eq!(line(&written, "does not ring"), None);
    let opened = bank.open(&order).await;
    let logged = async {
        loop {
            match line(&written, "does not ring") {
                Some(line) => return line,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let line = tokio::time::timeout(Duration::from_secs(20), logged).await.unwrap();
    drop(logging);
    assert!(line.contains(&format!("ceremony={}", opened.id)), "{line}");
    assert!(line.contains(r#"rule="wait" setting="prompts.waits_s" for_s="#), "{line}");
    let (_, seconds) = line.split_once("for_s=").unwrap();
    let seconds: u64 = seconds.split(' ').next().unwrap().parse().unwrap();
    assert!((30..=60).contains(&seconds), "{line}");
    assert!(!line.contains("canary-name"), "{line}");
}

#[test]
fn the_settings_for_development_are_ones_that_the_relay_takes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/initiators.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Nothing on the phone?\n").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let file = Some((Path::new("fido-relay.toml"), block));
    let loaded = from_texts(file, &[]).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let prompts = loaded.config.prompts;
    assert_eq!(prompts.waits, [Duration::ZERO]);
    assert!(prompts.free >= 100_000 && prompts.per_hour >= 100_000, "{prompts:?}");
}
