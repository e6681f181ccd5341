//! The rules of the house, executed: who may import whom, lengths, what hostile bytes may meet, settings and their file.
//! Each rule is a pure check of text in `tests/tidy/`, tried there on a bad snippet; here they meet the real tree.
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/lengths.rs"]
mod lengths;
#[path = "tidy/settings.rs"]
mod settings;
#[path = "tidy/tokens.rs"]
mod tokens;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use tree::{Offence, Source};

/// Applies a check to every Rust file and fails with all its findings, one per line.
fn check_rust(below: &[&str], check: fn(&Source) -> Vec<Offence>) {
    let sources = tree::rust_sources(below);
    assert!(!sources.is_empty(), "found no Rust files below {below:?}");
    report(sources.iter().flat_map(check).collect());
}

fn report(offences: Vec<Offence>) {
    let lines: Vec<String> = offences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn rooms_import_only_what_they_may() {
    check_rust(&["src"], layers::imports);
}

#[test]
fn frameworks_stay_in_their_rooms() {
    check_rust(&["src", "kernels"], layers::frameworks);
}

#[test]
fn files_and_functions_are_short() {
    check_rust(&["src", "kernels", "tests", "benches"], lengths::file);
    check_rust(&["src", "kernels", "tests", "benches"], lengths::functions);
}

#[test]
fn modules_are_not_named_mod_rs() {
    check_rust(&["src", "kernels", "tests"], words::module_file);
}

#[test]
fn hostile_bytes_meet_no_panic() {
    check_rust(&["src", "kernels"], tokens::panics);
}

#[test]
fn domain_and_wire_parsing_ask_no_clock() {
    check_rust(&["src", "kernels"], tokens::clocks);
}

#[test]
fn nothing_is_left_unfinished() {
    check_rust(&["src", "kernels", "tests", "benches"], words::unfinished);
}

#[test]
fn text_names_no_registry_and_no_machine() {
    report(tree::texts().iter().flat_map(words::places).collect());
}

#[test]
fn the_architecture_document_is_in_step() {
    report(docs::check());
}

#[test]
fn metrics_are_described() {
    report(docs::undescribed(&tree::rust_sources(&["src"])));
}

#[test]
fn settings_and_their_file_are_in_step() {
    report(settings::check());
}

#[test]
fn every_setting_is_read_somewhere() {
    report(settings::unread(&tree::rust_sources(&["src"])));
}
