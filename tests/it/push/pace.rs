//! Services that are slow, down, busy or gone for a while: what is tried again, what is given up, and
//! that nothing waits without a bound or for another.

use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::push::{DispatchLimits, PushServices, PushSettings};
use fido_relay::ports::{Push as _, PushFailure};
use fido_relay_proto::http::PushService;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::far::{Answer, Far};
use super::scene::{Scene, apns_target, fcm_target, quick, sent, wake};
use super::webpush::endpoint;

async fn apns_at(scene: &Scene, far: &Far, limits: DispatchLimits) -> PushServices {
    let apns = Some(scene.apns(far));
    scene.services(PushSettings { apns, limits, ..scene.settings() }).await
}

#[tokio::test]
async fn a_call_that_fails_is_tried_again_until_it_is_taken_or_of_no_use() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = scene.with_apns(&far).await;
    far.next([Answer::status(500), Answer::Cut, Answer::status(503)]);
    assert_eq!(sent(&services, apns_target(), 30).await, Ok(()));
    assert_eq!(far.received().len(), 4);

    far.next([Answer::Status(429, Some(1), String::new())]);
    let began = Instant::now();
    assert_eq!(sent(&services, apns_target(), 30).await, Ok(()));
    assert!(began.elapsed() >= Duration::from_secs(1), "as it asked");

    // It asks for more than is left: nothing is waited for.
    for asked in [60, u64::MAX] {
        far.next([Answer::Status(429, Some(asked), String::new())]);
        let began = Instant::now();
        assert_eq!(sent(&services, apns_target(), 30).await, Err(PushFailure::Late));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(services.under_way(PushService::Apns), 0);
}

#[tokio::test]
async fn a_service_that_is_slow_or_not_there_costs_a_wake_its_life_and_no_more() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    far.usually(Answer::Held);
    let services = scene.with_apns(&far).await;
    let began = Instant::now();
    assert_eq!(sent(&services, apns_target(), 1).await, Err(PushFailure::Late));
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(far);
    assert_eq!(sent(&services, apns_target(), 1).await, Err(PushFailure::Late));
    assert_eq!(services.under_way(PushService::Apns), 0);
}

#[tokio::test]
async fn a_service_that_fails_in_a_row_is_left_alone_until_one_try_finds_it_well() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    far.usually(Answer::status(500));
    let services = Arc::new(scene.with_apns(&far).await);
    // It is tried five times in a row, and then once for each pause.
    assert_eq!(sent(&services, apns_target(), 1).await, Err(PushFailure::Late));
    let tries = far.received().len();
    assert!((5..=8).contains(&tries), "{tries}");
    let mut failing = 0;
    for _ in 0..100 {
        failing += u32::from(sent(&services, apns_target(), 1).await == Err(PushFailure::Failing));
        if failing == 20 {
            break;
        }
    }
    assert_eq!(failing, 20, "at once");
    assert!(far.received().len() <= tries + 3, "hardly a call");

    far.usually(Answer::status(200));
    let closes = async {
        while sent(&services, apns_target(), 30).await != Ok(()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closes).await.expect("it closes");
    for _ in 0..20 {
        assert_eq!(sent(&services, apns_target(), 1).await, Ok(()));
    }
}

#[tokio::test]
async fn no_origin_and_no_service_waits_for_another_that_is_slow() {
    let scene = Scene::new();
    let (slow, well) = (Far::plain().await, Far::plain().await);
    let fcm = Far::start(&scene.authority).await;
    slow.usually(Answer::Held);
    let limits =
        DispatchLimits { slots: 40, calls: 16, call_limit: Duration::from_secs(20), ..quick() };
    let settings = PushSettings {
        webpush: Some(scene.webpush()),
        fcm: Some(scene.fcm(&fcm)),
        limits,
        ..scene.settings()
    };
    let services = scene.services(settings).await;
    let url = format!("{}/x", slow.url);
    let held: FuturesUnordered<_> =
        (0..12).map(|_| services.wake(wake(endpoint(&url), 20))).collect();
    let held = held.collect::<Vec<_>>();
    let others = async {
        slow.until(2).await;
        for _ in 0..30 {
            let url = format!("{}/x", well.url);
            assert_eq!(sent(&services, endpoint(&url), 5).await, Ok(()));
            assert_eq!(sent(&services, fcm_target(), 5).await, Ok(()));
        }
        assert_eq!(slow.most_at_once(), 2, "the part of one origin");
        slow.release();
    };
    let (came, ()) = tokio::join!(held, others);
    let full = came.iter().filter(|came| **came == Err(PushFailure::Full)).count();
    let taken = came.iter().filter(|came| came.is_ok()).count();
    assert_eq!((taken, full), (10, 2), "its part of the places");
    assert_eq!(services.far_ends(PushService::Webpush), 2);
}

#[tokio::test]
async fn ten_thousand_wakes_at_once_take_a_thousand_places_and_sixty_four_calls() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    far.usually(Answer::Held);
    let limits = DispatchLimits { call_limit: Duration::from_secs(9), ..DispatchLimits::default() };
    let services = apns_at(&scene, &far, limits).await;
    let all = (0..10_000).map(|_| services.wake(wake(apns_target(), 60)));
    let mut all: FuturesUnordered<_> = all.collect();
    let mut full = 0;
    while full < 9_000 {
        assert_eq!(all.next().await, Some(Err(PushFailure::Full)));
        full += 1;
    }
    assert_eq!(services.under_way(PushService::Apns), 1_000);
    tokio::select! {
        _ = far.until(64) => {}
        came = all.next() => panic!("nothing is answered yet: {came:?}"),
    }
    far.release();
    while let Some(came) = all.next().await {
        assert_eq!(came, Ok(()));
    }
    assert_eq!(services.under_way(PushService::Apns), 0);
    assert_eq!((far.received().len(), far.most_at_once()), (1_000, 64));
}

#[tokio::test]
async fn ten_thousand_wakes_one_after_another_leave_nothing_behind() {
    let scene = Scene::new();
    let far = Far::start(&scene.authority).await;
    let services = apns_at(&scene, &far, DispatchLimits::default()).await;
    let most = futures::stream::iter(0..10_000)
        .map(|_| services.wake(wake(apns_target(), 60)))
        .buffer_unordered(500)
        .fold(0, async |most: usize, came| {
            assert_eq!(came, Ok(()));
            most.max(services.under_way(PushService::Apns))
        })
        .await;
    assert!(most <= 500, "{most}");
    assert_eq!(services.under_way(PushService::Apns), 0);
    assert_eq!((services.far_ends(PushService::Apns), far.received().len()), (1, 10_000));
    assert!(far.most_at_once() <= 64);
    assert!(far.connections() <= 2, "{}", far.connections());
}
