//! [`Fido`] over the server. The session that the relay stores is the whole state of a ceremony, so
//! it survives a restart and may be completed on another node. The relay ensures that it is completed
//! once.

use fido_relay_proto::{CeremonyType, Reason, WireName};
use fido_relay_webauthn::VerifyError;
use futures::future::BoxFuture;
use serde_json::value::RawValue;

use super::options::{FidoSession, Purpose};
use super::server::{BuiltinFido, CloseRefusal, OpenRefusal, OpenSessionRequest, security_event};
use crate::core::ceremony::{Begun, TxBinding, UpstreamSession, Verdict};
use crate::ports::{Batch, BeginFault, BeginRequest, Completion, Fido};

impl Fido for BuiltinFido {
    fn judges_locally(&self) -> bool {
        true
    }

    fn begin(&self, request: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        Box::pin(async move {
            if request.tenant != self.settings.tenant {
                return Err(fault(Reason::UpstreamRejected, "another tenant's request"));
            }
            let transaction = match request.ceremony_type {
                CeremonyType::Approval => request.transaction.as_ref(),
                CeremonyType::Registration | CeremonyType::Authentication => None,
            };
            let opened = self
                .open(&OpenSessionRequest {
                    registration: request.ceremony_type == CeremonyType::Registration,
                    username: &request.username,
                    display_name: &request.display_name,
                    rp_id: &request.rp_id,
                    options: &request.options,
                    transaction,
                    timeout_ms: request.time_left_ms,
                })
                .await
                .map_err(|error| {
                    let reason = match &error {
                        OpenRefusal::NoAccount => Reason::NoCredential,
                        OpenRefusal::CardLimit => Reason::CardLimit,
                        OpenRefusal::RpId | OpenRefusal::Algorithms | OpenRefusal::Transaction => {
                            Reason::UpstreamRejected
                        }
                        OpenRefusal::Store(_) => Reason::UpstreamUnavailable,
                    };
                    fault(reason, &error.to_string())
                })?;
            let no_json = |_| fault(Reason::UpstreamUnavailable, "options without a JSON form");
            let session = serde_json::to_string(&opened.session).map_err(no_json)?;
            let public_key =
                serde_json::value::to_raw_value(&opened.public_key).map_err(no_json)?;
            Ok(Begun {
                session: UpstreamSession(session),
                challenge: opened.session.challenge.text(),
                origin: self.settings.origins.first().cloned().unwrap_or_default(),
                public_key,
                tx_binding: match opened.session.transaction_nonce {
                    Some(_) => TxBinding::Card,
                    None => TxBinding::Relay,
                },
            })
        })
    }

    fn complete<'a>(
        &'a self,
        ceremony_type: CeremonyType,
        session: &'a UpstreamSession,
        credential: &'a RawValue,
        _time_left_ms: u64,
    ) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let Ok(session) = serde_json::from_str::<FidoSession>(&session.0) else {
                tracing::warn!("a stored session of the built-in FIDO2 server is malformed");
                return Verdict::SessionLost.into();
            };
            let registration = matches!(session.purpose, Purpose::Registration { .. });
            if registration != (ceremony_type == CeremonyType::Registration) {
                let ceremony_type = WireName(ceremony_type);
                tracing::warn!(%ceremony_type, "the session is of another type of ceremony");
                return Verdict::SessionLost.into();
            }
            let credential = credential.get().as_bytes();
            let verified = self.verify(&session, credential).await;
            let event = security_event(&session, credential, &verified);
            let (verdict, records) = match verified {
                Ok((approval, changes)) => (Verdict::Approved(approval), changes),
                Err(error) => {
                    error.log();
                    (verdict_of(&error), Batch::new())
                }
            };
            Completion { verdict, records, event }
        })
    }
}

/// The verdict of a refusal.
fn verdict_of(fault: &CloseRefusal) -> Verdict {
    match fault {
        CloseRefusal::Refused(step) => Verdict::Rejected(reason_of(*step)),
        // Only after two concurrent registrations.
        CloseRefusal::CardLimit => Verdict::Rejected(Reason::UpstreamRejected),
        CloseRefusal::Expired => Verdict::SessionLost,
        CloseRefusal::NotStored(_) => Verdict::Full,
        CloseRefusal::NotRead(_) => Verdict::NotAsked,
    }
}

/// The reason of a failed verification step.
fn reason_of(step: VerifyError) -> Reason {
    if step == VerifyError::UserVerification {
        Reason::PinNotSet
    } else if step == VerifyError::CredentialIdTaken {
        Reason::AlreadyRegistered
    } else if step == VerifyError::SignCount {
        Reason::CloneSuspected
    } else {
        Reason::UpstreamRejected
    }
}

fn fault(reason: Reason, detail: &str) -> BeginFault {
    BeginFault { reason, detail: detail.to_owned() }
}
