//! What the application's page calls, without the page.

use fido_relay_proto::CeremonyId;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::relay::http;

/// A browser at the application: what its page calls, and the cookies of one visit.
pub(super) struct Page {
    url: String,
    http: Client,
    pub(super) waiting: String,
    pub(super) id: CeremonyId,
    pub(super) code: String,
}

pub(super) fn cookie(response: &Response, name: &str) -> Option<String> {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
    let whole = cookies.find(|cookie| cookie.starts_with(&format!("__Host-{name}=")))?;
    for part in ["HttpOnly", "SameSite=strict", "Secure", "Path=/"] {
        assert!(whole.contains(part), "{whole}");
    }
    Some(whole.split(';').next().unwrap().to_owned())
}

impl Page {
    pub(super) async fn asks(url: &str) -> Self {
        let http = http();
        let asked = http.post(format!("{url}/sign-in")).json(&json!({ "username": "ada" }));
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let waiting = cookie(&answer, "waiting").unwrap();
        let told: Value = answer.json().await.unwrap();
        let id = told["id"].as_str().unwrap().parse().unwrap();
        let code = told["code"].as_str().unwrap().to_owned();
        Self { url: url.to_owned(), http, waiting, id, code }
    }

    pub(super) async fn events(&self) -> Response {
        let events = self.http.get(format!("{}/sign-in/{}/events", self.url, self.id));
        events.header(COOKIE, &self.waiting).send().await.unwrap()
    }

    /// Every step that the page receives.
    pub(super) async fn steps(&self) -> Vec<String> {
        let told = self.events().await;
        assert_eq!(told.headers()["content-type"], "text/event-stream; charset=utf-8");
        let told = told.text().await.unwrap();
        told.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
    }

    pub(super) async fn finishes(&self, cookie: &str) -> Response {
        let call = self.http.post(format!("{}/sign-in/{}/finish", self.url, self.id));
        call.header(COOKIE, cookie).send().await.unwrap()
    }

    pub(super) async fn cancels(&self, cookie: &str) -> StatusCode {
        let call = self.http.post(format!("{}/sign-in/{}/cancel", self.url, self.id));
        call.header(COOKIE, cookie).send().await.unwrap().status()
    }

    pub(super) async fn is_signed_in(&self, cookie: &str) -> Value {
        let call = self.http.get(format!("{}/me", self.url)).header(COOKIE, cookie);
        call.send().await.unwrap().json::<Value>().await.unwrap()["username"].take()
    }
}
