//! The rest of a run's secrets: a backend's own key pair and what it gets for it, webhooks, pairing
//! codes that are typed, and keys that phones exchange.

use fido_relay::backends::embedded::FileStore;
use fido_relay::ports::{Bucket, Clock as _, Store as _};
use fido_relay::security::encryption::Encryptor;
use fido_relay_proto::ClientId;
use fido_relay_proto::http::OpenedCeremony;
use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use super::nothing_shown;
use super::run::Run;
use super::secrets::Secrets;
use crate::support::authority::{Authority, put};
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::key_pair::{ASSERTION_TYPE, KeyPair, claims};
use crate::support::raw_socket::{RawSocket, text};
use crate::support::relay::http;

/// The JSON that a command prints.
async fn printed(home: &Home, arguments: &[&str]) -> Value {
    let told = home.run(arguments).await.text();
    serde_json::from_str(told.lines().next().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
}

impl Run {
    /// A backend with a key pair of its own and webhooks.
    pub(super) async fn backend_of_its_own(&mut self, home: &Home, receiver: &str) {
        let pair = KeyPair::generate("ES256", "backend");
        let file = home.data_dir().join("backend.jwk");
        std::fs::write(&file, pair.jwk().to_string()).unwrap();
        let create = ["client", "create", "--name", "Backend", "--json", "--jwk"];
        let made = printed(home, &[&create[..], &[file.to_str().unwrap()]].concat()).await;
        let id: ClientId = serde_json::from_value(made["client_id"].clone()).unwrap();

        let now_s = fido_relay::backends::embedded::SystemClock.now().as_secs();
        let audience = format!("{}/oauth/token", self.url);
        let good = pair.sign(&pair.header(), &claims(id, &audience, now_s));
        let late = pair.sign(&pair.header(), &claims(id, &audience, now_s - 3600));
        let elsewhere = pair.sign(&pair.header(), &claims(id, "https://elsewhere.example", now_s));
        let mut tokens = Vec::new();
        // The last one is used up.
        for assertion in [&late, &elsewhere, &format!("{late}x"), &good, &good] {
            self.secrets.add("client assertion", assertion);
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "client_credentials");
            form.append_pair("client_assertion_type", ASSERTION_TYPE);
            form.append_pair("client_assertion", assertion);
            let request = http().post(&audience).body(form.finish());
            let request = request.header("Content-Type", "application/x-www-form-urlencoded");
            let response = request.send().await.unwrap();
            let (status, body) = (response.status(), response.text().await.unwrap());
            if status == 200 {
                let body: Value = serde_json::from_str(&body).unwrap();
                tokens.push(body["access_token"].as_str().unwrap().to_owned());
            } else {
                self.refused.push(format!("{status} {body}"));
            }
        }
        assert_eq!(tokens.len(), 1, "one of them is good, once: {:?}", self.refused.last());
        let token = tokens.remove(0);
        self.secrets.add("access token", &token);
        let null = Value::Null;
        let status = self.refuse("GET", "/v1/clients/self", Some(&token), &null).await;
        assert_eq!(status, 200);
        let wrong = format!("{}x", &token[..token.len() - 1]);
        assert_eq!(self.refuse("GET", "/v1/clients/self", Some(&wrong), &null).await, 401);
        assert_eq!(self.refuse("GET", "/v1/webhooks", Some(&token), &null).await, 403);

        let me: Value = self.bank.get("/v1/clients/self").await.json().await.unwrap();
        let bank = me["client_id"].as_str().unwrap();
        for url in [format!("{receiver}/hook"), format!("{receiver}/nobegin")] {
            let add = ["webhook", "add", bank, &url, "--scheme", "v1,v1a", "--json"];
            let made = printed(home, &add).await;
            self.secrets.add("webhook secret", made["secret"].as_str().unwrap());
            let rotate = ["webhook", "rotate", made["id"].as_str().unwrap(), "--scheme", "v1"];
            let rotated = printed(home, &[&rotate[..], &["--json"]].concat()).await;
            self.secrets.add("webhook secret", rotated["secret"].as_str().unwrap());
        }
    }

    /// A phone that is paired by a typed code, and takes another key.
    pub(super) async fn phone_with_typed_code_and_new_key(&mut self) {
        let opened = self.bank.pairing("typist").await;
        self.debug.push(format!("{opened:?}"));
        self.secrets.add("pairing token", &opened.pairing_token);
        self.secrets.add_typed_code(&opened.typed_code);
        let key = DeviceKey::generate().unwrap();
        let url = format!("{}/v1/devices", self.url);
        let plain = opened.typed_code.replace('-', "");
        // First wrong in its last character, then in a page, then well, then again.
        let last = if plain.ends_with('0') { "1" } else { "0" };
        let wrong = format!("{}{last}", &plain[..plain.len() - 1]);
        let mut device = Value::Null;
        for code in [&wrong, &plain, &plain] {
            let proof = key.pairing_proof(&url, code).unwrap();
            self.secrets.add("pairing proof", &proof);
            let body = json!({ "typed_code": code, "jwk": key.jwk(), "proof": proof,
                "platform": "ios" });
            let response = http().post(&url).json(&body).send().await.unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            if status == 201 {
                device = serde_json::from_str(&text).unwrap();
            } else {
                self.refused.push(format!("{status} {text}"));
            }
        }
        assert!(!device.is_null(), "{:?}", self.refused.last());
        let id = serde_json::from_value(device["device_id"].clone()).unwrap();
        let next = DeviceKey::generate().unwrap();
        let aud = format!("{}/v1/device/key", self.url);
        for audience in ["https://elsewhere.example/v1/device/key", &aud, &aud] {
            let (old_proof, new_proof) = key.rotation_proofs(&next, audience, id).unwrap();
            self.secrets.add("rotation proof", &old_proof);
            self.secrets.add("possession proof", &new_proof);
            let body = json!({ "new_jwk": next.jwk(), "old_proof": old_proof,
                "new_proof": new_proof });
            let status = self.refuse("POST", "/v1/device/key", None, &body).await;
            assert_eq!(status == 200, audience == aud, "{status}");
        }
        for key in [&key, &next] {
            self.secrets.add_bytes("device key", key.pkcs8());
            self.secrets.add_bytes("device key's scalar", &key.pkcs8()[36..68]);
        }
        // The old key opens nothing any more.
        let mut socket = RawSocket::upgraded(&self.url).await;
        let nonce = socket.hello().await;
        let socket_url = device["socket_url"].as_str().unwrap();
        let proof = key.auth_proof(socket_url, &nonce, id).unwrap();
        self.secrets.add("refused proof", &proof);
        socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
        let (code, reason) = socket.closes().await;
        self.refused.push(format!("{code} {reason}"));
    }

    /// Ceremonies that no phone answers: to be [awaited](Self::closed) at the end of the run.
    pub(super) async fn left_to_expire(&mut self) -> Vec<OpenedCeremony> {
        let mut left = Vec::new();
        for (kind, binding) in [("authentication", "code"), ("registration", "none")] {
            let order = json!({ "type": kind, "username": "absent", "binding": binding,
                "timeout_s": 30 });
            left.push(self.open(&order).await);
        }
        left
    }
}

