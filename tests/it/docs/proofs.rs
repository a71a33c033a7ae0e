//! What the documents that make claims lean on.

use std::path::Path;

use super::{files, read, root};

/// The documents with a table of claims, each claim with its tests.
const CLAIMS: [&str; 2] = ["SECURITY.md", "docs/promises.md"];

/// The names in backquotes beside the claims of a document's table.
fn named(document: &str) -> Vec<String> {
    let text = read(document);
    let (_, table) = text.split_once("\n## What holds it\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let claims = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let proofs = claims.filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
    proofs.flat_map(|(_, proofs)| proofs.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_test_that_the_table_of_teams_names_exists() {
    let (text, tests) = (read("docs/clients.md"), read("tests/it/main.rs"));
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
    let named: Vec<_> = cells.flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("\nmod {name};")), "there is no test {name}");
    }
}

#[test]
fn every_test_that_a_claim_names_exists() {
    let sources: Vec<_> = files("rs");
    let code: String = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let ours = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    let paths: Vec<_> = sources.iter().map(|path| ours(path.as_path())).collect();
    let exists = |name: &String| {
        let place = name.contains('/') || name.ends_with(".rs");
        if place {
            paths.iter().any(|path| path.contains(name.as_str()))
        } else {
            code.contains(&format!("fn {name}("))
        }
    };
    for document in CLAIMS {
        let named = named(document);
        assert!(named.len() > 20, "{named:?}");
        let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{document} leans on {missing:?}");
    }
}
