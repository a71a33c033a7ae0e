//! How often an address may try: too many assertions are refused before anybody reads them, and
//! who asks from elsewhere hears nothing of it.

use std::net::{IpAddr, SocketAddr};

use fido_relay::config::Config;
use reqwest::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::{Bank, form, good_form};
use crate::support::relay::TestRelay;

const GUESSER: [u8; 4] = [127, 0, 0, 2];
const HONEST: [u8; 4] = [127, 0, 0, 3];

fn slow(config: &mut Config) {
    let rates = &mut config.limits.rates;
    (rates.attempts_per_s, rates.attempts_burst) = (1, 30);
}

async fn exchange(bank: &Bank, assertion: &str, from: [u8; 4]) -> Response {
    let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::from(from));
    let url = format!("{}/oauth/token", bank.relay.url());
    form(http.build().unwrap().post(url), &good_form(assertion)).send().await.unwrap()
}

#[tokio::test]
async fn refused_assertions_use_an_address_up_and_leave_others_alone() {
    let bank = Bank::at(TestRelay::start_with(slow).await).await;
    let mut wrong = 0;
    let refused = loop {
        let response = exchange(&bank, "not-an-assertion", GUESSER).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            break response;
        }
        assert_eq!(response.status(), 401);
        wrong += 1;
        assert!(wrong < 20, "each counts as ten");
    };
    assert!(wrong >= 3, "three times ten");
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait >= 1);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let good = bank.assertion();
    assert_eq!(exchange(&bank, &good, GUESSER).await.status(), 429, "good or not");
    assert_eq!(exchange(&bank, &good, HONEST).await.status(), 200, "it was not used up");
}

#[tokio::test]
async fn good_assertions_cost_one_attempt_each() {
    let bank = Bank::at(TestRelay::start_with(slow).await).await;
    for _ in 0..25 {
        assert_eq!(exchange(&bank, &bank.assertion(), HONEST).await.status(), 200);
    }
}

#[tokio::test]
async fn who_tries_too_often_is_refused_before_its_body_is_there() {
    let bank = Bank::at(TestRelay::start_with(slow).await).await;
    let url: reqwest::Url = bank.relay.url().parse().unwrap();
    let address = url.socket_addrs(|| None).unwrap()[0];
    // On a loaded machine an attempt may come back between the last refusal and the next request.
    for _ in 0..10 {
        let mut wrong = 0;
        while exchange(&bank, "not-an-assertion", GUESSER).await.status() != 429 {
            wrong += 1;
            assert!(wrong < 20, "it never ends");
        }
        if &status_before_the_body(address).await == b"HTTP/1.1 429" {
            return;
        }
    }
    panic!("the body was waited for");
}

/// The answer to a request whose body is announced and never sent.
async fn status_before_the_body(address: SocketAddr) -> [u8; 12] {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((GUESSER, 0).into()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nHost: {address}\r\nContent-Length: 4000\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    status
}
