//! The container's files, as far as they can be checked without an engine: what they name exists,
//! the relay would start with what they set, and bounds are set.

#[cfg(unix)]
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fido_relay::config::{self, Config, ConfigErrors, Upstream};

#[cfg(unix)]
use crate::support::child::{self, fido_relay};

/// On this machine, and behind a proxy with TLS.
const COMPOSE: [&str; 2] = ["docker-compose.yml", "packaging/compose.tls.yml"];

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The Dockerfile's instructions, with continued lines joined.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let text = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Variables of the image.
fn image_variables() -> Vec<(String, String)> {
    let env =
        instructions().into_iter().filter_map(|line| Some(line.strip_prefix("ENV ")?.to_owned()));
    let pairs: Vec<String> =
        env.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>()).collect();
    pairs
        .iter()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(k, v)| (k.into(), v.into()))
        .collect()
}

/// Variables of a compose file over those of the image; one without a value is not set.
fn compose_variables(file: &str) -> Vec<(String, String)> {
    let text = read(file).replace("${RELAY_RP_ID:-${RELAY_DOMAIN}}", "relay.example.com");
    let text = text.replace("${RELAY_DOMAIN}", "relay.example.com");
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("FIDO_RELAY_"));
    let of_compose = lines.map(|line| line.split_once(':').unwrap());
    let mut variables = image_variables();
    for (name, value) in of_compose {
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.trim().trim_matches('"').to_owned()));
    }
    variables
}

fn load(variables: &[(String, String)]) -> Result<Config, ConfigErrors> {
    let borrowed: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    config::from_texts(None, &borrowed).map(|loaded| loaded.config)
}

/// The values of a key's list in a YAML file, for every time that the key is there.
fn lists(text: &str, key: &str) -> Vec<Vec<String>> {
    let mut lists = Vec::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).peekable();
    while let Some(line) = lines.next() {
        if line == format!("{key}:") {
            let mut list = Vec::new();
            while let Some(item) = lines.next_if(|line| line.starts_with("- ")) {
                list.push(item[2..].trim_matches('"').to_owned());
            }
            lists.push(list);
        }
    }
    lists
}

#[test]
fn what_the_image_copies_exists_and_reaches_the_build() {
    let sent = read(".dockerignore");
    let mut copied = 0;
    for line in instructions() {
        let Some(arguments) = line.strip_prefix("COPY ") else { continue };
        if arguments.starts_with("--from=") {
            continue;
        }
        let paths: Vec<_> = arguments.split(' ').collect();
        for source in &paths[..paths.len() - 1] {
            copied += 1;
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source}");
            assert!(sent.lines().any(|line| line == format!("!{source}")), "{source} is ignored");
        }
    }
    assert!(copied >= 4, "only {copied} sources are copied");
}

#[test]
fn base_images_are_arguments_that_can_be_pinned_and_no_other_image_is_used() {
    let text = read("Dockerfile");
    assert!(!text.contains("# syntax="), "it would fetch another builder from elsewhere");
    let lines = instructions();
    let given: Vec<_> = lines.iter().take_while(|line| line.starts_with("ARG ")).collect();
    for line in lines.iter().filter(|line| line.starts_with("FROM ")) {
        let base = line.split(' ').nth(1).unwrap();
        let name = base.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
        let name = name.unwrap_or_else(|| panic!("{line} names an image of its own"));
        assert!(given.iter().any(|line| line.starts_with(&format!("ARG {name}="))), "{name}");
        assert!(text.contains(&format!("--build-arg {name}=")), "{name}: how to pin it");
    }
}

