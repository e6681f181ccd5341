//! Words that may not stand in a file.
use crate::tree::{Offence, Source};

/// `mod.rs` files: a module is `foo.rs`, its parts are below `foo/`.
pub(crate) fn module_file(source: &Source) -> Vec<Offence> {
    if source.path.ends_with("/mod.rs") {
        return vec![source.offence(0, "name the module's file after the module, next to its directory")];
    }
    Vec::new()
}

/// Marks of unfinished work, and tests that do not run.
pub(crate) fn unfinished(source: &Source) -> Vec<Offence> {
    // Written in halves, so that this file does not find itself.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("to", "do!("), ("unimpl", "emented!("), ("#[ign", "ore")];
    let marks = marks.map(|(head, tail)| format!("{head}{tail}"));
    find(source, &marks, "finish it, or leave it out and say so in ARCHITECTURE.md")
}

/// Names of package registries and paths of somebody's machine.
pub(crate) fn places(source: &Source) -> Vec<Offence> {
    let registries = [("registry.npmjs", ".org"), ("index.crates", ".io"), ("static.crates", ".io"), ("pypi", ".org")];
    let registries = registries.map(|(head, tail)| format!("{head}{tail}"));
    let mut found = find(source, &registries, "registries are the package managers' business");
    let machine = ["/root/", "/work/", "/home/"].map(|path| path.trim_end_matches('/').to_owned());
    for (number, line) in source.text.lines().enumerate() {
        let named = machine.iter().find(|path| names_path(line, path));
        found.extend(named.map(|path| source.offence(number + 1, format!("a path below {path} is of one machine"))));
    }
    found
}

/// Whether `line` has `path` followed by `/` and a letter, as a path from the root.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let mut after = line[at + path.len()..].chars();
        let from_root = before.is_none_or(|c| !c.is_alphanumeric() && !"/.}_-$".contains(c));
        from_root && after.next() == Some('/') && after.next().is_some_and(|c| c.is_ascii_lowercase())
    })
}

fn find(source: &Source, words: &[String], advice: &str) -> Vec<Offence> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let hit = words.iter().find(|word| line.contains(word.as_str()));
        found.extend(hit.map(|word| source.offence(number + 1, format!("{word}: {advice}"))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_files_are_found() {
        assert_eq!(module_file(&Source::new("src/media/mod.rs", "")).len(), 1);
        assert!(module_file(&Source::new("src/media.rs", "")).is_empty());
    }

    #[test]
    fn unfinished_work_is_found() {
        let text = ["fn a() {", "  // TO", "DO later\n", "  to", "do!()\n}"].concat();
        let lines: Vec<usize> = unfinished(&Source::new("src/a.rs", &text)).iter().map(|found| found.line).collect();
        assert_eq!(lines, [1, 2]);
        assert!(unfinished(&Source::new("src/a.rs", "fn done() {}")).is_empty());
    }

    #[test]
    fn places_of_one_machine_are_found() {
        let text = ["see /ho", "me/ann/clip.mp4\n", "https://registry.npmjs", ".org/x\n"].concat();
        assert_eq!(places(&Source::new("README.md", &text)).len(), 2);
        assert!(places(&Source::new("README.md", "GET /homes/x, ./work/x, $(HOME)/x")).is_empty());
    }
}
