//! The container's files, as far as they can be checked without an engine: what they name exists,
//! and the relay would start with what they set.

use std::path::Path;

use fido_relay::config::{self, Upstream};

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The Dockerfile's instructions, with continued lines joined.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
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

/// Variables of the compose file over those of the image; one without a value is not set.
fn compose_variables() -> Vec<(String, String)> {
    let text = read("docker-compose.yml");
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("FIDO_RELAY_"));
    let of_compose = lines.map(|line| line.split_once(':').unwrap());
    let mut variables = image_variables();
    for (name, value) in of_compose {
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value.trim().trim_matches('"').to_owned()));
    }
    variables
}

fn load(variables: &[(String, String)]) -> Result<config::Config, config::Mistakes> {
    let borrowed: Vec<_> = variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    config::from_texts(None, &borrowed).map(|loaded| loaded.config)
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
    let config = load(&compose_variables()).unwrap();
    assert!(config.listen.ip().is_unspecified());
    assert_eq!(config.public_url.as_str(), "http://localhost:8080/");
    assert_eq!(config.tenant.origins, ["http://localhost:8080"]);
    assert_eq!(config.upstream, Upstream::Builtin);
    assert!(config.client_direct);

    let text = read("docker-compose.yml");
    let ports = text.lines().skip_while(|line| line.trim() != "ports:").skip(1);
    let ports: Vec<_> = ports
        .map(str::trim)
        .take_while(|line| line.starts_with('-') || line.starts_with('#'))
        .filter(|line| line.starts_with('-'))
        .collect();
    let expected = format!("- \"127.0.0.1:8080:{}\"", config.listen.port());
    assert_eq!(ports, [expected]);
}

#[test]
fn one_variable_puts_the_compose_file_before_another_fido2_server() {
    let name = "FIDO_RELAY_UPSTREAM__URL";
    let mut variables = compose_variables();
    let passed_on = variables.iter_mut().find(|(known, _)| known == name).unwrap();
    assert_eq!(passed_on.1, "", "its value is to come from the shell");
    passed_on.1 = "https://fido.example.com".to_owned();
    let config = load(&variables).unwrap();
    let Upstream::Http(http) = config.upstream else { panic!("{:?}", config.upstream) };
    assert_eq!(http.url.as_str(), "https://fido.example.com/");
}
