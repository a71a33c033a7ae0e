//! The house rules that a compiler does not hold: which room may use which, how a file begins, how
//! long it may grow and what it may not be called.
//!
//! Changing the table is a commit of its own, with its reason. What stands under `tests/`, in a
//! `tests.rs` or behind `#[cfg(test)]` is not held to it: a test may build what it needs.

use std::fs;
use std::path::Path;

mod circles;
mod rooms;
mod source;

use rooms::{EVERYTHING, ROOMS, Room};
use source::{CRATES, Source};

/// Where a file goes beyond the table: (file, room, reason). To be emptied, not to be filled.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Rooms that read and write records by functions of `app` alone.
const WITHOUT_STORE: [&str; 2] = ["edge", "cli"];
/// What of `ports` reads and writes records.
const OF_STORE: [&str; 5] = ["Store", "Bucket", "Batch", "Revision", "records"];

/// Files over the limit of lines, each with the reason why it is not split.
const LONG: &[(&str, &str)] = &[];
const MOST_LINES: usize = 500;

/// Names that say nothing of what is inside and gather whatever has no place.
const NO_NAMES: [&str; 8] =
    ["utils", "util", "helpers", "helper", "common", "types", "misc", "shared"];

/// The innermost room of the table that a path lies in.
fn room_of(path: &[String]) -> Option<&'static Room> {
    let lies_in = |room: &&Room| {
        let name: Vec<_> = room.name.split("::").collect();
        path.len() >= name.len() && path.iter().zip(&name).all(|(part, name)| part == name)
    };
    ROOMS.iter().filter(lies_in).max_by_key(|room| room.name.len())
}

/// Everything that is wrong with a file, one line each.
fn faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = file_faults(path, text);
    let source = Source::new(path, text);
    if source.is_test() {
        return faults;
    }
    let Some(home) = room_of(source.module()) else {
        faults.push(format!("{path}: lies in no room of the table"));
        return faults;
    };
    for target in strays(&source, home) {
        let excepted = |(file, room, _): &(&str, &str, &str)| *file == path && *room == target;
        if !EXCEPTIONS.iter().any(excepted) {
            faults.push(format!("{path}: {} must not use {target}", home.name));
        }
    }
    if source.module().first().is_some_and(|room| WITHOUT_STORE.contains(&room.as_str())) {
        for used in source.used_modules().iter().filter(|used| used[0] == "ports") {
            if let Some(known) = used.iter().find(|part| OF_STORE.contains(&part.as_str())) {
                faults.push(format!("{path}: {} must not know ports::{known}", home.name));
            }
        }
    }
    for used in source.used_libraries() {
        let known = home.must_not_know.iter().find(|path| {
            let path: Vec<_> = path.split("::").collect();
            used.len() >= path.len() && used.iter().zip(&path).all(|(used, path)| used == path)
        });
        if let Some(known) = known {
            faults.push(format!("{path}: {} must not know {known}", home.name));
        }
    }
    faults.dedup();
    faults
}

/// The rooms that a file of this room uses and must not.
fn strays(source: &Source, home: &Room) -> Vec<String> {
    let name = |used: &[String]| room_of(used).map_or(used.join("::"), |room| room.name.to_owned());
    let allowed = |target: &str| {
        target == home.name || home.may_use == EVERYTHING || home.may_use.contains(&target)
    };
    source.used_modules().iter().map(|used| name(used)).filter(|target| !allowed(target)).collect()
}

/// What every file is held to, tests included.
fn file_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{path}: does not begin with what it is"));
    }
    let lines = text.lines().count();
    let listed = LONG.iter().any(|(long, _)| *long == path);
    if lines > MOST_LINES && !listed {
        faults.push(format!("{path}: {lines} lines, and no reason for them"));
    }
    if lines <= MOST_LINES && listed {
        faults.push(format!("{path}: is no longer long, and still listed"));
    }
    for part in path.trim_end_matches(".rs").split('/') {
        if NO_NAMES.contains(&part) {
            faults.push(format!("{path}: {part} is no name"));
        }
    }
    faults
}

