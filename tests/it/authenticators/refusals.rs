//! What no authenticator gets through, each of them tried: the answer of another origin, an answer
//! twice, another user's card, and a card that did not verify its user though the server insists.

use std::rc::Rc;

use fido_relay_proto::CeremonyType::{self, Authentication, Registration};
use fido_relay_webauthn::VerifyError;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::page::{Page, Pin};
use super::programs::{Card, Library};
use super::{Authenticator, Server};
use crate::support::relay::TestRelay;

fn asked_by(user: &str, verification: &str) -> Value {
    json!({ "username": user, "userVerification": verification })
}

/// The verdict over one answer: 401 for this reason.
async fn refused(
    server: &Server,
    ceremony: CeremonyType,
    cookie: &str,
    answer: &Value,
    reason: VerifyError,
) {
    let got = server.complete(ceremony, cookie, answer, Some(reason)).await;
    assert_eq!(got, 401, "{reason}");
}

/// What every authenticator is put through after its card was registered for the user "ada"; its
/// PIN was not needed for that.
async fn signs_in_for_its_user_alone(server: &Server, card: &mut impl Authenticator) {
    let own = &server.origin;
    let ada = asked_by("ada", "preferred");

    // an answer twice: in its session, and in a later one
    let begun = server.app.begin(Authentication, &ada).await;
    let answer = card.answer(Authentication, &begun.options, own).await.unwrap();
    assert_eq!(server.app.complete(Authentication, &begun.cookie, &answer).await, 200);
    assert_eq!(server.app.complete(Authentication, &begun.cookie, &answer).await, 408);
    let later = server.app.begin(Authentication, &ada).await;
    refused(server, Authentication, &later.cookie, &answer, VerifyError::Challenge).await;

    // another user's card, which is made to believe that it was asked for
    let theirs = server.app.begin(Authentication, &asked_by("bob", "preferred")).await;
    let mut options = theirs.options;
    options["allowCredentials"] = begun.options["allowCredentials"].clone();
    let answer = card.answer(Authentication, &options, own).await.unwrap();
    refused(server, Authentication, &theirs.cookie, &answer, VerifyError::NotAllowed).await;
}

/// Registers a card that must be taken.
async fn register(server: &Server, card: &mut impl Authenticator, user: &str) {
    let begun = server.app.begin(Registration, &asked_by(user, "preferred")).await;
    let answer = card.answer(Registration, &begun.options, &server.origin).await.unwrap();
    assert_eq!(server.app.complete(Registration, &begun.cookie, &answer).await, 200, "{user}");
}

/// The card signs without its PIN though the server insists on it: the app withheld the wish.
async fn unverified_is_refused(server: &Server, card: &mut impl Authenticator) {
    let begun = server.app.begin(Authentication, &asked_by("ada", "required")).await;
    let mut options = begun.options;
    options["userVerification"] = "discouraged".into();
    let answer = card.answer(Authentication, &options, &server.origin).await.unwrap();
    let reason = VerifyError::UserVerification;
    refused(server, Authentication, &begun.cookie, &answer, reason).await;
}

async fn another_origin_is_refused(server: &Server, card: &mut impl Authenticator, origin: &str) {
    // A card may have room for one credential.
    for ceremony in [Authentication, Registration] {
        let user = if ceremony == Registration { "eve" } else { "ada" };
        let begun = server.app.begin(ceremony, &asked_by(user, "preferred")).await;
        let answer = card.answer(ceremony, &begun.options, origin).await.unwrap();
        refused(server, ceremony, &begun.cookie, &answer, VerifyError::Origin).await;
    }
}

#[tokio::test]
async fn libraries_get_no_answer_through_but_their_users_own() {
    for library in Library::ALL {
        let Some(program) = library.start() else { continue };
        let program = Rc::new(Mutex::new(program));
        let server = Server::start(true).await;
        let kind = (library, "none", "ES256");
        let mut card = Card::new(&program, kind, false, 1);
        register(&server, &mut card, "ada").await;
        register(&server, &mut Card::new(&program, kind, false, 2), "bob").await;
        signs_in_for_its_user_alone(&server, &mut card).await;
        unverified_is_refused(&server, &mut card).await;
        // A port is part of an origin.
        another_origin_is_refused(&server, &mut card, "http://localhost:1").await;
    }
}

#[tokio::test]
async fn chromium_gets_no_answer_through_but_its_users_own() {
    let server = Server::start(true).await;
    let what = "refusals of Chromium's virtual authenticator";
    let Some(mut page) = Page::open(what, &server.origin).await else { return };
    page.take("ctap2_1", false, Pin::None).await;
    register(&server, &mut page, "bob").await;
    page.take("ctap2_1", false, Pin::None).await;
    register(&server, &mut page, "ada").await;
    signs_in_for_its_user_alone(&server, &mut page).await;
    unverified_is_refused(&server, &mut page).await;
    let elsewhere = TestRelay::start().await;
    let origin = elsewhere.url().replace("127.0.0.1", "localhost");
    page.go_to(&origin).await;
    another_origin_is_refused(&server, &mut page, &origin).await;
    page.quit().await;
}

#[tokio::test]
async fn a_card_is_one_users_and_of_an_algorithm_that_was_asked_for() {
    let Some(program) = Library::SoftFido2.start() else { return };
    let program = Rc::new(Mutex::new(program));
    let server = Server::start(true).await;
    // It has one credential.
    let mut card = Card::new(&program, (Library::SoftFido2, "packed", "ES256"), true, 1);
    register(&server, &mut card, "ada").await;
    let mut wishes = asked_by("bob", "required");
    let begun = server.app.begin(Registration, &wishes).await;
    let answer = card.answer(Registration, &begun.options, &server.origin).await.unwrap();
    let taken = VerifyError::CredentialIdTaken;
    refused(&server, Registration, &begun.cookie, &answer, taken).await;

    let mut card = Card::new(&program, (Library::SoftFido2, "packed", "RS256"), true, 2);
    wishes["algorithms"] = json!(["ES256"]);
    let begun = server.app.begin(Registration, &wishes).await;
    let answer = card.answer(Registration, &begun.options, &server.origin).await.unwrap();
    refused(&server, Registration, &begun.cookie, &answer, VerifyError::Algorithm).await;
}

#[tokio::test]
async fn a_wish_for_less_than_user_verification_is_not_heard_where_none_is_allowed() {
    let Some(program) = Library::SoftWebauthn.start() else { return };
    let program = Rc::new(Mutex::new(program));
    let server = Server::start(false).await;
    let mut card = Card::new(&program, (Library::SoftWebauthn, "none", "ES256"), false, 1);
    let begun = server.app.begin(Registration, &asked_by("ada", "discouraged")).await;
    let answer = card.answer(Registration, &begun.options, &server.origin).await.unwrap();
    let reason = VerifyError::UserVerification;
    refused(&server, Registration, &begun.cookie, &answer, reason).await;
}
