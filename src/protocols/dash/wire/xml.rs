//! Just enough XML to write.
use std::fmt::Write;

/// An element with children, or with text.
pub(super) struct Element {
    name: &'static str,
    attributes: String,
    children: Vec<Element>,
    text: String,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, attributes: String::new(), children: Vec::new(), text: String::new() }
    }

    /// Adds an attribute; its value is escaped.
    pub(super) fn attribute(mut self, name: &'static str, value: impl ToString) -> Self {
        let _ = write!(self.attributes, " {name}=\"{}\"", escape(&value.to_string()));
        self
    }

    pub(super) fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// Sets the text of an element without children; it is escaped.
    pub(super) fn text(self, text: impl ToString) -> Self {
        Self { text: escape(&text.to_string()), ..self }
    }

    /// The whole document with this element as its root.
    pub(super) fn document(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, depth: usize) {
        let (indent, name) = ("  ".repeat(depth), self.name);
        let _ = write!(out, "{indent}<{name}{}", self.attributes);
        if !self.text.is_empty() {
            let _ = writeln!(out, ">{}</{name}>", self.text);
            return;
        }
        if self.children.is_empty() {
            out.push_str("/>\n");
            return;
        }
        out.push_str(">\n");
        self.children.iter().for_each(|child| child.write(out, depth + 1));
        let _ = writeln!(out, "{indent}</{name}>");
    }
}

/// As it may stand in a quoted attribute or as text; control characters, which XML does not know, are left out.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let is_none = |char: char| char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}');
    for char in text.chars().filter(|char| !is_none(*char)) {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}
