//! The FIDO2 server's own REST interface, as far as the relay knows it: the vendor's messages may
//! have more members than are described here.

use fido_relay_proto::ProblemCode::{self, NotFound, TooLarge, UnsupportedMediaType};
use fido_relay_proto::Username;
use serde_json::{Value, json};

use super::call::{OpenApiDraft, constant};
use crate::schema::operations::Operation;

/// A step under its two paths, and whether it begins.
const STEPS: [([Operation; 2], &str, bool); 4] = [
    (
        [Operation::BeginRegistration, Operation::BeginRegistrationAlias],
        "Begin a registration",
        true,
    ),
    (
        [Operation::CompleteRegistration, Operation::CompleteRegistrationAlias],
        "Complete a registration",
        false,
    ),
    (
        [Operation::BeginAuthentication, Operation::BeginAuthenticationAlias],
        "Begin an authentication",
        true,
    ),
    (
        [Operation::CompleteAuthentication, Operation::CompleteAuthenticationAlias],
        "Complete an authentication",
        false,
    ),
];

/// Of every answer: an external FIDO2 server's own cookies are passed on with any answer.
const SESSION: &str = "The session: set by a begin call, and removed once it was used";

pub(super) fn describe(draft: &mut OpenApiDraft) {
    for ([operation, alias], summary, begins) in STEPS {
        step(draft, operation, summary, begins);
        step(draft, alias, &format!("{summary} (alias)"), begins);
    }
}

fn step(draft: &mut OpenApiDraft, operation: Operation, summary: &str, begins: bool) {
    let about = if begins {
        "A session cookie binds it to the completing call. Answers 404 where `client_direct` is \
         off. The answer of an external FIDO2 server is passed on unchanged."
    } else {
        "Uses up the session of the `Cookie` header; 408 without one. Answers 404 where \
         `client_direct` is off. The answer of an external FIDO2 server is passed on unchanged."
    };
    let body = if begins { order(draft) } else { credential(draft) };
    let answer = answer(draft);
    let example = if begins {
        json!({ "username": "ada", "displayName": "Ada", "userVerification": "required" })
    } else {
        json!({ "id": "AQIDBA", "rawId": "AQIDBA", "type": "public-key", "response": {} })
    };
    let call = draft.call(operation, summary).says(about).takes_as(
        "application/json",
        body,
        &[("usual", example)],
    );
    let coded = |status: u16, word: &str, code: &str| {
        let word = json!({ "status": word, "errorMessage": "", "statuscode": code,
            "responseCode": status });
        [("usual", word)]
    };
    let told = |status: u16, word: &str| coded(status, word, &status.to_string());
    let json = "application/json";
    let call = call.gives_as(200, "Done", json, answer.clone(), &told(200, "ok")).gives_as(
        400,
        "Malformed",
        json,
        answer.clone(),
        &told(400, "failed"),
    );
    let refused = |code: &str| {
        [(
            "usual",
            json!({ "status": "failed", "errorMessage": "", "statuscode": "403",
            "responseCode": 403, "code": code }),
        )]
    };
    let call = if begins {
        let about = "The user has no account; or `host_not_allowed`, `origin_not_allowed`";
        call.gives_as(403, about, json, answer.clone(), &told(403, "failed"))
    } else {
        let about = "`host_not_allowed`, `origin_not_allowed`";
        call.gives_as(403, about, json, answer.clone(), &refused("host_not_allowed"))
            .gives_as(401, "Verification failed", json, answer.clone(), &told(401, "failed"))
            .gives_as(408, "No such session", json, answer.clone(), &coded(408, "false", "E0024R"))
    };
    let unheard = json!({ "status": "failed",
        "errorMessage": "the FIDO2 server did not answer" });
    let call = call
        .gives_as(
            502,
            "The external FIDO2 server did not answer, or its answer was invalid",
            json,
            answer.clone(),
            &[("usual", unheard)],
        )
        .gives_as(
            409,
            "The user has as many cards as allowed: remove one first",
            json,
            answer.clone(),
            &told(409, "failed"),
        )
        .gives_as(
            507,
            "The result could not be stored",
            json,
            answer.clone(),
            &told(507, "failed"),
        );
    let late = if begins { ProblemCode::Unavailable } else { ProblemCode::TooManyRequests };
    let own = [TooLarge, UnsupportedMediaType, late];
    let call = own.into_iter().fold(call, |call, code| {
        let status = code.status();
        call.gives_as(status, code.title(), json, answer.clone(), &told(status, "failed"))
    });
    call.with_all("Set-Cookie", SESSION, &json!({ "type": "string" })).problems(&[NotFound]);
}

/// A begin call, in the vendor's spelling.
fn order(draft: &mut OpenApiDraft) -> Value {
    let one_of = |values: &[&str]| json!({ "type": "string", "enum": values });
    let strength = one_of(&["required", "preferred", "discouraged"]);
    let username = draft.schema_of::<Username>();
    let order = json!({
        "type": "object",
        "required": ["username"],
        "properties": {
            "username": username,
            "displayName": { "type": "string", "maxLength": 255 },
            "rpId": { "type": "string", "maxLength": 253 },
            "userVerification": strength,
            "attestation": one_of(&["none", "direct", "indirect"]),
            "attachment": one_of(&["platform", "cross-platform", "all"]),
            "algorithms": { "type": "array", "items": { "type": "string" }, "maxItems": 32 },
            "discoverable_credential": strength,
        },
    });
    draft.named("CertifyOptions", order)
}

/// What the card's SDK gives.
fn credential(draft: &mut OpenApiDraft) -> Value {
    let credential = json!({
        "type": "object",
        "required": ["id", "rawId", "type", "response"],
        "properties": {
            "id": { "type": "string" },
            "rawId": { "type": "string" },
            "type": constant("public-key"),
            "response": { "type": "object" },
        },
    });
    draft.named("CertifyCredential", credential)
}

fn answer(draft: &mut OpenApiDraft) -> Value {
    let answer = json!({
        "type": "object",
        "required": ["status", "errorMessage"],
        "properties": {
            "status": { "type": "string", "description": "`ok`, `failed`, or `false` with 408." },
            "errorMessage": { "type": "string" },
            "statuscode": { "type": "string" },
            "responseCode": { "type": "integer" },
            "code": { "type": "string", "description": "As in problem details, where the relay \
                                                        refuses before it calls the FIDO2 server." },
        },
    });
    draft.named("CertifyAnswer", answer)
}
