//! A TOML document that may come in several files, and in which every value knows where it stands.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::problem::{ConfigErrors, Problem};

/// A stretch of one of the document's files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A TOML value and where it stands.
#[derive(Debug, Clone)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Where it stands.
    pub span: Span,
}

/// What a TOML value is.
#[derive(Debug, Clone)]
pub enum ValueKind {
    /// Text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as it was written.
    Datetime(String),
    /// A list.
    Array(Vec<Value>),
    /// Keys with values.
    Table(Table),
}

impl Value {
    /// The kind of value, for messages.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            ValueKind::String(_) => "a text",
            ValueKind::Integer(_) | ValueKind::Float(_) => "a number",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::Datetime(_) => "a date",
            ValueKind::Array(_) => "a list",
            ValueKind::Table(_) => "a table",
        }
    }
}

/// Keys with values, by name; each key knows where it stands.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: BTreeMap<String, (Span, Value)>,
    pub(crate) span: Span,
}

impl Table {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Where the key itself stands.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        self.entries.get(key).map(|(span, _)| *span)
    }

    /// Key, place of the key, value; by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Span, &Value)> {
        self.entries.iter().map(|(key, (span, value))| (key.as_str(), *span, value))
    }

    /// Where the table stands: its header, or its braces.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Lays `over` on top of this table: its keys win, and in the tables named in `deep` key by key.
    pub fn overlay(&mut self, over: &Table, deep: &[&str]) {
        for (key, (span, value)) in &over.entries {
            if let (true, ValueKind::Table(new)) = (deep.contains(&key.as_str()), &value.kind)
                && let Some((_, Value { kind: ValueKind::Table(old), .. })) = self.entries.get_mut(key)
            {
                old.overlay(new, &[]);
                continue;
            }
            self.entries.insert(key.clone(), (*span, value.clone()));
        }
        self.span = over.span;
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[derive(Debug, Clone)]
struct File {
    name: String,
    text: String,
}

/// One configuration document, read from one file or from all `*.toml` files of a folder.
#[derive(Debug, Clone, Default)]
pub struct Document {
    files: Vec<File>,
    root: Table,
}

impl Document {
    /// Reads a file, or a folder's `*.toml` files in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML, or a key that is set in two files. All of them at once.
    pub fn load(path: &Path) -> Result<Document, ConfigErrors> {
        let whole = |message: String, help: Option<String>| {
            ConfigErrors(vec![Problem { file: path.display().to_string(), line: 0, column: 0, message, help, source: String::new(), width: 0 }])
        };
        let unreadable = |error: std::io::Error| whole(format!("it cannot be read: {error}"), None);
        let mut names = Vec::new();
        if std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            for entry in std::fs::read_dir(path).map_err(unreadable)? {
                let file = entry.map_err(unreadable)?.path();
                if file.extension().is_some_and(|extension| extension == "toml") && !file.is_dir() {
                    names.push(file);
                }
            }
            names.sort();
            if names.is_empty() {
                return Err(whole("there is no *.toml file in this folder".to_owned(), None));
            }
        } else {
            names.push(path.to_owned());
        }
        let mut files = Vec::new();
        let mut errors = Vec::new();
        for name in names {
            let shown = name.display().to_string();
            match std::fs::read(&name)
                .map_err(|error| error.to_string())
                .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned()))
            {
                Ok(text) => files.push((shown, text)),
                Err(error) => {
                    let message = format!("it cannot be read: {error}");
                    errors.push(Problem { file: shown, line: 0, column: 0, message, help: None, source: String::new(), width: 0 });
                }
            }
        }
        match Document::from_files(files) {
            Ok(document) if errors.is_empty() => Ok(document),
            Ok(_) => Err(ConfigErrors(errors)),
            Err(more) => {
                errors.extend(more.0);
                Err(ConfigErrors(errors))
            }
        }
    }

    /// Reads one text; `name` is what messages call it.
    ///
    /// # Errors
    /// When it is not TOML.
    pub fn parse(name: &str, text: &str) -> Result<Document, ConfigErrors> {
        Document::from_files(vec![(name.to_owned(), text.to_owned())])
    }

    /// Reads several texts as one document, in this order.
    ///
    /// # Errors
    /// When one is not TOML, or a key is set twice.
    pub fn from_files(files: Vec<(String, String)>) -> Result<Document, ConfigErrors> {
        let mut document = Document { files: files.into_iter().map(|(name, text)| File { name, text }).collect(), root: Table::default() };
        let mut problems = Vec::new();
        let mut tables = Vec::new();
        for (number, file) in document.files.iter().enumerate() {
            if let Some(at) = too_deep(&file.text) {
                let span = Span { file: number, start: at, end: at + 1 };
                problems.push(document.problem(span, format!("tables and lists are nested more than {DEEPEST} deep here"), None));
                continue;
            }
            let (table, errors) = DeTable::parse_recoverable(&file.text);
            for error in &errors {
                let span = error.span().unwrap_or(0..0);
                let span = Span { file: number, start: span.start, end: span.end };
                problems.push(document.problem(span, error.message().lines().collect::<Vec<_>>().join(", "), None));
            }
            if errors.is_empty() {
                let span = table.span();
                tables.push(to_table(table.get_ref(), Span { file: number, start: span.start, end: span.start }, number, &file.text));
            }
        }
        let mut root = Table::default();
        for table in tables {
            document.merge(&mut root, table, &mut problems);
        }
        document.root = root;
        problems.sort();
        if problems.is_empty() { Ok(document) } else { Err(ConfigErrors(problems)) }
    }

    /// Joins the next file: sections (`[host]`, `[builder]`, …) may go on, but what is in them is said once.
    fn merge(&self, root: &mut Table, next: Table, problems: &mut Vec<Problem>) {
        let twice = |name: &str, span: Span, first: Span| {
            let message = format!("`{name}` is already set in {}", self.place(first));
            self.problem(span, message, Some("in a folder of files each key is set in one of them".to_owned()))
        };
        for (section, (span, value)) in next.entries {
            let Some((first, old)) = root.entries.get_mut(&section) else {
                root.entries.insert(section, (span, value));
                continue;
            };
            match (&mut old.kind, value.kind) {
                (ValueKind::Table(old), ValueKind::Table(new)) => {
                    for (key, entry) in new.entries {
                        match old.entries.get(&key) {
                            Some((first, _)) => problems.push(twice(&format!("{section}.{key}"), entry.0, *first)),
                            None => {
                                old.entries.insert(key, entry);
                            }
                        }
                    }
                }
                _ => problems.push(twice(&section, span, *first)),
            }
        }
    }

    /// The document's own table.
    pub fn root(&self) -> &Table {
        &self.root
    }

    /// `file:line` of a place.
    pub fn place(&self, span: Span) -> String {
        let problem = self.problem(span, String::new(), None);
        format!("{}:{}", problem.file, problem.line)
    }

    /// The text of all files, for a hash of what was loaded.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|file| (file.name.as_str(), file.text.as_str()))
    }

    pub(crate) fn problem(&self, span: Span, message: String, help: Option<String>) -> Problem {
        let Some(File { name, text }) = self.files.get(span.file) else {
            return Problem { file: "the configuration".to_owned(), line: 0, column: 0, message, help, source: String::new(), width: 0 };
        };
        // A span may end in the middle of nothing when the text does; cut to what is there.
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end));
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let source = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = text.get(line_start..start).unwrap_or_default().chars().count() + 1;
        let width = text.get(start..end.max(start)).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
        let width = width.min((source.chars().count() + 1).saturating_sub(column)).max(1);
        Problem { file: name.clone(), line, column, message, help, source: source.to_owned(), width }
    }
}

