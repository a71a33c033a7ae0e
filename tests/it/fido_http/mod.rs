//! The external FIDO2 server's backend against a server that does what a script says.

mod bounds;
mod certificate;
mod matrix;
mod odd;
mod proxy;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::backends::fido_http::{FidoHttp, FidoHttpSettings};
use fido_relay::core::ceremony::{UpstreamSession, Verdict};
use fido_relay::ports::{BeginRequest, Fido as _};
use fido_relay_proto::http::UpstreamOptions;
use fido_relay_proto::{CeremonyType, DisplayName, TenantId, Username};
use serde_json::value::RawValue;

/// A begin answer as the FIDO Alliance's server API has it.
const OPTIONS: &str = r#"{"status":"ok","errorMessage":"","challenge":"Y2hhbGxlbmdlLWNoYWxsZW5nZQ","rpId":"example.com","timeout":60000}"#;
/// A card's answer.
const CREDENTIAL: &str = r#"{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{}}"#;
const OK: &str = r#"{"status":"ok","errorMessage":""}"#;

/// The backend with limits that a test can wait for.
fn settings(url: &str) -> FidoHttpSettings {
    let mut settings = FidoHttpSettings::new(url.parse().unwrap());
    settings.retry_pause = Duration::from_millis(2);
    settings
}

fn made(settings: FidoHttpSettings) -> FidoHttp {
    FidoHttp::new(settings, Arc::new(SystemClock)).unwrap()
}

fn backend(url: &str) -> FidoHttp {
    made(settings(url))
}

fn request(ceremony_type: CeremonyType) -> BeginRequest {
    BeginRequest {
        tenant: TenantId::default(),
        ceremony_type,
        username: Username::new("ada").unwrap(),
        display_name: DisplayName::new("Ada Lovelace").unwrap(),
        rp_id: "example.com".to_owned(),
        options: UpstreamOptions::default(),
        transaction: None,
        time_left_ms: 60_000,
    }
}

fn credential() -> Box<RawValue> {
    RawValue::from_string(CREDENTIAL.to_owned()).unwrap()
}

/// A session without cookies, as a server gives it that sets none.
fn no_cookies() -> UpstreamSession {
    UpstreamSession(r#"{"cookies":[]}"#.to_owned())
}

/// Completes an authentication with plenty of time left.
async fn complete(backend: &FidoHttp) -> Verdict {
    let credential = credential();
    backend.complete(CeremonyType::Authentication, &no_cookies(), &credential, 60_000).await.verdict
}
