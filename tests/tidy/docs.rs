//! What ARCHITECTURE.md claims about the tree: the tests it names exist, the dependencies it explains are the ones used. And what
//! operators are told: each metric has a description.
use std::collections::BTreeSet;

use crate::tree::{Offence, Source, top};

const FILE: &str = "ARCHITECTURE.md";
/// The other crate of this repository.
const KERNELS: &str = "playhouse-kernels";
/// Where metrics are described.
const METRICS: &str = "src/http/metrics.rs";
/// What has such a name and is no metric.
const COOKIES: [&str; 2] = ["playhouse_refresh", "playhouse_wrote"];

/// Findings about the real file.
pub(crate) fn check() -> Vec<Offence> {
    let read = |name: &str| std::fs::read_to_string(top().join(name)).unwrap_or_default();
    let source = Source::new(FILE, &read(FILE));
    let mut found = absent_tests(&source, &read);
    let used = ["Cargo.toml", "kernels/Cargo.toml"].iter().flat_map(|manifest| dependencies(&read(manifest)));
    found.extend(unexplained(&source, &used.filter(|name| name != KERNELS).collect()));
    found
}

/// References `file::test` in back quotes whose file has no function of that name.
fn absent_tests(source: &Source, read: &dyn Fn(&str) -> String) -> Vec<Offence> {
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for reference in line.split('`').skip(1).step_by(2) {
            let Some((path, test)) = reference.split_once(".rs::") else { continue };
            if !read(&format!("{path}.rs")).contains(&format!("fn {test}(")) {
                found.push(source.offence(number + 1, format!("there is no {reference}")));
            }
        }
    }
    found
}

/// Crates of Cargo.toml without a row in the table, and rows without a crate.
fn unexplained(source: &Source, used: &BTreeSet<String>) -> Vec<Offence> {
    let table = source.text.split("\n## ").find(|part| part.starts_with("Dependencies")).unwrap_or_default();
    let rows: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let missing = used.difference(&rows).map(|name| source.offence(0, format!("say why {name} is a dependency")));
    let extra = rows.difference(used).map(|name| source.offence(0, format!("{name} is no dependency")));
    missing.chain(extra).collect()
}

/// The names in every dependency section.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

/// Metrics that are recorded and not described in the file that describes all of them.
pub(crate) fn undescribed(sources: &[Source]) -> Vec<Offence> {
    let described: BTreeSet<&str> = sources.iter().filter(|source| source.path == METRICS).flat_map(metrics).collect();
    let recorded = sources.iter().filter(|source| source.path != METRICS);
    let unknown = recorded.flat_map(|source| metrics(source).map(move |name| (source, name)));
    let unknown = unknown.filter(|(_, name)| !described.contains(name));
    unknown.map(|(source, name)| source.offence(0, format!("describe {name} in {METRICS}"))).collect()
}

/// Names of metrics in a file: what is in quotes and begins as all of them do.
fn metrics(source: &Source) -> impl Iterator<Item = &str> {
    let quoted = source.text.split('"').skip(1).step_by(2);
    let is_word = |name: &&str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    quoted.filter(|name| name.starts_with("playhouse_") && !COOKIES.contains(name)).filter(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_does_not_exist_is_found() {
        let source = Source::new(FILE, "see `src/a.rs::holds` and `src/a.rs::is_gone`, not `x::y`");
        let read = |path: &str| if path == "src/a.rs" { "fn holds() {}".to_owned() } else { String::new() };
        assert_eq!(absent_tests(&source, &read).len(), 1);
    }

    #[test]
    fn dependencies_and_rows_are_compared_both_ways() {
        let used = dependencies("[package]\nname = \"x\"\n[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"1\"\n");
        let source = Source::new(FILE, "# A\n\n## Dependencies\n\n| `a` | x |\n| `c` | x |\n\n## Rest\n");
        let found: Vec<String> = unexplained(&source, &used).into_iter().map(|found| found.message).collect();
        assert_eq!(found, ["say why b is a dependency", "c is no dependency"]);
    }

    #[test]
    fn metrics_without_a_description_are_found() {
        let described = Source::new(METRICS, "(\"playhouse_a_total\", \"A\")");
        let recorded = Source::new(
            "src/a.rs",
            "(\"playhouse_a_total\", \"playhouse_b\", \"playhouse_refresh\", \"playhouse.db\")",
        );
        let found: Vec<String> = undescribed(&[described, recorded]).into_iter().map(|found| found.message).collect();
        assert_eq!(found, ["describe playhouse_b in src/http/metrics.rs"]);
    }
}
