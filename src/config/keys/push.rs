//! The keys of push services. The keys of one service are given together or not at all.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::Config;
use crate::config::limit::Limit;
use crate::config::push::{Apns, Fcm, PushConfig, WebPush};
use crate::config::reader::ConfigReader;
use crate::config::weaknesses::is_loopback;

const AFTER: Limit = Limit::new("push.after_ms", 2_000, 0..=30_000).documented(&[
    "milliseconds that an app has to acknowledge a prompt before its device is woken.",
    "0: a device without a socket is woken at once, one with a socket after 2 s",
]);
/// Longest sentence, in characters: it fits a Web Push message in any script.
const TEXT_MAX: usize = 100;
/// Length of Apple's ids.
const APPLE_ID: usize = 10;
/// Default URLs of the services and default Android channel.
const FCM: &str = "https://fcm.googleapis.com/";
const APNS: &str = "https://api.push.apple.com/";
const CHANNEL: &str = "sign-in";

pub(super) fn read(reader: &mut ConfigReader) -> PushConfig {
    let after = reader.limit(AFTER);
    let text = reader.take("push.text", "Open the app to continue.".to_owned());
    if text.chars().count() > TEXT_MAX {
        reader.reject("push.text", format!("must be a text of 1 to {TEXT_MAX} characters"));
    }
    PushConfig {
        after: Duration::from_millis(after),
        text,
        ca_file: reader.optional("push.ca_file"),
        webpush: read_webpush(reader),
        fcm: read_fcm(reader),
        apns: read_apns(reader),
    }
}

fn read_webpush(reader: &mut ConfigReader) -> Option<WebPush> {
    let key_file: Option<PathBuf> = reader.optional("push.webpush.key_file");
    let contact: Option<String> = reader.optional("push.webpush.contact");
    let allow_loopback_http = reader.take("push.webpush.allow_loopback_http", false);
    let keys = ["push.webpush.key_file", "push.webpush.contact"];
    let keys = keys.map(|key| (key, reader.is_given(key)));
    require_all_or_none(reader, &keys);
    if allow_loopback_http && key_file.is_none() {
        reader.reject("push.webpush.allow_loopback_http", "needs push.webpush.key_file");
    }
    if contact.as_deref().is_some_and(|contact| !is_contact(contact)) {
        let text = "must be a mailto: or https: URL, such as \"mailto:ops@example.com\"";
        reader.reject("push.webpush.contact", text);
    }
    Some(WebPush { key_file: key_file?, contact: contact?, allow_loopback_http })
}

/// RFC 8292 section 2.1.
fn is_contact(text: &str) -> bool {
    let is_address = |address: &str| {
        let parts = address.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
    };
    let url = Url::parse(text).ok().filter(|_| !text.contains(char::is_whitespace));
    url.is_some_and(|url| match url.scheme() {
        "mailto" => is_address(url.path()),
        "https" => url.has_host(),
        _ => false,
    })
}

fn read_fcm(reader: &mut ConfigReader) -> Option<Fcm> {
    let service_accounts: Vec<PathBuf> = reader.take("push.fcm.service_accounts", Vec::new());
    let channel = reader.take("push.fcm.channel", CHANNEL.to_owned());
    let url = read_url(reader, "push.fcm.url", FCM);
    if service_accounts.is_empty() {
        for (key, is_default) in
            [("push.fcm.channel", channel == CHANNEL), ("push.fcm.url", url.as_str() == FCM)]
        {
            if !is_default {
                reader.reject(key, "needs push.fcm.service_accounts");
            }
        }
    }
    (!service_accounts.is_empty()).then_some(Fcm { service_accounts, channel, url })
}

