//! Clients that generators make of the document: each opens a ceremony at a running relay, waits
//! for its outcome while a phone answers, and reads two errors. The programs are those of
//! `tests/generated`; what is generated is not kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::child::{self, ChildProcess};
use crate::support::needs;
use crate::support::relay::TestRelay;

/// What every program says last: the outcome, an error before and one after.
const SAYS: &str = "succeeded unauthorized already_closed";
/// A JVM that lives for seconds.
const JVM: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
/// Sources alone.
const SOURCES: &str = "models,supportingFiles,modelDocs=false,apiDocs=false,modelTests=false,\
                       apiTests=false";

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generated")
}

/// A folder with the programs and the document of a relay.
struct Workshop {
    relay: TestRelay,
    folder: tempfile::TempDir,
}

impl Workshop {
    /// With these of the programs' files.
    async fn with(files: &[&str]) -> Self {
        let relay = TestRelay::start().await;
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let document = fido_relay::schema::openapi::document().to_string();
        std::fs::write(folder.path().join("openapi.json"), document).unwrap();
        for file in files {
            let to = folder.path().join(file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(programs().join(file), to).unwrap();
        }
        Self { relay, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a step to its end.
    async fn step(&self, program: impl AsRef<OsStr>, arguments: impl AsRef<[&str]>) -> String {
        let arguments = arguments.as_ref();
        let mut step = Command::new(program);
        step.args(arguments).current_dir(self.folder.path());
        child::run(step.env("RELAY", self.relay.url()).env("GOFLAGS", "-mod=mod")).await.stdout()
    }

    /// Has openapi-generator make sources in `made`.
    async fn generate(&self, jar: &str, language: &str, more: &[&str]) {
        let made = ["generate", "-i", "openapi.json", "-g", language];
        self.step("java", [&JVM[..], &["-jar", jar], &made, more].concat()).await;
    }

    /// Runs a program against the relay, with a phone and a person who types what it prints.
    async fn run(&self, program: impl AsRef<OsStr>, arguments: impl AsRef<[&str]>, who: &str) {
        let initiator = self.relay.initiator().await;
        let phone = self.relay.phone(&initiator, who).await;
        let mut run = Command::new(program);
        run.args(arguments.as_ref()).current_dir(self.folder.path());
        run.env("RELAY", self.relay.url()).env("KEY", &initiator.key).env("WHO", who);
        let mut run = ChildProcess::start(&mut run);
        let line = run.prints("cer_").await;
        let (id, code) = line.split_once(' ').unwrap();
        phone.codes.provide(format!("cer_{id}").parse().unwrap(), code.to_owned());
        let shown = run.exit().await.stdout();
        assert_eq!(shown.lines().last(), Some(SAYS), "{who}");
        phone.handle.stop();
    }
}

/// Where openapi-generator is, and the Python that it came with.
struct Generators {
    python: PathBuf,
    jar: String,
}

impl Generators {
    async fn installed() -> Option<Self> {
        let what = "clients that are generated from the OpenAPI document";
        let modules = "openapi_generator_cli, openapi_python_client, dateutil";
        let python = needs::python_with(modules, what)?;
        needs::javac(what)?;
        let find = "import openapi_generator_cli as found; print(found.__path__[0], end='')";
        let folder = child::run(Command::new(&python).args(["-c", find])).await.stdout();
        let folder = folder.trim_end();
        Some(Self { python, jar: format!("{folder}/openapi-generator.jar") })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_python_clients_open_wait_and_read_errors() {
    let Some(Generators { python, jar }) = Generators::installed().await else { return };
    let files = ["openapi_generator.py", "python_client.py", "python_client.yaml"];
    let workshop = Workshop::with(&files).await;
    let sources = format!("apis,{SOURCES}");
    let more = ["-o", ".", "--global-property", &sources];
    let arguments = [
        ["-m", "openapi_python_client", "generate", "--path", "openapi.json"],
        ["--config", files[2], "--meta=none", "--output-path", "fido_relay_client"],
    ];
    tokio::join!(
        async {
            workshop.generate(&jar, "python", &more).await;
            workshop.run(&python, &files[..1], "ada").await;
        },
        async {
            let told = workshop.step(&python, arguments.as_flattened()).await;
            assert!(!told.contains("WARNING"), "{told}");
            workshop.run(&python, &files[1..2], "grace").await;
        },
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_typescript_clients_open_wait_and_read_errors() {
    let what = "TypeScript clients that are generated from the OpenAPI document";
    let Some(Generators { jar, .. }) = Generators::installed().await else { return };
    let Some(node) = needs::generated(what) else { return };
    let names = ["openapi_typescript", "orval", "openapi_generator"];
    let sources = names.map(|name| format!("{name}.ts"));
    let files = [&["tsconfig.json", "orval.config.mjs"], &sources.each_ref().map(|it| &**it)[..]];
    let workshop = Workshop::with(&files.concat()).await;
    let modules = programs().join("node_modules");
    std::os::unix::fs::symlink(&modules, workshop.path("node_modules")).unwrap();
    let typescript = ["node_modules/openapi-typescript/bin/cli.js", "openapi.json", "-o"];
    let apis = format!("apis=Ceremonies,{SOURCES}");
    let fetch = ["-o", "made/openapi_generator", "--global-property", &apis];
    tokio::join!(
        workshop.step(&node, [&typescript[..], &["made/openapi_typescript.ts"]].concat()),
        workshop.step("node_modules/.bin/orval", ["--config", "orval.config.mjs"]),
        workshop.generate(&jar, "typescript-fetch", &fetch),
    );
    workshop.step(&node, ["node_modules/typescript/bin/tsc", "-p", "."]).await;
    let built = names.map(|name| format!("built/{name}.js"));
    tokio::join!(
        workshop.run(&node, [&*built[0]], names[0]),
        workshop.run(&node, [&*built[1]], names[1]),
        workshop.run(&node, [&*built[2]], names[2]),
    );
}

/// The sources below a folder.
fn java_sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            java_sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "java") {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_java_client_opens_waits_and_reads_errors() {
    let Some(Generators { jar, .. }) = Generators::installed().await else { return };
    let workshop =
        Workshop::with(&["java/Main.java", "java/javax/annotation/Generated.java"]).await;
    let options = "openApiNullable=false,useJakartaEe=false,hideGenerationTimestamp=true";
    let apis = format!("apis=Ceremonies,{SOURCES}");
    let more = ["--library=native", "-o", "java/made", "-p", options, "--global-property", &apis];
    workshop.generate(&jar, "java", &more).await;
    // The generator itself is built on the libraries that its clients need.
    let mut arguments = vec!["-J-XX:TieredStopAtLevel=1", "-nowarn", "-d", "built", "-cp", &jar];
    let mut sources = Vec::new();
    java_sources(&workshop.path("java"), &mut sources);
    arguments.extend(sources.iter().map(String::as_str));
    workshop.step("javac", &arguments).await;
    let classes = format!("built:{jar}");
    workshop.run("java", [&JVM[..], &["-cp", &classes, "Main"]].concat(), "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_go_client_opens_waits_and_reads_errors() {
    let Some(go) = needs::go("a Go client that is generated from the OpenAPI document") else {
        return;
    };
    let Some(Generators { jar, .. }) = Generators::installed().await else { return };
    let files = ["go.mod", "main.go", "oauth2/go.mod", "oauth2/oauth2.go"];
    let files = files.map(|file| format!("go/{file}"));
    let workshop = Workshop::with(&files.each_ref().map(|file| &**file)).await;
    let options = "packageName=relay,withGoMod=false,enumClassPrefix=true";
    let sources = format!("apis,{SOURCES}");
    let more = ["-o", "go/relay", "-p", options, "--global-property", &sources];
    workshop.generate(&jar, "go", &more).await;
    let go = go.to_str().unwrap();
    workshop.step("env", ["-C", "go", go, "build", "-o", "../built", "."]).await;
    workshop.run(workshop.path("built"), [], "ada").await;
}
