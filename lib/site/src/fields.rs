//! Reading one table into types: every key is asked for by name, and what nobody asked for is unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::document::{At, Span, Table, Value, ValueKind};
use crate::problem::Problems;
use crate::units::{parse_duration, parse_size};

/// One table while it is read. Each method asks for one key, notes a problem when its value is of the wrong kind, and
/// answers `None` when the key is absent or wrong. [`Fields::finish`] reports the keys that nobody asked for.
#[derive(Debug)]
pub struct Fields<'t> {
    what: String,
    table: &'t Table,
    problems: &'t Problems<'t>,
    asked: RefCell<Vec<&'t str>>,
}

impl<'t> Fields<'t> {
    /// Begins to read a table; `what` is what messages call it, for example ``builder `linux` ``.
    pub fn new(what: impl Into<String>, table: &'t Table, problems: &'t Problems<'t>) -> Self {
        Fields { what: what.into(), table, problems, asked: RefCell::new(Vec::new()) }
    }

    /// Where the table stands.
    pub fn span(&self) -> Span {
        self.table.span()
    }

    /// What messages call the table.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Everything in the table: key, place of the key, value.
    pub fn entries(&self) -> impl Iterator<Item = (&'t str, Span, &'t Value)> + use<'t> {
        self.table.iter()
    }

    /// The collector of problems.
    pub fn problems(&self) -> &'t Problems<'t> {
        self.problems
    }

    /// The raw value of a key.
    pub fn value(&self, key: &'static str) -> Option<&'t Value> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn wrong(&self, key: &str, value: &Value, wanted: &str) {
        self.problems.add_help(value.span, format!("`{key}` of {} is {}", self.what, value.type_name()), format!("it must be {wanted}"));
    }

    /// Text.
    pub fn string(&self, key: &'static str) -> Option<At<String>> {
        let value = self.value(key)?;
        match &value.kind {
            ValueKind::String(text) => Some(At { value: text.clone(), span: value.span }),
            _ => {
                self.wrong(key, value, "a text in quotes");
                None
            }
        }
    }

    /// Text that must be there; its absence is noted.
    pub fn required(&self, key: &'static str) -> Option<At<String>> {
        if self.table.get(key).is_none() {
            self.asked.borrow_mut().push(key);
            self.problems.add(self.span(), format!("{} has no `{key}`", self.what));
            return None;
        }
        self.string(key).filter(|text| {
            if text.value.is_empty() {
                self.problems.add(text.span, format!("`{key}` of {} is empty", self.what));
            }
            !text.value.is_empty()
        })
    }

    /// Text that is one of a few words.
    pub fn one_of(&self, key: &'static str, words: &[&str]) -> Option<At<String>> {
        let text = self.string(key)?;
        if words.contains(&text.value.as_str()) {
            return Some(text);
        }
        self.problems.add_help(text.span, format!("`{key}` of {} cannot be {:?}", self.what, text.value), allowed(&text.value, words.iter().copied()));
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        match value.kind {
            ValueKind::Boolean(yes) => Some(yes),
            _ => {
                self.wrong(key, value, "true or false, without quotes");
                None
            }
        }
    }

    /// A whole number from `least` to `most`.
    pub fn integer(&self, key: &'static str, least: i64, most: i64) -> Option<At<i64>> {
        let value = self.value(key)?;
        self.integer_value(key, value, least, most)
    }

    fn integer_value(&self, key: &str, value: &Value, least: i64, most: i64) -> Option<At<i64>> {
        match value.kind {
            ValueKind::Integer(number) if (least..=most).contains(&number) => Some(At { value: number, span: value.span }),
            ValueKind::Integer(number) => {
                self.problems.add_help(value.span, format!("`{key}` of {} cannot be {number}", self.what), format!("it must be from {least} to {most}"));
                None
            }
            _ => {
                self.wrong(key, value, "a whole number");
                None
            }
        }
    }

    /// A list of whole numbers from `least` to `most`; absent is empty.
    pub fn integers(&self, key: &'static str, least: i64, most: i64) -> Vec<At<i64>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match &value.kind {
            ValueKind::Array(items) => items.iter().filter_map(|item| self.integer_value(key, item, least, most)).collect(),
            _ => {
                self.wrong(key, value, "a list of whole numbers");
                Vec::new()
            }
        }
    }

    /// Any number greater than zero.
    pub fn positive(&self, key: &'static str) -> Option<f64> {
        let value = self.value(key)?;
        let number = match value.kind {
            ValueKind::Integer(number) => number as f64,
            ValueKind::Float(number) => number,
            _ => {
                self.wrong(key, value, "a number");
                return None;
            }
        };
        if number > 0.0 && number.is_finite() {
            return Some(number);
        }
        self.problems.add_help(value.span, format!("`{key}` of {} cannot be {number}", self.what), "it must be greater than 0");
        None
    }

    /// A duration such as `"20m"` or `"1h30m"`.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let value = self.value(key)?;
        let parsed = match &value.kind {
            ValueKind::String(text) => parse_duration(text),
            _ => None,
        };
        if parsed.is_none() {
            self.problems.add_help(
                value.span,
                format!("`{key}` of {} is not a duration", self.what),
                "write for example \"90s\", \"20m\" or \"1h30m\", in quotes",
            );
        }
        parsed
    }

    /// A size such as `"512MiB"`, in bytes.
    pub fn size(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let parsed = match &value.kind {
            ValueKind::String(text) => parse_size(text),
            ValueKind::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.problems.add_help(value.span, format!("`{key}` of {} is not a size", self.what), "write for example \"512MiB\" or \"2GiB\", in quotes");
        }
        parsed
    }

    /// A list of texts. `None` when absent or not a list; texts in it that are none are noted and left out.
    pub fn strings(&self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.value(key)?;
        let ValueKind::Array(items) = &value.kind else {
            self.wrong(key, value, "a list of texts: [\"…\", \"…\"]");
            return None;
        };
        Some(items.iter().filter_map(|item| self.text_in(key, item)).collect())
    }

    /// A text, or a list of texts.
    pub fn string_or_strings(&self, key: &'static str) -> Option<Vec<At<String>>> {
        match self.table.get(key)?.kind {
            ValueKind::String(_) => self.string(key).map(|text| vec![text]),
            _ => self.strings(key),
        }
    }

    fn text_in(&self, key: &str, item: &Value) -> Option<At<String>> {
        match &item.kind {
            ValueKind::String(text) => Some(At { value: text.clone(), span: item.span }),
            _ => {
                self.wrong(key, item, "a list of texts: each one in quotes");
                None
            }
        }
    }

    /// A table.
    pub fn table(&self, key: &'static str) -> Option<&'t Table> {
        let value = self.value(key)?;
        match &value.kind {
            ValueKind::Table(table) => Some(table),
            _ => {
                self.wrong(key, value, "a table");
                None
            }
        }
    }

    /// A list of tables; absent is empty.
    pub fn tables(&self, key: &'static str) -> Vec<&'t Table> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let ValueKind::Array(items) = &value.kind else {
            self.wrong(key, value, "a list of tables");
            return Vec::new();
        };
        let table = |item: &'t Value| match &item.kind {
            ValueKind::Table(table) => Some(table),
            _ => {
                self.wrong(key, item, "a list of tables");
                None
            }
        };
        items.iter().filter_map(table).collect()
    }

    /// A section: a table whose every value is a table. Name, place of the name, table; absent is empty.
    pub fn section(&self, key: &'static str) -> Vec<(&'t str, Span, &'t Table)> {
        let Some(section) = self.table(key) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, span, value) in section.iter() {
            match &value.kind {
                ValueKind::Table(table) => found.push((name, span, table)),
                _ => self.problems.add_help(value.span, format!("`{key}.{name}` is {}", value.type_name()), format!("it must be a table: [{key}.{name}]")),
            }
        }
        found
    }

    /// A table of texts, such as an environment. Numbers and booleans are taken as they are written.
    pub fn map(&self, key: &'static str) -> BTreeMap<String, String> {
        let Some(table) = self.table(key) else { return BTreeMap::new() };
        let mut found = BTreeMap::new();
        for (name, span, value) in table.iter() {
            let text = match &value.kind {
                ValueKind::String(text) => text.clone(),
                ValueKind::Integer(number) => number.to_string(),
                ValueKind::Boolean(yes) => yes.to_string(),
                _ => {
                    self.wrong(&format!("{key}.{name}"), value, "a text in quotes");
                    continue;
                }
            };
            if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
                self.problems.add(span, format!("`{key}` of {} has a name or value that no environment can hold", self.what));
            } else {
                found.insert(name.to_owned(), text);
            }
        }
        found
    }

    /// Takes a key as known without reading it.
    pub fn accept(&self, key: &'t str) {
        self.asked.borrow_mut().push(key);
    }

    /// Reports every key that was not asked for.
    pub fn finish(self) {
        self.report_unknown();
    }

    /// [`Fields::finish`] for whoever only borrows them.
    pub fn report_unknown(&self) {
        let asked = self.asked.borrow();
        for (key, span, _) in self.table.iter() {
            if !asked.contains(&key) {
                self.problems.add_help(span, format!("{} has no key `{key}`", self.what), allowed(key, asked.iter().copied()));
            }
        }
    }
}

/// "did you mean …?" when one of the known words is near, and what is known.
fn allowed<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut names: Vec<&str> = known.clone().collect();
    names.sort_unstable();
    names.dedup();
    let list = names.join(", ");
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`? Allowed: {list}"),
        None => format!("allowed: {list}"),
    }
}

/// The known word that `word` is most likely a slip of, if any is near enough.
///
/// ```
/// assert_eq!(burrow_site::nearest("linx-amd64", ["linux-amd64", "darwin-arm64"].into_iter()), Some("linux-amd64"));
/// assert_eq!(burrow_site::nearest("x", ["linux-amd64"].into_iter()), None);
/// ```
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known.map(|name| (strsim::osa_distance(word, name), name)).filter(|(distance, _)| *distance <= limit).min().map(|(_, name)| name)
}
