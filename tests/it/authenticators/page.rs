//! The table of Chromium's virtual authenticator: Chromium plays the browser too, on a page of an
//! origin that the relay accepts.

use fido_relay_proto::CeremonyType;
use serde_json::{Value, json};

use super::Outcome::{self, Accepted, Declined};
use super::{Authenticator, Server, made, verb, wishes};
use crate::demo::browser::Browser;
use crate::support::needs;

/// How far a card can verify its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    /// It has none.
    None,
    /// The right one is given.
    Right,
    /// A wrong one is given.
    Wrong,
}

/// A page with one virtual authenticator.
pub(super) struct Page {
    browser: Browser,
    authenticator: Option<Value>,
}

impl Page {
    /// Opens one of this origin; `None`, and said so, where there is no browser.
    pub(super) async fn open(what: &str, origin: &str) -> Option<Self> {
        let browser = Browser::start(&needs::chromium(what)?).await;
        let page = Self { browser, authenticator: None };
        page.go_to(origin).await;
        page.browser.tell("WebAuthn.enable", json!({ "enableUI": false })).await;
        Some(page)
    }

    /// Goes to another origin with the authenticator that it has.
    pub(super) async fn go_to(&self, origin: &str) {
        // Any of the relay's answers makes a document.
        self.browser.open(&format!("{origin}/healthz")).await;
    }

    /// Puts a new authenticator in place of the one before. `protocol` is `ctap2_0`, `ctap2_1` or
    /// `u2f`.
    pub(super) async fn take(&mut self, protocol: &str, resident_keys: bool, pin: Pin) {
        if let Some(id) = self.authenticator.take() {
            let id = json!({ "authenticatorId": id });
            self.browser.tell("WebAuthn.removeVirtualAuthenticator", id).await;
        }
        let (protocol, version) = match protocol {
            "u2f" => ("u2f", "ctap2_0"),
            version => ("ctap2", version),
        };
        let options = json!({
            "protocol": protocol, "ctap2Version": version, "transport": "usb",
            "hasResidentKey": resident_keys, "automaticPresenceSimulation": true,
            "hasUserVerification": pin != Pin::None, "isUserVerified": pin == Pin::Right,
        });
        let options = json!({ "options": options });
        let added = self.browser.tell("WebAuthn.addVirtualAuthenticator", options).await;
        self.authenticator = Some(added["authenticatorId"].clone());
    }

    /// Gives the authenticator that the page has the right or a wrong PIN from now on.
    async fn type_pin(&self, right: bool) {
        let order = json!({ "authenticatorId": self.authenticator, "isUserVerified": right });
        self.browser.tell("WebAuthn.setUserVerified", order).await;
    }

    async fn run(&self, call: &str) -> Value {
        let script = include_str!("../../authenticators/page.js");
        self.browser.run(&format!("{script}\nreturn {call};")).await
    }

    pub(super) async fn quit(self) {
        self.browser.quit().await;
    }
}

impl Authenticator for Page {
    /// The page is that of its origin, whatever `origin` says.
    async fn answer(
        &mut self,
        ceremony: CeremonyType,
        options: &Value,
        _: &str,
    ) -> Result<Value, String> {
        let verb = verb(ceremony);
        made(self.run(&format!("credential({verb:?}, {options})")).await)
    }
}

/// Protocol, whether it keeps resident keys and one is asked for, its PIN, the algorithm, what is
/// asked for: user verification and attestation, and what comes of it.
type Row = (&'static str, bool, Pin, &'static str, &'static str, &'static str, Outcome);

/// Chromium refuses by itself what the server would refuse.
const DECLINED: Outcome = Declined("NotAllowedError");