/// Every Rust file under a folder of the repository, as its path from there.
pub(crate) fn files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.ends_with(".rs") {
                let text = fs::read_to_string(root.join(&path)).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn every_room_uses_only_what_the_table_allows() {
    let mut checked = 0;
    let mut all = Vec::new();
    let folders = CRATES.map(|name| format!("{name}/src"));
    for (path, text) in folders.iter().map(String::as_str).chain(["src"]).flat_map(files) {
        all.extend(faults(&path, &text));
        checked += 1;
    }
    assert!(checked > 50, "only {checked} files were found");
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn no_exception_outlives_its_reason() {
    for (path, room, reason) in EXCEPTIONS {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let source = Source::new(path, &text);
        let home = room_of(source.module()).unwrap();
        assert!(strays(&source, home).iter().any(|target| target == room), "{path}: {reason}");
    }
}

#[test]
fn every_other_file_says_what_it_is_and_stays_readable() {
    let folders = ["tests", "proto/tests", "examples", "benches"];
    let all: Vec<_> = folders
        .into_iter()
        .flat_map(files)
        .flat_map(|(path, text)| file_faults(&path, &text))
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

/// What the checker says of a file with this code, and nothing else wrong.
fn said_of(path: &str, code: &str) -> Vec<String> {
    let prefix = format!("{path}: ");
    faults(path, &format!("//! A sample.\n{code}"))
        .into_iter()
        .map(|fault| fault.strip_prefix(&prefix).unwrap().to_owned())
        .collect()
}

#[test]
fn the_checker_sees_every_way_to_reach_into_another_room() {
    let delivery = ["core::ceremony must not use delivery"];
    for code in [
        "use crate::delivery::Delivery;",
        "use crate::{core::ceremony::State, delivery};",
        "use crate::{\n    ports::{self, Store},\n    delivery::{Delivery, pull},\n};",
        "use super::super::super::super::delivery::Delivery;",
        "pub(crate) use crate::delivery as d;",
        "fn f() -> crate::delivery::Delivery { loop {} }",
        "fn f() { let c = '\"'; crate::delivery::run(\"//\"); }",
        "fn f<'a>(x: &'a u8) { crate::delivery::run(x) }",
    ] {
        let said = said_of("src/core/ceremony/step/deep.rs", code);
        assert!(said.iter().any(|fault| fault == delivery[0]), "{code}: {said:?}");
    }
    for (path, code, fault) in [
        (
            "src/edge/public/http/mod.rs",
            "use crate::core::ceremony::State;",
            "edge must not use core::ceremony",
        ),
        (
            "src/backends/embedded/bus.rs",
            "use super::super::fido_http::FidoHttp;",
            "backends::embedded must not use backends::fido_http",
        ),
        (
            "src/backends/fido_http/mod.rs",
            "use super::embedded::FileStore;",
            "backends::fido_http must not use backends::embedded",
        ),
        (
            "src/delivery/pull.rs",
            "use crate::security::keys::Keys;",
            "delivery must not use security",
        ),
        ("src/config/mod.rs", "use crate::tasks::Tasks;", "config must not use tasks"),
        (
            "src/core/session/machine.rs",
            "use std::time::Instant;",
            "core::session must not know std::time",
        ),
        (
            "src/core/session/machine.rs",
            "use std::{fmt, io::Read};",
            "core::session must not know std::io",
        ),
        (
            "src/core/ceremony/step.rs",
            "fn f() { tracing::info!(1) }",
            "core::ceremony must not know tracing",
        ),
        ("src/delivery/pull.rs", "use axum::Json;", "delivery must not know axum"),
        ("proto/src/device.rs", "use tokio::sync;", "proto must not know tokio"),
        ("webauthn/src/cose.rs", "use std::time::Instant;", "webauthn must not know std::time"),
        ("src/edge/views.rs", "use crate::ports::Store;", "edge must not know ports::Store"),
        ("src/cli/rig.rs", "use crate::ports::store::Bucket;", "cli must not know ports::Bucket"),
        ("src/somewhere/mod.rs", "", "lies in no room of the table"),
    ] {
        assert_eq!(said_of(path, code), [fault], "{code}");
    }
}

#[test]
fn the_checker_lets_pass_what_is_allowed_and_what_is_no_code() {
    for (path, code) in [
        (
            "src/delivery/pull.rs",
            "use crate::{core::ceremony::State, ports::Store, security::random};",
        ),
        ("src/delivery/pull.rs", "use super::prompts::Prompts;\nuse crate::delivery::Delivery;"),
        (
            "src/core/ceremony/step.rs",
            "/// See [`crate::delivery`].\n// crate::delivery::x\n/* tokio::x */",
        ),
        ("src/core/ceremony/step.rs", "const X: &str = \"crate::delivery::x\";"),
        ("src/core/ceremony/step.rs", "const X: &str = r#\"\" crate::delivery::x\"#;"),
        ("src/core/ceremony/step.rs", "#[cfg(test)]\nmod tests {\n use crate::delivery::{x};\n}"),
        ("src/core/ceremony/step.rs", "#[cfg(test)]\n#[allow(unused)]\nuse crate::delivery::x;"),
        ("src/core/ceremony/tests/table.rs", "use crate::delivery::x;"),
        ("src/core/ceremony/tests.rs", "use crate::delivery::x;"),
        ("src/cli/demo.rs", "use crate::{edge, delivery, backends::embedded::FileStore};"),
        ("proto/src/http.rs", "use crate::ids::CeremonyId;\nuse super::life::Step;"),
    ] {
        assert_eq!(said_of(path, code), [""; 0], "{code}");
    }
    let after = "#[cfg(test)]\nmod tests {}\nuse crate::delivery::x;";
    assert_eq!(
        said_of("src/core/ceremony/step.rs", after),
        ["core::ceremony must not use delivery"]
    );
}

#[test]
fn the_checker_sees_a_file_without_a_word_of_its_own() {
    assert_eq!(
        file_faults("src/a.rs", "use std::fmt;"),
        ["src/a.rs: does not begin with what it is"]
    );
    let long = format!("//! Long.\n{}", "\n".repeat(MOST_LINES));
    assert_eq!(file_faults("src/a.rs", &long), ["src/a.rs: 501 lines, and no reason for them"]);
    for path in ["src/delivery/utils.rs", "src/helpers/mod.rs", "tests/it/common/mod.rs"] {
        assert_eq!(file_faults(path, "//! X.").len(), 1, "{path}");
    }
}
