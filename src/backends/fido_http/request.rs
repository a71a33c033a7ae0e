//! The body of a begin call, in the server's spelling; nothing of the initiator's body is passed
//! through.

use fido_relay_proto::CeremonyType;
use fido_relay_proto::http::{Algorithm, Attachment, Attestation, Requirement};
use serde::Serialize;

use crate::ports::BeginRequest;

#[derive(Serialize)]
struct RegistrationOptions<'a> {
    username: &'a str,
    #[serde(rename = "displayName")]
    display_name: &'a str,
    #[serde(rename = "rpId")]
    rp_id: &'a str,
    #[serde(rename = "userVerification", skip_serializing_if = "Option::is_none")]
    user_verification: Option<Requirement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<Attestation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<Attachment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<&'a [Algorithm]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discoverable_credential: Option<Requirement>,
}

#[derive(Serialize)]
struct AuthenticationOptions<'a> {
    username: &'a str,
    #[serde(rename = "rpId")]
    rp_id: &'a str,
    #[serde(rename = "userVerification", skip_serializing_if = "Option::is_none")]
    user_verification: Option<Requirement>,
}

/// The JSON body of a begin call.
pub(super) fn body(request: &BeginRequest) -> String {
    let options = &request.options;
    let body = match request.ceremony_type {
        CeremonyType::Registration => serde_json::to_string(&RegistrationOptions {
            username: request.username.as_str(),
            display_name: request.display_name.as_str(),
            rp_id: &request.rp_id,
            user_verification: options.user_verification,
            attestation: options.attestation,
            attachment: options.attachment,
            algorithms: options.algorithms.as_deref(),
            discoverable_credential: options.discoverable_credential,
        }),
        CeremonyType::Authentication | CeremonyType::Approval => {
            serde_json::to_string(&AuthenticationOptions {
                username: request.username.as_str(),
                rp_id: &request.rp_id,
                user_verification: options.user_verification,
            })
        }
    };
    // Strings and plain enums always serialise.
    body.unwrap_or_default()
}
