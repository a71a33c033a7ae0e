//! The code is the address: whatever rings or does not, the person who sits at a page can answer by
//! typing its code, and nothing that is typed answers anything else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fido_relay::app::ceremonies::{CeremonyKey, OpenLimits, OpenRequest};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::core::ceremony::{Ceremony, State};
use fido_relay::core::prompt_limits::{BrowserHash, Policy};
use fido_relay::node::RelayLimits;
use fido_relay::ports::Clock as _;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::BrowserContext;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    Binding, CeremonyId, ClientId, DeviceId, Outcome, Phase, PlainText, Reason, RelayFrame,
    SameNetwork, TenantId,
};

use crate::support::attached_phone::{AttachedPhone, refused};
use crate::support::bare_relay::BareRelay;

/// A page that opens: by which client, from which address and browser.
#[derive(Clone, Copy, Default)]
struct Page<'a> {
    client: u8,
    ip: Option<&'a str>,
    browser: Option<&'a str>,
    vouched: bool,
    device: Option<DeviceId>,
    not_alone: bool,
}

struct Opened {
    key: CeremonyKey,
    code: String,
}

/// With the rules as they come.
async fn relay() -> BareRelay {
    relay_with(|_| {}).await
}

async fn relay_with(change: impl FnOnce(&mut Policy)) -> BareRelay {
    let open = OpenLimits { per_client: 100_000, per_node: 100_000 };
    let mut prompts = Policy::default();
    change(&mut prompts);
    let (store, recording) = (Arc::new(MemoryStore::new()), crate::support::recording());
    BareRelay::start_within(
        store,
        recording,
        RelayLimits { open, prompts, ..RelayLimits::default() },
    )
    .await
}

async fn opens(relay: &BareRelay, page: Page<'_>) -> Opened {
    let mut request = relay.request(Binding::Code);
    request.client_id = ClientId::from_bytes([page.client; 16]);
    request.prior_auth = if page.vouched { PriorAuth::Password } else { PriorAuth::None };
    let ip = page.ip.map(|ip| PlainText::new(ip).unwrap());
    request.context = Some(BrowserContext { ip, ..BrowserContext::default() });
    request.browser = page.browser.map(|browser| BrowserHash(browser.to_owned()));
    (request.device_id, request.code_alone) = (page.device, !page.not_alone);
    let view =
        relay.relay.ceremonies.open(OpenRequest { request, idempotency: None }).await.unwrap();
    Opened { key: CeremonyKey::from(&view), code: view.code.unwrap().0 }
}

async fn stored(relay: &BareRelay, id: CeremonyId) -> Arc<Ceremony> {
    let key = CeremonyKey { tenant: TenantId::default(), id };
    relay.relay.ceremonies.load(&key).await.unwrap().unwrap()
}

async fn outcome(relay: &BareRelay, id: CeremonyId) -> Option<(Outcome, Option<Reason>)> {
    stored(relay, id).await.closed().map(|closed| (closed.outcome, closed.reason))
}

fn begins(relay: &BareRelay) -> usize {
    relay.fido.begins.load(Ordering::Relaxed)
}

