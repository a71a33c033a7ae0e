//! Bodies of the HTTP interface as they go over the wire.

use fido_relay_proto::http::{
    Algorithm, Attachment, Attestation, CeremonyView, ClientView, DeviceList, DeviceView,
    OpenCeremony, OpenPairing, OpenedCeremony, OpenedPairing, P256Jwk, PairDevice, PairedDevice,
    Platform, ProgressEntry, PushService, PushTarget, RenameDevice, Requirement, RotateDeviceKey,
    RotatedDeviceKey, Scope, SetPush, Status, UpstreamOptions, WebPushKeys,
};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{
    Binding, CeremonyType, ClientId, Outcome, Phase, Problem, ProblemCode, Reason, Step,
};
use insta::assert_snapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::samples::{CEREMONY, DEVICE, context, text, transaction};

/// The body's JSON, after it was read back as the same.
fn wire<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &T) -> String {
    let json = serde_json::to_string(body).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), body);
    json
}

fn least() -> OpenCeremony {
    serde_json::from_value(json!({"type": "authentication", "username": "ada"})).unwrap()
}

fn most() -> OpenCeremony {
    OpenCeremony {
        ceremony_type: CeremonyType::Approval,
        username: text("ada"),
        display_name: Some(text("Ada Lovelace")),
        device_id: Some(DEVICE),
        timeout_s: Some(300),
        binding: Binding::None,
        message: Some(text("Pay the invoice")),
        transaction: Some(transaction()),
        context: Some(context()),
        client_nonce: Some(text("n-1")),
        prior_auth: PriorAuth::Session,
        show_delivery: true,
        options: UpstreamOptions {
            user_verification: Some(Requirement::Required),
            attestation: Some(Attestation::Indirect),
            attachment: Some(Attachment::CrossPlatform),
            algorithms: Some(vec![Algorithm::Es256, Algorithm::Eddsa, Algorithm::Rs256]),
            discoverable_credential: Some(Requirement::Discouraged),
            rp_id: Some(text("bank.example")),
        },
    }
}

fn pair_device() -> PairDevice {
    PairDevice {
        pairing_token: Some("token-canary".to_owned()),
        typed_code: None,
        jwk: P256Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: "eA".to_owned(),
            y: "eQ".to_owned(),
        },
        proof: "proof-canary".to_owned(),
        name: Some(text("Ada's phone")),
        platform: Platform::Android,
        push: Some(PushTarget {
            service: PushService::Fcm,
            token: text("push-canary"),
            app: None,
            keys: None,
        }),
    }
}

fn opened() -> OpenedCeremony {
    OpenedCeremony {
        id: CEREMONY,
        status: Status::Pending,
        phase: Phase::Offered,
        code: Some("402917".to_owned()),
        ticket: "ticket-canary".to_owned(),
        prior_auth: PriorAuth::None,
        expires_in: 120,
    }
}

fn rotate_key() -> RotateDeviceKey {
    RotateDeviceKey {
        new_jwk: pair_device().jwk,
        old_proof: "old-proof-canary".to_owned(),
        new_proof: "new-proof-canary".to_owned(),
    }
}

fn opened_pairing() -> OpenedPairing {
    OpenedPairing {
        pairing_token: "token-canary".to_owned(),
        typed_code: "TYPED-CANAR".to_owned(),
        uri: "fido-relay://pair?token=token-canary".to_owned(),
        qr_svg: "<svg><!-- token-canary --></svg>".to_owned(),
        expires_in: 600,
    }
}

fn view() -> CeremonyView {
    let entry = |seq, step| ProgressEntry { seq, step, at: "2026-01-02T03:04:05.678Z".to_owned() };
    CeremonyView {
        id: CEREMONY,
        ceremony_type: CeremonyType::Registration,
        username: Some(text("ada")),
        status: Status::Ended(Outcome::Succeeded),
        phase: Phase::Closed,
        seq: 2,
        progress: vec![entry(1, Step::Opened), entry(2, Step::Closed)],
        reason: None,
        result: Some("result-canary".to_owned()),
        same_network: None,
        expires_in: 0,
    }
}

