//! Client-direct as an app uses it: two calls a ceremony, tied by the session cookie.

use fido_relay_proto::CeremonyType;
use serde_json::Value;

use super::relay::http;

/// An app of a relay.
pub(crate) struct ClientDirect {
    http: reqwest::Client,
    url: String,
}

/// A ceremony that has begun.
pub(crate) struct Begun {
    pub(crate) cookie: String,
    /// The options for the card, flat.
    pub(crate) options: Value,
}

impl ClientDirect {
    pub(crate) fn of(url: &str) -> Self {
        Self { http: http(), url: url.to_owned() }
    }

    async fn post(
        &self,
        ceremony: CeremonyType,
        step: &str,
        cookie: &str,
        body: &Value,
    ) -> reqwest::Response {
        let name = match ceremony {
            CeremonyType::Registration => "attestation",
            CeremonyType::Authentication | CeremonyType::Approval => "assertion",
        };
        let url = format!("{}/fidoapi/certify/{name}/{step}", self.url);
        self.http.post(url).header("cookie", cookie).json(body).send().await.unwrap()
    }

    /// Begins a ceremony that must begin.
    pub(crate) async fn begin(&self, ceremony: CeremonyType, wishes: &Value) -> Begun {
        let answer = self.post(ceremony, "options", "", wishes).await;
        assert_eq!(answer.status(), 200, "{wishes}");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Begun { cookie, options: answer.json().await.unwrap() }
    }

    /// Completes one, and gives the HTTP status.
    pub(crate) async fn complete(
        &self,
        ceremony: CeremonyType,
        cookie: &str,
        credential: &Value,
    ) -> u16 {
        self.post(ceremony, "result", cookie, credential).await.status().as_u16()
    }
}
