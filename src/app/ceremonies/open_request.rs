//! What an initiator may open, and what may be opened at all.

use fido_relay_proto::http::{OpenCeremony, Requirement, Scope, UpstreamOptions};
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::limits::{
    CEREMONY_DEFAULT_S, CEREMONY_MAX_S, CEREMONY_MIN_S, TRANSACTION_FIELDS,
};
use fido_relay_proto::{
    AttemptId, Binding, CeremonyId, CeremonyType, ProblemCode, UnixMillis, Username,
};

use super::{Ceremonies, user_agent};
use crate::app::clients::{Client, MissingScope};
use crate::core::ceremony::{Ceremony, Code, Request};
use crate::core::prompt_limits::{BrowserHash, Lane};
use crate::security::random;

/// A ceremony to be opened.
#[derive(Debug)]
pub struct OpenRequest {
    /// `request.id` is used unless the idempotency key names another.
    pub request: Request,
    /// The caller's idempotency key, with the SHA-256 of the request body.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// Why an opening is refused. The texts are for the initiator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    #[error(transparent)]
    Scope(#[from] MissingScope),
    /// With the bindings that the client may use.
    #[error("/binding: this client may use {0}")]
    Binding(String),
    #[error("/show_delivery: {0}")]
    DeliveryScope(MissingScope),
    #[error("/show_delivery: needs a prior_auth other than none")]
    DeliveryWithoutPriorAuth,
    #[error("{0}")]
    Unprocessable(&'static str),
}

impl OpenRefusal {
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        match self {
            Self::Scope(_) | Self::DeliveryScope(_) => ProblemCode::ScopeMissing,
            Self::Binding(_) => ProblemCode::BindingNotAllowed,
            Self::DeliveryWithoutPriorAuth => ProblemCode::PriorAuthRequired,
            Self::Unprocessable(_) => ProblemCode::Unprocessable,
        }
    }
}

/// Whether an initiator may open this.
pub fn may_open(client: &Client, body: &OpenCeremony) -> Result<(), OpenRefusal> {
    client.require(match body.ceremony_type {
        CeremonyType::Registration => Scope::CeremonyReg,
        CeremonyType::Authentication => Scope::CeremonyAuth,
        CeremonyType::Approval => Scope::CeremonyApprove,
    })?;
    if !client.bindings.contains(&body.binding) {
        let allowed: Vec<_> = client.bindings.iter().map(|binding| binding.as_str()).collect();
        return Err(OpenRefusal::Binding(allowed.join(", ")));
    }
    if weakens_user_verification(body) {
        client.require(Scope::UvWeaken)?;
    }
    if body.show_delivery { may_show_delivery(client, body.prior_auth) } else { Ok(()) }
}

/// Allows `show_delivery` only to an initiator that may see delivery, and for a user whom it knew
/// before: otherwise a page with guessed names would reveal which users exist.
fn may_show_delivery(client: &Client, prior_auth: PriorAuth) -> Result<(), OpenRefusal> {
    client.require(Scope::PresenceRead).map_err(OpenRefusal::DeliveryScope)?;
    if !client.is_believed() {
        return Err(OpenRefusal::DeliveryScope(MissingScope(Scope::PriorAuthAssert)));
    }
    match prior_auth {
        PriorAuth::None => Err(OpenRefusal::DeliveryWithoutPriorAuth),
        PriorAuth::Password | PriorAuth::Session => Ok(()),
    }
}

fn weakens_user_verification(body: &OpenCeremony) -> bool {
    body.options.user_verification.is_some_and(|wish| wish != Requirement::Required)
}

/// Checks what the types alone do not.
fn check(
    body: &OpenCeremony,
    rp_id: &str,
    takes_username: impl Fn(&Username) -> bool,
) -> Result<(), OpenRefusal> {
    let unprocessable = |detail| Err(OpenRefusal::Unprocessable(detail));
    let timeout = body.timeout_s.unwrap_or(CEREMONY_DEFAULT_S);
    if !(CEREMONY_MIN_S..=CEREMONY_MAX_S).contains(&timeout) {
        return unprocessable("/timeout_s: a whole number from 30 to 600");
    }
    if !takes_username(&body.username) {
        return unprocessable(
            "/username: the FIDO2 server accepts only letters A to Z, digits, '.', '_' and '-'",
        );
    }
    match (&body.transaction, body.ceremony_type) {
        (None, CeremonyType::Approval) => {
            return unprocessable("/transaction: missing; an approval needs it");
        }
        (Some(_), CeremonyType::Registration | CeremonyType::Authentication) => {
            return unprocessable("/transaction: only for an approval");
        }
        (Some(transaction), CeremonyType::Approval)
            if !(1..=TRANSACTION_FIELDS).contains(&transaction.fields.len()) =>
        {
            return unprocessable("/transaction/fields: a list of 1 to 16");
        }
        (Some(_), CeremonyType::Approval)
        | (None, CeremonyType::Registration | CeremonyType::Authentication) => {}
    }
    if body.ceremony_type != CeremonyType::Authentication && weakens_user_verification(body) {
        return unprocessable("/options/userVerification: required, but for an authentication");
    }
    match &body.options.rp_id {
        Some(named) if named.as_str() != rp_id => unprocessable("/options/rpId: not served here"),
        Some(_) | None => Ok(()),
    }
}

impl Ceremonies {
    /// What an initiator that [`may_open`] it asks for, as of now. `rp_id` is the tenant's.
    /// `browser` is the hash of the browser's secret, which itself is not kept.
    ///
    /// # Errors
    /// [`OpenRefusal::Unprocessable`].
    pub fn request(
        &self,
        client: &Client,
        body: OpenCeremony,
        browser: Option<BrowserHash>,
        rp_id: &str,
    ) -> Result<OpenRequest, OpenRefusal> {
        let fido = &self.dependencies().fido;
        check(&body, rp_id, |username| fido.takes_username(username))?;
        let request = request_of(client, body, browser, rp_id, self.dependencies().clock.now());
        Ok(OpenRequest { request, idempotency: None })
    }
}

fn request_of(
    client: &Client,
    body: OpenCeremony,
    browser: Option<BrowserHash>,
    rp_id: &str,
    now: UnixMillis,
) -> Request {
    let display_name = body.display_name.unwrap_or_else(|| body.username.clone().into());
    let (mut context, mut options) = (body.context, body.options);
    if let Some(context) = &mut context {
        context.user_agent = context.user_agent.as_deref().and_then(user_agent::reduced);
        context.browser = None;
    }
    options.user_verification.get_or_insert(Requirement::Required);
    Request {
        id: CeremonyId::from_bytes(random::time_ordered(now)),
        tenant: client.tenant.clone(),
        client_id: client.id,
        client_name: client.name.clone(),
        ceremony_type: body.ceremony_type,
        username: body.username,
        display_name,
        device_id: body.device_id,
        binding: body.binding,
        message: body.message,
        transaction: body.transaction,
        context,
        client_nonce: body.client_nonce,
        prior_auth: if client.is_believed() { body.prior_auth } else { PriorAuth::None },
        browser,
        lane: Lane::default(),
        code_alone: client.code_alone,
        show_delivery: Some(body.show_delivery),
        rp_id: rp_id.to_owned(),
        options,
        opened_at: now,
        deadline: now.plus_secs(body.timeout_s.unwrap_or(CEREMONY_DEFAULT_S)),
    }
}

/// A sign-in without wishes at its opening: what benches and tests fill stores with.
#[cfg(any(feature = "rig", test))]
#[must_use]
pub fn plain_sign_in(
    client: &Client,
    username: Username,
    rp_id: &str,
    now: UnixMillis,
) -> Ceremony {
    let body = OpenCeremony {
        ceremony_type: CeremonyType::Authentication,
        username,
        display_name: None,
        device_id: None,
        timeout_s: None,
        binding: Binding::Code,
        message: None,
        transaction: None,
        context: None,
        client_nonce: None,
        prior_auth: PriorAuth::None,
        show_delivery: false,
        options: UpstreamOptions::default(),
    };
    let attempt = AttemptId::from_bytes(random::bytes());
    let request = request_of(client, body, None, rp_id, now);
    Ceremony::open(request, Code(random::code(6)), attempt, None)
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{PlainText, TenantId};
    use serde_json::{Value, json};

    use super::*;
    use crate::app::clients::NewClient;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn client(scopes: &[Scope]) -> Client {
        let (name, scopes) = (PlainText::new("Example Bank").unwrap(), scopes.to_vec());
        let (tenant, bindings) = (TenantId::default(), vec![Binding::Code]);
        Client::new(NewClient { tenant, name, scopes, bindings }, NOW)
    }

    /// An authentication of `ada` with these fields in place of its own.
    fn body(fields: Value) -> OpenCeremony {
        let mut body = json!({ "type": "authentication", "username": "ada" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn each_thing_that_is_opened_needs_its_scope_and_binding() {
        let weak = json!({ "options": { "userVerification": "discouraged" } });
        let shown = json!({ "show_delivery": true, "prior_auth": "session" });
        let all =
            [Scope::CeremonyAuth, Scope::UvWeaken, Scope::PresenceRead, Scope::PriorAuthAssert];
        for (fields, scope, place) in [
            (json!({}), Scope::CeremonyAuth, ""),
            (json!({ "type": "registration" }), Scope::CeremonyReg, ""),
            (json!({ "type": "approval" }), Scope::CeremonyApprove, ""),
            (weak, Scope::UvWeaken, ""),
            (shown.clone(), Scope::PresenceRead, "/show_delivery: "),
            (shown, Scope::PriorAuthAssert, "/show_delivery: "),
        ] {
            let (body, has) = (body(fields), |other: &Scope| *other != scope);
            let without: Vec<_> = all.into_iter().filter(has).collect();
            let refusal = may_open(&client(&without), &body).unwrap_err();
            assert_eq!(refusal.code(), ProblemCode::ScopeMissing);
            let says = format!("{place}needs the scope {}", scope.as_str());
            assert_eq!(refusal.to_string(), says);
            assert_eq!(may_open(&client(&[&without[..], &[scope]].concat()), &body), Ok(()));
        }
        let client = client(&all);
        let refusal = may_open(&client, &body(json!({ "binding": "none" }))).unwrap_err();
        assert_eq!(refusal, OpenRefusal::Binding("code".to_owned()));
        let shown = body(json!({ "show_delivery": true }));
        assert_eq!(may_open(&client, &shown), Err(OpenRefusal::DeliveryWithoutPriorAuth));
    }

    #[test]
    fn what_no_initiator_may_open_names_its_field() {
        let field = json!({ "label": "To", "value": "Ben" });
        let transaction = |fields: usize| json!({ "title": "Pay", "fields": vec![&field; fields] });
        for (fields, place) in [
            (json!({ "username": "eve" }), "/username"),
            (json!({ "type": "approval" }), "/transaction"),
            (json!({ "transaction": transaction(1) }), "/transaction"),
            (json!({ "type": "approval", "transaction": transaction(0) }), "/transaction/fields"),
            (
                json!({ "type": "registration", "options": { "userVerification": "preferred" } }),
                "/options/userVerification",
            ),
            (json!({ "options": { "rpId": "other.example" } }), "/options/rpId"),
        ] {
            let checked = check(&body(fields), "bank.example", |name| name.as_str() == "ada");
            let refusal = checked.unwrap_err();
            assert_eq!(refusal.code(), ProblemCode::Unprocessable);
            assert_eq!(refusal.to_string().split(':').next(), Some(place));
        }
        let body = body(json!({ "options": { "rpId": "bank.example" } }));
        assert_eq!(check(&body, "bank.example", |_| true), Ok(()));
    }

    #[test]
    fn nothing_else_of_a_user_agent_is_in_what_is_opened() {
        let header = format!("Chrome on your  own PC\u{202E}. SUPPORT: type {}", "x".repeat(9_000));
        let body = body(json!({ "context": { "user_agent": header } }));
        let opened = request_of(&client(&[]), body, None, "bank.example", NOW);
        assert_eq!(opened.context.unwrap().user_agent.as_deref(), Some("Chrome"));
    }
}