const ROWS: [Row; 30] = [
    ("u2f", false, Pin::None, "ES256", "discouraged", "none", Accepted("none")),
    ("u2f", false, Pin::None, "ES256", "discouraged", "direct", Accepted("fido-u2f")),
    ("u2f", false, Pin::None, "ES256", "preferred", "direct", Accepted("fido-u2f")),
    ("u2f", false, Pin::None, "ES256", "required", "direct", DECLINED),
    ("u2f", false, Pin::None, "RS256", "discouraged", "direct", DECLINED),
    ("ctap2_0", true, Pin::Right, "ES256", "required", "none", Accepted("none")),
    ("ctap2_0", true, Pin::Right, "ES256", "required", "direct", Accepted("packed")),
    ("ctap2_0", true, Pin::Right, "RS256", "required", "direct", Accepted("packed")),
    ("ctap2_0", true, Pin::Right, "EdDSA", "required", "direct", Accepted("packed")),
    ("ctap2_0", true, Pin::Wrong, "ES256", "required", "direct", DECLINED),
    ("ctap2_0", true, Pin::Wrong, "ES256", "discouraged", "direct", DECLINED),
    ("ctap2_0", true, Pin::None, "ES256", "required", "direct", DECLINED),
    ("ctap2_0", false, Pin::Right, "ES256", "required", "none", Accepted("none")),
    ("ctap2_0", false, Pin::Right, "ES256", "required", "direct", Accepted("packed")),
    ("ctap2_0", false, Pin::Right, "ES256", "discouraged", "direct", Accepted("packed")),
    ("ctap2_0", false, Pin::Wrong, "ES256", "required", "direct", DECLINED),
    ("ctap2_0", false, Pin::None, "ES256", "preferred", "direct", Accepted("packed")),
    ("ctap2_0", false, Pin::None, "ES256", "required", "direct", DECLINED),
    ("ctap2_1", true, Pin::Right, "ES256", "required", "none", Accepted("none")),
    ("ctap2_1", true, Pin::Right, "ES256", "required", "direct", Accepted("packed")),
    ("ctap2_1", true, Pin::Right, "RS256", "required", "direct", Accepted("packed")),
    ("ctap2_1", true, Pin::Right, "EdDSA", "required", "direct", Accepted("packed")),
    ("ctap2_1", true, Pin::Wrong, "ES256", "required", "direct", DECLINED),
    ("ctap2_1", true, Pin::None, "ES256", "required", "direct", DECLINED),
    ("ctap2_1", false, Pin::Right, "ES256", "required", "none", Accepted("none")),
    ("ctap2_1", false, Pin::Right, "ES256", "required", "direct", Accepted("packed")),
    ("ctap2_1", false, Pin::Right, "ES256", "discouraged", "direct", Accepted("packed")),
    ("ctap2_1", false, Pin::Wrong, "ES256", "required", "direct", DECLINED),
    ("ctap2_1", false, Pin::None, "ES256", "preferred", "direct", Accepted("packed")),
    ("ctap2_1", false, Pin::None, "ES256", "required", "direct", DECLINED),
];

#[tokio::test]
async fn every_row_of_chromiums_virtual_authenticator_comes_to_its_outcome() {
    let mut server = Server::start(true).await;
    let what = "Chromium's virtual authenticator";
    let Some(mut page) = Page::open(what, &server.origin).await else { return };
    let mut wrong = Vec::new();
    for row in ROWS {
        let (protocol, resident, pin, algorithm, verification, attestation, outcome) = row;
        page.take(protocol, resident, pin).await;
        let mut wishes = wishes(verification, attestation, algorithm);
        // With it, the options of the sign-in name no credential.
        wishes["residentKey"] = if resident { "required" } else { "discouraged" }.into();
        if let Err(got) = server.run(&mut page, &wishes, outcome).await {
            wrong.push(format!("{row:?}: {got}"));
        }
    }
    page.quit().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_page_registers_and_signs_in_by_itself_and_each_session_serves_once() {
    let server = Server::start(true).await;
    let what = "client-direct from a page";
    let Some(mut page) = Page::open(what, &server.origin).await else { return };
    page.take("ctap2_1", true, Pin::Right).await;
    let wishes = json!({ "username": "ada", "userVerification": "required" });
    let statuses = page.run(&format!("bothCeremonies({wishes})")).await;
    assert_eq!(statuses, json!([200, 408, 200, 408]));
    // The same card with a wrong PIN: the browser makes no answer.
    page.type_pin(false).await;
    let begun = server.app.begin(CeremonyType::Authentication, &wishes).await;
    let error = page.answer(CeremonyType::Authentication, &begun.options, "").await.unwrap_err();
    assert!(error.contains("NotAllowedError"), "{error}");
    page.quit().await;
}
