//! Who may touch what of whom: every route with an id or a name in its path, taken from the route
//! table, is called by everybody whom it does not concern. A new route is covered by itself, or
//! fails here until it has a row in [`subject`].
//!
//! An id of another client or user must get the answer of an unknown id, to the byte, and nothing
//! may change.

use std::collections::BTreeMap;

use fido_relay::app::clients::NewClient;
use fido_relay::ports::Bucket;
use fido_relay_proto::device::{AckOf, DeclineReason, FrameErrorCode};
use fido_relay_proto::http::{OpenedCeremony, Scope};
use fido_relay_proto::{AttemptId, Binding, CeremonyId, DeviceId, PlainText, TenantId};
use serde_json::json;

use crate::http_access::{ROUTES, Route};
use crate::support::accepting_server::CREDENTIAL;
use crate::support::actions::make_client;
use crate::support::fixture::Fixture;
use crate::support::raw_socket::UPGRADE;
use crate::support::relay::{Initiator, http};
use crate::support::wire_phone::WirePhone;

/// What a path's placeholder names, and who may reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// The client's that opened it, and its ticket's.
    Ceremony,
    /// Every client's of the tenant that has the scope.
    Device,
    /// The same.
    User,
    /// A webhook endpoint of the tenant.
    Webhook,
    /// A ceremony, by a device's proof alone: no client's credential opens it.
    CeremonyOfADevice,
}

/// A route with a placeholder and no row here would not be tested.
fn subject(path: &str) -> Option<Subject> {
    let rows = [
        ("/v1/ceremonies/{id}", Subject::Ceremony),
        ("/v1/devices/{id}", Subject::Device),
        ("/v1/users/{username}", Subject::User),
        ("/v1/webhooks/{id}", Subject::Webhook),
        ("/v1/device/ceremonies/{id}", Subject::CeremonyOfADevice),
    ];
    let row = rows.iter().find(|(prefix, _)| path.starts_with(prefix));
    assert!(row.is_some() || !path.contains('{'), "{path}: whose is it?");
    row.map(|(_, subject)| *subject)
}

/// An answer, but for what differs between any two.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Option<String>,
}

