//! Every odd way of a server or of a gateway before it, as a row of a table: which cookies its
//! completion call gets, and what both calls come to.

use fido_relay::backends::fido_http::{ClientCert, FidoHttpSettings};
use fido_relay::ports::Fido as _;
use fido_relay_proto::{CeremonyType, Reason};
use tempfile::TempDir;

use super::{OK, OPTIONS, credential, made, matrix, request, settings};
use crate::support::accepting_server::is_completion;
use crate::support::authority::{Authority, put};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};
use crate::support::tls_front::TlsFront;

/// Where the server lies and what the relay is given for it.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Http,
    /// A base URL that ends in `/pre`.
    Below,
    /// TLS of a private authority.
    Tls {
        ca_file: bool,
        demands: bool,
        client_cert: bool,
    },
}

use Way::{Below, Http, Tls};

/// What begin comes to: the `Cookie` of the completion and its verdict, or the reason.
type Ends = Result<(&'static str, &'static str), Reason>;

const fn ok(cookies: &'static str) -> Ends {
    Ok((cookies, "approved"))
}

const DOWN: Ends = Err(Reason::UpstreamUnavailable);
const UNKNOWN: Ends = Ok(("", "unknown"));

fn begun() -> Answer {
    Answer::json(200, OPTIONS)
}

fn done() -> Answer {
    Answer::json(200, OK)
}

fn sets(cookies: &[&str]) -> Answer {
    cookies.iter().fold(begun(), |answer, cookie| answer.with("Set-Cookie", *cookie))
}

fn page(status: u16) -> Answer {
    let body = "<html>gateway</html>".to_owned();
    Answer { status, headers: Vec::new(), body }.with("Content-Type", "text/html")
}

fn gzip(answer: Answer) -> Answer {
    answer.with("Content-Encoding", "gzip")
}

fn with_mark(mut answer: Answer) -> Answer {
    answer.body.insert(0, '\u{FEFF}');
    answer
}

/// In one chunk, and with the length that the script adds.
fn twice_framed(mut answer: Answer) -> Answer {
    answer.body = format!("{:x}\r\n{}\r\n0\r\n\r\n", answer.body.len(), answer.body);
    answer.with("Transfer-Encoding", "chunked")
}

fn many(count: usize) -> (Answer, &'static str) {
    let cookies: Vec<_> = (0..count).map(|number| format!("c{number}=v")).collect();
    let set: Vec<_> = cookies.iter().map(String::as_str).collect();
    (sets(&set), cookies.join("; ").leak())
}

