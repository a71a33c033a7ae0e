//! What is told to whom, once, and what is never lost.

use fido_relay_proto::CardId;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_closed_ceremony_is_told_to_its_own_clients_endpoints_that_want_it() {
    let stage = Stage::start().await;
    let closed = [WebhookEvent::CeremonyClosed];
    stage.endpoint_of(CLIENT, "https://mine.example/", &closed).await;
    stage.endpoint_of(CLIENT, "https://devices.example/", &[WebhookEvent::DevicePaired]).await;
    stage.endpoint_of(OTHER, "https://other.example/", &WebhookEvent::ALL).await;
    stage.closes(1).await;
    settle().await;
    let arrivals = stage.sender.arrivals();
    assert_eq!(arrivals.len(), 1, "{arrivals:?}");
    assert_eq!(arrivals[0].host, "mine.example");
    let timestamp = arrivals[0].body["timestamp"].as_str().unwrap();
    assert!(timestamp.starts_with("2027-01-15T08:00:00"), "{timestamp}");
    let expected = serde_json::json!({
        "type": "ceremony.closed",
        "data": {
            "id": CeremonyId::from_bytes([1; 16]),
            "type": "authentication",
            "outcome": "denied",
            "reason": "not_me",
            "seq": 60,
        },
        "timestamp": timestamp,
    });
    assert_eq!(arrivals[0].body, expected);
    let figures = stage.webhooks.figures();
    assert_eq!((figures.delivered, figures.waiting, figures.dead), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn not_me_and_devices_are_told_too() {
    let stage = Stage::start().await;
    stage.endpoint(GOOD).await;
    stage.endpoint_of(OTHER, "https://other.example/", &WebhookEvent::ALL).await;
    stage.closes(1).await;
    let device_id = DeviceId::from_bytes([9; 16]);
    let username = PlainText::new("ada").unwrap();
    let card_id = CardId::from_bytes([9; 32]);
    for what in [
        SecurityEventKind::DevicePaired { device_id, username: PlainText::new("ada").unwrap() },
        SecurityEventKind::DeviceRevoked { device_id, username: username.clone(), client_id: None },
        SecurityEventKind::CardRegistered { card_id, username: username.clone() },
        SecurityEventKind::CardRemoved { card_id, username: username.clone(), client_id: None },
        SecurityEventKind::CloneSuspected { card_id, username },
        SecurityEventKind::ClientMade { client_id: CLIENT },
    ] {
        let event = SecurityEvent::new(TenantId::default(), stage.clock.now(), what);
        stage.store.commit(Batch::new().entry(event.entry())).await.unwrap();
    }
    settle().await;
    let types = |url| {
        let mut types: Vec<_> = stage
            .sender
            .at(url)
            .iter()
            .map(|arrival| arrival.body["type"].as_str().unwrap().to_owned())
            .collect();
        types.sort_unstable();
        types
    };
    let of_the_tenant = [
        "card.clone_suspected",
        "card.registered",
        "card.removed",
        "device.paired",
        "device.revoked",
    ];
    let all = [&of_the_tenant[..3], &["ceremony.closed"], &of_the_tenant[3..], &["user.not_me"]];
    assert_eq!(types(GOOD), all.concat(), "each once");
    assert_eq!(types("https://other.example/"), of_the_tenant);
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_while_no_relay_ran_is_told_once() {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    let Stage { store, sender, clock, tasks, .. } = stage;
    assert!(tasks.stop(Duration::from_secs(20)).await);
    let stage = Stage::start_on(Arc::clone(&store), Arc::clone(&sender), Arc::clone(&clock)).await;
    assert!(stage.tasks.stop(Duration::from_secs(20)).await);
    stage.closes(1).await;
    pass(HOUR * 20).await;
    let stage = Stage::start_on(store, sender, clock).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 1);
    let stage = stage.restart().await;
    pass(HOUR).await;
    assert_eq!(stage.sender.arrivals().len(), 1, "the cursor has passed it");
}

#[tokio::test(start_paused = true)]
async fn an_end_with_more_endpoints_than_one_batch_takes_is_told_to_each_once() {
    let stage = Stage::start().await;
    for number in 0..100 {
        let client = ClientId::from_bytes([number; 16]);
        stage.endpoint_of(client, GOOD, &[WebhookEvent::DevicePaired]).await;
    }
    let (device_id, username) = (DeviceId::from_bytes([9; 16]), PlainText::new("ada").unwrap());
    let what = SecurityEventKind::DevicePaired { device_id, username };
    let event = SecurityEvent::new(TenantId::default(), stage.clock.now(), what);
    stage.store.commit(Batch::new().entry(event.entry())).await.unwrap();
    stage.closes(1).await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(stage.sender.arrivals().len(), 100);
    assert_eq!(stage.webhooks.figures().delivered, 100);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_record_and_the_delivery_loses_nothing() {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    stage.closes(1).await;
    settle().await;
    let stage = stage.restart().await;
    stage.sender.answers(GOOD, Manner::Status(204));
    pass(HOUR).await;
    let arrivals = stage.sender.arrivals();
    assert!(arrivals.len() >= 2);
    assert!(arrivals.iter().all(|arrival| arrival.id == arrivals[0].id), "one webhook-id");
    let bodies: Vec<_> = arrivals.iter().map(|arrival| &arrival.letter.body).collect();
    assert!(bodies.windows(2).all(|two| two[0] == two[1]), "the same bytes");
    pass(HOUR * 100).await;
    assert_eq!(stage.sender.arrivals().len(), arrivals.len(), "and then no more");
}

#[tokio::test(start_paused = true)]
async fn nothing_from_before_an_endpoint_was_registered_is_sent_to_it() {
    let stage = Stage::start().await;
    let before = stage.closed(1, CLIENT);
    pass(Duration::from_secs(1)).await;
    stage.endpoint(GOOD).await;
    stage.commit(&before).await;
    settle().await;
    assert!(stage.sender.arrivals().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_cannot_be_read_keeps_nothing_from_the_others() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    let key = EndpointKey { id: WebhookId::from_bytes([8; 16]), ..endpoint.key() }.to_string();
    let unknown = b"{\"of\":\"a later build\"}".to_vec();
    stage.store.save(Bucket::Webhooks, &key, Revision::ABSENT, unknown).await.unwrap();
    stage.closes(1).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 1);
}
