//! `config/playhouse.toml` and `cluster.toml` show every key with its default and a comment, and every key is read by some code.
use std::collections::BTreeSet;

use figment::providers::{Format, Toml};
use playhouse::settings::Settings;
use serde_json::Value;

use crate::tree::{Offence, Source, top};

/// The files, and whose sections each shows: those of the second are not in the first.
const FILE: &str = "config/playhouse.toml";
const CLUSTER_FILE: &str = "cluster.toml";
const CLUSTER_SECTION: &str = "cluster";

/// Findings about the shipped files.
pub(crate) fn check() -> Vec<Offence> {
    let defaults = serde_json::to_value(Settings::default()).expect("settings serialise");
    let is_of_cluster = |section: &str| section == CLUSTER_SECTION;
    let mut found = check_file(FILE, &of_sections(&defaults, |section| !is_of_cluster(section)));
    found.extend(check_file(CLUSTER_FILE, &of_sections(&defaults, is_of_cluster)));
    found
}

fn of_sections(defaults: &Value, is_wanted: impl Fn(&str) -> bool) -> Value {
    let sections = defaults.as_object().into_iter().flatten().filter(|(section, _)| is_wanted(section));
    sections.map(|(section, keys)| (section.clone(), keys.clone())).collect()
}

fn check_file(file: &str, defaults: &Value) -> Vec<Offence> {
    let text = std::fs::read_to_string(top().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let source = Source::new(file, &text);
    let mut found = compare(&source, &keys_of(defaults));
    found.extend(uncommented(&source));
    match figment::Figment::from(Toml::string(&text)).extract::<Settings>() {
        Ok(settings) if settings == Settings::default() => {}
        Ok(_) => found.extend(differences(&source, defaults)),
        Err(error) => found.push(source.offence(0, error.to_string())),
    }
    found
}

/// Settings that no code reads. What `settings.rs` hands on as a part (`self.key`) is read; what it only checks
/// (`self.section.key`) is not.
pub(crate) fn unread(sources: &[Source]) -> Vec<Offence> {
    let defaults = serde_json::to_value(Settings::default()).expect("settings serialise");
    let code = |of_settings: bool| -> String {
        let wanted = sources.iter().filter(|source| source.path.starts_with("src/settings") == of_settings);
        wanted.map(|source| source.code_tokens().to_string().replace(' ', "")).collect()
    };
    let (rest, handed_on) = (code(false), code(true));
    let is_read = |key: &str| {
        let name = key.rsplit('.').next().unwrap_or(key);
        names(&rest, &format!(".{name}")) || names(&handed_on, &format!("self.{name}"))
    };
    let settings = Source::new("src/settings.rs", "");
    let offence = |key: String| settings.offence(0, format!("nothing reads {key}: use it or remove it"));
    keys_of(&defaults).into_iter().filter(|key| !is_read(key)).map(offence).collect()
}

/// Whether `code` has `name`, and not only as the beginning of a longer one.
fn names(code: &str, name: &str) -> bool {
    let ends = |at: usize| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(name).any(|(at, _)| ends(at))
}

fn keys_of(value: &Value) -> BTreeSet<String> {
    let Value::Object(sections) = value else { return BTreeSet::new() };
    let keys = |(section, keys): (&String, &Value)| -> Vec<String> {
        let names = keys.as_object().into_iter().flat_map(|keys| keys.keys());
        names.map(|key| format!("{section}.{key}")).collect()
    };
    sections.iter().flat_map(keys).collect()
}

fn parsed(source: &Source) -> Value {
    figment::Figment::from(Toml::string(&source.text)).extract().unwrap_or(Value::Null)
}

fn compare(source: &Source, expected: &BTreeSet<String>) -> Vec<Offence> {
    let shown = keys_of(&parsed(source));
    let missing = expected.difference(&shown).map(|key| source.offence(0, format!("{key} is missing")));
    let extra = shown.difference(expected).map(|key| source.offence(0, format!("{key} is no setting")));
    missing.chain(extra).collect()
}

/// Keys whose value in the file is not the default, both printed.
fn differences(source: &Source, defaults: &Value) -> Vec<Offence> {
    let normal = figment::Figment::from(Toml::string(&source.text)).extract::<Settings>().ok();
    let shown = normal.and_then(|settings| serde_json::to_value(settings).ok()).unwrap_or(Value::Null);
    let differs = |key: &String| {
        let (section, name) = key.split_once('.')?;
        let (shown, default) = (&shown[section][name], &defaults[section][name]);
        (shown != default).then(|| source.offence(0, format!("{key} is {shown}, the default is {default}")))
    };
    keys_of(defaults).iter().filter_map(differs).collect()
}

/// Keys without a comment right above them.
fn uncommented(source: &Source) -> Vec<Offence> {
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let is_key = |line: &str| !line.is_empty() && !line.starts_with(['#', '[', ']', '"']) && line.contains('=');
    let bare = |at: &usize| is_key(lines[*at]) && !(*at > 0 && lines[*at - 1].starts_with('#'));
    (0..lines.len()).filter(bare).map(|at| source.offence(at + 1, "say above it what the key means")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_unknown_keys_are_found() {
        let file = Source::new("c.toml", "[a]\n# one\nx = 1\n# two\nz = 2\n");
        let expected = BTreeSet::from(["a.x".to_owned(), "a.y".to_owned()]);
        let found: Vec<String> = compare(&file, &expected).into_iter().map(|found| found.message).collect();
        assert_eq!(found, ["a.y is missing", "a.z is no setting"]);
    }

    #[test]
    fn a_key_without_comment_is_found() {
        let found = uncommented(&Source::new("c.toml", "[a]\n# one\nx = 1\ny = 2\n"));
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn another_value_than_the_default_is_found() {
        let defaults = serde_json::to_value(Settings::default()).unwrap();
        let found = differences(&Source::new("c.toml", "[http]\nport = 1\n"), &defaults);
        assert_eq!(found.len(), 1);
        assert!(found[0].message.contains("http.port is 1"));
    }

    #[test]
    fn an_unread_setting_is_found() {
        let handed_on = "fn limits(&self) { self.chunk_size_max; } fn validate(&self) { self.uploads.chunk_size; }";
        let found = unread(&[
            Source::new("src/a.rs", "fn f(s: &Settings) { s.http.port; s.chunk_sizes; }"),
            Source::new("src/settings.rs", handed_on),
        ]);
        let is_found = |key: &str| found.iter().any(|found| found.message.contains(&format!("reads {key}:")));
        assert!(is_found("http.address") && is_found("uploads.chunk_size"));
        assert!(!is_found("http.port") && !is_found("uploads.chunk_size_max"));
    }
}
