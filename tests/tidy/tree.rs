//! The files that the rules are about, and what a finding looks like.
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    /// Path from the top of the tree.
    pub(crate) path: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    /// What is wrong and what to do instead.
    pub(crate) message: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// One text file.
pub(crate) struct Source {
    /// Path from the top of the tree, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn offence(&self, line: usize, message: impl Into<String>) -> Offence {
        Offence { path: self.path.clone(), line, message: message.into() }
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        !["src/", "kernels/src/"].iter().any(|code| self.path.starts_with(code))
            || ["/tests.rs", "/testing.rs"].iter().any(|end| self.path.ends_with(end))
            || self.path.contains("/tests/")
    }

    /// The file's tokens; `None` for a file of test code.
    pub(crate) fn code_tokens(&self) -> TokenStream {
        if self.is_test() { TokenStream::new() } else { without_tests(self.tokens()) }
    }

    pub(crate) fn tokens(&self) -> TokenStream {
        TokenStream::from_str(&self.text).unwrap_or_else(|error| panic!("{}: does not parse: {error}", self.path))
    }
}

/// Drops every item marked `#[cfg(test)]`, at any depth.
pub(crate) fn without_tests(tokens: TokenStream) -> TokenStream {
    let mut kept = Vec::new();
    let mut trees = tokens.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let marks_test = is_punct(&tree, '#') && trees.peek().is_some_and(is_cfg_test);
        if marks_test {
            // The attribute's brackets, further attributes, then the item up to its braces or semicolon.
            let ends_item = |tree: &TokenTree| match tree {
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                other => is_punct(other, ';'),
            };
            for skipped in trees.by_ref() {
                if ends_item(&skipped) {
                    break;
                }
            }
            continue;
        }
        kept.push(match tree {
            TokenTree::Group(group) => {
                let mut inner = proc_macro2::Group::new(group.delimiter(), without_tests(group.stream()));
                inner.set_span(group.span());
                TokenTree::Group(inner)
            }
            other => other,
        });
    }
    kept.into_iter().collect()
}

pub(crate) fn is_punct(tree: &TokenTree, wanted: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_cfg_test(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let text = group.stream().to_string().replace(' ', "");
    group.delimiter() == Delimiter::Bracket && (text == "cfg(test)" || text.starts_with("cfg(all(test"))
}

pub(crate) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below these directories.
pub(crate) fn rust_sources(below: &[&str]) -> Vec<Source> {
    below.iter().flat_map(|directory| files(&top().join(directory), &["rs"])).collect()
}

/// Everything written by hand: code, docs, settings, scripts.
pub(crate) fn texts() -> Vec<Source> {
    const KINDS: &[&str] =
        &["rs", "toml", "md", "ts", "mjs", "js", "svelte", "html", "css", "json", "sql", "yml", "npmrc"];
    let mut texts: Vec<Source> = ["src", "kernels", "tests", "benches", "config", "docs", "web", ".config"]
        .iter()
        .flat_map(|directory| files(&top().join(directory), KINDS))
        .collect();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Cargo.toml", "deny.toml"]
        .into_iter()
        .chain(["Makefile", ".ci/run", ".ci/deps", ".ci/demo", ".ci/cluster", ".ci/deb-test"])
    {
        texts.extend(read(&top().join(name)));
    }
    texts
}

fn files(directory: &Path, kinds: &[&str]) -> Vec<Source> {
    const MADE: &[&str] = &["node_modules", "dist", "target"];
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && !MADE.contains(&name) {
            found.extend(files(&path, kinds));
        } else if kinds.contains(&name.rsplit('.').next().unwrap_or_default()) {
            found.extend(read(&path));
        }
    }
    found
}

fn read(path: &Path) -> Option<Source> {
    let text = std::fs::read_to_string(path).ok()?;
    let relative = path.strip_prefix(top()).ok()?.to_str()?.replace('\\', "/");
    Some(Source { path: relative, text })
}

#[test]
fn test_items_are_dropped_at_any_depth() {
    let text = "fn a() {} #[cfg(test)] mod tests { fn b() {} } mod c { #[cfg(test)] use d; fn e() {} }";
    let left = without_tests(TokenStream::from_str(text).unwrap()).to_string();
    assert!(left.contains("fn a") && left.contains("fn e"), "{left}");
    assert!(!left.contains("fn b") && !left.contains("use d"), "{left}");
}

#[test]
fn the_tree_is_found() {
    assert!(rust_sources(&["src"]).iter().any(|source| source.path == "src/lib.rs"));
    assert!(texts().iter().any(|source| source.path == "Cargo.toml"));
}
