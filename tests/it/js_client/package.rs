//! The package as it would be published: packed, looked at by the tools of its ecosystem, installed
//! into a project, and compiled against without `skipLibCheck`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::{build, package};
use crate::support::child::run;
use crate::support::needs::{self, Node};

/// A project that has installed the package, and has the samples.
pub(super) struct Project {
    pub(super) root: PathBuf,
    tarball: PathBuf,
    packed: Value,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs it to its end and gives what it printed.
pub(super) async fn done(command: &mut Command) -> String {
    run(command).await.stdout()
}

/// A program that `npm ci` has installed.
pub(super) fn tool(node: &Node, script: &str) -> Command {
    let mut command = Command::new(&node.program);
    command.arg(package().join("node_modules").join(script));
    command
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        std::fs::copy(from, to).unwrap();
        return;
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "node_modules" {
            copy(&from.join(&name), &to.join(&name));
        }
    }
}

/// Packs the package and installs it, once for all tests.
pub(super) async fn project(node: &Node) -> &'static Project {
    static PROJECT: OnceCell<Project> = OnceCell::const_new();
    let install = async || {
        build(node).await;
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("js_client");
        if root.exists() {
            std::fs::remove_dir_all(&root).unwrap();
        }
        let modules = root.join("node_modules");
        let client = modules.join("@fido-relay/client");
        std::fs::create_dir_all(&client).unwrap();
        let mut pack = Command::new("npm");
        pack.args(["pack", "--offline", "--ignore-scripts", "--json", "--pack-destination"]);
        let packed = done(pack.arg(&root).current_dir(package())).await;
        let packed = serde_json::from_str::<Value>(&packed).unwrap()[0].take();
        let tarball = root.join(packed["filename"].as_str().unwrap());
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(&tarball).arg("--strip-components=1").arg("-C").arg(&client);
        done(&mut unpack).await;
        // Everything else that the samples need, the client's own tests need too.
        for entry in std::fs::read_dir(package().join("node_modules")).unwrap() {
            let entry = entry.unwrap();
            std::os::unix::fs::symlink(entry.path(), modules.join(entry.file_name())).unwrap();
        }
        let here = repository().join("tests/it/js_client");
        copy(&here.join("native"), &modules);
        copy(&here.join("consumer"), &root.join("consumer"));
        for example in ["react", "react-native", "node"] {
            let from = repository().join("examples").join(example);
            copy(&from, &root.join("examples").join(example));
        }
        Project { root, tarball, packed }
    };
    PROJECT.get_or_init(install).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packed_client_has_its_licence_and_passes_publint_and_attw() {
    let Some(node) = needs::node("the JavaScript package") else { return };
    let project = project(&node).await;
    let files = project.packed["files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    for name in ["LICENSE", "README.md", "dist/src/index.js", "dist/src/react.d.ts"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("test")), "{names:?}");
    let licence = |path: &Path| std::fs::read_to_string(path.join("LICENSE")).unwrap();
    let installed = project.root.join("node_modules/@fido-relay/client");
    assert_eq!(licence(&installed), licence(repository()));
    let manifest = std::fs::read_to_string(installed.join("package.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["private"], Value::Null);
    assert_eq!(manifest["publishConfig"]["provenance"], true);
    assert_eq!(manifest["repository"]["directory"], "clients/js");
    assert_eq!(manifest["engines"]["node"], ">=20");
    let mut publint = tool(&node, "publint/src/cli.js");
    let mut attw = tool(&node, "@arethetypeswrong/cli/dist/index.js");
    attw.args(["--profile", "esm-only"]).arg(&project.tarball);
    tokio::join!(done(publint.arg("--strict").arg(&project.tarball)), done(&mut attw));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packed_clients_types_compile_in_a_page_in_node_and_in_react_native() {
    let Some(node) = needs::node("the JavaScript package's types") else { return };
    let project = project(&node).await;
    let compiles = async |folder: &str| {
        let mut compiler = tool(&node, "typescript/bin/tsc");
        compiler.args(["--skipLibCheck", "false", "-p"]).arg(project.root.join(folder));
        done(&mut compiler).await
    };
    tokio::join!(
        compiles("consumer"),
        compiles("examples/react"),
        compiles("examples/react-native"),
    );
}

#[tokio::test]
async fn the_samples_in_react_ask_for_the_versions_that_are_tested() {
    let read = |path: &str| -> Value {
        let text = std::fs::read_to_string(repository().join(path).join("package.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let client = read("clients/js");
    for sample in [read("examples/react"), read("examples/react-native")] {
        let wanted = ["dependencies", "devDependencies"].map(|kind| sample[kind].as_object());
        for (name, version) in wanted.into_iter().flatten().flatten() {
            let tested = match name.as_str() {
                "@fido-relay/client" => &client["version"],
                _ => &client["devDependencies"][name],
            };
            assert!(tested.is_null() || tested == version, "{name} {version}, tested {tested}");
        }
    }
}
