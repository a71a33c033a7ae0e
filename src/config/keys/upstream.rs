//! The keys of the FIDO2 server: built in, or external over HTTP.

use url::Url;

use super::listener::read_pair;
use crate::config::limit::Limit;
use crate::config::reader::ConfigReader;
use crate::config::values::{UpstreamKind, WebAuthnOrigin};
use crate::config::{HttpUpstream, Upstream, UpstreamPaths, UpstreamUsernames};

pub(in crate::config) const BEGIN_TIMEOUT: Limit =
    Limit::new("upstream.begin_timeout_s", 5, 1..=30).documented(&["seconds for one begin call"]);
// The core treats the result of a completion as unknown after 20 s, so the call must end before.
pub(in crate::config) const COMPLETE_TIMEOUT: Limit =
    Limit::new("upstream.complete_timeout_s", 10, 1..=15).documented(&[
        "seconds for the completion call. It is never repeated; without an answer the",
        "outcome is `indeterminate`",
    ]);

pub(super) fn read(reader: &mut ConfigReader) -> Upstream {
    // One variable is enough to choose an external server in a container.
    let implied =
        if reader.is_given("upstream.url") { UpstreamKind::Http } else { UpstreamKind::Builtin };
    let kind = reader.take("upstream.kind", implied);
    let url: Option<Url> = reader.optional("upstream.url");
    let origin: Option<WebAuthnOrigin> = reader.optional("upstream.origin");
    let paths = reader.take("upstream.paths", UpstreamPaths::Certify);
    let usernames = reader.take("upstream.usernames", UpstreamUsernames::AsIs);
    let ca_file = reader.optional("upstream.ca_file");
    let client_cert = read_pair(reader, "upstream.client_cert_file", "upstream.client_key_file");
    let headers_file = reader.optional("upstream.headers_file");
    let begin_timeout = reader.limit(BEGIN_TIMEOUT);
    let complete_timeout = reader.limit(COMPLETE_TIMEOUT);
    match (kind, url) {
        (UpstreamKind::Http, Some(url)) => {
            for (given, key) in [
                (ca_file.is_some(), "upstream.ca_file"),
                (client_cert.is_some(), "upstream.client_cert_file"),
            ] {
                if given && url.scheme() != "https" {
                    reader.reject(key, "needs an https upstream.url: there is no TLS without it");
                }
            }
            Upstream::Http(HttpUpstream {
                url,
                origin: origin.map(|origin| origin.0),
                paths,
                begin_timeout,
                complete_timeout,
                ca_file,
                client_cert,
                headers_file,
                usernames,
            })
        }
        (UpstreamKind::Http, None) => {
            if !reader.is_given("upstream.url") {
                reader.reject("upstream.kind", "\"http\" needs upstream.url");
            }
            Upstream::Builtin
        }
        (UpstreamKind::Builtin, url) => {
            if url.is_some() {
                reader.reject("upstream.url", "contradicts upstream.kind = \"builtin\"");
            }
            if origin.is_some() {
                let text = "is for an upstream over HTTP; the built-in server uses tenant.origins";
                reader.reject("upstream.origin", text);
            }
            for (given, key) in [
                (usernames != UpstreamUsernames::AsIs, "upstream.usernames"),
                (ca_file.is_some(), "upstream.ca_file"),
                (client_cert.is_some(), "upstream.client_cert_file"),
                (headers_file.is_some(), "upstream.headers_file"),
            ] {
                if given {
                    reader.reject(key, "is for an upstream over HTTP");
                }
            }
            Upstream::Builtin
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, from_texts};

    fn read(upstream: &str) -> Result<Config, String> {
        let text = format!("[upstream]\n{upstream}");
        let loaded = from_texts(Some((Path::new("relay.toml"), &text)), &[]);
        loaded.map(|loaded| loaded.config).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn an_external_server_takes_files_and_a_form_of_usernames() {
        let config = read(
            "url = \"https://fido.example.com\"\nusernames = \"restricted\"\nca_file = \"ca.pem\"\n\
             client_cert_file = \"cert.pem\"\nclient_key_file = \"key.pem\"\nheaders_file = \"h\"",
        );
        let Upstream::Http(http) = config.unwrap().upstream else { panic!() };
        assert_eq!(http.usernames, UpstreamUsernames::Restricted);
        assert_eq!(http.ca_file.unwrap().to_str(), Some("ca.pem"));
        assert_eq!(http.client_cert, Some(("cert.pem".into(), "key.pem".into())));
        assert_eq!(http.headers_file.unwrap().to_str(), Some("h"));
        let Upstream::Http(plain) = read("url = \"https://a.example\"").unwrap().upstream else {
            panic!()
        };
        assert_eq!(plain, HttpUpstream::new(plain.url.clone()));
    }

    #[test]
    fn what_does_not_go_together_is_a_mistake() {
        let https = "url = \"https://a.example\"\n";
        let http = "url = \"http://127.0.0.1:9\"\n";
        let pair = "client_cert_file = \"c\"\nclient_key_file = \"k\"";
        for (text, mistake) in [
            (
                format!("{https}client_cert_file = \"c\""),
                "client_cert_file: needs upstream.client_k",
            ),
            (format!("{https}client_key_file = \"k\""), "client_key_file: needs upstream.client_c"),
            (format!("{http}ca_file = \"c\""), "upstream.ca_file: needs an https upstream.url"),
            (format!("{http}{pair}"), "upstream.client_cert_file: needs an https upstream.url"),
            (format!("{https}usernames = \"e-mail\""), "must be one of as_is, restricted"),
            ("ca_file = \"c\"".to_owned(), "upstream.ca_file: is for an upstream over HTTP"),
            (pair.to_owned(), "upstream.client_cert_file: is for an upstream over HTTP"),
            ("headers_file = \"h\"".to_owned(), "headers_file: is for an upstream over HTTP"),
            ("usernames = \"restricted\"".to_owned(), "usernames: is for an upstream over HTTP"),
        ] {
            let mistakes = read(&text).unwrap_err();
            assert!(mistakes.contains(mistake), "{text}: {mistakes}");
            assert!(mistakes.contains("has a mistake:"), "{mistakes}");
        }
    }
}