/// Uses up what strangers have: nothing that they open rings any more.
async fn tires(relay: &BareRelay, phone: &AttachedPhone) {
    for _ in 0..3 {
        let opened = opens(relay, Page::default()).await;
        assert_eq!(phone.offers(relay).await.len(), 1);
        relay.relay.ceremonies.cancel(&opened.key).await.unwrap();
        phone.sees(relay).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_does_not_ring_is_answered_by_its_code_at_the_first_try() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    tires(&relay, &phone).await;
    let own = opens(&relay, Page::default()).await;
    assert!(phone.offers(&relay).await.is_empty(), "it does not ring");
    let preview = phone.previews(&relay, &own.code).await;
    let said = preview.preview.unwrap();
    assert_eq!(preview.ceremony_id, own.key.id);
    assert!(said.by_code && !said.rang && !said.known_browser && !said.after_not_me);
    assert_eq!(stored(&relay, own.key.id).await.history.len(), 2, "opened and suppressed");
    phone.acks(&relay, own.key.id).await;
    assert_eq!(stored(&relay, own.key.id).await.history.len(), 2, "a preview is the phone's alone");
    assert_eq!(begins(&relay), 0);
    phone.answers(&relay, own.key.id, &own.code).await;
    assert_eq!(outcome(&relay, own.key.id).await, Some((Outcome::Succeeded, None)));
}

/// An attacker who relays a code that belongs to another page's ceremony shows that page's words
/// and no others, and the prompt that it was typed into goes on.
#[tokio::test(start_paused = true)]
async fn a_code_typed_under_another_prompt_previews_its_own_ceremony_alone() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    tires(&relay, &phone).await;
    relay.clock.forward(60_000);
    let rings = opens(&relay, Page::default()).await;
    assert_eq!(phone.offers(&relay).await[0].ceremony_id, rings.key.id);
    let suppressed = opens(&relay, Page { client: 2, ..Page::default() }).await;
    assert!(phone.offers(&relay).await.is_empty());
    let typed = phone.types(&relay, Some(rings.key.id), &suppressed.code, Some("one")).await;
    let Some(RelayFrame::Offer(preview)) = typed else { panic!("{typed:?}") };
    assert_eq!(preview.ceremony_id, suppressed.key.id);
    assert_eq!(preview.preview.unwrap().claim_id.unwrap().as_str(), "one");
    assert!(phone.sees(&relay).await.is_empty());
    assert_eq!(begins(&relay), 0, "the FIDO2 server is not asked");
    for id in [rings.key.id, suppressed.key.id] {
        assert_eq!(stored(&relay, id).await.phase(), Phase::Offered);
    }
    phone.answers(&relay, rings.key.id, &rings.code).await;
    assert_eq!(outcome(&relay, rings.key.id).await, Some((Outcome::Succeeded, None)));
}

#[tokio::test(start_paused = true)]
async fn no_challenge_goes_to_an_app_that_does_not_have_the_offer() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    let opened = opens(&relay, Page::default()).await;
    assert_eq!(phone.sees(&relay).await.len(), 1);
    let typed = phone.types(&relay, Some(opened.key.id), &opened.code, None).await;
    assert!(matches!(typed, Some(RelayFrame::Offer(_))), "{typed:?}");
    assert_eq!(begins(&relay), 0);
    phone.acks(&relay, opened.key.id).await;
    phone.answers(&relay, opened.key.id, &opened.code).await;
}

