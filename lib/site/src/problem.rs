//! What is wrong with a configuration, where, and what would be right.

use std::cell::RefCell;
use std::fmt;

use crate::document::{Document, Span};

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named when the configuration was loaded.
    pub file: String,
    /// Counted from 1. 0: the file as a whole.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What is allowed, or what was probably meant.
    pub help: Option<String>,
    /// The line itself.
    pub source: String,
    /// How many characters of it are meant.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        let number = if self.line == 0 { String::new() } else { self.line.to_string() };
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            writeln!(f, "{margin}--> {}", self.file)?;
        } else {
            writeln!(f, "{margin}--> {}:{}:{}", self.file, self.line, self.column)?;
            // Tabs are as wide here as the carets below believe.
            let line: String = self.source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {line}")?;
            writeln!(f, "{margin} | {}{}", " ".repeat(self.column.saturating_sub(1)), "^".repeat(self.width.max(1)))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{margin} = help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration; never empty. Shows itself the way compilers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl std::ops::Deref for ConfigErrors {
    type Target = [Problem];
    fn deref(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "the configuration has 1 error and was not taken"),
            n => write!(f, "the configuration has {n} errors and was not taken"),
        }
    }
}

/// Collects problems while a document is read.
#[derive(Debug)]
pub struct Problems<'d> {
    document: &'d Document,
    found: RefCell<Vec<Problem>>,
}

impl<'d> Problems<'d> {
    /// None yet.
    pub fn new(document: &'d Document) -> Self {
        Problems { document, found: RefCell::new(Vec::new()) }
    }

    /// Notes a problem at a place of the document.
    pub fn add(&self, span: Span, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    /// The same, with what would be right.
    pub fn add_help(&self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(span, message.into(), Some(help.into()));
    }

    fn push(&self, span: Span, message: String, help: Option<String>) {
        let problem = self.document.problem(span, message, help);
        let mut found = self.found.borrow_mut();
        // A template's mistake is met once for every user of it.
        if !found.contains(&problem) {
            found.push(problem);
        }
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All that was found, in the order of the files and lines.
    ///
    /// # Errors
    /// When there is any.
    pub fn into_errors(self) -> Result<(), ConfigErrors> {
        let mut found = self.found.into_inner();
        found.sort();
        if found.is_empty() { Ok(()) } else { Err(ConfigErrors(found)) }
    }
}
