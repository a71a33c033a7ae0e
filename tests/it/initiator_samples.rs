//! The samples of `examples/{node,go,java}` as a reader would run them, where the network and the
//! relay fail in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, Response, StatusCode};
use fido_relay::tasks::Tasks;
use fido_relay_proto::CeremonyId;
use fido_relay_rig::demo::web;
use fido_relay_rig::phone::Faults;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::child::{ChildProcess, run};
use crate::support::relay::{CardInHand, TestRelay, http};
use crate::support::samples::{Language, Sample};

/// Longer than two ceremonies take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What passes between the sample and the relay.
struct Front {
    relay: String,
    http: reqwest::Client,
    /// The `Idempotency-Key` of each opening, and the ceremony that the relay gave for it.
    openings: Mutex<Vec<(String, CeremonyId)>>,
}

/// Passes everything on, but loses the first answer to an opening.
async fn forward(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let url = format!("{}{}", front.relay, parts.uri);
    let mut passed = front.http.request(parts.method.clone(), url).body(body);
    for name in ["authorization", "content-type", "idempotency-key"] {
        passed = passed.headers(
            parts
                .headers
                .get_all(name)
                .iter()
                .map(|value| (HeaderName::from_static(name), value.clone()))
                .collect(),
        );
    }
    let key = parts.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let answered = async {
        let answer = passed.send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?))
    };
    let (mut status, mut body) =
        answered.await.unwrap_or((StatusCode::BAD_GATEWAY, "<html>bad gateway".into()));
    if parts.method == Method::POST && status == StatusCode::CREATED {
        let opened: Value = serde_json::from_slice(&body).unwrap();
        let id = opened["id"].as_str().unwrap().parse().unwrap();
        let mut openings = front.openings.lock().unwrap();
        openings.push((key.unwrap(), id));
        if openings.len() == 1 {
            (status, body) = (StatusCode::BAD_GATEWAY, "<html>bad gateway".into());
        }
    }
    Response::builder().status(status).body(body.into()).unwrap()
}

async fn fronted(relay: &TestRelay, tasks: &Tasks) -> (String, Arc<Front>) {
    let front = Front { relay: relay.url(), http: http(), openings: Mutex::default() };
    let front = Arc::new(front);
    let routes = Router::new().fallback(forward).with_state(Arc::clone(&front));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    web::serve(listener, routes, tasks).unwrap();
    (url, front)
}

async fn signs_in_and_has_a_payment_approved(language: Language) {
    let Some(sample) = Sample::main(language).await else { return };
    let tasks = Tasks::default();
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let paired = relay.pair(&initiator, "ada").await;
    let card = Arc::new(CardInHand::default());
    let phone = relay.connect_with(card.clone(), paired.clone(), Faults::none()).await;
    let registered = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&registered);
    initiator.outcome(registered.id).await;

    let (url, front) = fronted(&relay, &tasks).await;
    let mut program = sample.command();
    program.arg("ada").env("FIDO_RELAY_URL", url).env("FIDO_RELAY_API_KEY", &initiator.key);
    let mut process = ChildProcess::start(program.env("FIDO_RELAY_ISSUER", relay.url()));

    // The first answer is lost; the second try opens no second ceremony.
    let code = process.prints("authentication: type this code into the app:").await;
    let openings = front.openings.lock().unwrap().clone();
    assert_eq!(openings.len(), 2, "{openings:?}");
    assert_eq!(openings[0], openings[1], "the same key gets the same ceremony");
    // The relay restarts while the sample waits.
    process.prints("delivered").await;
    let relay = relay.restart().await;
    let phone = relay.connect_with(card, paired, Faults::none()).await;
    phone.codes.provide(openings[1].1, code);
    process.prints("authentication: succeeded, verified for ada").await;

    let code = process.prints("approval: type this code into the app:").await;
    let id = front.openings.lock().unwrap()[2].1;
    phone.codes.provide(id, code);
    process.prints("approval: succeeded, verified for ada").await;
    assert_eq!(process.prints("the payment is vouched for by the").await, "card");
    process.exit().await.stdout();
}

/// A proxy that knows the client, and puts everything else off by an hour.
async fn puts_off(request: Request) -> Response<Body> {
    if request.uri().path() == "/v1/clients/self" {
        return Response::new(r#"{"client_id":"cli_a"}"#.into());
    }
    let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
    answer.header("retry-after", "3600").body(Body::empty()).unwrap()
}

#[tokio::test]
async fn samples_give_up_an_opening_that_is_put_off_past_its_deadline() {
    let tasks = Tasks::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    web::serve(listener, Router::new().fallback(puts_off), &tasks).unwrap();
    let gives_up = async |language: Language| {
        let Some(sample) = Sample::main(language).await else { return };
        let mut program = sample.command();
        program.arg("ada").env("FIDO_RELAY_URL", &url).env("FIDO_RELAY_API_KEY", "rk_x");
        let exit = run(&mut program).await;
        assert!(exit.code != Some(0) && exit.err.contains("503"), "{language:?}: {}", exit.err);
    };
    let all = async {
        tokio::join!(gives_up(Language::Node), gives_up(Language::Go), gives_up(Language::Java));
    };
    in_time(all).await;
}

async fn in_time(run: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, run).await.unwrap();
}

#[tokio::test]
async fn the_sample_in_node_works_over_a_lost_answer_and_a_restart() {
    in_time(signs_in_and_has_a_payment_approved(Language::Node)).await;
}

#[tokio::test]
async fn the_sample_in_go_works_over_a_lost_answer_and_a_restart() {
    in_time(signs_in_and_has_a_payment_approved(Language::Go)).await;
}

#[tokio::test]
async fn the_sample_in_java_works_over_a_lost_answer_and_a_restart() {
    in_time(signs_in_and_has_a_payment_approved(Language::Java)).await;
}