/// The private halves of webhooks' keys, as they lie sealed in the store.
pub(super) async fn webhook_keys(store: &FileStore, sealer: &Encryptor, secrets: &mut Secrets) {
    for (_, stored) in store.list(Bucket::Webhooks, "").await.unwrap() {
        let endpoint: Value = serde_json::from_slice(&stored.value).unwrap();
        let place = format!("webhooks.{}", endpoint["id"].as_str().unwrap());
        for key in endpoint["keys"].as_array().unwrap() {
            let secret = sealer.open(&place, key["sealed"].as_str().unwrap()).unwrap();
            secrets.add_bytes("webhook key", &secret);
        }
    }
}

#[tokio::test]
async fn the_key_of_the_relays_own_tls_is_in_no_output() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.pair();
    put(directory.path(), "cert.pem", &certificate);
    put(directory.path(), "key.pem", &key);
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let mut home = Home::new(&[
        ("FIDO_RELAY_LOG__LEVEL", "trace"),
        ("FIDO_RELAY_PUBLIC_URL", "https://localhost"),
        ("FIDO_RELAY_TLS__CERT_FILE", &path("cert.pem")),
        ("FIDO_RELAY_TLS__KEY_FILE", &path("key.pem")),
    ]);
    let mut secrets = Secrets::default();
    let body: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
    for line in body.iter().filter(|line| line.len() >= 32) {
        secrets.add("TLS key", line);
    }
    let relay = ChildRelay::start(&home).await;
    let url = relay.url().replace("http://", "https://");
    let client = authority.http().build().unwrap();
    let answer = client.get(format!("{url}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // And one that knows another authority.
    let stranger = Authority::new().http().build().unwrap();
    stranger.get(format!("{url}/healthz")).send().await.unwrap_err();
    let mut told =
        [home.run(&["doctor"]).await.text(), home.run(&["config"]).await.text()].concat();
    told.push_str(&relay.written());
    relay.kill().await;
    assert!(told.contains("rustls"), "the library was heard");
    // Files that are no pair: the program says so and ends.
    home.set("FIDO_RELAY_TLS__CERT_FILE", &path("key.pem"));
    for command in ["serve", "doctor"] {
        let refused = home.run(&[command]).await.text();
        assert!(refused.contains("key.pem"), "{command}: {refused}");
        told.push_str(&refused);
    }
    std::fs::write(path("key.pem"), body.join(" ")).unwrap();
    told.push_str(&home.run(&["serve"]).await.text());
    let shown = secrets.shown_in(&told);
    assert!(shown.is_empty(), "{}", shown.join("\n"));
    assert!(secrets.len() > 8);
}

/// A run's metrics, audit log and webhooks are outputs too.
pub(super) fn of_the_audit_log(home: &Home, run: &Run) {
    let mut entries = 0;
    for file in crate::audit::files(&home.data_dir().join("audit")) {
        let text = std::fs::read_to_string(file).unwrap();
        entries += text.lines().count();
        nothing_shown(run, "the audit log", &text);
    }
    assert!(entries > 100, "the run was heard: {entries}");
}
