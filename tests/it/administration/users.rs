//! `fido-relay user`: what the operator sees of a user's prompts and phones, and lifts, with and
//! without a relay.

use fido_relay::app::devices::UserKey;
use fido_relay::app::users::{prompt_state, put_prompt_state};
use fido_relay::config::Config;
use fido_relay::core::prompt_limits::{BrowserHash, EndedPrompt, Lane, Policy, PromptRequest};
use fido_relay::ports::{Batch, Store};
use fido_relay_proto::device::{DeclineReason, FrameErrorCode, NoticeEvent};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, TenantId, UnixMillis, Username};
use serde_json::{Value, json};

use super::{run, run_json};
use crate::audit::lines;
use crate::support::relay::{Initiator, TestRelay};
use crate::support::wire_phone::WirePhone;

async fn opens(bank: &Initiator) -> fido_relay_proto::http::OpenedCeremony {
    bank.open(&json!({ "type": "authentication", "username": "ada" })).await
}

/// With the rules as they come, but that two wrong codes in a row lock a phone.
async fn start() -> TestRelay {
    let relay = TestRelay::start_with(|config| {
        config.prompts = Config::default().prompts;
        config.prompts.wrong_codes_in_a_row = 2;
    })
    .await;
    relay.running.serve_admin().unwrap();
    relay
}

#[tokio::test]
async fn the_operator_sees_why_nothing_rings_and_lifts_it_also_not_me_and_a_phones_lock() {
    let relay = start().await;
    let data_dir = relay.running.config().data_dir.clone();
    let bank = relay.initiator().await;
    let mut ada = WirePhone::connect(relay.pair(&bank, "ada").await).await;
    let opened = opens(&bank).await;
    ada.offer().await;
    let wrong = wrong_of(&opened);
    for _ in 0..2 {
        ada.claim(opened.id, wrong).await;
        assert_eq!(ada.refused().await.0, FrameErrorCode::WrongCode);
    }
    ada.claim(opened.id, opened.code.as_deref().unwrap()).await;
    assert_eq!(ada.refused().await.0, FrameErrorCode::DeviceLocked);
    ada.decline(opened.id, DeclineReason::NotMe).await;
    ada.closed().await;
    bank.outcome(opened.id).await;

    let shown = run_json(&data_dir, &["user", "show", "ada", "--json"]).await;
    let [lane] = &shown["lanes"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&lane["lane"], &lane["rings"]), (&json!("stranger"), &json!(false)));
    assert_eq!(
        (&lane["why"], &lane["setting"]),
        (&json!("muted"), &json!("prompts.not_me_mute_s"))
    );
    assert!(lane["until"].as_str().unwrap().ends_with('Z'), "{lane}");
    assert_eq!((&shown["known_browsers"], &shown["cards"]), (&json!(0), &json!(0)));
    let phone = &shown["devices"][0];
    assert_eq!(phone["device_id"], ada.paired.device_id.to_string());
    assert_eq!((&phone["wrong_codes_today"], &phone["blocked"]), (&json!(2), &json!("locked")));
    let text = run(&data_dir, &["user", "show", "ada"]).await;
    let text = text.out;
    for says in [
        "prompts  of strangers: do not ring until 2",
        ": muted (prompts.not_me_mute_s)",
        "2 of 10 wrong codes today, locked",
        "cards    0",
        "known    0 browsers",
    ] {
        assert!(text.contains(says), "{says} is not in\n{text}");
    }

    let unlocked = run(&data_dir, &["user", "unlock", "ada"]).await;
    assert!(unlocked.code == Some(0), "{}", unlocked.err);
    assert_eq!(ada.notice().await.event, NoticeEvent::PromptsUnlocked);
    let shown = run_json(&data_dir, &["user", "show", "ada", "--json"]).await;
    assert_eq!(shown["lanes"], json!([{ "lane": "stranger", "rings": true }]));
    assert_eq!(shown["devices"][0]["wrong_codes_today"], 0);
    let again = opens(&bank).await;
    assert_eq!(ada.offer().await.ceremony_id, again.id);
    ada.claim(again.id, wrong_of(&again)).await;
    assert_eq!(ada.refused().await.0, FrameErrorCode::WrongCode, "its codes are looked at");

    let (_, place) = relay.stop().await;
    let entries = lines(&place.path().join("audit")).into_iter();
    let entries = entries.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let unlocked: Vec<_> = entries.filter(|it| it["event"] == "prompts_unlocked").collect();
    assert_eq!(unlocked.len(), 1, "{unlocked:?}");
    assert_eq!(
        (&unlocked[0]["username"], &unlocked[0]["client_id"]),
        (&json!("ada"), &Value::Null)
    );
    assert!(unlocked[0]["operator"].is_string(), "{}", unlocked[0]);
}