#[tokio::test(start_paused = true)]
async fn after_not_me_a_code_previews_with_a_warning_and_not_me_there_is_the_alarm() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    let first = opens(&relay, Page::default()).await;
    phone.offers(&relay).await;
    phone.declines(&relay, Some(first.key.id)).await;
    phone.sees(&relay).await;
    let relayed = opens(&relay, Page { client: 2, ..Page::default() }).await;
    assert!(phone.offers(&relay).await.is_empty(), "strangers are quiet");
    let preview = phone.previews(&relay, &relayed.code).await;
    assert!(preview.preview.unwrap().after_not_me);
    phone.acks(&relay, relayed.key.id).await;
    phone.declines(&relay, Some(relayed.key.id)).await;
    let denied = Some((Outcome::Denied, Some(Reason::NotMe)));
    assert_eq!(outcome(&relay, relayed.key.id).await, denied);
    let entries = crate::support::actions::events(&*relay.store).await;
    let alarms = entries.iter().filter(|entry| entry["event"] == "not_me");
    assert_eq!(alarms.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn not_me_to_prompts_that_were_held_back_makes_strangers_quiet_and_is_recorded() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    tires(&relay, &phone).await;
    opens(&relay, Page::default()).await;
    let told = phone.sees(&relay).await;
    let Some(RelayFrame::Notice(notice)) = told.first() else { panic!("{told:?}") };
    assert_eq!((notice.count, notice.since_s), (Some(1), Some(0)), "one was held back");
    phone.declines(&relay, None).await;
    relay.clock.forward(61_000);
    opens(&relay, Page { client: 2, ..Page::default() }).await;
    assert!(phone.offers(&relay).await.is_empty(), "the pause alone would be over");
    let entries = crate::support::actions::events(&*relay.store).await;
    assert!(entries.iter().any(|entry| entry["event"] == "not_me_held"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_wrong_code_costs_no_try_and_says_what_it_is() {
    let relay = relay_with(|policy| policy.live = 10).await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    let tablet = AttachedPhone::pair(&relay, "ada").await;
    let elsewhere = opens(&relay, Page { device: Some(tablet.id()), ..Page::default() }).await;
    let typed = phone.types(&relay, None, &elsewhere.code, None).await;
    assert_eq!(refused(typed), FrameErrorCode::OtherDevice);
    let typed = phone.types(&relay, None, "12 34", None).await;
    assert_eq!(refused(typed), FrameErrorCode::CodeMalformed);
    let not_alone = opens(&relay, Page { not_alone: true, ..Page::default() }).await;
    let typed = phone.types(&relay, None, &not_alone.code, None).await;
    assert_eq!(refused(typed), FrameErrorCode::WrongCode, "its client does not want that");
    let tenant = TenantId::default();
    let found = fido_relay::app::devices::load(&*relay.store, &tenant, phone.id());
    let tries = found.await.unwrap().unwrap().tries;
    assert_eq!(tries.left_today(&Policy::default(), relay.clock.now()), 9, "one wrong code");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_sent_again_counts_once_and_a_right_one_has_one_challenge() {
    let relay = relay().await;
    let mut phone = AttachedPhone::pair(&relay, "ada").await;
    let opened = opens(&relay, Page::default()).await;
    phone.offers(&relay).await;
    let wrong = if opened.code == "000000" { "000001" } else { "000000" };
    for nth in 0..20 {
        let typed = phone.types(&relay, Some(opened.key.id), wrong, Some("first")).await;
        let Some(RelayFrame::Error { code, claim_id, message, .. }) = typed else { panic!() };
        assert_eq!(code, FrameErrorCode::WrongCode);
        assert_eq!(
            (message.as_str(), claim_id.unwrap().as_str()),
            ("wrong code, 2 tries left", "first")
        );
        if nth % 5 == 0 {
            phone = phone.reconnects(&relay).await;
            phone.offers(&relay).await;
        }
    }
    let mut challenges = Vec::new();
    for _ in 0..20 {
        let typed = phone.types(&relay, Some(opened.key.id), &opened.code, Some("second")).await;
        assert!(typed.is_none(), "{typed:?}");
        for frame in phone.sees(&relay).await {
            if let RelayFrame::Challenge(challenge) = frame {
                challenges.push(challenge.attempt);
            }
        }
    }
    assert_eq!(challenges.len(), 20, "each repeat is answered");
    challenges.dedup();
    assert_eq!((challenges.len(), begins(&relay)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn of_two_phones_that_confirm_at_once_one_gets_the_challenge() {
    let relay = relay().await;
    let (phone, tablet) =
        (AttachedPhone::pair(&relay, "ada").await, AttachedPhone::pair(&relay, "ada").await);
    tires(&relay, &phone).await;
    tablet.sees(&relay).await;
    let opened = opens(&relay, Page::default()).await;
    for device in [&phone, &tablet] {
        device.previews(&relay, &opened.code).await;
        device.acks(&relay, opened.key.id).await;
    }
    let (id, code) = (Some(opened.key.id), opened.code.as_str());
    let both = (phone.types(&relay, id, code, None), tablet.types(&relay, id, code, None));
    let (one, other) = tokio::join!(both.0, both.1);
    let mut refusals: Vec<_> =
        [one, other].into_iter().flatten().map(|frame| refused(Some(frame))).collect();
    refusals.dedup();
    let mut challenges = 0;
    for device in [&phone, &tablet] {
        let seen = device.sees(&relay).await;
        challenges += seen.iter().filter(|it| matches!(it, RelayFrame::Challenge(_))).count();
    }
    assert_eq!((challenges, begins(&relay)), (1, 1));
    assert_eq!(refusals, [FrameErrorCode::ClaimedElsewhere]);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_phone_spends_its_own_tries_and_a_hundred_in_a_row_lock_it_alone() {
    let relay = relay().await;
    let (stolen, own) =
        (AttachedPhone::pair(&relay, "ada").await, AttachedPhone::pair(&relay, "ada").await);
    for day in 0..10 {
        for _ in 0..10 {
            let typed = stolen.types(&relay, None, "000000", None).await;
            assert_eq!(refused(typed), FrameErrorCode::WrongCode, "day {day}");
        }
        let typed = stolen.types(&relay, None, "000000", None).await;
        let expected =
            if day < 9 { FrameErrorCode::TooManyCodes } else { FrameErrorCode::DeviceLocked };
        assert_eq!(refused(typed), expected);
        let opened = opens(&relay, Page::default()).await;
        let typed = stolen.types(&relay, None, &opened.code, None).await;
        assert_eq!(refused(typed), expected, "not even the right one is looked at");
        own.signs_in_by(&relay, &opened.code).await;
        assert_eq!(outcome(&relay, opened.key.id).await, Some((Outcome::Succeeded, None)));
        relay.clock.forward(24 * 60 * 60 * 1_000);
    }
    relay.clock.forward(365 * 24 * 60 * 60 * 1_000);
    let typed = stolen.types(&relay, None, "000000", None).await;
    assert_eq!(refused(typed), FrameErrorCode::DeviceLocked, "for good");
    let entries = crate::support::actions::events(&*relay.store).await;
    assert!(entries.iter().any(|entry| entry["event"] == "device_locked"));
}

/// A thousand openings of strangers, each cancelled right before it would be five seconds old.
#[tokio::test(start_paused = true)]
async fn a_thousand_openings_ring_three_times_and_after_pauses_and_lock_nobody_out() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    let home = Page { client: 9, browser: Some("home"), ..Page::default() };
    let first = opens(&relay, home).await;
    phone.offers(&relay).await;
    phone.answers(&relay, first.key.id, &first.code).await;
    let addresses: Vec<_> = (0..50).map(|nth| format!("198.51.{nth}.7")).collect();
    let (mut rang, mut answered) = (0, 0);
    for nth in 0..1_000_usize {
        let client = u8::try_from(nth % 3).unwrap() + 1;
        let ip = Some(addresses[nth % 50].as_str());
        let opened = opens(&relay, Page { client, ip, ..Page::default() }).await;
        rang += phone.offers(&relay).await.len();
        relay.clock.forward(4_900);
        if nth % 20 == 19 {
            let own = opens(&relay, home).await;
            let offers = phone.offers(&relay).await;
            assert_eq!(offers[0].ceremony_id, own.key.id, "her own browser rings");
            phone.answers(&relay, own.key.id, &own.code).await;
            assert_eq!(outcome(&relay, own.key.id).await, Some((Outcome::Succeeded, None)));
        }
        if nth % 10 == 9 {
            let away = format!("some café, visit {nth}");
            let page = Page { client: 9, browser: Some(&away), ..Page::default() };
            let own = opens(&relay, page).await;
            let id = phone.signs_in_by(&relay, &own.code).await;
            assert_eq!(outcome(&relay, id).await, Some((Outcome::Succeeded, None)));
            answered += 1;
        }
        relay.relay.ceremonies.cancel(&opened.key).await.unwrap();
        phone.sees(&relay).await;
    }
    assert_eq!(answered, 100);
    // 82 minutes: three at once, then one, five, thirty and thirty minutes apart.
    assert!((4..=7).contains(&rang), "{rang} prompts of strangers");
}

/// The trial that this is made for: nine requests in 33 minutes kept the victim from 557 sign-ins.
#[tokio::test(start_paused = true)]
async fn nine_requests_in_half_an_hour_keep_their_victim_from_no_sign_in() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    let mut succeeded = 0;
    for second in 0..33 * 60_u64 {
        relay.clock.forward(1_000);
        if second % 220 == 0 {
            opens(&relay, Page { client: 2, ..Page::default() }).await;
        }
        if second % 20 == 0 {
            let own = opens(&relay, Page::default()).await;
            let id = phone.signs_in_by(&relay, &own.code).await;
            assert_eq!(outcome(&relay, id).await, Some((Outcome::Succeeded, None)), "{second}");
            succeeded += 1;
        }
    }
    assert_eq!(succeeded, 99);
}

/// What rings on no phone waits in memory: so much of a network and so much of a name, with codes
/// that no slip of a finger turns into each other.
#[tokio::test(start_paused = true)]
async fn no_slip_in_a_code_previews_another_ceremony_among_five_thousand() {
    let relay = relay_with(|policy| {
        policy.wrong_codes_per_day = usize::MAX;
        policy.wrong_codes_in_a_row = u32::MAX;
    })
    .await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    tires(&relay, &phone).await;
    for nth in 0..5_000_u32 {
        let ip = format!("10.{}.{}.1", nth % 300 / 256, nth % 300 % 256);
        opens(&relay, Page { ip: Some(&ip), ..Page::default() }).await;
    }
    let own = opens(&relay, Page { ip: Some("203.0.113.7"), ..Page::default() }).await;
    let right: Vec<u8> = own.code.bytes().collect();
    let mut slips = Vec::new();
    for at in 0..6 {
        slips.extend((b'0'..=b'9').filter(|digit| *digit != right[at]).map(|digit| {
            let mut slip = right.clone();
            slip[at] = digit;
            slip
        }));
        let mut swapped = right.clone();
        swapped.swap(at, (at + 1).min(5));
        slips.extend((swapped != right).then_some(swapped));
    }
    assert!(slips.len() >= 54);
    for slip in slips {
        let slip = String::from_utf8(slip).unwrap();
        let typed = phone.types(&relay, None, &slip, None).await;
        assert_eq!(refused(typed), FrameErrorCode::WrongCode, "{slip}");
    }
    assert_eq!(phone.previews(&relay, &own.code).await.ceremony_id, own.key.id);
    relay.clock.forward(61_000);
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    let census = relay.relay.occupancy();
    assert_eq!((census.open, census.copies, census.deadlines), (0, 0, 0), "all are over");
}

#[tokio::test(start_paused = true)]
async fn phone_and_browser_are_compared_by_network_where_the_operator_wants_it() {
    for (is_on, phone_at, expected) in [
        (false, "198.51.100.9", None),
        (true, "198.51.100.9", Some(SameNetwork::Yes)),
        (true, "203.0.113.9", Some(SameNetwork::No)),
        (true, "192.168.0.9", Some(SameNetwork::Unknown)),
    ] {
        let relay = relay_with(|policy| policy.same_network = is_on).await;
        let phone = AttachedPhone::pair_at(&relay, "ada", phone_at.parse().unwrap()).await;
        let own = opens(&relay, Page { ip: Some("198.51.100.7"), ..Page::default() }).await;
        assert_eq!(stored(&relay, own.key.id).await.same_network, None, "no phone has it yet");
        phone.offers(&relay).await;
        phone.answers(&relay, own.key.id, &own.code).await;
        let ended = stored(&relay, own.key.id).await;
        assert_eq!(ended.same_network, expected, "{phone_at}");
        assert_eq!(ended.success().unwrap().same_network, expected);
    }
}

/// The newest three of a network of strangers are found by their codes, and of a browser.
#[tokio::test(start_paused = true)]
async fn of_what_does_not_ring_the_newest_three_of_a_network_are_found_by_their_codes() {
    let relay = relay().await;
    let phone = AttachedPhone::pair(&relay, "ada").await;
    tires(&relay, &phone).await;
    let mut crowd = Vec::new();
    for nth in 0..5 {
        relay.clock.forward(10);
        let ip = format!("2001:db8:5::{nth}");
        crowd.push(opens(&relay, Page { ip: Some(&ip), ..Page::default() }).await);
    }
    let own = opens(&relay, Page { ip: Some("2001:db8:6::1"), ..Page::default() }).await;
    for old in &crowd[..2] {
        let typed = phone.types(&relay, None, &old.code, None).await;
        assert_eq!(refused(typed), FrameErrorCode::CodeAmbiguous, "it costs no try");
        let stands = stored(&relay, old.key.id).await;
        assert!(matches!(stands.state, State::Offered { wrong_codes: 0, .. }), "it stays pending");
    }
    for found in crowd[2..].iter().chain([&own]) {
        assert_eq!(phone.previews(&relay, &found.code).await.ceremony_id, found.key.id);
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_a_dead_socket_took_along_is_not_counted() {
    let relay = relay().await;
    let mut phone = AttachedPhone::pair(&relay, "ada").await;
    for _ in 0..10 {
        let opened = opens(&relay, Page::default()).await;
        assert_eq!(phone.sees(&relay).await.len(), 1, "written, and never acknowledged");
        let device = phone.leaves(&relay);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        relay.clock.forward(61_000);
        tokio::time::sleep(std::time::Duration::from_secs(61)).await;
        assert!(outcome(&relay, opened.key.id).await.is_some(), "it has expired");
        phone = AttachedPhone::attach(&relay, device).await;
        phone.sees(&relay).await;
    }
    tires(&relay, &phone).await;
    opens(&relay, Page::default()).await;
    assert!(phone.offers(&relay).await.is_empty(), "what the app had is");
}
