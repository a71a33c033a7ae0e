//! Both documents by the judgement of the linters that teams run over what they generate from.

use std::path::Path;

use tokio::process::Command;

use crate::support::child::run;
use crate::support::needs;

#[tokio::test]
async fn linters_find_no_error_in_either_document() {
    let Some(node) = needs::generated("the linters of the OpenAPI and AsyncAPI documents") else {
        return;
    };
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generated");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let written = |name: &str, document: serde_json::Value| {
        let file = folder.path().join(name);
        std::fs::write(&file, document.to_string()).unwrap();
        file
    };
    let openapi = written("openapi.json", fido_relay::schema::openapi::document());
    let asyncapi = written("asyncapi.json", fido_relay::schema::asyncapi::document());
    let lints = [
        &["@stoplight/spectral-cli/dist/index.js", "lint", "--fail-severity=warn"][..],
        &["@redocly/cli/bin/cli.js", "lint"],
    ];
    let lints = lints.map(|lint| {
        let mut command = Command::new(&node);
        command.arg(programs.join("node_modules").join(lint[0])).args(&lint[1..]);
        // Neither asks a registry whether there is a newer one of itself.
        command.env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true").env("REDOCLY_TELEMETRY", "off");
        command.args([&openapi, &asyncapi]).current_dir(&programs);
        async move { run(&mut command).await.stdout() }
    });
    futures::future::join_all(lints).await;
}