/// Tables in tables in lists: more than this is a mistake, or an attempt on the stack.
const DEEPEST: usize = 40;

/// Where a text nests deeper than [`DEEPEST`], by brackets or by dotted keys. The TOML parser limits brackets but not dots,
/// and what it returns for a key of ten thousand parts cannot even be dropped without overflowing the stack.
fn too_deep(text: &str) -> Option<usize> {
    // The number of dots since the last comma or line, for every open bracket.
    let mut open = vec![0_usize];
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let next = match byte {
            b'#' => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            b'"' | b'\'' => at + string_length(rest, byte),
            _ => at + 1,
        };
        match byte {
            b'[' | b'{' => open.push(0),
            b']' | b'}' if open.len() > 1 => {
                open.pop();
            }
            b'.' => {
                if let Some(dots) = open.last_mut() {
                    *dots += 1;
                }
            }
            b',' => {
                if let Some(dots) = open.last_mut() {
                    *dots = 0;
                }
            }
            // A bracket that is still open here is one of a list over several lines, in which commas count.
            b'\n' if open.len() == 1 => open = vec![0],
            _ => {}
        }
        if open.len() + open.iter().sum::<usize>() > DEEPEST {
            return Some(at);
        }
        at = next;
    }
    None
}

/// The length of the string that begins here, quotes included; to the end when it has none.
fn string_length(text: &[u8], quote: u8) -> usize {
    let triple = [quote; 3];
    let (end, mut at): (&[u8], usize) = if text.starts_with(&triple) { (&triple, 3) } else { (std::slice::from_ref(&quote), 1) };
    while let Some(&byte) = text.get(at) {
        if text.get(at..).unwrap_or_default().starts_with(end) {
            return at + end.len();
        }
        match byte {
            b'\\' if quote == b'"' => at += 2,
            // Only a triple quote goes over several lines; what follows an unclosed one is read as what it looks like.
            b'\n' if end.len() == 1 => return at,
            _ => at += 1,
        }
    }
    text.len()
}

fn to_table(table: &DeTable<'_>, span: Span, file: usize, text: &str) -> Table {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let at = Span { file, start: key.span().start, end: key.span().end };
        entries.insert(key.get_ref().to_string(), (at, to_value(value, at, file, text)));
    }
    Table { entries, span }
}

fn to_value(value: &toml::Spanned<DeValue<'_>>, key: Span, file: usize, text: &str) -> Value {
    let range = value.span();
    let span = if range.is_empty() { key } else { Span { file, start: range.start, end: range.end } };
    let written = || text.get(range.clone()).unwrap_or_default().to_owned();
    let kind = match value.get_ref() {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        // TOML allows numbers larger than any setting here could be; those show as text, which no setting accepts.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| ValueKind::Datetime(written()), ValueKind::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or_else(|_| ValueKind::Datetime(written()), ValueKind::Float),
        DeValue::Boolean(yes) => ValueKind::Boolean(*yes),
        DeValue::Datetime(when) => ValueKind::Datetime(when.to_string()),
        DeValue::Array(list) => ValueKind::Array(list.iter().map(|item| to_value(item, key, file, text)).collect()),
        DeValue::Table(table) => ValueKind::Table(to_table(table, span, file, text)),
    };
    Value { kind, span }
}