fn read_apns(reader: &mut ConfigReader) -> Option<Apns> {
    let key_file: Option<PathBuf> = reader.optional("push.apns.key_file");
    let key_id = read_apple_id(reader, "push.apns.key_id");
    let team_id = read_apple_id(reader, "push.apns.team_id");
    let topics: Vec<String> = reader.take("push.apns.topics", Vec::new());
    let url = read_url(reader, "push.apns.url", APNS);
    // `fido-relay config` writes an empty list of topics, which counts as not given.
    let keys = ["push.apns.key_file", "push.apns.key_id", "push.apns.team_id", "push.apns.topics"];
    let has_topics = reader.is_given("push.apns.topics") && !topics.is_empty();
    let keys = keys.map(|key| {
        let is_given = if key == "push.apns.topics" { has_topics } else { reader.is_given(key) };
        (key, is_given)
    });
    require_all_or_none(reader, &keys);
    if url.as_str() != APNS && !reader.is_given("push.apns.key_file") {
        reader.reject("push.apns.url", "needs push.apns.key_file");
    }
    let is_bundle =
        |topic: &String| topic.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    if !topics.iter().all(is_bundle) {
        reader.reject("push.apns.topics", "must be bundle ids, such as [\"com.example.bank\"]");
    }
    let topics = Some(topics).filter(|topics| !topics.is_empty())?;
    Some(Apns { key_file: key_file?, key_id: key_id?, team_id: team_id?, topics, url })
}

fn read_apple_id(reader: &mut ConfigReader, key: &'static str) -> Option<String> {
    let id: String = reader.optional(key)?;
    if id.len() == APPLE_ID && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Some(id);
    }
    reader.reject(key, format!("must be the {APPLE_ID} letters and digits that Apple shows"));
    None
}

fn read_url(reader: &mut ConfigReader, key: &'static str, default: &str) -> Url {
    let default = Url::parse(default).unwrap_or_else(|_| unreachable!("it is one of two URLs"));
    let url = reader.take(key, default);
    if url.scheme() != "https" && !is_loopback(&url) {
        reader.reject(key, "must be https, except on a loopback address");
    }
    url
}