fn rows() -> Vec<(&'static str, Way, Answer, Answer, Ends)> {
    let tls = |ca_file, demands, client_cert| Tls { ca_file, demands, client_cert };
    let past = "old=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    let ((few, few_sent), (lots, lots_sent), (flood, _)) = (many(21), many(50), many(65));
    let path = "/pre/fidoapi";
    let below = format!("sid=1; Path={path}");
    vec![
        ("nothing odd", Http, begun(), done(), ok("")),
        ("gzip on begin", Http, gzip(begun()), done(), DOWN),
        ("gzip on complete", Http, begun(), gzip(done()), UNKNOWN),
        ("gzip on a refusal", Http, begun(), gzip(Answer::json(401, OK)), UNKNOWN),
        ("identity said", Http, begun().with("Content-Encoding", "identity"), done(), ok("")),
        (
            "a cookie of another path is deleted",
            Http,
            sets(&["sid=new; Path=/", "sid=; Path=/old; Max-Age=0"]),
            done(),
            ok("sid=new"),
        ),
        ("a cookie is deleted by its date", Http, sets(&["old=1; Path=/", past]), done(), ok("")),
        ("two cookies of one name", Http, sets(&["a=1; Path=/", "a=2"]), done(), ok("a=2; a=1")),
        ("21 cookies", Http, few, done(), ok(few_sent)),
        ("50 cookies", Http, lots, done(), ok(lots_sent)),
        ("65 cookies", Http, flood, done(), DOWN),
        ("not ASCII", Http, sets(&["sid=é à"]), done(), ok("sid=é à")),
        // A server behind a gateway that ends TLS knows no better, and wants it back.
        ("Secure by http", Http, sets(&["sid=1; Secure; Path=/"]), done(), ok("sid=1")),
        ("of another domain", Http, sets(&["sid=1; Domain=fido.example"]), done(), ok("sid=1")),
        ("below a base path", Below, sets(&[&below]), done(), ok("sid=1")),
        ("not below its base path", Below, sets(&["sid=1; Path=/fidoapi"]), done(), ok("")),
        ("another path", Http, sets(&[&below]), done(), ok("")),
        ("a page with 404 on begin", Http, page(404), done(), Err(Reason::UpstreamRejected)),
        ("a page with 404 on complete", Http, begun(), page(404), UNKNOWN),
        ("a page with 413 on complete", Http, begun(), page(413), UNKNOWN),
        ("a page with 429 on complete", Http, begun(), page(429), UNKNOWN),
        ("JSON with 429, not the server's", Http, begun(), Answer::json(429, "{}"), UNKNOWN),
        ("a byte order mark", Http, with_mark(begun()), with_mark(done()), ok("")),
        ("two lengths on begin", Http, twice_framed(begun()), done(), DOWN),
        ("two lengths on complete", Http, begun(), twice_framed(done()), UNKNOWN),
        ("an unknown authority", tls(false, false, false), begun(), done(), DOWN),
        ("a private authority", tls(true, false, false), begun(), done(), ok("")),
        ("Secure by https", tls(true, false, false), sets(&["a=1; Secure"]), done(), ok("a=1")),
        ("no client certificate", tls(true, true, false), begun(), done(), DOWN),
        ("a client certificate", tls(true, true, true), begun(), done(), ok("")),
        ("one that no server wants", tls(true, false, true), begun(), done(), ok("")),
    ]
}

#[tokio::test]
async fn every_odd_way_of_a_server_comes_to_its_row() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    put(directory.path(), "ca.pem", &authority.certificate.pem());
    let (certificate, key) = authority.pair();
    put(directory.path(), "client.pem", &certificate);
    put(directory.path(), "client.key", &key);
    for (odd, way, begin, complete, ends) in rows() {
        let server = ScriptedUpstream::listening(move |_, request| {
            Reply::Answer(if is_completion(request) { complete.clone() } else { begin.clone() })
        });
        let (settings, _front) = reached(way, &server, &authority, &directory).await;
        let backend = made(settings);
        let begun = backend.begin(request(CeremonyType::Authentication)).await;
        let came_to = match begun {
            Err(fault) => Err(fault.reason),
            Ok(begun) => {
                assert_eq!(begun.public_key.get(), OPTIONS, "{odd}");
                let (session, answer) = (begun.session, credential());
                let kind = CeremonyType::Authentication;
                let verdict = backend.complete(kind, &session, &answer, 60_000).await.verdict;
                let completed = server.received().pop().unwrap();
                Ok((completed.all("cookie").join(" | "), matrix::name(&verdict)))
            }
        };
        assert_eq!(came_to, ends.map(|(cookies, verdict)| (cookies.to_owned(), verdict)), "{odd}");
    }
}

async fn reached(
    way: Way,
    server: &ScriptedUpstream,
    authority: &Authority,
    directory: &TempDir,
) -> (FidoHttpSettings, Option<TlsFront>) {
    let Tls { ca_file, demands, client_cert } = way else {
        let base = if way == Below { "/pre" } else { "" };
        return (settings(&format!("{}{base}", server.url())), None);
    };
    let clients = demands.then(|| authority.certificate.der().clone());
    let front = TlsFront::before(server.address(), authority.pair(), clients).await;
    let file = |name| directory.path().join(name);
    let mut settings = settings(front.url());
    settings.ca_file = ca_file.then(|| file("ca.pem"));
    settings.client_cert = client_cert
        .then(|| ClientCert { cert_file: file("client.pem"), key_file: file("client.key") });
    (settings, Some(front))
}
