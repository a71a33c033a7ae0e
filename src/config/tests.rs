//! Sources, their order, and every kind of error.

use std::path::Path;

use super::limit::Limit;
use super::*;

fn file(text: &str) -> Result<Loaded, ConfigErrors> {
    from_texts(Some((Path::new("relay.toml"), text)), &[])
}

fn variables(variables: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    from_texts(None, variables)
}

/// The errors as an operator reads them.
fn errors(result: Result<Loaded, ConfigErrors>) -> Vec<String> {
    result.unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn with_nothing_configured_everything_stays_on_this_machine() {
    let Loaded { config, settings } = variables(&[]).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:8080/");
    assert_eq!(config.data_dir, Path::new("./data"));
    assert_eq!(config.upstream, Upstream::Builtin);
    assert_eq!(config.tenant.rp_id, "localhost");
    assert_eq!(config.tenant.origins, ["http://localhost:8080"]);
    assert!(config.client_direct);
    assert!(config.device_origins.is_empty());
    assert_eq!(config.weaknesses(), []);
    assert!(settings.iter().all(|setting| setting.source == Source::Default));
}

#[test]
fn a_variable_wins_over_the_file_and_the_file_over_the_default() {
    let text = "data_dir = \"/srv/relay\"\n\n[limits]\nheartbeat_s = 40\nwrite_s = 9\n";
    let vars = [("FIDO_RELAY_LIMITS__HEARTBEAT_S", "50"), ("HOME", "/nowhere")];
    let loaded = from_texts(Some((Path::new("relay.toml"), text)), &vars).unwrap();
    assert_eq!(loaded.config.limits.heartbeat, Duration::from_secs(50));
    assert_eq!(loaded.config.limits.write, Duration::from_secs(9));
    assert_eq!(loaded.config.limits.headers, Duration::from_secs(5));
    let source = |key| {
        let setting = loaded.settings.iter().find(|setting| setting.key == key).unwrap();
        setting.source.to_string()
    };
    assert_eq!(source("data_dir"), "relay.toml:1");
    assert_eq!(source("limits.heartbeat_s"), "FIDO_RELAY_LIMITS__HEARTBEAT_S");
    assert_eq!(source("limits.write_s"), "relay.toml:5");
    assert_eq!(source("limits.headers_s"), "default");
}

#[test]
fn one_variable_chooses_another_fido2_server() {
    let config = variables(&[("FIDO_RELAY_UPSTREAM__URL", "https://fido.example.com")]).unwrap();
    let config = config.config;
    let Upstream::Http(http) = &config.upstream else { panic!("{:?}", config.upstream) };
    assert_eq!(http.url.as_str(), "https://fido.example.com/");
    assert_eq!(http.origin, None);
    assert_eq!(http.paths, UpstreamPaths::Certify);
    assert_eq!(http.begin_timeout, Duration::from_secs(5));
    assert_eq!(http.complete_timeout, Duration::from_secs(10));
    assert_eq!(config.tenant.rp_id, "fido.example.com");
    assert!(!config.client_direct);
}

#[test]
fn every_error_is_reported_at_once_with_its_place_and_without_its_value() {
    let text = "\
listen = \"hunter2\"
colour = \"hunter2\"
[log]
format = \"hunter2\"
level = 7
[limits]
heartbeat_s = 100000
write_s = -3
[tenant.origins]
a = 1
";
    let vars = [
        ("FIDO_RELAY_CLIENT_DIRECT", "hunter2"),
        ("FIDO_RELAY_UPSTREAM__URL", "https://user:hunter2@fido.example.com"),
        ("FIDO_RELAY_TENANT__RPID", "hunter2"),
        ("FIDO_RELAY_LIMITS", "hunter2"),
    ];
    let mut found = errors(from_texts(Some((Path::new("relay.toml"), text)), &vars));
    found.sort();
    // It has many keys, and lists them.
    assert!(found[1].starts_with(&format!("{} accept_to_auth_s, ", table_error())), "{found:?}");
    found[1] = table_error().to_owned();
    let expected = [
        "FIDO_RELAY_CLIENT_DIRECT: client_direct: must be true or false",
        table_error(),
        "FIDO_RELAY_TENANT__RPID: tenant.rpid: is not a known key; did you mean \
         FIDO_RELAY_TENANT__RP_ID?",
        "FIDO_RELAY_UPSTREAM__URL: upstream.url: must be a URL with http or https and a host, \
         without user, password, query and fragment",
        "relay.toml:10: tenant.origins.a: is not a known key; did you mean tenant.origins?",
        "relay.toml:1: listen: must be an address and a port, such as \"127.0.0.1:8080\" or \
         \"[::]:8080\"",
        "relay.toml:2: colour: is not a known key; docs/configuration.md has them all",
        "relay.toml:4: log.format: must be one of text, json",
        "relay.toml:5: log.level: must be a level (error, warn, info, debug, trace, off) or levels \
         by module, such as \"warn,fido_relay=debug\"",
        "relay.toml:7: limits.heartbeat_s: must be between 5 and 300",
        "relay.toml:8: limits.write_s: must be a whole number, not negative",
    ];
    assert_eq!(found, expected);
    assert!(!found.concat().contains("hunter2"));
}

fn table_error() -> &'static str {
    "FIDO_RELAY_LIMITS: limits: is a table, not a value: it has"
}