fn wrong_of(opened: &fido_relay_proto::http::OpenedCeremony) -> &'static str {
    if opened.code.as_deref() == Some("000000") { "111111" } else { "000000" }
}

#[tokio::test]
async fn a_user_is_shown_and_unlocked_while_no_relay_runs_and_the_phone_hears_of_it_later() {
    let relay = start().await;
    let bank = relay.initiator().await;
    let mut ada = WirePhone::connect(relay.pair(&bank, "ada").await).await;
    for _ in 0..3 {
        let opened = opens(&bank).await;
        ada.offer().await;
        bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
        ada.closed().await;
    }
    let (config, place) = relay.stop().await;
    // With the settings of the command's own configuration.
    let shown = run_json(&config.data_dir, &["user", "show", "ada", "--json"]).await;
    assert_eq!(shown["lanes"][0]["why"], "wait", "{shown}");
    let nobody = run_json(&config.data_dir, &["user", "show", "nobody", "--json"]).await;
    assert_eq!(nobody["lanes"], json!([{ "lane": "stranger", "rings": true }]));
    let unlocked = run(&config.data_dir, &["user", "unlock", "ada"]).await;
    assert!(unlocked.code == Some(0), "{}", unlocked.err);
    let relay = TestRelay::start_again(&config, place).await;
    let mut ada = ada.again().await;
    assert_eq!(ada.notice().await.event, NoticeEvent::PromptsUnlocked);
    let bank = Initiator { url: relay.url(), ..bank };
    let opened = opens(&bank).await;
    assert_eq!(ada.offer().await.ceremony_id, opened.id);
}

/// Ada succeeds once in this browser.
async fn makes_known(store: &dyn Store, browser: &str, now: UnixMillis) {
    let user = UserKey::new(&TenantId::default(), &Username::new("ada").unwrap());
    let (mut prompt_state, revision) = prompt_state(store, &user).await.unwrap();
    let (ceremony, client) = (CeremonyId::from_bytes([7; 16]), ClientId::from_bytes([1; 16]));
    let browser = Some(BrowserHash(browser.to_owned()));
    let until = now.plus_secs(60);
    let prior_auth = PriorAuth::None;
    let ask = PromptRequest { ceremony, client, prior_auth, browser: browser.clone(), until };
    prompt_state.admit(&Policy::default(), now, &ask);
    let (lane, outcome) = (Lane::Stranger, Outcome::Succeeded);
    let end =
        EndedPrompt { ceremony, client, lane, browser, rang: true, outcome, reason: None, at: now };
    prompt_state.ended(&Policy::default(), &end);
    let batch = put_prompt_state(Batch::new(), &user, revision, &prompt_state).unwrap();
    store.commit(batch).await.unwrap();
}

#[tokio::test]
async fn who_gets_a_removed_users_name_inherits_neither_browsers_nor_pauses() {
    for runs in [true, false] {
        let relay = start().await;
        let data_dir = relay.running.config().data_dir.clone();
        let bank = relay.initiator().await;
        let opened = opens(&bank).await;
        bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
        let world = relay.running.relay().dependencies();
        makes_known(&*world.store, "Ada's laptop", world.clock.now()).await;
        let shown = run_json(&data_dir, &["user", "show", "ada", "--json"]).await;
        assert_eq!(shown["known_browsers"], 1, "{shown}");
        let text = run(&data_dir, &["user", "show", "ada"]).await;
        let text = text.out;
        assert!(text.contains("of a known browser: ring") && !text.contains("laptop"), "{text}");

        let stopped = if runs { None } else { Some(relay.stop().await) };
        let removed = run(&data_dir, &["user", "remove", "ada"]).await;
        assert!(removed.code == Some(0), "{}", removed.err);
        let shown = run_json(&data_dir, &["user", "show", "ada", "--json"]).await;
        let never = run_json(&data_dir, &["user", "show", "never-asked", "--json"]).await;
        assert_eq!(shown, never, "runs: {runs}");
        assert_eq!(shown["known_browsers"], 0);
        drop(stopped);
    }
}