/// Reports keys that are missing where others of the same service are given.
fn require_all_or_none(reader: &mut ConfigReader, keys: &[(&'static str, bool)]) {
    let named = |given: bool| -> Vec<&'static str> {
        keys.iter().filter(|(_, is_given)| *is_given == given).map(|(key, _)| *key).collect()
    };
    let missing = named(false);
    if let Some(first) = named(true).first()
        && !missing.is_empty()
    {
        reader.reject(first, format!("needs {}", missing.join(", ")));
    }
}

/// Refuses the development switch where the relay is published off loopback.
pub(super) fn check(reader: &mut ConfigReader, config: &Config) {
    let allowed = config.push.webpush.as_ref().is_some_and(|webpush| webpush.allow_loopback_http);
    if allowed && !is_loopback(&config.public_url) {
        let text = "is for development: public_url must then be on a loopback address";
        reader.reject("push.webpush.allow_loopback_http", text);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::from_texts;

    fn read(push: &str) -> Result<Config, Vec<String>> {
        let loaded = from_texts(Some((Path::new("relay.toml"), push)), &[]);
        loaded
            .map(|loaded| loaded.config)
            .map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
    }

    const ALL: &str = "[push]\nafter_ms = 0\ntext = \"Hello\"\nca_file = \"ca.pem\"\n\
        [push.webpush]\nkey_file = \"v.pem\"\ncontact = \"mailto:ops@example.com\"\n\
        allow_loopback_http = true\n\
        [push.fcm]\nservice_accounts = [\"a.json\", \"b.json\"]\nchannel = \"c\"\n\
        url = \"http://127.0.0.1:9\"\n\
        [push.apns]\nkey_file = \"k.p8\"\nkey_id = \"ABCDE12345\"\nteam_id = \"TEAM567890\"\n\
        topics = [\"com.example.bank\", \"com.example.other\"]\n";

    #[test]
    fn nothing_is_woken_by_default_and_each_service_has_its_keys() {
        let none = read("").unwrap().push;
        assert!(!none.is_configured());
        assert_eq!(
            (none.after, none.text.as_str()),
            (Duration::from_secs(2), "Open the app to continue.")
        );
        let push = read(ALL).unwrap().push;
        assert_eq!((push.after, push.text.as_str()), (Duration::ZERO, "Hello"));
        assert_eq!(push.ca_file.as_deref(), Some(Path::new("ca.pem")));
        let webpush = push.webpush.unwrap();
        assert_eq!(webpush.key_file, Path::new("v.pem"));
        assert!(webpush.allow_loopback_http);
        let fcm = push.fcm.unwrap();
        assert_eq!(fcm.service_accounts.len(), 2);
        assert_eq!((fcm.channel.as_str(), fcm.url.as_str()), ("c", "http://127.0.0.1:9/"));
        let apns = push.apns.unwrap();
        assert_eq!(apns.topics, ["com.example.bank", "com.example.other"]);
        assert_eq!(apns.url.as_str(), "https://api.push.apple.com/");
    }

    #[test]
    fn keys_of_a_service_are_required_together() {
        let mistakes = read(
            "[push]\nafter_ms = 30001\n[push.webpush]\nkey_file = \"v.pem\"\n\
             [push.fcm]\nchannel = \"c\"\n[push.apns]\nkey_file = \"k.p8\"\n",
        );
        let mistakes = mistakes.unwrap_err();
        assert_eq!(
            mistakes,
            [
                "relay.toml:2: push.after_ms: must be between 0 and 30000",
                "relay.toml:4: push.webpush.key_file: needs push.webpush.contact",
                "relay.toml:6: push.fcm.channel: needs push.fcm.service_accounts",
                "relay.toml:8: push.apns.key_file: needs push.apns.key_id, push.apns.team_id, \
                 push.apns.topics",
            ]
        );
    }

    #[test]
    fn each_invalid_value_is_an_error() {
        for (from, to, mistake) in [
            ("\"Hello\"", &*format!("\"{}\"", "x".repeat(101)), "1 to 100 characters"),
            (
                "mailto:ops@example.com",
                "ops@example.com",
                "push.webpush.contact: must be a mailto:",
            ),
            ("mailto:ops@example.com", "mailto:ops", "push.webpush.contact: must be a mailto:"),
            ("mailto:ops@example.com", "http://example.com", "push.webpush.contact: must be"),
            ("http://127.0.0.1:9", "http://fcm.example", "push.fcm.url: must be https"),
            ("ABCDE12345", "ABCDE1234", "push.apns.key_id: must be the 10 letters"),
            ("TEAM567890", "TEAM-67890", "push.apns.team_id: must be the 10 letters"),
            ("com.example.other", "com/example", "push.apns.topics: must be bundle ids"),
            (
                "\"com.example.bank\", \"com.example.other\"",
                "",
                "push.apns.key_file: needs push.apns.topics",
            ),
            ("key_file = \"v.pem\"\n", "", "push.webpush.contact: needs push.webpush.key_file"),
            ("after_ms = 0", "afterms = 0", "did you mean push.after_ms?"),
        ] {
            let mistakes = read(&ALL.replacen(from, to, 1)).unwrap_err();
            assert!(mistakes.iter().any(|line| line.contains(mistake)), "{mistake}: {mistakes:?}");
        }
        let public = format!("public_url = \"https://relay.example.com\"\n{ALL}");
        let mistakes = read(&public).unwrap_err();
        assert!(mistakes[0].contains("push.webpush.allow_loopback_http: is for development"));
        let alone = read("push.webpush.allow_loopback_http = true").unwrap_err();
        assert!(alone[0].ends_with("needs push.webpush.key_file"), "{alone:?}");
        let url = read("push.apns.url = \"https://api.sandbox.push.apple.com\"").unwrap_err();
        assert!(url[0].ends_with("needs push.apns.key_file"), "{url:?}");
    }
}
