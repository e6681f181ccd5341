//! Who may import whom, and which framework may be named where.
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::tree::{Offence, Source, is_punct};

/// What each room may import besides itself; a room not listed here does not exist.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("storage", &["domain"]),
    ("media", &["domain"]),
    ("protocols", &["domain", "media"]),
    ("cluster", &["domain", "media"]),
    ("actors", &["domain", "storage", "media", "protocols", "cluster"]),
    // Handlers read limits and lifetimes as they are; copying each into a struct of its own would say nothing new.
    ("http", &["domain", "media", "protocols", "actors", "settings"]),
    // The composition root, its settings and commands see everything.
    ("settings", ALL),
    ("logging", ALL),
    ("system", ALL),
    // Certificates are read as the settings say; their users get acceptors and know nothing of where they come from.
    ("tls", &["domain", "settings"]),
    ("app", ALL),
    ("cli", ALL),
    ("main", ALL),
    ("lib", ALL),
];
const ALL: &[&str] = &[
    "domain",
    "storage",
    "media",
    "protocols",
    "cluster",
    "actors",
    "http",
    "settings",
    "logging",
    "system",
    "tls",
    "app",
    "cli",
];

/// A crate's names, and the directories that may say them.
const FRAMEWORKS: &[(&str, &[&str])] = &[
    ("ractor", &["src/actors/", "src/actors.rs", "src/cluster/", "src/cluster.rs"]),
    ("gstreamer", &["src/media/pipelines/", "src/media/pipelines.rs"]),
    ("gst", &["src/media/pipelines/", "src/media/pipelines.rs"]),
    ("playhouse_kernels", &["src/media/pipelines/"]),
    ("rav1e", &["kernels/"]),
    ("fast_image_resize", &["kernels/"]),
    ("rusqlite", &["src/storage/"]),
    ("sled", &["src/storage/"]),
    ("bincode", &["src/storage/"]),
    ("object_store", &["src/storage/"]),
    ("axum", &["src/http/", "src/http.rs"]),
];

/// Paths `crate::room::…` and `super::…` that lead where this file's room may not look.
pub(crate) fn imports(source: &Source) -> Vec<Offence> {
    let module = module_of(&source.path);
    let room = module.first().map_or("lib", String::as_str);
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![source.offence(0, format!("no room is called {room}; the rooms are in tests/tidy/layers.rs"))];
    };
    let mut found = Vec::new();
    collect_rooms(source.code_tokens(), &module, &mut found);
    found.retain(|(_, target)| {
        target != room && !allowed.contains(&target.as_str()) && ROOMS.iter().any(|(name, _)| name == target)
    });
    let explain = |target: &str| match allowed {
        [] => format!("{room} may import nothing of ours, not {target}"),
        allowed => format!("{room} may not import {target}, only {}", allowed.join(", ")),
    };
    found.iter().map(|(line, target)| source.offence(*line, explain(target))).collect()
}

/// Framework crates named outside their rooms, tests included.
pub(crate) fn frameworks(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    collect_heads(source.tokens(), &mut found);
    let allowed = |name: &str| {
        let base = |known: &str| name == known || (known == "gstreamer" && name.starts_with("gstreamer_"));
        let Some((_, places)) = FRAMEWORKS.iter().find(|(known, _)| base(known)) else { return true };
        places.iter().any(|place| source.path.starts_with(place))
    };
    let offence = |(line, name): &(usize, String)| source.offence(*line, format!("{name} may not be named here"));
    found.iter().filter(|(_, name)| !allowed(name)).map(offence).collect()
}

/// The module path of a file: `src/media/movie.rs` and `src/media/movie/tests.rs` are below `media::movie`.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// Every room named by a path from the root, with its line.
fn collect_rooms(tokens: TokenStream, module: &[String], found: &mut Vec<(usize, String)>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => {
                let inner = inner_module(&trees, at, module);
                collect_rooms(group.stream(), &inner, found);
            }
            TokenTree::Ident(ident) if *ident == "crate" || *ident == "playhouse" => {
                rooms_after(&trees, at + 1, found);
            }
            TokenTree::Ident(ident) if *ident == "super" && !follows_path(&trees, at) => {
                climb(&trees, at, module, found);
            }
            _ => {}
        }
    }
}