#[test]
fn the_image_says_what_it_is() {
    let lines = instructions();
    let labels = lines.iter().find_map(|line| line.strip_prefix("LABEL ")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for label in [
        "title=\"fido-relay\"".to_owned(),
        format!("version=\"{version}\""),
        "revision=\"${REVISION}\"".to_owned(),
        "licenses=\"Apache-2.0\"".to_owned(),
    ] {
        let label = format!("org.opencontainers.image.{label}");
        assert!(labels.contains(&label), "{label} is not in {labels}");
    }
}

/// `COPY` makes the directory that it copies to with mode 0755, whatever the source has; only what
/// lies within the source keeps its mode. So /data must come from within, made with 0700.
#[cfg(unix)]
#[tokio::test]
async fn the_data_directory_is_made_for_its_user_alone_and_doctor_is_content_with_it() {
    let lines = instructions();
    let run = lines.iter().find_map(|line| line.strip_prefix("RUN ")).unwrap();
    let (_, made) = run.split_once("install -d -m ").unwrap();
    let (mode, path) = made.split_once(' ').unwrap();
    let mode = u32::from_str_radix(mode, 8).unwrap();
    assert_eq!(mode, 0o700);
    let data_dir = image_variables().into_iter().find(|(name, _)| name == "FIDO_RELAY_DATA_DIR");
    let data_dir = data_dir.unwrap().1;
    let outside = path.strip_suffix(&data_dir).unwrap();
    let copy = format!("COPY --from=build --chown=65532:65532 {outside}/ /");
    assert!(lines.contains(&copy), "{copy} is not in {lines:#?}");
    let volume = lines.iter().position(|line| *line == format!("VOLUME {data_dir}")).unwrap();
    assert!(lines.iter().position(|line| *line == copy).unwrap() < volume);

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for (mode, exit) in [(mode, 0), (0o755, 1)] {
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut doctor = fido_relay(&["doctor"]);
        doctor.current_dir(folder.path()).env_clear();
        let variables = compose_variables(COMPOSE[0]);
        let variables = variables.into_iter().filter(|(name, _)| !name.contains("MEMORY"));
        doctor.envs(variables).env("FIDO_RELAY_DATA_DIR", &data);
        // The container's ports may be taken on this machine.
        doctor.env("FIDO_RELAY_LISTEN", "127.0.0.1:0");
        doctor.env("FIDO_RELAY_ADMIN__LISTEN", "127.0.0.1:0");
        child::run(&mut doctor).await.with_code(exit);
    }
}

#[test]
fn the_image_alone_refuses_to_serve_others_in_plaintext() {
    let variables = image_variables();
    let mistakes = load(&variables).unwrap_err().to_string();
    assert!(mistakes.contains("public_url: must be https"), "{mistakes}");

    let behind_proxy = ("FIDO_RELAY_PUBLIC_URL".to_owned(), "https://relay.example".to_owned());
    let config = load(&[variables, vec![behind_proxy]].concat()).unwrap();
    assert_eq!(config.data_dir, Path::new("/data"));
}

#[test]
fn the_compose_file_serves_this_machine_alone_with_the_built_in_server() {
    let config = load(&compose_variables(COMPOSE[0])).unwrap();
    assert!(config.listen.ip().is_unspecified());
    assert_eq!(config.public_url.as_str(), "http://localhost:8080/");
    assert_eq!(config.tenant.origins, ["http://localhost:8080"]);
    assert_eq!(config.upstream, Upstream::Builtin);
    assert!(config.client_direct);
    let port = config.listen.port();
    let expected = [format!("127.0.0.1:8080:{port}"), "127.0.0.1:9090:9090".to_owned()];
    assert_eq!(lists(&read(COMPOSE[0]), "ports"), [expected]);
}

#[test]
fn behind_tls_only_the_proxy_is_published_and_only_its_word_counts() {
    let text = read(COMPOSE[1]);
    let config = load(&compose_variables(COMPOSE[1])).unwrap();
    assert_eq!(config.public_url.as_str(), "https://relay.example.com/");
    assert_eq!(config.tenant.rp_id, "relay.example.com");
    assert!(!config.client_direct, "those paths have no authentication");
    let trusted: Vec<_> = config.proxy.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(trusted, ["172.30.93.2/32"]);
    let (proxy, relay) = text.split_once("\n  relay:").unwrap();
    assert!(proxy.contains("ipv4_address: 172.30.93.2\n"), "the address that is trusted");
    assert_eq!(lists(proxy, "ports"), [["80:80", "443:443"]]);
    assert_eq!(
        lists(relay, "ports"),
        [["127.0.0.1:9090:9090"]],
        "the relay itself is not published"
    );

    let caddyfile = "compose.Caddyfile";
    assert!(proxy.contains(&format!("- ./{caddyfile}:/etc/caddy/Caddyfile:ro")));
    let caddyfile = read(&format!("packaging/{caddyfile}"));
    let listen = format!("reverse_proxy relay:{}", config.listen.port());
    assert!(caddyfile.contains(&listen), "{listen}");
    assert!(caddyfile.contains("Strict-Transport-Security"));
}

#[test]
fn every_compose_file_has_metrics_and_bounds_memory_and_log() {
    for file in COMPOSE {
        let text = read(file);
        let config = load(&compose_variables(file)).unwrap();
        let admin = config.admin.listen.unwrap_or_else(|| panic!("{file}: no metrics"));
        assert!(admin.ip().is_unspecified(), "{file}: reachable from outside the container");
        let published = lists(&text, "ports").concat();
        let metrics = format!("127.0.0.1:9090:{}", admin.port());
        assert!(published.contains(&metrics), "{file}: on loopback alone: {published:?}");

        let services = text.matches("    image: ").count();
        for bound in ["    mem_limit: ", "max-size: \"10m\"", "max-file: \"5\""] {
            assert_eq!(text.matches(bound).count(), services, "{file}: {bound}");
        }
        let (_, relay) = text.split_once("\n  relay:").unwrap();
        let (_, limit) = relay.split_once("\n    mem_limit: ").unwrap();
        let limit: u64 = limit.split_once("m\n").unwrap().0.parse().unwrap();
        let own =
            config.limits.listener.memory_mib.unwrap_or_else(|| panic!("{file}: no memory limit"));
        assert!(own < limit && own * 10 >= limit * 8, "{file}: {own} MiB of {limit}");
        assert!(relay.contains("stop_grace_period: 30s") && relay.contains("read_only: true"));
    }
}

#[test]
fn one_variable_puts_the_compose_files_before_another_fido2_server() {
    for file in COMPOSE {
        let name = "FIDO_RELAY_UPSTREAM__URL";
        let mut variables = compose_variables(file);
        let passed_on = variables.iter_mut().find(|(known, _)| known == name).unwrap();
        assert_eq!(passed_on.1, "", "its value is to come from the shell");
        passed_on.1 = "https://fido.example.com".to_owned();
        let config = load(&variables).unwrap();
        let Upstream::Http(http) = config.upstream else { panic!("{:?}", config.upstream) };
        assert_eq!(http.url.as_str(), "https://fido.example.com/");
    }
}
