//! A browser's requests without the browser: a cookie, the token of its forms, redirects followed.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

/// A browser's cookie, and the token of its forms.
pub(super) struct Visitor {
    url: String,
    cookie: String,
    token: String,
    http: reqwest::Client,
}

impl Visitor {
    /// A stranger who has opened the sign-in page.
    pub(super) async fn at(url: &str) -> Self {
        let mut visitor = Self::with_cookie(url, "");
        let asked = visitor.http.get(format!("{url}/sign-in")).send().await.unwrap();
        visitor.keep(&asked);
        let page = asked.text().await.unwrap();
        let (_, rest) = page.split_once("name=\"csrf_token\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.clone_into(&mut visitor.token);
        visitor
    }

    /// A visitor with this cookie, and no page of it.
    pub(super) fn with_cookie(url: &str, cookie: &str) -> Self {
        let redirect = reqwest::redirect::Policy::none();
        let http = reqwest::Client::builder().no_proxy().redirect(redirect).build().unwrap();
        Self { url: url.to_owned(), cookie: cookie.to_owned(), token: String::new(), http }
    }

    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let request = self.http.get(format!("{}{path}", self.url));
        self.follow(request.header(COOKIE, self.header()).send().await.unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).append_pair("csrf_token", &self.token);
        static FORMS: AtomicU64 = AtomicU64::new(0);
        let form_id = format!("{:022}", FORMS.fetch_add(1, Ordering::Relaxed));
        form.append_pair("form_id", &form_id);
        let request = self.http.post(format!("{}{path}", self.url)).header(COOKIE, self.header());
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        self.follow(request.body(form.finish()).send().await.unwrap()).await
    }

    /// The page that waits for this user's card, without what is another at every opening.
    pub(super) async fn waiting_page(&mut self, username: &str) -> String {
        let (status, page) = self.post("/sign-in", &[("username", username)]).await;
        assert_eq!(status, 200);
        let telling = |line: &&str| {
            !["cer_", "csrf_token", "form_id", "code\"", "code-spoken", "id=\"bar\"", "id=\"left\""]
                .iter()
                .any(|part| line.contains(part))
        };
        page.lines().filter(telling).collect::<Vec<_>>().join("\n")
    }

    /// To where a redirect leads, with the cookie that came with it.
    async fn follow(&self, answer: reqwest::Response) -> (u16, String) {
        let status = answer.status().as_u16();
        let Some(place) = answer.headers().get(LOCATION) else {
            return (status, answer.text().await.unwrap());
        };
        let mut next = Self::with_cookie(&self.url, &self.cookie);
        next.keep(&answer);
        let url = format!("{}{}", self.url, place.to_str().unwrap());
        let request = next.http.get(url).header(COOKIE, next.header());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    fn keep(&mut self, answer: &reqwest::Response) {
        for cookie in answer.headers().get_all(SET_COOKIE) {
            if let Some(rest) = cookie.to_str().unwrap().strip_prefix("__Host-bank=") {
                rest.split_once(';').unwrap().0.clone_into(&mut self.cookie);
            }
        }
    }

    fn header(&self) -> String {
        format!("__Host-bank={}", self.cookie)
    }
}
