//! The tables of the README: every step has a row, and every test that a row names exists.

use std::collections::BTreeSet;
use std::path::Path;

const README: &str = include_str!("../../README.md");
/// Steps that are the client's, or policies that this verifier has not.
const WITHOUT_TEST: [(&str, &[u32]); 2] =
    [("Registration", &[1, 2, 4, 18, 19]), ("Authentication", &[1, 2, 4])];

/// The names of all test functions in a folder of this workspace.
fn tests_in(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        let functions = text.split("fn ").skip(1);
        names.extend(functions.filter_map(|rest| Some(rest.split_once('(')?.0.to_owned())));
    }
    names
}

/// Rows of the table under this heading: the first cell, and the tests of the last.
fn rows(heading: &str) -> Vec<(String, Vec<String>)> {
    let section = README.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let tests = cells.get(2).copied().unwrap_or_default();
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[0].to_owned(), tests)
    })
    .collect()
}

#[test]
fn every_step_of_both_ceremonies_has_a_row_with_a_test() {
    for ((heading, without), last) in WITHOUT_TEST.into_iter().zip([29, 25]) {
        let mut steps = Vec::new();
        for (cell, tests) in rows(heading) {
            for step in cell.split(", ") {
                let step: u32 = step.parse().unwrap();
                assert_eq!(tests.is_empty(), without.contains(&step), "{heading}, step {step}");
                steps.push(step);
            }
        }
        steps.sort_unstable();
        assert_eq!(steps, (1..=last).collect::<Vec<_>>(), "{heading}");
    }
}

#[test]
fn the_tables_name_tests_that_exist_and_all_that_bear_a_steps_name() {
    let own = tests_in("src/tests");
    let servers = tests_in("../src/backends/fido_builtin/tests");
    let named: BTreeSet<String> = ["Registration", "Statement formats", "Authentication"]
        .into_iter()
        .flat_map(rows)
        .flat_map(|(_, tests)| tests)
        .collect();
    for name in &named {
        assert!(own.contains(name) || servers.contains(name), "{name} is no test");
    }
    for name in own.iter().filter(|name| name.starts_with("step") || name.starts_with("section_")) {
        assert!(named.contains(name), "{name} is in no table");
    }
}
