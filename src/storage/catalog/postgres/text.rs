//! Statements as PostgreSQL reads them: parameters have numbers instead of names.

/// A statement's text with numbered parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    /// The text.
    pub(super) sql: String,
    /// The parameters' names, without colons, in the order of their numbers.
    pub(super) names: Vec<String>,
}

impl Numbered {
    /// Of a text with names, of which each may be used several times. Texts in quotes are left alone.
    pub(super) fn of(text: &str) -> Self {
        let (mut sql, mut names) = (String::with_capacity(text.len()), Vec::<String>::new());
        let (mut rest, mut is_quoted) = (text, false);
        while let Some(character) = rest.chars().next() {
            is_quoted ^= character == '\'';
            let behind = rest.get(character.len_utf8()..).unwrap_or_default();
            let length = behind.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_'));
            let (name, after) = behind.split_at(length.unwrap_or(behind.len()));
            if character != ':' || is_quoted || name.is_empty() {
                sql.push(character);
                rest = behind;
                continue;
            }
            let number = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            sql.push_str(&format!("${}", number + 1));
            rest = after;
        }
        Self { sql, names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let numbered = Numbered::of("SELECT 'a:b', x FROM t WHERE (a, b) < (:at, :id1) AND c = :at AND d = ':at'");
        assert_eq!(numbered.sql, "SELECT 'a:b', x FROM t WHERE (a, b) < ($1, $2) AND c = $1 AND d = ':at'");
        assert_eq!(numbered.names, ["at", "id1"]);
        assert_eq!(Numbered::of("SELECT 1").sql, "SELECT 1");
    }
}