async fn call(relay: &str, route: &Route, id: &str, key: Option<&str>) -> Said {
    let path = route.path.replace("{id}", id).replace("{username}", id).replace("{act}", "ack");
    let path = path.replace("{delivery}", "evt_AAAAAAAAAAAAAAAAAAAAAA");
    assert!(!path.contains('{'), "{path}");
    let mut request = http().request(route.method.parse().unwrap(), format!("{relay}{path}"));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    if route.path.ends_with("/socket") {
        for (name, value) in UPGRADE.iter().take(4) {
            request = request.header(*name, *value);
        }
        request = request.header("Sec-WebSocket-Protocol", "fido-relay.watch.v1");
    }
    if let Some(body) = route.body {
        request = request.json(&body());
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let differs = ["date", "dpop-nonce"];
    let named = response.headers().iter().filter(|(name, _)| !differs.contains(&name.as_str()));
    let headers = named.map(|(name, value)| (name.to_string(), format!("{value:?}"))).collect();
    // A stream that was begun has no end.
    let streams = status < 300 && route.method == "GET" && route.path.ends_with("/events");
    let body = if streams || status == 101 { None } else { Some(response.text().await.unwrap()) };
    Said { status, headers, body }
}

/// Everything that is stored but how far the readers of the journal came, which moves by itself.
async fn stored(fixture: &Fixture) -> Vec<(Bucket, String, Vec<u8>)> {
    let store = &fixture.relay.running.relay().dependencies().store;
    let mut all = Vec::new();
    for bucket in Bucket::ALL.into_iter().filter(|bucket| *bucket != Bucket::Cursors) {
        for (key, stored) in store.list(bucket, "").await.unwrap() {
            // What another tenant's client does to its own tenant's users.
            let text = String::from_utf8_lossy(&stored.value).replace('\\', "");
            if key.starts_with("other.") || text.contains(r#""tenant":"other""#) {
                continue;
            }
            all.push((bucket, key, stored.value));
        }
    }
    all
}

/// A client of another tenant with every scope, made past every interface.
async fn client_of_another_tenant(fixture: &Fixture) -> Initiator {
    let tenant: TenantId = "other".parse().unwrap();
    let new = NewClient {
        tenant,
        name: PlainText::new("Other Bank").unwrap(),
        scopes: Scope::ALL.to_vec(),
        bindings: vec![Binding::Code, Binding::None],
    };
    let (_, key) = make_client(fixture.relay.running.app(), new).await;
    Initiator { url: fixture.relay.url(), key, http: http() }
}

/// The id of something that is there, and of something that is not.
fn ids(subject: Subject, fixture: &Fixture) -> (String, String) {
    let nobody = |prefix: &str| format!("{prefix}_AAAAAAAAAAAAAAAAAAAAAA");
    match subject {
        Subject::Ceremony | Subject::CeremonyOfADevice => {
            (fixture.open.id.to_string(), nobody("cer"))
        }
        Subject::Device => (fixture.ada.device_id.to_string(), nobody("dev")),
        Subject::User => ("ada".to_owned(), "nobody".to_owned()),
        Subject::Webhook => (nobody("whk"), "whk_AAAAAAAAAAAAAAAAAAAAAQ".to_owned()),
    }
}

#[tokio::test]
async fn whoever_a_route_does_not_concern_sees_what_never_was_and_changes_nothing() {
    let fixture = Fixture::new().await;
    let url = fixture.relay.url();
    let same_tenant = fixture.relay.initiator().await;
    let other_tenant = client_of_another_tenant(&fixture).await;
    let others: OpenedCeremony =
        same_tenant.open(&json!({ "type": "authentication", "username": "bob" })).await;
    let strangers = [
        ("another client", Some(&*same_tenant.key)),
        ("a client of another tenant", Some(&*other_tenant.key)),
        ("another ceremony's ticket", Some(&*others.ticket)),
        ("nobody", None),
        ("its id as a key", Some("cer_AAAAAAAAAAAAAAAAAAAAAA")),
    ];
    // One call of each, so that what is stored by calling at all (when a key was used) is.
    for (_, key) in strangers {
        call(&url, &ROUTES[3], "cer_AAAAAAAAAAAAAAAAAAAAAA", key).await;
    }
    let before = stored(&fixture).await;
    let mut calls = 0;
    for route in ROUTES {
        let Some(subject) = subject(route.path) else { continue };
        let (there, nowhere) = ids(subject, &fixture);
        for (who, key) in strangers {
            // Devices and users are the tenant's, whichever of its clients asks.
            let concerned = who == "another client"
                && matches!(subject, Subject::Device | Subject::User | Subject::Webhook);
            if concerned {
                continue;
            }
            let said = call(&url, route, &there, key).await;
            let expected = call(&url, route, &nowhere, key).await;
            let what = format!("{} {} by {who}", route.method, route.path);
            assert_eq!(said, expected, "{what}");
            let empty = subject == Subject::User && matches!(said.status, 200 | 204);
            // Only the built-in server lists its cards.
            let not_here = route.path.contains("/cards") && said.status == 501;
            let refused = not_here || matches!(said.status, 401 | 404);
            assert!(empty || refused, "{what}: {said:?}");
            let body = said.body.unwrap_or_default();
            for of_it in
                [&there, "Example Bank", "\"username\"", &fixture.ada.device_id.to_string()]
            {
                let given = of_it == there && subject == Subject::User;
                assert!(given || !body.contains(of_it), "{what} shows {of_it}: {body}");
            }
            calls += 1;
        }
    }
    assert!(calls >= 25, "only {calls} calls");
    let after = stored(&fixture).await;
    let changed: Vec<_> = after.iter().filter(|stored| !before.contains(stored)).collect();
    let changed: Vec<_> = changed.iter().map(|(bucket, key, _)| (bucket, key)).collect();
    assert!(before == after, "something was changed: {changed:?}");
    // The same calls do reach it for whom they concern: what was compared is not always a refusal.
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let Some(subject) = subject(route.path) else { continue };
        if matches!(subject, Subject::Webhook | Subject::CeremonyOfADevice) {
            continue;
        }
        let (there, nowhere) = ids(subject, &fixture);
        let mine = call(&url, route, &there, Some(&fixture.initiator.key)).await;
        let none = call(&url, route, &nowhere, Some(&fixture.initiator.key)).await;
        // A receipt comes with the end alone, and cards with the built-in server. Why prompts do not
        // ring is the same for a user who is known and one who is not.
        let not_yet = route.path.ends_with("/receipt")
            || route.path.ends_with("/prompts")
            || none.status == 501;
        assert!(mine != none || not_yet, "{}: {mine:?}", route.path);
    }
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_device_of_another_user_gets_for_every_frame_what_an_unknown_ceremony_gets() {
    let fixture = Fixture::new().await;
    let bob = fixture.relay.pair(&fixture.initiator, "bob").await;
    let before = stored(&fixture).await;
    let code = fixture.open.code.clone().unwrap();
    let attempt = AttemptId::from_bytes([0; 16]);
    for kind in 0..7 {
        let mut phone = WirePhone::connect(bob.clone()).await;
        let mut told = Vec::new();
        for id in [fixture.open.id, CeremonyId::from_bytes([0; 16])] {
            match kind {
                0 => phone.claim(id, &code).await,
                1 => phone.claim(id, "000000").await,
                2 => phone.answer(id, attempt, CREDENTIAL).await,
                3 => phone.card_error(id, 608).await,
                4 => phone.decline(id, DeclineReason::Declined).await,
                5 => phone.decline(id, DeclineReason::NotMe).await,
                _ => phone.ack(id, AckOf::Offer).await,
            }
            let (code, about) = phone.refused().await;
            assert_eq!(about, Some(id));
            told.push(code);
        }
        assert!(
            told.iter().all(|code| *code == FrameErrorCode::UnknownCeremony),
            "{kind}: {told:?}"
        );
    }
    assert!(before == stored(&fixture).await, "something was changed");
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn whether_a_phone_is_online_shows_with_its_scope_alone() {
    let fixture = Fixture::new().await;
    let phone = WirePhone::connect(fixture.ada.clone()).await;
    let everything_else = Scope::ALL.into_iter().filter(|scope| *scope != Scope::PresenceRead);
    let bindings = vec![Binding::Code];
    let without = fixture.relay.initiator_with(everything_else.collect(), bindings).await;
    let path = "/v1/users/ada/devices";
    let shown = without.get(path).await.text().await.unwrap();
    assert!(shown.contains(&phone.paired.device_id.to_string()) && !shown.contains("online"));
    drop(phone);
    // Gone or there: the same bytes.
    let gone: DeviceId = fixture.ada.device_id;
    while fixture.relay.running.relay().delivery.registry().get(gone).is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(without.get(path).await.text().await.unwrap(), shown);
    let with = fixture.initiator.get(path).await.text().await.unwrap();
    assert!(with.contains("\"online\":false"), "{with}");
}