/// The module inside a group: one deeper when the group is the body of `mod name { … }`.
fn inner_module(trees: &[TokenTree], at: usize, module: &[String]) -> Vec<String> {
    let mut inner = module.to_vec();
    if let [.., TokenTree::Ident(keyword), TokenTree::Ident(name)] = &trees[..at]
        && *keyword == "mod"
    {
        inner.push(name.to_string());
    }
    inner
}

/// Follows `super::super::…` from here; records the room when it climbs out to the root.
fn climb(trees: &[TokenTree], mut at: usize, module: &[String], found: &mut Vec<(usize, String)>) {
    let mut depth = module.len();
    while matches!(trees.get(at), Some(TokenTree::Ident(ident)) if *ident == "super") {
        depth = depth.saturating_sub(1);
        at += 3;
    }
    if depth == 0 {
        rooms_after(trees, at.saturating_sub(2), found);
    }
}

/// Records what comes after `crate`: `::name` or the heads of `::{a::…, b}`.
fn rooms_after(trees: &[TokenTree], at: usize, found: &mut Vec<(usize, String)>) {
    if !trees.get(at).is_some_and(|tree| is_punct(tree, ':')) {
        return;
    }
    match trees.get(at + 2) {
        Some(TokenTree::Ident(ident)) => found.push((ident.span().start().line, ident.to_string())),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => heads_of(group, found),
        _ => {}
    }
}

fn heads_of(group: &Group, found: &mut Vec<(usize, String)>) {
    let mut is_head = true;
    for tree in group.stream() {
        if let (true, TokenTree::Ident(ident)) = (is_head, &tree) {
            found.push((ident.span().start().line, ident.to_string()));
        }
        is_head = is_punct(&tree, ',');
    }
}

fn follows_path(trees: &[TokenTree], at: usize) -> bool {
    at > 0 && is_punct(&trees[at - 1], ':')
}

/// Every identifier that begins a path (`name::…`, `use name`), with its line.
fn collect_heads(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        match tree {
            TokenTree::Group(group) => collect_heads(group.stream(), found),
            TokenTree::Ident(ident) if !follows_path(&trees, at) => {
                let is_path = matches!(&trees[at + 1..], [a, b, ..] if is_punct(a, ':') && is_punct(b, ':'));
                let after_use = matches!(&trees[..at], [.., TokenTree::Ident(keyword)] if *keyword == "use");
                if is_path || after_use {
                    found.push((ident.span().start().line, ident.to_string()));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(check: fn(&Source) -> Vec<Offence>, path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_forbidden_import_is_found_in_every_form() {
        for text in [
            "use crate::storage::catalog;",
            "use crate::{domain::ids, storage::catalog};",
            "fn f() { crate::storage::open() }",
            "fn f() { println!(\"{}\", crate::storage::NAME) }",
            "use super::super::storage::catalog;",
            "mod inner { use super::super::super::storage::catalog; }",
        ] {
            let found = messages(imports, "src/media/movie.rs", text);
            assert_eq!(found, ["src/media/movie.rs:1: media may not import storage, only domain"], "{text}");
        }
    }

    #[test]
    fn allowed_imports_and_tests_pass() {
        for text in [
            "use crate::domain::ids;",
            "use super::boxes;",
            "mod storage { use super::x; }",
            "#[cfg(test)] mod tests { use crate::storage::catalog; }",
        ] {
            assert!(messages(imports, "src/media/movie.rs", text).is_empty(), "{text}");
        }
        assert!(messages(imports, "src/media/movie/tests.rs", "use crate::storage::x;").is_empty());
        assert!(messages(imports, "src/app.rs", "use crate::storage::x;").is_empty());
    }

    #[test]
    fn an_unknown_room_is_refused() {
        assert_eq!(messages(imports, "src/utils.rs", "").len(), 1);
    }

    #[test]
    fn a_framework_outside_its_room_is_found() {
        for text in ["use gstreamer as gst;", "use gstreamer_app::AppSink;", "fn f() { gst::init(); }"] {
            assert_eq!(messages(frameworks, "src/media/movie.rs", text).len(), 1, "{text}");
            assert!(messages(frameworks, "src/media/pipelines/probe.rs", text).is_empty(), "{text}");
        }
        assert_eq!(messages(frameworks, "src/http/api.rs", "use ractor::ActorRef;").len(), 1);
        assert!(messages(frameworks, "src/http/api.rs", "use crate::media::ractor::x; // ractor::x").is_empty());
    }
}
