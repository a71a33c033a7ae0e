//! URLs and addresses that must lead nowhere, and a name that changes its mind.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fido_relay_proto::UnixMillis;

use super::*;
use crate::ports::RetryAfter;

/// A resolver that gives each name the next of its scripted answers, the last one for ever.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
        let answers = answers.iter().rev().map(read).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Scripted {
    fn addresses(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
        Box::pin(async move { Ok(answer.unwrap_or_default()) })
    }
}

fn letter(url: &str) -> OutgoingRequest {
    let url = url.parse().unwrap();
    OutgoingRequest {
        url,
        registrar: Registrar::Operator,
        headers: Vec::new(),
        body: b"{}".to_vec(),
    }
}

/// Addresses that no delivery may ever go to.
const FORBIDDEN: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.0.23",
    "169.254.42.42",
    "169.254.170.2",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::10.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "::ffff:192.168.1.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::a83f:8110",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a83f:8110::1",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:42::42",
    "fd00:c1::a9fe:a9fe",
    "fd00:ec2::23",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fd12:3456:789a::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
];

/// Public ones, the neighbours of the ranges above among them.
const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "168.63.129.15",
    "168.63.129.17",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.0.3.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "::ffff:1.1.1.1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
];

/// URLs that nobody may register, not even the operator.
const REFUSED: &[&str] = &[
    "",
    "example.com",
    "//example.com/",
    "/hook",
    "https://",
    "https:///hook",
    "https:example.com",
    "http://example.com/",
    "HTTPS://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "javascript:alert(1)",
    "data:text/plain,x",
    "unix:/run/docker.sock",
    "ws://example.com/",
    "https://example.com:80/",
    "https://example.com:443/",
    "https://example.com:8443/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com./",
    "https://localhost./",
    "https://EXAMPLE.com/",
    "https://ex\u{E4}mple.com/",
    "https://\u{FF45}xample.com/",
    "https://example.com\\@127.0.0.1/",
    "https:\\\\example.com/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1#@example.com/",
    "https://example.com/#fragment",
    "https://example.com/a/../b",
    "https://example.com/%2e%2e/b",
    " https://example.com/",
    "https://example.com/ ",
    "https://exa\tmple.com/",
    "https://example.com/\r\nHost: x",
    "https://exa mple.com/",
    "https://[::1",
    "https://[::1%25eth0]/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0/",
    "https://127.0.0.1./",
    "https://127.0.0.1.:443/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::FFFF:7F00:1]/",
    "https://\u{2460}\u{2461}\u{2466}.0.0.1/",
    "https://127\u{3002}0\u{3002}0\u{3002}1/",
];

#[test]
fn no_reserved_address_is_permitted_and_no_public_one_refused() {
    assert!(FORBIDDEN.len() + REFUSED.len() >= 80);
    for text in FORBIDDEN {
        assert!(!address::is_permitted(text.parse().unwrap(), &[]), "{text}");
    }
    for text in PUBLIC {
        assert!(address::is_permitted(text.parse().unwrap(), &[]), "{text}");
    }
    let named: IpNet = "10.1.2.0/24".parse().unwrap();
    for (text, permitted) in
        [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("10.1.3.1", false), ("127.0.0.1", false)]
    {
        assert_eq!(address::is_permitted(text.parse().unwrap(), &[named]), permitted, "{text}");
    }
}

#[test]
fn a_url_is_taken_in_one_form_alone_and_an_address_only_if_it_is_public() {
    let settings =
        WebhookHttpSettings { allowed_ports: vec![8444], ..WebhookHttpSettings::default() };
    for text in REFUSED {
        for registrar in [Registrar::Client, Registrar::Operator] {
            assert!(target::permit(&settings, text, registrar).is_err(), "{text}");
        }
    }
    for address in FORBIDDEN {
        let ip: IpAddr = address.parse().unwrap();
        let host = SocketAddr::new(ip, 8444).to_string();
        for text in [format!("https://{host}/"), format!("https://{host}/").replace(":8444", "")] {
            assert!(target::permit(&settings, &text, Registrar::Operator).is_err(), "{text}");
        }
    }
    for text in [
        "https://example.com",
        "https://example.com/",
        "https://example.com:8444/hook?tenant=1",
        "https://xn--exmple-cua.com/a/b",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
    ] {
        assert!(target::permit(&settings, text, Registrar::Operator).is_ok(), "{text}");
        let client = target::permit(&settings, text, Registrar::Client);
        assert_eq!(client, Err(Unsendable::Host), "{text}");
    }
    let long = format!("https://example.com/{}", "a".repeat(1024));
    assert_eq!(target::permit(&settings, &long, Registrar::Operator), Err(Unsendable::Form));
}

#[test]
fn an_initiator_names_only_hosts_that_the_operator_listed() {
    let hosts = ["hooks.example.com", "*.example.net", "1.1.1.1"].map(str::to_owned).to_vec();
    let settings = WebhookHttpSettings { allowed_hosts: hosts, ..WebhookHttpSettings::default() };
    for (host, listed) in [
        ("hooks.example.com", true),
        ("a.example.net", true),
        ("a.b.example.net", true),
        ("1.1.1.1", true),
        ("example.net", false),
        ("badexample.net", false),
        ("example.com", false),
        ("a.hooks.example.com", false),
        ("hooks.example.com.evil.example", false),
        ("1.0.0.1", false),
        ("localhost", false),
    ] {
        let permitted = target::permit(&settings, &format!("https://{host}/"), Registrar::Client);
        assert_eq!(permitted.is_ok(), listed, "{host}");
    }
}

