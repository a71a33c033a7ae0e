//! The device socket among hostile peers: the handshake, bytes that are no frames, frames that
//! are none of this protocol. Whatever one peer does, a ceremony that was open before completes.

use fido_relay_proto::limits::{FRAME_AFTER_AUTH, FRAME_BEFORE_AUTH};
use fido_relay_proto::{CeremonyId, Outcome};
use serde_json::{Value, json};

use crate::support::fixture::Fixture;
use crate::support::raw_socket::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, PING, RawSocket, TEXT, UPGRADE, frame, header, text,
};
use crate::support::wire_phone::WirePhone;

const RSV: [u8; 3] = [0x40, 0x20, 0x10];

/// Bytes that are no WebSocket of RFC 6455, and the close code that says so.
fn framing_faults() -> Vec<(&'static str, Vec<u8>, u16)> {
    let ack = br#"{"type":"ack"}"#;
    let mut unmasked = header(FIN | TEXT, ack.len(), false);
    unmasked.extend_from_slice(ack);
    let mut faults = vec![
        ("an unmasked frame", unmasked, 1002),
        ("opcode 3", frame(FIN | 0x3, ack), 1002),
        ("opcode 7", frame(FIN | 0x7, ack), 1002),
        ("control opcode 11", frame(FIN | 0xb, ack), 1002),
        ("control opcode 15", frame(FIN | 0xf, b""), 1002),
        ("a continuation of nothing", frame(FIN | CONTINUATION, ack), 1002),
        ("a message within a message", [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(), 1002),
        ("a ping in parts", frame(PING, b"x"), 1002),
        ("a ping of 126 bytes", frame(FIN | PING, &[b'x'; 126]), 1002),
        ("a close of one byte", frame(FIN | CLOSE, b"x"), 1002),
        ("binary", frame(FIN | BINARY, ack), 1003),
        ("a text that is no UTF-8", frame(FIN | TEXT, b"\"\xff\""), 1007),
        ("a text that ends within a character", frame(FIN | TEXT, b"\xe2\x82"), 1007),
        ("an overlong character", frame(FIN | TEXT, b"\xc0\xaf"), 1007),
        ("half a surrogate pair", frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
        (
            "no UTF-8 over two parts",
            [frame(TEXT, b"\xe2"), frame(FIN | CONTINUATION, b"(")].concat(),
            1007,
        ),
        ("a byte too many, announced", header(FIN | TEXT, FRAME_AFTER_AUTH + 1, true), 1009),
        ("a gibibyte, announced", header(FIN | TEXT, 1 << 30, true), 1009),
        ("an exbibyte, announced", header(FIN | BINARY, 1 << 60, true), 1009),
        (
            "too much over two parts",
            [frame(TEXT, &[b' '; FRAME_AFTER_AUTH]), frame(FIN | CONTINUATION, b" ")].concat(),
            1009,
        ),
        (
            "seventeen parts",
            [frame(TEXT, b" "), frame(CONTINUATION, b" ").repeat(15), frame(FIN, b" ")].concat(),
            1009,
        ),
        (
            "parts of nothing without end",
            [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(100)].concat(),
            1009,
        ),
    ];
    for rsv in RSV {
        faults.push(("a reserved bit", frame(FIN | TEXT | rsv, ack), 1002));
    }
    faults
}

#[tokio::test]
async fn what_is_no_websocket_is_closed_with_the_code_for_it_by_strangers_and_devices_alike() {
    let fixture = Fixture::new().await;
    for (name, bytes, code) in framing_faults() {
        let mut stranger = RawSocket::upgraded(&fixture.relay.url()).await;
        stranger.hello().await;
        stranger.send(&bytes).await;
        let as_stranger = stranger.closes().await;
        let mut device = fixture.raw_ada().await;
        device.send(&bytes).await;
        let as_device = device.closes().await;
        assert_eq!(as_stranger, as_device, "{name}");
        assert_eq!(as_device.0, code, "{name}: {as_device:?}");
    }
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn sixteen_parts_are_a_message() {
    let fixture = Fixture::new().await;
    let mut device = fixture.raw_ada().await;
    let frame = |first, part: &[u8]| frame(first, part);
    let unknown = br#"{"type":"none"} "#;
    assert_eq!(unknown.len(), 16);
    for (at, byte) in unknown.iter().enumerate() {
        let first = match at {
            0 => TEXT,
            15 => FIN | CONTINUATION,
            _ => CONTINUATION,
        };
        device.send(&frame(first, &[*byte])).await;
        if at == 7 {
            // Control frames come in between (RFC 6455 section 5.4) and count for nothing.
            device.send(&frame(FIN | PING, b"")).await;
        }
    }
    loop {
        match device.next().await {
            Heard::Text(error) => {
                assert!(error.contains("unknown_type"), "{error}");
                break;
            }
            Heard::Ping | Heard::Pong => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stranger_may_send_one_auth_frame_and_nothing_else() {
    let fixture = Fixture::new().await;
    let deep = format!(r#"{{"type":"auth","proof":"x","x":{}{}}}"#, "[".repeat(9), "]".repeat(9));
    let wide: Vec<_> = (0..65).map(|key| format!(r#""k{key}":0"#)).collect();
    let frames = [
        String::new(),
        "hello".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        r#"["auth"]"#.to_owned(),
        r#"{"type":"auth"}"#.to_owned(),
        r#"{"type":"auth","proof":null}"#.to_owned(),
        r#"{"type":"auth","proof":7}"#.to_owned(),
        r#"{"type":"auth","proof":["x"]}"#.to_owned(),
        r#"{"type":"auth","proof":"x","proof":"y"}"#.to_owned(),
        r#"{"type":"auth","type":"auth","proof":"x"}"#.to_owned(),
        r#"{"type":"auth","proof":"x"} {}"#.to_owned(),
        r#"{"type":"AUTH","proof":"x"}"#.to_owned(),
        r#"{"type":"no_such_type"}"#.to_owned(),
        json!({ "type": "ack", "ceremony_id": fixture.open.id, "of": "offer" }).to_string(),
        json!({ "type": "claim", "ceremony_id": fixture.open.id, "code": fixture.open.code })
            .to_string(),
        json!({ "type": "decline", "ceremony_id": fixture.open.id, "reason": "not_me" })
            .to_string(),
        deep,
        format!(r#"{{"type":"auth","proof":"x",{}}}"#, wide.join(",")),
        " ".repeat(FRAME_BEFORE_AUTH),
    ];
    for frame in &frames {
        let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
        socket.hello().await;
        socket.send(&text(frame)).await;
        assert_eq!(socket.closes().await, (4401, "unauthenticated".to_owned()), "{frame}");
    }
    // One byte more than an `auth` may have.
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    socket.hello().await;
    socket.send(&text(&" ".repeat(FRAME_BEFORE_AUTH + 1))).await;
    assert_eq!(socket.closes().await.0, 1009);
    // As many pings as a device may send, and one more.
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    socket.hello().await;
    socket.send(&text(r#"{"type":"ping","id":"x"}"#).repeat(200)).await;
    let end = loop {
        match socket.next().await {
            Heard::Text(pong) => assert_eq!(pong, r#"{"type":"pong","id":"x"}"#),
            Heard::Close(code, reason) => break (code, reason),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, (4401, "unauthenticated".to_owned()));
    // And a flood of WebSocket pings.
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    socket.hello().await;
    socket.send(&frame(FIN | PING, b"").repeat(50)).await;
    assert_eq!(socket.closes().await, (4401, "unauthenticated".to_owned()));
    fixture.open_ceremony_completes().await;
}

/// A size that a stranger announces is refused by the limit for strangers, before its bytes come.
#[tokio::test]
async fn a_stranger_is_not_read_for_longer_than_an_auth_frame() {
    let fixture = Fixture::new().await;
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    socket.hello().await;
    socket.send(&header(FIN | TEXT, FRAME_BEFORE_AUTH + 1, true)).await;
    assert_eq!(socket.closes().await.0, 1009);
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    socket.hello().await;
    socket.send(&frame(TEXT, &[b' '; FRAME_BEFORE_AUTH])).await;
    socket.send(&header(FIN | CONTINUATION, 1, true)).await;
    assert_eq!(socket.closes().await.0, 1009);
    fixture.open_ceremony_completes().await;
}

/// The next frame, with pings and pongs of WebSocket left out.
async fn next_frame(socket: &mut RawSocket) -> Value {
    loop {
        match socket.next().await {
            Heard::Text(text) => return serde_json::from_str(&text).unwrap(),
            Heard::Ping | Heard::Pong => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_ping_frame_is_answered_before_and_after_welcome() {
    let fixture = Fixture::with(|config| {
        // No frame is earned back while the test runs.
        config.limits.frames_per_s = 1;
        config.limits.frames_burst = 10;
    })
    .await;
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    let nonce = socket.hello().await;
    let ping = |id: &str| text(&json!({ "type": "ping", "id": id }).to_string());
    let pong = |id: &str| json!({ "type": "pong", "id": id });
    socket.send(&ping("before auth")).await;
    assert_eq!(next_frame(&mut socket).await, pong("before auth"));
    let proof =
        fixture.ada.key.auth_proof(&fixture.ada.socket_url, &nonce, fixture.ada.device_id).unwrap();
    socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
    let longest = "\u{e9}".repeat(64);
    socket.send(&ping(&longest)).await;
    for expected in ["welcome", "offer"] {
        assert_eq!(next_frame(&mut socket).await["type"], expected);
    }
    assert_eq!(next_frame(&mut socket).await, pong(&longest));
    socket.send(&ping(&"x".repeat(65))).await;
    let refused = next_frame(&mut socket).await;
    assert_eq!(
        (&refused["code"], &refused["ceremony_id"]),
        (&json!("invalid_frame"), &json!(null))
    );
    // Of the ten frames three are spent.
    socket.send(&ping("again").repeat(8)).await;
    for _ in 0..7 {
        assert_eq!(next_frame(&mut socket).await, pong("again"));
    }
    assert_eq!(next_frame(&mut socket).await["code"], "slow_down");
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_device_that_floods_is_told_to_slow_down_and_then_closed() {
    let fixture = Fixture::with(|config| {
        // No frame is earned back while the test runs.
        config.limits.frames_per_s = 1;
        config.limits.frames_burst = 10;
    })
    .await;
    let mut device = fixture.raw_ada().await;
    device.send(&text(r#"{"type":"no_such_type"}"#).repeat(40)).await;
    let mut codes = Vec::new();
    let end = loop {
        match device.next().await {
            Heard::Text(text) => {
                let error: Value = serde_json::from_str(&text).unwrap();
                codes.push(error["code"].as_str().unwrap().to_owned());
                assert_eq!(error["retryable"], codes.last().unwrap() == "slow_down");
            }
            Heard::Ping | Heard::Pong => {}
            Heard::Close(code, reason) => break (code, reason),
            Heard::End => panic!("no close frame"),
        }
    };
    assert_eq!(end, (1008, "policy_errors".to_owned()));
    let slow = codes.iter().position(|code| code == "slow_down").unwrap();
    assert!((10..=12).contains(&slow), "the burst is served: {codes:?}");
    assert_eq!(codes[slow..], ["slow_down"; 4], "the fifth policy error closes");
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn malformed_frames_are_told_in_band_and_the_fifth_within_a_minute_closes() {
    let fixture = Fixture::new().await;
    let mut device = fixture.raw_ada().await;
    let id = fixture.open.id;
    let malformed = [
        "not JSON".to_owned(),
        json!({ "type": "ack", "ceremony_id": "cer_x", "of": "offer" }).to_string(),
        json!({ "type": "card", "ceremony_id": id, "event": "error", "code": 618 }).to_string(),
        json!({ "type": "auth", "proof": "unasked" }).to_string(),
        "[".repeat(20_000),
    ];
    let (last, first) = malformed.split_last().unwrap();
    for malformed in first {
        device.send(&text(malformed)).await;
        let Heard::Text(error) = device.next().await else { panic!("{malformed}") };
        assert!(error.contains("invalid_frame"), "{malformed}: {error}");
    }
    // An app that is newer than the relay makes no mistake: these are not counted.
    for _ in 0..10 {
        device.send(&text(r#"{"type":"of_a_later_version"}"#)).await;
        let Heard::Text(error) = device.next().await else { panic!("the socket stays") };
        assert!(error.contains("unknown_type"), "{error}");
    }
    device.send(&text(last)).await;
    assert_eq!(device.closes().await, (1008, "policy_errors".to_owned()));
    fixture.open_ceremony_completes().await;
}

/// Every frame about a ceremony, as an app would send it.
fn frames_about(id: &str) -> Vec<String> {
    let attempt = "att_AAAAAAAAAAAAAAAAAAAAAA";
    [
        json!({ "type": "ack", "ceremony_id": id, "of": "offer" }),
        json!({ "type": "ack", "ceremony_id": id, "of": "challenge" }),
        json!({ "type": "ack", "ceremony_id": id, "of": "closed" }),
        json!({ "type": "claim", "ceremony_id": id, "code": "000000" }),
        json!({ "type": "card", "ceremony_id": id, "event": "present" }),
        json!({ "type": "card", "ceremony_id": id, "event": "error", "code": 608 }),
        json!({ "type": "answer", "ceremony_id": id, "attempt": attempt, "credential": {} }),
        json!({ "type": "decline", "ceremony_id": id, "reason": "declined" }),
        json!({ "type": "decline", "ceremony_id": id, "reason": "not_me" }),
    ]
    .iter()
    .map(Value::to_string)
    .collect()
}

#[tokio::test]
async fn a_frame_about_another_users_ceremony_is_answered_as_about_none() {
    let fixture = Fixture::new().await;
    let bob = fixture.relay.pair(&fixture.initiator, "bob").await;
    let mut bob = WirePhone::connect(bob).await;
    let never = CeremonyId::from_bytes([5; 16]).to_string();
    let ada = fixture.open.id.to_string();
    for (unknown, foreign) in frames_about(&never).iter().zip(frames_about(&ada)) {
        let mut answers = Vec::new();
        for (frame, id) in [(unknown, &never), (&foreign, &ada)] {
            bob.socket.send_text(frame.as_str()).await.unwrap();
            let answer = bob.socket.next_text().await.unwrap();
            assert!(answer.contains("unknown_ceremony"), "{frame}: {answer}");
            answers.push(answer.replace(id.as_str(), "ID"));
        }
        assert_eq!(answers[0], answers[1]);
    }
    bob.hears_nothing().await;
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_newer_socket_replaces_the_old_one_and_outlives_it() {
    let fixture = Fixture::new().await;
    let mut sockets = vec![WirePhone::connect(fixture.ada.clone()).await];
    assert_eq!(sockets[0].offer().await.ceremony_id, fixture.open.id);
    for _ in 0..4 {
        let mut newer = WirePhone::connect(fixture.ada.clone()).await;
        assert_eq!(newer.offer().await.ceremony_id, fixture.open.id);
        let mut older = sockets.pop().unwrap();
        assert_eq!(older.end().await, (Some(4409), "replaced".to_owned()));
        sockets.push(newer);
    }
    // The old ones are gone; what comes next reaches the newest.
    let order = json!({ "type": "authentication", "username": "ada" });
    let opened = fixture.initiator.open(&order).await;
    let newest = sockets.last_mut().unwrap();
    assert_eq!(newest.offer().await.ceremony_id, opened.id);
    let cancelled = fixture.initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    assert_eq!(cancelled.status(), 200);
    assert_eq!(newest.closed().await, (opened.id, Outcome::Cancelled, None));
    let mut before = WirePhone::connect(fixture.ada.clone()).await;
    assert_eq!(newest.end().await, (Some(4409), "replaced".to_owned()));
    assert_eq!(before.offer().await.ceremony_id, fixture.open.id);
    drop(before);
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn a_revoked_device_is_closed_within_seconds_and_never_comes_back() {
    let fixture = Fixture::new().await;
    let lost = fixture.relay.pair(&fixture.initiator, "ada").await;
    let mut phone = WirePhone::connect(lost.clone()).await;
    assert_eq!(phone.offer().await.ceremony_id, fixture.open.id);
    let path = format!("/v1/devices/{}", lost.device_id);
    assert_eq!(fixture.initiator.delete(&path).await.status(), 204);
    let limit = std::time::Duration::from_secs(5);
    let end = tokio::time::timeout(limit, phone.end()).await.expect("closed within 5 s");
    assert_eq!(end, (Some(4403), "revoked".to_owned()));
    let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
    let nonce = socket.hello().await;
    let proof = lost.key.auth_proof(&lost.socket_url, &nonce, lost.device_id).unwrap();
    socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
    assert_eq!(socket.closes().await, (4401, "unauthenticated".to_owned()));
    fixture.open_ceremony_completes().await;
}

/// Its proof may be looked at before the revocation and its socket taken in after it.
#[tokio::test]
async fn a_device_revoked_while_it_authenticates_does_not_slip_in() {
    let fixture = Fixture::new().await;
    for round in 0..20 {
        let lost = fixture.relay.pair(&fixture.initiator, &format!("user-{round}")).await;
        let mut socket = RawSocket::upgraded(&fixture.relay.url()).await;
        let nonce = socket.hello().await;
        let proof = lost.key.auth_proof(&lost.socket_url, &nonce, lost.device_id).unwrap();
        let auth = text(&json!({ "type": "auth", "proof": proof }).to_string());
        let path = format!("/v1/devices/{}", lost.device_id);
        let (revoked, ()) = tokio::join!(fixture.initiator.delete(&path), socket.send(&auth));
        assert_eq!(revoked.status(), 204);
        let end = loop {
            match socket.next().await {
                Heard::Text(text) => assert!(text.contains("\"welcome\""), "{text}"),
                Heard::Ping | Heard::Pong => {}
                Heard::Close(code, _) => break code,
                Heard::End => panic!("no close frame"),
            }
        };
        assert!(matches!(end, 4401 | 4403), "round {round}: {end}");
    }
    fixture.open_ceremony_completes().await;
}

/// Were they all put into the outbox at once, it would overflow, and the phone never come in.
#[tokio::test]
async fn a_phone_that_returns_to_more_ceremonies_than_its_outbox_holds_is_shown_all() {
    let fixture = Fixture::new().await;
    let mut open = vec![fixture.open.id];
    for _ in 0..50 {
        let order = json!({ "type": "authentication", "username": "ada" });
        open.push(fixture.initiator.open(&order).await.id);
    }
    let mut phone = WirePhone::connect(fixture.ada.clone()).await;
    let mut shown = Vec::new();
    for _ in &open {
        shown.push(phone.offer().await.ceremony_id);
    }
    open.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, open);
    phone.hears_nothing().await;
}

#[tokio::test]
async fn twenty_strangers_of_one_address_fill_it_until_one_goes_or_is_known() {
    let fixture = Fixture::new().await;
    let url = fixture.relay.url();
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(RawSocket::upgraded(&url).await);
    }
    let (_, refused) = RawSocket::ask(&url, &UPGRADE).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.contains("too_many_requests"), "{refused:?}");
    // Who is known is no stranger any more.
    let mut device = strangers.pop().unwrap();
    let nonce = device.hello().await;
    let proof = fixture.ada.key.auth_proof(&fixture.ada.socket_url, &nonce, fixture.ada.device_id);
    device.send(&text(&json!({ "type": "auth", "proof": proof.unwrap() }).to_string())).await;
    let Heard::Text(welcome) = device.next().await else { panic!("no welcome") };
    assert!(welcome.contains("welcome"), "{welcome}");
    strangers.push(RawSocket::upgraded(&url).await);
    assert_eq!(RawSocket::ask(&url, &UPGRADE).await.1.status, 429);
    drop(strangers);
    drop(device);
    // The relay notices in its own time that they went.
    while RawSocket::ask(&url, &UPGRADE).await.1.status == 429 {
        tokio::task::yield_now().await;
    }
    fixture.open_ceremony_completes().await;
}
