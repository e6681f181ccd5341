//! How long files and functions may be. Lines count when they hold code: blank ones and comments are free.
use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::tree::{Offence, Source};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that may be longer, each with its reason.
const LONGER_FILES: &[(&str, &str)] = &[];

/// Code lines of a whole file, unit tests at its end left out.
pub(crate) fn file(source: &Source) -> Vec<Offence> {
    if LONGER_FILES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let tests = lines.iter().position(|line| line.trim() == "#[cfg(test)]" && !line.starts_with(' '));
    let count = code_lines(&lines[..tests.unwrap_or(lines.len())]);
    if count <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![source.offence(FILE_LINES_MAX, format!("{count} code lines; split files above {FILE_LINES_MAX} by role"))]
}

/// Functions longer than allowed, methods and closures' owners alike.
pub(crate) fn functions(source: &Source) -> Vec<Offence> {
    let file = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.path));
    let mut visitor = Functions { lines: source.text.lines().collect(), found: Vec::new() };
    visitor.visit_file(&file);
    let offence = |(line, name, count): &(usize, String, usize)| {
        source.offence(*line, format!("fn {name} has {count} code lines; split functions above {FUNCTION_LINES_MAX}"))
    };
    visitor.found.iter().filter(|(_, _, count)| *count > FUNCTION_LINES_MAX).map(offence).collect()
}

fn code_lines(lines: &[&str]) -> usize {
    lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

struct Functions<'a> {
    lines: Vec<&'a str>,
    found: Vec<(usize, String, usize)>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let lines = self.lines.get(first.saturating_sub(1)..last).unwrap_or_default();
        self.found.push((first, signature.ident.to_string(), code_lines(lines)));
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(lines: usize) -> String {
        format!("struct S;\nimpl S {{\nfn long() {{\n{}}}\n}}\n", "let _ = 1;\n".repeat(lines))
    }

    #[test]
    fn a_long_function_is_found_with_its_line() {
        let found = functions(&Source::new("src/a.rs", &function(70)));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
        assert!(functions(&Source::new("src/a.rs", &function(68))).is_empty());
        let commented = function(68).replace("let _ = 1;\n", "let _ = 1;\n\n// why\n");
        assert!(functions(&Source::new("src/a.rs", &commented)).is_empty());
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_are_free() {
        let text = "const A: u8 = 1;\n".repeat(601);
        assert_eq!(file(&Source::new("src/a.rs", &text)).len(), 1);
        let short = "const A: u8 = 1;\n".repeat(600) + "\n// why\n#[cfg(test)]\nmod tests {}\n";
        assert!(file(&Source::new("src/a.rs", &short)).is_empty());
    }
}