#[test]
fn opening_a_ceremony_has_not_changed() {
    assert_snapshot!(wire(&least()), @r#"{"type":"authentication","username":"ada","binding":"code","prior_auth":"none","options":{}}"#);
    assert_snapshot!(wire(&most()), @r#"{"type":"approval","username":"ada","display_name":"Ada Lovelace","device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","timeout_s":300,"binding":"none","message":"Pay the invoice","transaction":{"title":"Payment to Ada","fields":[{"label":"Amount","value":"120.00 EUR"}]},"context":{"ip":"192.0.2.7","user_agent":"Firefox on Linux","location":"Vienna, AT"},"client_nonce":"n-1","prior_auth":"session","show_delivery":true,"options":{"userVerification":"required","attestation":"indirect","attachment":"cross-platform","algorithms":["es256","eddsa","rs256"],"discoverable_credential":"discouraged","rpId":"bank.example"}}"#);
    assert_snapshot!(wire(&opened()), @r#"{"id":"cer_EREREREREREREREREREREQ","status":"pending","phase":"offered","code":"402917","ticket":"ticket-canary","prior_auth":"none","expires_in":120}"#);
    let without_code = OpenedCeremony { code: None, phase: Phase::Preparing, ..opened() };
    assert_snapshot!(wire(&without_code), @r#"{"id":"cer_EREREREREREREREREREREQ","status":"pending","phase":"preparing","ticket":"ticket-canary","prior_auth":"none","expires_in":120}"#);
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let OpenCeremony { binding, prior_auth, show_delivery, options, .. } = least();
    assert_eq!(binding, Binding::Code, "the safe one");
    assert_eq!((prior_auth, show_delivery), (PriorAuth::None, false));
    assert_eq!(options, UpstreamOptions::default());
}

#[test]
fn watching_a_ceremony_has_not_changed() {
    assert_snapshot!(wire(&view()), @r#"{"id":"cer_EREREREREREREREREREREQ","type":"registration","username":"ada","status":"succeeded","phase":"closed","seq":2,"progress":[{"seq":1,"step":"opened","at":"2026-01-02T03:04:05.678Z"},{"seq":2,"step":"closed","at":"2026-01-02T03:04:05.678Z"}],"result":"result-canary","expires_in":0}"#);
    let ticket = CeremonyView {
        username: None,
        status: Status::Pending,
        phase: Phase::Challenged,
        progress: Vec::new(),
        seq: 0,
        result: None,
        expires_in: 17,
        ..view()
    };
    assert_snapshot!(wire(&ticket), @r#"{"id":"cer_EREREREREREREREREREREQ","type":"registration","status":"pending","phase":"challenged","seq":0,"progress":[],"expires_in":17}"#);
    let failed = CeremonyView {
        status: Status::Ended(Outcome::Failed),
        reason: Some(Reason::Card(609)),
        ..ticket
    };
    assert_snapshot!(wire(&failed), @r#"{"id":"cer_EREREREREREREREREREREQ","type":"registration","status":"failed","phase":"challenged","seq":0,"progress":[],"reason":"card_609","expires_in":17}"#);
}

#[test]
fn renaming_and_key_rotation_have_not_changed() {
    assert_snapshot!(wire(&RenameDevice { name: text("Ada's phone") }), @r#"{"name":"Ada's phone"}"#);
    assert_snapshot!(wire(&rotate_key()), @r#"{"new_jwk":{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"},"old_proof":"old-proof-canary","new_proof":"new-proof-canary"}"#);
    let rotated = RotatedDeviceKey { device_id: DEVICE, jkt: "thumb".to_owned() };
    assert_snapshot!(wire(&rotated), @r#"{"device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","jkt":"thumb"}"#);
}

#[test]
fn pairing_has_not_changed() {
    assert_snapshot!(wire(&OpenPairing { username: text("ada") }), @r#"{"username":"ada"}"#);
    assert_snapshot!(wire(&opened_pairing()), @r#"{"pairing_token":"token-canary","typed_code":"TYPED-CANAR","uri":"fido-relay://pair?token=token-canary","qr_svg":"<svg><!-- token-canary --></svg>","expires_in":600}"#);
    assert_snapshot!(wire(&pair_device()), @r#"{"pairing_token":"token-canary","jwk":{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"},"proof":"proof-canary","name":"Ada's phone","platform":"android","push":{"service":"fcm","token":"push-canary"}}"#);
    let typed = PairDevice {
        pairing_token: None,
        typed_code: Some("7k3d9 qxo1v".to_owned()),
        name: None,
        push: None,
        ..pair_device()
    };
    assert_snapshot!(wire(&typed), @r#"{"typed_code":"7k3d9 qxo1v","jwk":{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"},"proof":"proof-canary","platform":"android"}"#);
    let paired = PairedDevice {
        device_id: DEVICE,
        socket_url: "wss://relay.example/v1/device/socket".to_owned(),
    };
    assert_snapshot!(wire(&paired), @r#"{"device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","socket_url":"wss://relay.example/v1/device/socket"}"#);
}

#[test]
fn devices_and_clients_have_not_changed() {
    let device = |name, platform, online| DeviceView {
        device_id: DEVICE,
        name,
        platform,
        paired_at: "2026-01-02T03:04:05.678Z".to_owned(),
        online,
    };
    let devices = vec![
        device(Some(text("Ada's phone")), Platform::Ios, Some(true)),
        device(None, Platform::Other, None),
    ];
    assert_snapshot!(wire(&DeviceList { devices }), @r#"{"devices":[{"device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","name":"Ada's phone","platform":"ios","paired_at":"2026-01-02T03:04:05.678Z","online":true},{"device_id":"dev_IiIiIiIiIiIiIiIiIiIiIg","platform":"other","paired_at":"2026-01-02T03:04:05.678Z"}]}"#);
    let client = ClientView {
        client_id: ClientId::from_bytes([0x55; 16]),
        name: text("Example Bank"),
        scopes: Scope::ALL.to_vec(),
        bindings: vec![Binding::Code, Binding::None],
        allow_from: Vec::new(),
        page_origins: Vec::new(),
    };
    let bounded = ClientView {
        allow_from: vec!["192.0.2.0/24".to_owned()],
        page_origins: vec!["https://shop.example".to_owned()],
        scopes: Vec::new(),
        ..client.clone()
    };
    assert_snapshot!(wire(&bounded), @r#"{"client_id":"cli_VVVVVVVVVVVVVVVVVVVVVQ","name":"Example Bank","scopes":[],"bindings":["code","none"],"allow_from":["192.0.2.0/24"],"page_origins":["https://shop.example"]}"#);
    assert_snapshot!(wire(&client), @r#"{"client_id":"cli_VVVVVVVVVVVVVVVVVVVVVQ","name":"Example Bank","scopes":["ceremony:auth","ceremony:reg","ceremony:approve","ceremony:read","device:pair","device:revoke","card:read","card:revoke","presence:read","webhook:admin","uv:weaken","user:unlock","prior_auth:assert"],"bindings":["code","none"]}"#);
}

#[test]
fn a_scope_has_one_name_everywhere() {
    for scope in Scope::ALL {
        assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        assert_eq!(scope.as_str().parse(), Ok(scope));
    }
    assert!("ceremony:all".parse::<Scope>().is_err());
}

#[test]
fn push_addresses_have_not_changed() {
    let keys = WebPushKeys { p256dh: text("BPoint"), auth: text("c2VjcmV0") };
    let endpoint = PushTarget {
        service: PushService::Webpush,
        token: text("https://push.example/push-canary"),
        app: None,
        keys: Some(keys),
    };
    let set = |push| wire(&SetPush { push });
    assert_snapshot!(set(Some(endpoint)), @r#"{"push":{"service":"webpush","token":"https://push.example/push-canary","keys":{"p256dh":"BPoint","auth":"c2VjcmV0"}}}"#);
    let app = PushTarget {
        service: PushService::Apns,
        token: text("00fc13"),
        app: Some(text("com.example.bank")),
        keys: None,
    };
    assert_snapshot!(set(Some(app)), @r#"{"push":{"service":"apns","token":"00fc13","app":"com.example.bank"}}"#);
    assert_snapshot!(set(None), @r#"{"push":null}"#);
    for wrong in [r#"{}"#, r#"{"push":{"service":"carrier_pigeon","token":"a"}}"#] {
        assert!(serde_json::from_str::<SetPush>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn words_of_the_life_of_a_ceremony_have_not_changed() {
    fn words<T: Serialize>(values: &[T]) -> String {
        let words: Vec<_> =
            values.iter().map(|value| serde_json::to_value(value).unwrap()).collect();
        Value::Array(words).to_string()
    }
    use CeremonyType::{Approval, Authentication, Registration};
    assert_snapshot!(words(&[Registration, Authentication, Approval]), @r#"["registration","authentication","approval"]"#);
    assert_snapshot!(words(&[Phase::Offered, Phase::Preparing, Phase::Challenged, Phase::Verifying, Phase::Closed]), @r#"["offered","preparing","challenged","verifying","closed"]"#);
    assert_snapshot!(words(&Step::ALL), @r#"["opened","sent","woken","delivered","claimed","challenged","card","verifying","closed"]"#);
    assert_snapshot!(words(&[PriorAuth::None, PriorAuth::Password, PriorAuth::Session]), @r#"["none","password","session"]"#);
    assert_snapshot!(words(&[Attachment::Platform, Attachment::CrossPlatform, Attachment::All]), @r#"["platform","cross-platform","all"]"#);
    assert_snapshot!(words(&[Attestation::None, Attestation::Direct, Attestation::Indirect]), @r#"["none","direct","indirect"]"#);
}

#[test]
fn problems_have_not_changed() {
    use ProblemCode as P;
    let problem = Problem::new(P::Unprocessable).with_detail("give a transaction");
    assert_snapshot!(wire(&problem), @r#"{"type":"about:blank","title":"The values cannot be accepted","status":422,"code":"unprocessable","detail":"give a transaction"}"#);
    let all = [
        P::InvalidRequest,
        P::Unauthorized,
        P::ProofRefused,
        P::ScopeMissing,
        P::BindingNotAllowed,
        P::PriorAuthRequired,
        P::OriginNotAllowed,
        P::NotFound,
        P::MethodNotAllowed,
        P::AlreadyClosed,
        P::Gone,
        P::TooLarge,
        P::UnsupportedMediaType,
        P::IdempotencyMismatch,
        P::Unprocessable,
        P::UpgradeRequired,
        P::TooManyRequests,
        P::Internal,
        P::Unavailable,
    ];
    let lines: Vec<_> = all.into_iter().map(|code| wire(&Problem::new(code))).collect();
    assert_snapshot!(lines.join("\n"), @r#"
{"type":"about:blank","title":"The request is malformed","status":400,"code":"invalid_request"}
{"type":"about:blank","title":"Authentication is needed","status":401,"code":"unauthorized"}
{"type":"about:blank","title":"The device's proof was not accepted","status":401,"code":"proof_refused"}
{"type":"about:blank","title":"The credential lacks the scope for this","status":403,"code":"scope_missing"}
{"type":"about:blank","title":"This client may not open ceremonies without a code","status":403,"code":"binding_not_allowed"}
{"type":"about:blank","title":"This is only for a user who was authenticated before","status":403,"code":"prior_auth_required"}
{"type":"about:blank","title":"This origin is not allowed","status":403,"code":"origin_not_allowed"}
{"type":"about:blank","title":"There is nothing here","status":404,"code":"not_found"}
{"type":"about:blank","title":"This method is not allowed here","status":405,"code":"method_not_allowed"}
{"type":"about:blank","title":"The ceremony is closed","status":409,"code":"already_closed"}
{"type":"about:blank","title":"This was used up","status":410,"code":"gone"}
{"type":"about:blank","title":"The body is too large","status":413,"code":"too_large"}
{"type":"about:blank","title":"The body has an unsupported media type or a content encoding","status":415,"code":"unsupported_media_type"}
{"type":"about:blank","title":"The idempotency key was used with another body","status":422,"code":"idempotency_mismatch"}
{"type":"about:blank","title":"The values cannot be accepted","status":422,"code":"unprocessable"}
{"type":"about:blank","title":"This path speaks WebSocket","status":426,"code":"upgrade_required"}
{"type":"about:blank","title":"Too many requests","status":429,"code":"too_many_requests"}
{"type":"about:blank","title":"The relay failed","status":500,"code":"internal"}
{"type":"about:blank","title":"The relay cannot process this now","status":503,"code":"unavailable"}
"#);
}

/// Whether a request is still read after one unknown field was put into the object at `path`.
fn tolerates<T: Serialize + DeserializeOwned>(request: &T, path: &str) -> bool {
    let mut json = serde_json::to_value(request).unwrap();
    let object = json.pointer_mut(path).unwrap().as_object_mut().unwrap();
    object.insert("surprise".to_owned(), Value::Bool(true));
    serde_json::from_value::<T>(json).is_ok()
}

#[test]
fn requests_refuse_fields_that_they_do_not_know() {
    for path in ["", "/transaction", "/transaction/fields/0", "/context", "/options"] {
        assert!(!tolerates(&most(), path), "at {path:?}");
    }
    assert!(!tolerates(&OpenPairing { username: text("ada") }, ""));
    for path in ["", "/push"] {
        assert!(!tolerates(&pair_device(), path), "at {path:?}");
    }
    assert!(!tolerates(&RenameDevice { name: text("Ada's phone") }, ""));
    assert!(!tolerates(&rotate_key(), ""));
    // A JWK may say more than the relay needs (RFC 7517 section 4).
    assert!(tolerates(&pair_device(), "/jwk"));
}

#[test]
fn answers_may_gain_fields() {
    assert!(tolerates(&opened(), ""));
    assert!(tolerates(&view(), ""));
    assert!(tolerates(&opened_pairing(), ""));
    assert!(tolerates(&Problem::new(ProblemCode::Gone), ""));
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_whole() {
    let with = |pointer: &str, value: Value| {
        let mut json = serde_json::to_value(most()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        serde_json::from_value::<OpenCeremony>(json).is_ok()
    };
    assert!(with("/username", json!("grace")));
    for (pointer, value) in [
        ("/type", json!("sign_in")),
        ("/username", json!("")),
        ("/username", json!("a\u{202E}da")),
        ("/username", json!("x".repeat(256))),
        ("/username", Value::Null),
        ("/device_id", json!("cer_EREREREREREREREREREREQ")),
        ("/timeout_s", json!(-1)),
        ("/timeout_s", json!("120")),
        ("/binding", json!("number")),
        ("/message", json!("x".repeat(141))),
        ("/message", json!("two\nlines")),
        ("/transaction/title", json!("x".repeat(81))),
        ("/transaction/fields/0/value", json!("\u{200B}")),
        ("/options/userVerification", json!("maybe")),
        ("/options/algorithms", json!(["none"])),
        ("/prior_auth", json!(true)),
    ] {
        assert!(!with(pointer, value.clone()), "{pointer} = {value}");
    }
}

#[test]
fn a_field_that_is_given_twice_is_refused() {
    let twice = r#"{"type":"authentication","username":"ada","username":"grace"}"#;
    assert!(serde_json::from_str::<OpenCeremony>(twice).is_err());
}

#[test]
fn nothing_secret_is_printed() {
    let printed = format!("{:?} {:?} {:?} {:?}", opened(), opened_pairing(), pair_device(), view());
    let printed = format!("{printed} {:?}", rotate_key());
    for secret in [
        "402917",
        "ticket-canary",
        "token-canary",
        "TYPED-CANAR",
        "proof-canary",
        "push-canary",
        "result-canary",
    ] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(printed.contains("cer_"), "what is no secret helps whoever reads a log");
}

#[test]
fn a_private_key_is_no_public_one() {
    let public = json!({ "kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "ignored" });
    assert!(serde_json::from_value::<P256Jwk>(public.clone()).is_ok());
    for private in [json!("canary"), json!(null), json!(1)] {
        let mut key = public.clone();
        key["d"] = private;
        let refused = serde_json::from_value::<P256Jwk>(key).unwrap_err().to_string();
        assert!(refused.contains("private key") && !refused.contains("canary"), "{refused}");
    }
}
