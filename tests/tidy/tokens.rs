//! What may not stand where outside bytes are read: panics, unchecked indexing, the clock.
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::tree::{Offence, Source, is_punct};

/// Whether a file reads bytes that came from outside.
fn reads_outside_bytes(path: &str) -> bool {
    let wire = path.starts_with("src/protocols/") && path.split('/').any(|part| part.starts_with("wire"));
    let below = |name: &str| path == format!("src/media/{name}.rs") || path.starts_with(&format!("src/media/{name}/"));
    wire || below("codecs") || below("mpegts") || below("movie") || below("boxes") || FROM_NODES.contains(&path)
}

/// Where it is read what other nodes send, and taken.
const FROM_NODES: &[&str] = &[
    "src/actors/live_relay/speech.rs",
    "src/actors/peer_frames.rs",
    "src/actors/remote.rs",
    "src/cluster/members.rs",
    "src/cluster/wire.rs",
    "src/media/live/broadcast/mirror.rs",
    "src/media/live/broadcast/mirror/bounds.rs",
    "src/media/live/frame_relay.rs",
    "src/media/live/ring.rs",
    "src/storage/codec.rs",
];

/// `unwrap`, `expect`, indexing and panicking macros where outside bytes are read.
pub(crate) fn panics(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    if reads_outside_bytes(&source.path) {
        walk(source.code_tokens(), &mut |trees, at| {
            if let Some(what) = panic_at(trees, at) {
                found.push(source.offence(
                    trees[at].span().start().line,
                    format!("{what} where outside bytes are read; read fallibly"),
                ));
            }
        });
    }
    found
}

/// The operating system's clock or randomness where both are arguments: in `domain` and in wire parsing.
pub(crate) fn clocks(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    if source.path.starts_with("src/domain/") || reads_outside_bytes(&source.path) {
        walk(source.code_tokens(), &mut |trees, at| {
            if let Some(what) = clock_at(trees, at) {
                let line = trees[at].span().start().line;
                found.push(source.offence(line, format!("{what}: time and randomness are arguments here")));
            }
        });
    }
    found
}

fn walk(tokens: TokenStream, visit: &mut dyn FnMut(&[TokenTree], usize)) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        visit(&trees, at);
        if let TokenTree::Group(group) = tree {
            walk(group.stream(), visit);
        }
    }
}

fn panic_at(trees: &[TokenTree], at: usize) -> Option<String> {
    let before = at.checked_sub(1).and_then(|at| trees.get(at));
    match &trees[at] {
        TokenTree::Ident(ident) => {
            let name = ident.to_string();
            let is_method = before.is_some_and(|tree| is_punct(tree, '.'));
            let is_macro = trees.get(at + 1).is_some_and(|tree| is_punct(tree, '!'));
            let panics = is_method && ["unwrap", "expect", "unwrap_err", "expect_err"].contains(&name.as_str());
            let aborts = is_macro && ["panic", "unreachable", "assert", "assert_eq", "assert_ne"].contains(&&*name);
            (panics || aborts).then_some(name)
        }
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            let takes_all = group.stream().to_string().trim() == "..";
            let after_lifetime = at >= 2 && is_punct(&trees[at - 2], '\'');
            let indexes = !takes_all && !after_lifetime && before.is_some_and(is_indexable);
            indexes.then(|| "indexing".to_owned())
        }
        _ => None,
    }
}

/// Whether brackets after this token index it, rather than being a type, a pattern or an array.
fn is_indexable(tree: &TokenTree) -> bool {
    const NOT_VALUES: &[&str] = &[
        "mut", "in", "return", "as", "dyn", "const", "else", "let", "match", "if", "move", "ref", "break", "impl",
        "pub",
    ];
    match tree {
        TokenTree::Ident(ident) => !NOT_VALUES.contains(&ident.to_string().as_str()),
        TokenTree::Group(group) => matches!(group.delimiter(), Delimiter::Parenthesis | Delimiter::Bracket),
        TokenTree::Punct(punct) => punct.as_char() == '?',
        TokenTree::Literal(_) => false,
    }
}

fn clock_at(trees: &[TokenTree], at: usize) -> Option<String> {
    let TokenTree::Ident(head) = &trees[at] else { return None };
    let call = match trees.get(at + 1..at + 4) {
        Some([a, b, TokenTree::Ident(method)]) if is_punct(a, ':') && is_punct(b, ':') => method.to_string(),
        _ => String::new(),
    };
    let asks_clock = ["Instant", "SystemTime", "OffsetDateTime"].contains(&&*head.to_string())
        && ["now", "now_utc", "now_local"].contains(&call.as_str());
    let asks_chance = *head == "rand" && !call.is_empty();
    (asks_clock || asks_chance).then(|| format!("{head}::{call}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(check: fn(&Source) -> Vec<Offence>, path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn what_comes_from_nodes_is_read_where_it_is_looked_for() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let gone: Vec<&&str> = FROM_NODES.iter().filter(|path| !root.join(path).is_file()).collect();
        assert!(gone.is_empty(), "{gone:?}");
    }

    #[test]
    fn panics_are_found_where_outside_bytes_are_read() {
        for body in [
            "bytes.first().unwrap();",
            "bytes.first().expect(\"a byte\");",
            "bytes[0];",
            "read(bytes)?[1];",
            "&bytes[1..2];",
            "matches!(bytes[0], 1);",
            "unreachable!();",
            "table[1][2];",
        ] {
            let text = format!("fn f(bytes: &[u8]) {{ {body} }}");
            assert!(count(panics, "src/media/movie/boxes.rs", &text) >= 1, "{body}");
            assert!(count(panics, "src/protocols/tus/wire/headers.rs", &text) >= 1, "{body}");
            assert!(FROM_NODES.iter().all(|path| count(panics, path, &text) >= 1), "{body}");
            assert_eq!(count(panics, "src/http/api.rs", &text), 0, "{body}");
        }
    }

    #[test]
    fn fallible_reads_types_and_tests_pass() {
        let text = "
            #[derive(Debug)]
            struct Box_<'a> { kind: [u8; 4], rest: &'a [u8] }
            struct Code(pub [u8; 4]);
            const NAMES: [&str; 2] = [\"a\", \"b\"];
            fn f(bytes: &mut [u8]) -> Option<[u8; 2]> {
                for x in [1, 2] { let [a, b] = [x, x]; }
                let all = &bytes[..];
                vec![0u8; 4];
                bytes.get(0..2)?.try_into().ok()
            }
            #[cfg(test)] mod tests { fn t() { x[0]; y.unwrap(); } }";
        assert_eq!(panics(&Source::new("src/media/codecs/h264.rs", text)), []);
    }

    #[test]
    fn clocks_and_chance_are_found_in_the_domain() {
        assert_eq!(count(clocks, "src/domain/upload.rs", "fn f() { Instant::now(); }"), 1);
        assert_eq!(count(clocks, "src/domain/upload.rs", "fn f() { rand::random::<u8>(); }"), 1);
        assert_eq!(count(clocks, "src/domain/upload.rs", "fn f(now: Instant) { now.elapsed_since(x); }"), 0);
        assert_eq!(count(clocks, "src/storage/clock.rs", "fn f() { SystemTime::now(); }"), 0);
    }
}
