//! Modules beside each other must not use one another in a circle, at any depth of `src`.

use std::collections::{BTreeMap, BTreeSet};

use super::files;
use super::source::Source;

type Module = Vec<String>;

/// Who uses whom among the children of each module; the crate's own children are those of `crate`.
fn uses(sources: &[Source]) -> BTreeMap<String, BTreeSet<(String, String)>> {
    let modules: BTreeSet<_> = sources.iter().map(|source| source.module().to_vec()).collect();
    let mut aliases = BTreeMap::new();
    for source in sources {
        for path in source.used_modules().into_iter().chain(source.own_children()) {
            let mut alias = source.module().to_vec();
            alias.extend(path.last().cloned());
            if alias != path {
                aliases.insert(alias, path);
            }
        }
    }
    let mut uses: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for source in sources {
        for path in source.used_modules() {
            let (from, to) = (source.module(), home_of(path, &modules, &aliases));
            let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
            if let (Some(user), Some(used)) = (from.get(common), to.get(common)) {
                let mut parent = vec!["crate".to_owned()];
                parent.extend_from_slice(&from[..common]);
                let siblings = uses.entry(parent.join("::")).or_default();
                siblings.insert((user.clone(), used.clone()));
            }
        }
    }
    uses
}

/// The module that declares what a path names, also where another one exports it.
fn home_of(
    mut path: Module,
    modules: &BTreeSet<Module>,
    aliases: &BTreeMap<Module, Module>,
) -> Module {
    // An alias may lead to another one, and a name that a module both has and uses to itself.
    for _ in 0..8 {
        let home = (0..=path.len()).rev().map(|to| &path[..to]).find(|it| modules.contains(*it));
        let home = home.map_or(0, <[String]>::len);
        match path.get(..=home).and_then(|exported| aliases.get(exported)) {
            Some(exported) => path = [exported, &path[home + 1..]].concat(),
            None => {
                path.truncate(home);
                break;
            }
        }
    }
    path
}

/// Every module that reaches itself.
fn circular(uses: &BTreeSet<(String, String)>) -> BTreeSet<&str> {
    let reached = |start: &str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(user) = next.pop() {
            let used = uses.iter().filter(|(from, _)| from == user).map(|(_, to)| to.as_str());
            next.extend(used.filter(|used| reached.insert(*used)).collect::<Vec<_>>());
        }
        reached.contains(start)
    };
    uses.iter().map(|(from, _)| from.as_str()).filter(|from| reached(from)).collect()
}

fn sources() -> Vec<Source> {
    let sources = files("src").into_iter().map(|(path, text)| Source::new(&path, &text));
    sources.filter(|source| !source.is_test()).collect()
}

#[test]
fn modules_beside_each_other_do_not_use_one_another_in_a_circle() {
    let uses = uses(&sources());
    assert!(uses.len() > 10, "only {} modules have children", uses.len());
    let circles: Vec<_> = uses
        .iter()
        .map(|(parent, uses)| (parent, uses, circular(uses)))
        .filter(|(_, _, circular)| !circular.is_empty())
        .map(|(parent, uses, circular)| {
            let of_circle = |(from, to): &&(String, String)| {
                circular.contains(from.as_str()) && circular.contains(to.as_str())
            };
            let uses = uses.iter().filter(of_circle).map(|(from, to)| format!("{from} → {to}"));
            format!("{parent}: {}", uses.collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_seen_through_exports_and_below_children() {
    let sources = [
        ("src/edge/mod.rs", "pub use self::public::Edge; use self::watch::Places;"),
        ("src/edge/public/mod.rs", "pub use self::state::Edge;"),
        ("src/edge/public/state.rs", "use crate::edge::watch::Places;"),
        ("src/edge/watch.rs", "use crate::edge::Edge;"),
        ("src/relay/mod.rs", "use crate::edge::Edge;"),
    ];
    let sources = sources.map(|(path, code)| Source::new(path, code));
    let uses = uses(&sources);
    assert_eq!(circular(&uses["crate::edge"]), BTreeSet::from(["public", "watch"]));
    assert_eq!(circular(&uses["crate"]), BTreeSet::new());
}