#[test]
fn a_near_miss_is_reported_with_what_was_meant() {
    for (variable, value, says) in [
        (
            "FIDO_RELAY_UPSTREAM_URL",
            "https://fido.example.com",
            "did you mean FIDO_RELAY_UPSTREAM__URL (two underscores for each dot)?",
        ),
        ("FIDO_RELAY_TENANT_RP_ID", "example.com", "did you mean FIDO_RELAY_TENANT__RP_ID (two"),
        ("FIDO_RELAY_LISTENS", "127.0.0.1:1", "did you mean FIDO_RELAY_LISTEN?"),
        ("FIDO_RELAY_RP_ID", "example.com", "did you mean FIDO_RELAY_TENANT__RP_ID"),
        ("FIDO_RELAY_DATADIR", "/tmp", "did you mean FIDO_RELAY_DATA_DIR?"),
        ("FIDO_RELAY_LOG__FORMAT", "jsn", "must be one of text, json; did you mean json?"),
        ("FIDO_RELAY_UPSTREAM__KIND", "built-in", "did you mean builtin?"),
        (
            "FIDO_RELAY_ATTESTATION__ACCEPT",
            "none,certfied",
            "each one of none, self, certified; did",
        ),
        (
            "FIDO_RELAY_LOG__LEVEL",
            "infos",
            "debug, trace, off) or levels by module, such as \"warn,fido_relay=debug\"; did you mean info?",
        ),
        ("FIDO_RELAY_LOG__LEVEL", "warn,fido_relay=debugg", "did you mean debug?"),
    ] {
        let found = errors(variables(&[(variable, value)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(says), "{variable}={value}: {found:?}");
    }
    let found = errors(file("[tenant]\nrpid = \"example.com\"\n"));
    assert!(found[0].contains("did you mean tenant.rp_id?"), "{found:?}");
}

/// `tracing` takes a word that is no level for a module whose every line is logged, and then logs
/// nothing else.
#[test]
fn a_log_level_is_a_level_or_levels_by_module_and_nothing_else() {
    for wrong in [
        "verbose",
        "infos",
        "fido_relay",
        "info,",
        "=info",
        "fido_relay=",
        "a b=info",
        "info, a=warn",
        "3",
    ] {
        let found = errors(variables(&[("FIDO_RELAY_LOG__LEVEL", wrong)]));
        assert!(found[0].contains("log.level: must be a level (error, warn"), "{wrong}: {found:?}");
        assert!(!found[0].contains("verbose"), "{found:?}");
    }
    for right in ["error", "WARN", "off", "warn,fido_relay=debug", "info,fido_relay::relay=trace"] {
        let config = variables(&[("FIDO_RELAY_LOG__LEVEL", right)]).unwrap().config;
        assert!(config.log.level.parse::<tracing_subscriber::filter::Targets>().is_ok(), "{right}");
    }
}

#[test]
fn variables_of_programs_that_call_the_relay_are_not_ours() {
    let theirs = [
        ("FIDO_RELAY_API_KEY", "rk_x"),
        ("FIDO_RELAY_URL", "http://127.0.0.1:8080"),
        ("FIDO_RELAY_ISSUER", "http://127.0.0.1:8080"),
        ("FIDO_RELAY_PROGRAM", "fido-relay"),
        ("FIDO_RELAY_TEST_URL", "http://127.0.0.1:8080"),
    ];
    assert_eq!(variables(&theirs).unwrap().config, Config::default());
}

#[test]
fn broken_toml_is_reported_with_its_line_and_hides_no_other_error() {
    let found = errors(file("listen = \n[log]\nformat = \"xml\"\n"));
    assert!(found.iter().any(|mistake| mistake.starts_with("relay.toml:1: ")), "{found:?}");
    assert!(found.contains(&"relay.toml:3: log.format: must be one of text, json".to_owned()));
}

#[test]
fn text_without_quotes_is_one_error_that_says_so() {
    for line in ["listen = 127.0.0.1", "listen = 0.0.0.0:8080", "data_dir = /var/lib/relay"] {
        let found = errors(file(&format!("{line}\n[log]\nlevel = info\n")));
        let expected =
            [1, 3].map(|line| format!("relay.toml:{line}: text must be in double quotes"));
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn with_a_certificate_everything_is_https() {
    let text = "listen = \"0.0.0.0:8443\"\n\n[tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
    let config = file(text).unwrap().config;
    assert_eq!(config.public_url.as_str(), "https://localhost:8443/");
    assert_eq!(config.tenant.origins, ["https://localhost:8443"]);
    let plain = format!("public_url = \"http://relay.example\"\n{text}");
    let found = errors(file(&plain));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("public_url: must be https: with tls.cert_file"), "{found:?}");
}

#[test]
fn proxies_that_let_clients_choose_their_address_are_refused() {
    let text = "[tls]\nkey_file = \"k.pem\"\n\n[proxy]\ntrusted = [\"0.0.0.0/0\", \"10.0.0.1\"]\n\n\
                [limits]\nmemory_mib = 1\nconnections_per_ip = 0\n";
    let all = errors(file(text));
    for expected in [
        "tls.key_file: needs tls.cert_file",
        "proxy.trusted: must name the proxies alone",
        "limits.memory_mib: must be between 64 and",
        "limits.connections_per_ip: must be between 1 and",
    ] {
        assert!(all.iter().any(|error| error.contains(expected)), "{expected}: {all:?}");
    }
    assert_eq!(all.len(), 4, "{all:?}");
    for (text, expected) in [
        ("trusted = [\"::/0\"]\nprotocol = true", "proxy.trusted: must name the proxies"),
        ("trusted = [\"0.0.0.0/1\"]\nprotocol = true", "proxy.trusted: must name the proxies"),
        ("trusted = [\"10.0.0.1\"]", "proxy.trusted: needs proxy.header or proxy.protocol"),
        ("trusted = [\"proxy.example\"]", "proxy.trusted: must be a list"),
        ("protocol = true", "proxy.protocol: needs proxy.trusted"),
        ("header = \"forwarded\"", "proxy.header: needs proxy.trusted"),
        ("header = \"x-real-ip\"", "proxy.header: must be one of forwarded, x-forwarded-for"),
    ] {
        let found = errors(file(&format!("[proxy]\n{text}\n")));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {found:?}");
    }
    let good = file("[proxy]\ntrusted = [\"10.0.0.1\"]\nheader = \"forwarded\"\n").unwrap();
    assert_eq!(good.config.proxy.trusted[0].to_string(), "10.0.0.1/32");
}

#[test]
fn contradictions_are_mistakes() {
    let cases: [(&str, &str); 18] = [
        ("upstream.kind = \"http\"", "upstream.kind: \"http\" needs upstream.url"),
        (
            "upstream.kind = \"builtin\"\nupstream.url = \"https://a.example\"",
            "upstream.url: contradicts upstream.kind = \"builtin\"",
        ),
        (
            "upstream.origin = \"https://a.example\"",
            "upstream.origin: is for an upstream over HTTP",
        ),
        ("listen = \"0.0.0.0:8080\"", "public_url: must be https when listen is not a loopback"),
        (
            "listen = \"0.0.0.0:8080\"\npublic_url = \"http://relay.example\"",
            "public_url: must be https when listen is not a loopback",
        ),
        (
            "public_url = \"https://relay.example\"\nclient_direct = true",
            "client_direct: would let anyone who reaches this relay register a card",
        ),
        (
            "listen = \"0.0.0.0:8080\"\nallow_plaintext = true\nclient_direct = true",
            "client_direct: would let anyone who reaches this relay register a card",
        ),
        ("public_url = \"https://relay.example/path\"", "public_url: must not have a path"),
        ("tenant.rp_id = \"https://example.com\"", "tenant.rp_id: must be a domain"),
        ("tenant.rp_id = \"127.0.0.1\"", "tenant.rp_id: must be a domain"),
        (
            "tenant.rp_id = \"example.com\"\ntenant.origins = [\"https://badexample.com\"]",
            "tenant.origins: each must be on example.com",
        ),
        (
            "tenant.rp_id = \"example.com\"\ntenant.origins = [\"http://login.example.com\"]",
            "tenant.origins: must be https, except on localhost",
        ),
        ("tenant.origins = []", "tenant.origins: must name at least one origin"),
        (
            "attestation.accept = [\"none\"]\nattestation.roots_file = \"roots.pem\"",
            "attestation.roots_file: contradicts attestation.accept",
        ),
        (
            "attestation.accept = [\"self\"]\nattestation.trust = \"arculus\"",
            "attestation.trust: contradicts attestation.accept",
        ),
        (
            "attestation.aaguids = [\"9d3df6ba-282f-11ed-a261-0242ac120002\"]",
            "attestation.aaguids: needs attestation.trust",
        ),
        (
            "attestation.trust = \"arculus\"\nattestation.aaguids = [\"9d3df6ba\"]",
            "attestation.aaguids: must be a list (in a variable: separated by commas), each an AAGUID",
        ),
        (
            "attestation.metadata_root_file = \"root.pem\"",
            "attestation.metadata_root_file: needs attestation.metadata_file",
        ),
    ];
    for (text, expected) in cases {
        let found = errors(file(text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn origins_are_taken_only_as_a_browser_or_a_card_writes_them() {
    let wrong = [
        "https://example.com/",
        "https://EXAMPLE.com",
        "https://example.com:443",
        "example.com",
        "*",
        "null",
        "android:apk-key-hash:",
        "ftp://example.com",
    ];
    for origin in wrong {
        let found = errors(file(&format!("device_origins = [\"{origin}\"]")));
        assert!(found[0].contains("device_origins: must be a list"), "{origin}: {found:?}");
    }
    let right = "https://example.com, http://localhost:3000,android:apk-key-hash:abc,";
    let config = variables(&[("FIDO_RELAY_DEVICE_ORIGINS", right)]).unwrap().config;
    let expected = ["https://example.com", "http://localhost:3000", "android:apk-key-hash:abc"];
    assert_eq!(config.device_origins, expected);
}

#[test]
fn webhook_hosts_are_taken_only_as_a_url_writes_them() {
    for wrong in [
        "Hooks.example.com",
        "hooks.example.com.",
        "hooks.example.com:443",
        "https://hooks.example.com",
        "user@hooks.example.com",
        "*",
        "*.",
        "*.*.example.com",
        "hooks.*.com",
        "0x7f.1",
        "2130706433",
        "b\u{FC}cher.example",
    ] {
        let found = errors(file(&format!("webhooks.allowed_hosts = [\"{wrong}\"]")));
        assert!(found[0].contains("webhooks.allowed_hosts: must be a list"), "{wrong}: {found:?}");
    }
    let right = "hooks.example.com,*.example.net,203.0.113.7,[2001:db8::1],xn--bcher-kva.example";
    let config = variables(&[("FIDO_RELAY_WEBHOOKS__ALLOWED_HOSTS", right)]).unwrap().config;
    assert_eq!(config.webhooks.allowed_hosts.join(","), right);
}

#[test]
fn webhooks_to_this_machine_are_for_development_alone_and_warned_of() {
    let switch = "webhooks.allow_loopback_http = true\n";
    let config = file(switch).unwrap().config;
    let key = "webhooks.allow_loopback_http";
    assert!(config.weaknesses().iter().any(|weakness| weakness.key == key));
    let found = errors(file(&format!("{switch}public_url = \"https://relay.example\"")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("webhooks.allow_loopback_http: is for development"), "{found:?}");
}

#[test]
fn the_default_origin_follows_the_relying_party() {
    let config = file("tenant.rp_id = \"example.com\"").unwrap().config;
    assert_eq!(config.tenant.origins, ["https://example.com"]);
    let config = file("listen = \"127.0.0.1:9000\"").unwrap().config;
    assert_eq!(config.tenant.origins, ["http://localhost:9000"]);
}

#[test]
fn a_free_port_is_filled_in_once_it_is_known() {
    let config = file("listen = \"127.0.0.1:0\"").unwrap().config;
    let config = config.bound_to("127.0.0.1:4711".parse().unwrap());
    assert_eq!(config.listen.port(), 4711);
    assert_eq!(config.public_url.as_str(), "http://127.0.0.1:4711/");
    assert_eq!(config.tenant.origins, ["http://localhost:4711"]);
}

#[test]
fn roots_ask_for_a_statement() {
    for roots in
        ["roots_file = \"roots.pem\"", "trust = \"arculus\"", "metadata_file = \"blob.jwt\""]
    {
        let config = file(&format!("attestation.{roots}")).unwrap().config;
        assert_eq!(config.attestation.accept, [AttestationKind::Certified], "{roots}");
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_of_this_name_are_not_ours() {
    let made = [
        ("FIDO_RELAY_SERVICE_HOST", "10.0.0.1"),
        ("FIDO_RELAY_SERVICE_PORT", "80"),
        ("FIDO_RELAY_SERVICE_PORT_HTTP", "80"),
        ("FIDO_RELAY_PORT", "tcp://10.0.0.1:80"),
        ("FIDO_RELAY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("FIDO_RELAY_CONFIG", "relay.toml"),
    ];
    assert_eq!(variables(&made).unwrap().config, Config::default());
    assert_eq!(errors(variables(&[("FIDO_RELAY_PORTS", "1")])).len(), 1);
}

#[test]
fn the_effective_configuration_is_itself_a_configuration() {
    let vars = [
        ("FIDO_RELAY_UPSTREAM__URL", "https://fido.example.com/base"),
        ("FIDO_RELAY_TENANT__RP_NAME", "Ada's \"shop\" \\ ünï"),
        ("FIDO_RELAY_DEVICE_ORIGINS", "https://a.example,https://b.example"),
        ("FIDO_RELAY_LOG__FORMAT", "json"),
    ];
    for vars in [&vars[..], &[]] {
        let loaded = variables(vars).unwrap();
        let text = loaded.to_toml();
        assert_eq!(file(&text).unwrap().config, loaded.config, "{text}");
        for setting in &loaded.settings {
            let name = setting.key.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{name} ")), "{name} is missing in\n{text}");
        }
    }
    let text = variables(&vars).unwrap().to_toml();
    assert!(text.contains("format = \"json\"  # FIDO_RELAY_LOG__FORMAT"), "{text}");
    assert!(text.contains("level = \"info\"  # default"), "{text}");
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let config = variables(&[("FIDO_RELAY_UPSTREAM__URL", "")]).unwrap().config;
    assert_eq!(config, Config::default());
}

/// The row of a key. What it means is the limit's own documentation, or what the document says.
fn documented(setting: &Setting, row: &str) -> String {
    let default = setting.value.as_ref().map_or("not set".to_owned(), |v| format!("`{v}`"));
    let (default, meaning) = match setting.limit.map(Limit::described) {
        Some((bounds, meaning)) => (format!("{default} ({bounds})"), meaning),
        None => (default, row.split(" | ").nth(3).unwrap_or_default().to_owned()),
    };
    let meaning = meaning.trim_end_matches(" |");
    format!("| `{}` | `{}` | {default} | {meaning} |", setting.key, setting.variable())
}

/// `UPDATE_DOCS=1` writes the rows anew.
#[test]
fn every_key_is_documented_with_its_variable_and_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut missing = variables(&[]).unwrap().settings;
    let mut expected = String::new();
    for line in document.lines() {
        let key = line.strip_prefix("| `").and_then(|row| row.split('`').next());
        let setting = key.map(|key| {
            let place = missing.iter().position(|setting| setting.key == key);
            missing.remove(place.unwrap_or_else(|| panic!("not a key, or twice: {line}")))
        });
        expected += &setting.map_or(line.to_owned(), |setting| documented(&setting, line));
        expected += "\n";
    }
    let missing: Vec<_> = missing.iter().map(|setting| documented(setting, "")).collect();
    assert!(missing.is_empty(), "docs/configuration.md lacks:\n{}", missing.join("\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert!(document == expected, "docs/configuration.md is old: run with UPDATE_DOCS=1");
    }
}

#[test]
fn the_example_in_the_documentation_is_right() {
    let document = include_str!("../../docs/configuration.md");
    let example = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = file(example).unwrap().config;
    assert_eq!(config.public_url.as_str(), "https://relay.example.com/");
    assert_eq!(config.weaknesses(), []);
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let mistakes = load(Some(Path::new("/nowhere/relay.toml"))).unwrap_err();
    assert!(mistakes.to_string().contains("/nowhere/relay.toml: cannot be read"), "{mistakes}");
}