#[test]
fn the_switch_for_development_opens_this_machine_and_nothing_else() {
    let settings =
        WebhookHttpSettings { allow_loopback_http: true, ..WebhookHttpSettings::default() };
    for (text, permitted) in [
        ("http://localhost:3000/", true),
        ("http://127.0.0.1:3000/", true),
        ("http://[::1]:3000/", true),
        ("https://localhost:3000/", true),
        ("http://example.com/", false),
        ("http://10.0.0.1/", false),
        ("http://127.1:3000/", false),
    ] {
        let found = target::permit(&settings, text, Registrar::Client);
        assert_eq!(found.is_ok(), permitted, "{text}");
        let off = target::permit(&WebhookHttpSettings::default(), text, Registrar::Operator);
        assert!(off.is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_name_with_one_forbidden_address_is_not_connected_to() {
    for address in FORBIDDEN {
        for answer in [&[*address][..], &["1.1.1.1", address], &[address, "1.1.1.1"]] {
            let lookup = Scripted::new(&[answer]);
            let sender = WebhookHttp::with_lookup(WebhookHttpSettings::default(), lookup).unwrap();
            let sent = sender.send(letter("https://hooks.example.com/")).await;
            assert_eq!(sent, Err(Unsent::Forbidden), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_listed_host_that_leaves_the_list_is_not_sent_to_any_more() {
    let lookup = Scripted::new(&[&["1.1.1.1"]]);
    let sender =
        WebhookHttp::with_lookup(WebhookHttpSettings::default(), Arc::clone(&lookup) as _).unwrap();
    let letter =
        OutgoingRequest { registrar: Registrar::Client, ..letter("https://hooks.example.com/") };
    assert_eq!(sender.send(letter).await, Err(Unsent::Forbidden));
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 0, "the name was not even looked up");
}

/// A listener that counts who comes and hangs up on them.
fn counting(listener: TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    count
}

#[tokio::test]
async fn a_name_that_changes_its_mind_never_reaches_the_forbidden_address() {
    // 127.0.0.2 is named by the operator, 127.0.0.1 is what the name tries to become.
    let good = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = good.local_addr().unwrap().port();
    let forbidden = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (good, forbidden) = (counting(good), counting(forbidden));
    let settings = WebhookHttpSettings {
        allowed_ports: vec![port],
        allowed_networks: vec!["127.0.0.2/32".parse().unwrap()],
        ..WebhookHttpSettings::default()
    };
    let lookup = Scripted::new(&[
        &["127.0.0.2"],
        &["127.0.0.1"],
        &["127.0.0.2"],
        &["127.0.0.2", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["127.0.0.2"],
        &["127.0.0.1"],
    ]);
    let sender = WebhookHttp::with_lookup(settings, Arc::clone(&lookup) as _).unwrap();
    let mut said = Vec::new();
    for _ in 0..8 {
        let url = format!("https://hooks.example.com:{port}/");
        said.push(sender.send(letter(&url)).await.unwrap_err());
    }
    use Unsent::{Forbidden as No, Unreachable as HungUp};
    assert_eq!(said, [HungUp, No, HungUp, No, No, HungUp, No, No]);
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 8, "one question for each connection");
    assert_eq!(good.load(Ordering::SeqCst), 3);
    assert_eq!(forbidden.load(Ordering::SeqCst), 0);
}

/// Answers every connection with this text, whatever it asks; counts them.
fn answering(text: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut heard = Vec::new();
            let mut byte = [0];
            while !heard.ends_with(b"\r\n\r\n{}") && stream.read(&mut byte).unwrap_or(0) > 0 {
                heard.push(byte[0]);
            }
            let _ = stream.write_all(text.as_bytes());
        }
    });
    (port, count)
}

fn on_loopback() -> WebhookHttp {
    let settings =
        WebhookHttpSettings { allow_loopback_http: true, ..WebhookHttpSettings::default() };
    WebhookHttp::new(settings).unwrap()
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other_and_is_not_followed() {
    let (inner, reached) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned());
    for status in [301, 302, 303, 307, 308] {
        let (port, _) = answering(format!(
            "HTTP/1.1 {status} Go\r\nlocation: http://127.0.0.1:{inner}/\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        ));
        let sent = on_loopback().send(letter(&format!("http://127.0.0.1:{port}/"))).await;
        assert_eq!(sent, Ok(Answered { status, retry_after: None }));
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_an_answer_only_the_status_and_when_to_come_again_count() {
    let endless = "x".repeat(4 * 1024 * 1024);
    let (seconds, at) = (
        |seconds| Some(RetryAfter::Seconds(seconds)),
        Some(RetryAfter::At(UnixMillis(784_111_777_000))),
    );
    let date = "date: Sun, 06 Nov 1994 08:49:29 GMT";
    for (headers, body, retry_after) in [
        ("retry-after: 17", "", seconds(17)),
        // The three forms of RFC 9110 section 5.6.7.
        ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT", "", at),
        ("retry-after: Sunday, 06-Nov-94 08:49:37 GMT", "", at),
        ("retry-after: Sun Nov  6 08:49:37 1994", "", at),
        (&format!("{date}\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT"), "", seconds(8)),
        (&format!("{date}\r\nretry-after: Sun, 06 Nov 1994 08:49:20 GMT"), "", seconds(0)),
        ("retry-after: Wed, 31 Dec 1969 23:59:59 GMT", "", None),
        ("retry-after: soon", "", None),
        ("retry-after: -1", "", None),
        ("x: y", "broken", None),
        ("x: y", &endless, None),
    ] {
        let (port, _) = answering(format!(
            "HTTP/1.1 503 Busy\r\n{headers}\r\ncontent-length: 99999999\r\n\r\n{body}"
        ));
        let sent = on_loopback().send(letter(&format!("http://127.0.0.1:{port}/"))).await;
        assert_eq!(sent, Ok(Answered { status: 503, retry_after }), "{headers}");
    }
}
