//! `fido-relay doctor` at external FIDO2 servers that it cannot talk to, each for another reason of
//! TLS: the reason must be named, with its own remedy.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::support::authority::{Authority, put};
use crate::support::child::run;
use crate::support::child_relay::Home;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};
use crate::support::tls_front::TlsFront;

/// A directory with an authority's certificate and a client's, and a server to put a front before.
struct Place {
    authority: Authority,
    home: Home,
    server: ScriptedUpstream,
}

impl Place {
    fn new() -> Self {
        let (authority, home) = (Authority::new(), Home::new(&[]));
        put(home.path(), "ca.pem", &authority.certificate.pem());
        let (certificate, key) = authority.pair();
        put(home.path(), "client.pem", &certificate);
        put(home.path(), "client.key", &key);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(home.path().join("client.key"), mode).unwrap();
        let server = ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(404, "{}")));
        Self { authority, home, server }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn doctor(&self, url: &str, keys: &[(&str, &str)], more: &[(&str, &str)]) -> String {
        let mut command = self.home.command(&["doctor"]);
        command.env("FIDO_RELAY_UPSTREAM__URL", url);
        for (key, file) in keys {
            command.env(format!("FIDO_RELAY_UPSTREAM__{key}"), self.file(file));
        }
        run(command.envs(more.iter().copied())).await.out
    }
}

const CA: (&str, &str) = ("CA_FILE", "ca.pem");
const CERT: (&str, &str) = ("CLIENT_CERT_FILE", "client.pem");
const KEY: (&str, &str) = ("CLIENT_KEY_FILE", "client.key");

#[tokio::test]
async fn each_way_in_which_tls_fails_is_named_with_its_remedy() {
    let place = Place::new();
    let root = || place.authority.certificate.der().clone();
    let front = async |pair, clients| TlsFront::before(place.server.address(), pair, clients).await;
    let open = front(place.authority.pair(), None).await;
    let demanding = front(place.authority.pair(), Some(root())).await;
    let elsewhere = Authority::new().certificate.der().clone();
    let demands_another = front(place.authority.pair(), Some(elsewhere)).await;
    let expired = front(place.authority.pair_until(2020), None).await;
    let other = front(place.authority.pair_for(&["fido.example"], 2090), None).await;
    let of_authority = front(place.authority.own_pair(), None).await;
    for (url, keys, found, remedy) in [
        (
            open.url(),
            &[][..],
            "an authority that this machine does not trust",
            "set upstream.ca_file",
        ),
        (open.url(), &[CA], "can be used", ""),
        (other.url(), &[CA], "the certificate is for another name", "by a name of its certificate"),
        (expired.url(), &[CA], "the certificate has expired", "renew the server's certificate"),
        (of_authority.url(), &[CA], "an authority's own", "a certificate without CA:TRUE"),
        (demanding.url(), &[CA], "requires a client certificate", "set upstream.client_cert_file"),
        (demanding.url(), &[CA, CERT, KEY], "can be used", ""),
        (
            demands_another.url(),
            &[CA, CERT, KEY],
            "refuses the client certificate",
            "renew upstream.",
        ),
        (open.url(), &[("CA_FILE", "absent")], "upstream.ca_file: ", "the files of upstream.*"),
    ] {
        let text = place.doctor(url, keys, &[]).await;
        let (_, finding) = text.split_once(" upstream: the FIDO2 server at ").unwrap();
        let mut lines = finding.lines();
        let line = lines.next().unwrap();
        assert!(line.contains(found), "{found} is not in\n{text}");
        if remedy.is_empty() {
            assert!(!text.contains("WRONG"), "{text}");
        } else {
            assert!(lines.next().unwrap().contains(remedy), "{remedy} is not advised in\n{text}");
        }
    }
}

#[tokio::test]
async fn a_key_or_headers_that_everybody_can_read_are_told() {
    let place = Place::new();
    let front = TlsFront::before(place.server.address(), place.authority.pair(), None).await;
    put(place.home.path(), "headers", "X-Api-Key: canary");
    let keys = [CA, CERT, KEY, ("HEADERS_FILE", "headers")];
    for (file, wide) in [("client.key", true), ("headers", true), ("headers", false)] {
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.file(file), mode).unwrap();
        };
        mode(if wide { 0o604 } else { 0o600 });
        let text = place.doctor(front.url(), &keys, &[]).await;
        let wrong =
            format!("WRONG    upstream: every user can access {}", place.file(file).display());
        // The headers are open from the start, until they are not.
        assert_eq!(text.contains(&wrong), wide, "{text}");
        assert!(!text.contains("canary"), "{text}");
        mode(0o600);
    }
}

#[tokio::test]
async fn a_gateway_that_refuses_everything_is_a_warning_with_what_it_may_want() {
    let place = Place::new();
    for status in [400, 401, 403] {
        let gateway =
            ScriptedUpstream::listening(move |_, _| Reply::Answer(Answer::json(status, "<html>")));
        let text = place.doctor(&gateway.url(), &[], &[]).await;
        assert!(text.contains("warning  upstream:"), "{text}");
        assert!(text.contains("set upstream.headers_file"), "{text}");
    }
}

/// The FIDO2 server decides who is signed in: no variable of the environment comes in between.
#[tokio::test]
async fn no_proxy_of_the_environment_is_used() {
    let place = Place::new();
    let proxy = ScriptedUpstream::listening(|_, _| Reply::HangUp);
    let url = proxy.url();
    let proxies = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"];
    let text = place.doctor(&place.server.url(), &[], &proxies.map(|name| (name, &*url))).await;
    assert!(text.contains("ok       upstream:"), "{text}");
    assert_eq!(proxy.connections(), 0);
    assert_eq!(place.server.received().len(), 1);
}
