//! Reads a Rust file just well enough to know which paths its code names: comments, literals and
//! test code are left out, groups are taken apart, and `super` is followed.

/// The crates of the workspace beside the relay's own, each a room.
pub(super) const CRATES: [&str; 4] = ["kit", "proto", "rig", "webauthn"];

/// One file's code.
#[derive(Debug)]
pub(super) struct Source {
    module: Vec<String>,
    is_test: bool,
    paths: Vec<Vec<String>>,
}

impl Source {
    /// `path` is the file's place in the repository.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&without_comments_and_literals(text));
        let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
        Self { module: module_of(path), is_test, paths: paths(&tokens(&code)) }
    }

    /// Where the file is in its crate; files of another crate are all in the room of its name.
    pub(super) fn module(&self) -> &[String] {
        &self.module
    }

    /// Whether the whole file is test code.
    pub(super) fn is_test(&self) -> bool {
        self.is_test
    }

    /// Every path into the own crate, from its root.
    pub(super) fn used_modules(&self) -> Vec<Vec<String>> {
        let elsewhere = self.module.first().is_some_and(|room| CRATES.contains(&room.as_str()));
        self.paths.iter().filter_map(|path| self.absolute(path, elsewhere)).collect()
    }

    /// Every path that begins with `self`, from the crate's root.
    pub(super) fn own_children(&self) -> impl Iterator<Item = Vec<String>> {
        let own = self.paths.iter().filter(|path| path[0] == "self");
        own.map(|path| self.module.iter().chain(&path[1..]).cloned().collect())
    }

    /// Every path that does not begin in the own crate.
    pub(super) fn used_libraries(&self) -> impl Iterator<Item = &[String]> {
        self.paths
            .iter()
            .filter(|path| !matches!(path[0].as_str(), "crate" | "super" | "self" | "Self"))
            .map(Vec::as_slice)
    }

    fn absolute(&self, path: &[String], elsewhere: bool) -> Option<Vec<String>> {
        let up = path.iter().take_while(|part| *part == "super").count();
        let base = match path[0].as_str() {
            "crate" if elsewhere => &self.module[..1],
            "crate" => &[],
            "super" => &self.module[..self.module.len().saturating_sub(up)],
            _ => return None,
        };
        let rest = &path[up.max(1)..];
        Some(base.iter().chain(rest).cloned().collect())
    }
}

fn module_of(path: &str) -> Vec<String> {
    let (first, inside) = match path.split_once("/src/") {
        Some((name, inside)) if CRATES.contains(&name) => (Some(name), inside),
        Some(_) | None => (None, path.strip_prefix("src/").unwrap_or(path)),
    };
    let inside = inside.trim_end_matches(".rs").trim_end_matches("/mod");
    first.into_iter().chain(inside.split('/')).map(str::to_owned).collect()
}

/// The text with a blank in the place of every comment, string and character.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut last = ' ';
    while let Some(c) = rest.chars().next() {
        let in_word = last.is_alphanumeric() || last == '_';
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            string_end(rest, 1)
        } else if !in_word && let Some(end) = raw_string_end(rest) {
            end
        } else if c == '\'' {
            character_end(rest)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            last = ' ';
            rest = &rest[skipped..];
        } else {
            code.push(c);
            last = c;
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// Where a string ends whose content begins at `from`.
fn string_end(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_end(text: &str) -> Option<usize> {
    let body = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    body[hashes..].strip_prefix('"')?;
    let from = text.len() - body.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[from..].find(&close).map_or(text.len(), |at| from + at + close.len()))
}

/// Where a character literal ends; 0 for a lifetime.
fn character_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            text[at + 1..].find('\'').map_or(text.len(), |end| at + 1 + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// The code without the items behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const GATE: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(GATE) {
        kept.push_str(&rest[..at]);
        rest = rest[at + GATE.len()..].trim_start();
        while rest.starts_with("#[") {
            rest = rest[rest.find(']').map_or(rest.len(), |end| end + 1)..].trim_start();
        }
        rest = &rest[item_end(rest)..];
    }
    kept.push_str(rest);
    kept
}

/// Where an item ends: at its semicolon, or at the brace that closes its body.
fn item_end(code: &str) -> usize {
    let is_use = code.starts_with("use ") || code.starts_with("pub use ");
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && !is_use {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    /// `::`
    Into,
    Open,
    Close,
    Comma,
    Other,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let (token, len) = if c.is_alphabetic() || c == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(&rest[..len]), len)
        } else if rest.starts_with("::") {
            (Token::Into, 2)
        } else {
            let token = match c {
                '{' => Token::Open,
                '}' => Token::Close,
                ',' => Token::Comma,
                _ => Token::Other,
            };
            (token, c.len_utf8())
        };
        tokens.push(token);
        rest = rest[len..].trim_start();
    }
    tokens
}

/// Every path of two names or more, groups taken apart.
fn paths(tokens: &[Token<'_>]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let begins = matches!(tokens[at], Token::Name(_))
            && tokens.get(at + 1) == Some(&Token::Into)
            && (at == 0 || tokens[at - 1] != Token::Into);
        // Within a group the names after commas are parts of a longer path: `use` reads those.
        if begins && !in_use_group(tokens, at) {
            tree(tokens, at, &mut Vec::new(), &mut found);
        } else if tokens[at] == Token::Name("use") && tokens.get(at + 1) == Some(&Token::Open) {
            tree(tokens, at + 1, &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Whether an open brace before `at` belongs to a group, as after `::`.
fn in_use_group(tokens: &[Token<'_>], at: usize) -> bool {
    let mut depth = 0_usize;
    for earlier in (0..at).rev() {
        match tokens[earlier] {
            Token::Close => depth += 1,
            Token::Open if depth > 0 => depth -= 1,
            Token::Open => return earlier > 0 && tokens[earlier - 1] == Token::Into,
            Token::Name(_) | Token::Into | Token::Comma => {}
            // A statement ends here, or it is no group of names at all.
            Token::Other => return false,
        }
    }
    false
}

/// Reads the path or group at `at`; gives what comes after it.
fn tree(
    tokens: &[Token<'_>],
    mut at: usize,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let depth = path.len();
    loop {
        match tokens.get(at) {
            Some(Token::Name(name)) => {
                // `a::{self}` is `a`.
                if *name != "self" || path.is_empty() {
                    path.push((*name).to_owned());
                }
                at += 1;
                if tokens.get(at) != Some(&Token::Into) {
                    found.push(path.clone());
                    break;
                }
                at += 1;
            }
            Some(Token::Open) => {
                at += 1;
                loop {
                    match tokens.get(at) {
                        Some(Token::Close) | None => break,
                        Some(Token::Name(_) | Token::Open) => at = tree(tokens, at, path, found),
                        Some(Token::Into | Token::Comma | Token::Other) => at += 1,
                    }
                }
                at += 1;
                break;
            }
            // A glob, a generic argument, or the end.
            Some(Token::Into | Token::Close | Token::Comma | Token::Other) | None => {
                found.push(path.clone());
                break;
            }
        }
    }
    path.truncate(depth);
    at
}
