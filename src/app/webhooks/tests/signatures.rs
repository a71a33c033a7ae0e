//! Signatures as the specification has them, and keys that come and go.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn header<'a>(letter: &'a OutgoingRequest, name: &str) -> &'a str {
    &letter.headers.iter().find(|(known, _)| *known == name).unwrap().1
}

/// What the specification says is signed.
fn signed(letter: &OutgoingRequest) -> String {
    let (id, at) = (header(letter, "webhook-id"), header(letter, "webhook-timestamp"));
    format!("{id}.{at}.{}", str::from_utf8(&letter.body).unwrap())
}

fn signatures(letter: &OutgoingRequest) -> Vec<(String, String)> {
    let all = header(letter, "webhook-signature").split(' ');
    let split = |one: &str| one.split_once(',').map(|(v, s)| (v.to_owned(), s.to_owned()));
    all.map(|one| split(one).unwrap()).collect()
}

/// Whether a `v1a` signature of the letter is good under this `whpk_` key.
fn is_signed_by(letter: &OutgoingRequest, public_key: &str) -> bool {
    let key = STANDARD.decode(public_key.strip_prefix("whpk_").unwrap()).unwrap();
    assert_eq!(key.len(), 32);
    let key = UnparsedPublicKey::new(&ED25519, key);
    let asymmetric = signatures(letter).into_iter().filter(|(version, _)| version == "v1a");
    asymmetric.map(|(_, signature)| STANDARD.decode(signature).unwrap()).any(|signature| {
        assert_eq!(signature.len(), 64);
        key.verify(signed(letter).as_bytes(), &signature).is_ok()
    })
}

#[tokio::test(start_paused = true)]
async fn each_try_is_signed_anew_by_the_endpoints_own_key() {
    let stage = Stage::start().await;
    let events = [WebhookEvent::CeremonyClosed];
    let one = stage.endpoint_of(CLIENT, GOOD, &events).await;
    let two = stage.endpoint_of(CLIENT, "https://two.example/", &events).await;
    stage.sender.answers(GOOD, Manner::Status(500));
    stage.closes(1).await;
    pass(HOUR).await;
    let (one, two) = (&one.keys[0], &two.keys[0]);
    let (one, two) = (one.public_key.as_ref().unwrap(), two.public_key.as_ref().unwrap());
    assert_ne!(one, two);
    let tries = stage.sender.at(GOOD);
    assert!(tries.len() > 2);
    for tried in &tries {
        assert!(is_signed_by(&tried.letter, one));
        assert!(!is_signed_by(&tried.letter, two));
        assert_eq!(header(&tried.letter, "content-type"), "application/json");
        assert!(!tried.id.contains('.'));
        let at: u64 = header(&tried.letter, "webhook-timestamp").parse().unwrap();
        assert_eq!(at, 1_800_000_000 + tried.after.as_secs(), "the time of the try");
    }
    let mut changed = tries[0].letter.clone();
    changed.body.push(b' ');
    assert!(!is_signed_by(&changed, one));
}

/// The official library's verdict, at the machine's own time.
fn official_takes(letter: &OutgoingRequest, secret: &str) -> bool {
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    let mut headers = http::HeaderMap::new();
    for (name, value) in &letter.headers {
        headers.insert(*name, value.parse().unwrap());
    }
    webhook.verify(&letter.body, &headers).is_ok()
}

#[test]
fn the_official_library_takes_every_live_secret_and_no_other() {
    let sealer = Encryptor::new(&[7; 32]).unwrap();
    let id = WebhookId::from_bytes([1; 16]);
    let now = crate::backends::embedded::SystemClock.now();
    let make = |scheme| SigningKey::make(id, scheme, &sealer, now).unwrap();
    let (mut ended, ended_secret) = make(WebhookScheme::V1);
    ended.ends_at = Some(now);
    let (mut ending, ending_secret) = make(WebhookScheme::V1);
    ending.ends_at = Some(now.plus_secs(1));
    let (asymmetric, none) = make(WebhookScheme::V1a);
    let (newest, newest_secret) = make(WebhookScheme::V1);
    assert_eq!(none, None, "nobody needs the relay's own half");
    let keys = [ended, ending, asymmetric, newest];
    let event = EventId::from_bytes([9; 16]);
    let body = "{\"type\":\"webhook.test\",\"data\":{\"text\":\"\u{e4}\"}}".to_owned();
    let headers = signing::headers(&keys, id, &sealer, (event, now), &body).unwrap();
    let url = GOOD.parse().unwrap();
    let letter =
        OutgoingRequest { url, registrar: Registrar::Operator, headers, body: body.into_bytes() };
    let versions: Vec<_> = signatures(&letter).into_iter().map(|(version, _)| version).collect();
    assert_eq!(versions, ["v1", "v1a", "v1"], "one for each key that lives");
    assert!(is_signed_by(&letter, keys[2].public_key.as_ref().unwrap()));
    assert!(!official_takes(&letter, &ended_secret.unwrap()));
    assert!(official_takes(&letter, &ending_secret.unwrap()));
    assert!(official_takes(&letter, newest_secret.as_ref().unwrap()));
    let mut changed = letter.clone();
    changed.body.push(b' ');
    assert!(!official_takes(&changed, &newest_secret.unwrap()));
    let other = Encryptor::new(&[8; 32]).unwrap();
    let foreign = signing::headers(&keys, id, &other, (event, now), "{}");
    assert!(foreign.is_err(), "sealed under another key");
    let elsewhere = WebhookId::from_bytes([2; 16]);
    let stolen = signing::headers(&keys, elsewhere, &sealer, (event, now), "{}");
    assert!(stolen.is_err(), "sealed for another endpoint");
}

#[tokio::test(start_paused = true)]
async fn an_old_key_signs_beside_the_new_one_until_it_ends() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    let order = RotateWebhook { scheme: WebhookScheme::V1a, old_lives_s: 3600 };
    let (rotated, secret) = stage.webhooks.rotate(&endpoint, order).await.unwrap();
    assert_eq!(secret, None);
    let keys: Vec<_> = rotated.keys.iter().map(|key| key.public_key.clone().unwrap()).collect();
    stage.closes(1).await;
    pass(HOUR + Duration::from_secs(1)).await;
    stage.closes(2).await;
    settle().await;
    let arrivals = stage.sender.arrivals();
    let good = |at: usize, key: usize| is_signed_by(&arrivals[at].letter, &keys[key]);
    assert_eq!([good(0, 0), good(0, 1)], [true, true]);
    assert_eq!([good(1, 0), good(1, 1)], [false, true]);

    let order = RotateWebhook { scheme: WebhookScheme::V1, old_lives_s: 0 };
    let (both, secret) = stage.webhooks.rotate(&rotated, order).await.unwrap();
    assert!(secret.unwrap().starts_with("whsec_"));
    assert_eq!(both.keys.len(), 2, "another scheme ends nothing");
    let printed = format!("{both:?}");
    let stored = stage.store.list(Bucket::Webhooks, "").await.unwrap();
    let stored = String::from_utf8(stored[0].1.value.clone()).unwrap();
    assert!(!printed.contains("whsec_") && !stored.contains("whsec_"));
    let order =
        RotateWebhook { scheme: WebhookScheme::V1, old_lives_s: WEBHOOK_OLD_KEYS_MAX_S + 1 };
    let refused = stage.webhooks.rotate(&both, order).await;
    assert_eq!(refused.unwrap_err(), WebhookError::OldKeys);
}
