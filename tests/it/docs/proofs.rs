//! What the security document leans on.

use std::path::Path;

use super::{files, read, root};

/// What stands in backquotes in the table of claims.
fn named() -> Vec<String> {
    let text = read("docs/security.md");
    let (_, table) = text.split_once("\n## What holds it\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let claims = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let proofs = claims.filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "));
    proofs.flat_map(|(_, proofs)| proofs.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
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
    let named = named();
    assert!(named.len() > 20, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "docs/security.md leans on {missing:?}");
}
