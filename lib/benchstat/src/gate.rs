//! A gate for automatic checks: fails on differences that are large **and** significant after correction for the number of comparisons, in the direction that is worse
//! for the unit.
//!
//! ```text
//! rule      = kind [ ( ">" | ">=" ) number "%" ] { condition }
//! kind      = "regression" | "improvement" | "change" | "missing"
//! condition = "p" ( "<" | "<=" ) number | "unit:" name
//! ```
//!
//! `regression>2% p<0.01` — worse by more than 2 %, corrected p below 0.01. Without a bound any difference counts; without p the table's alpha holds. `missing`: a benchmark of
//! the base is not in another column.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

use crate::math::correction::Correction;
use crate::math::number::{fixed, signed_percent};
use crate::math::sample::{Assumption, Better};
use crate::math::utest;
use crate::table::{Cell, Column, Row, Table, Tables, lossy};

/// What a rule looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regression,
    Improvement,
    Change,
    Missing,
}

/// When the gate fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    text: String,
    kind: Kind,
    /// As a part, not in percent.
    size: Bound,
    p: Option<Bound>,
    units: Vec<String>,
}

/// A limit, and whether it is inside.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    limit: f64,
    inclusive: bool,
}

impl Bound {
    fn above(self, x: f64) -> bool {
        x > self.limit || self.inclusive && x == self.limit
    }

    fn below(self, x: f64) -> bool {
        x < self.limit || self.inclusive && x == self.limit
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gate rule {rule:?}: {reason}; write for example 'regression>2% p<0.01' (kinds: regression, improvement, change, missing; conditions: p<X, unit:NAME)")]
pub struct RuleError {
    rule: String,
    reason: String,
}

impl std::str::FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let wrong = |reason: String| RuleError { rule: text.to_owned(), reason };
        let mut words = words(text).into_iter();
        let kind = match words.next().as_deref() {
            Some("regression") => Kind::Regression,
            Some("improvement") => Kind::Improvement,
            Some("change") => Kind::Change,
            Some("missing") => Kind::Missing,
            Some(word) => return Err(wrong(format!("unknown kind {word:?}"))),
            None => return Err(wrong("it is empty".to_owned())),
        };
        let mut rule = Rule { text: text.trim().to_owned(), kind, size: Bound { limit: 0.0, inclusive: false }, p: None, units: Vec::new() };
        let mut sized = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                ">" | ">=" if !sized && kind != Kind::Missing => {
                    let size = words.next().unwrap_or_default();
                    let number = size.strip_suffix('%').ok_or_else(|| wrong(format!("the size of a difference is a percentage, not {size:?}")))?;
                    let percent = number.parse::<f64>().ok().filter(|percent| percent.is_finite() && *percent >= 0.0);
                    let percent = percent.ok_or_else(|| wrong(format!("{number:?} is not a number of percent that is at least 0")))?;
                    rule.size = Bound { limit: percent / 100.0, inclusive: word == ">=" };
                    sized = true;
                }
                "p" if rule.p.is_none() && kind != Kind::Missing => {
                    let sign = words.next().unwrap_or_default();
                    let limit = words.next().unwrap_or_default();
                    let inclusive = match sign.as_str() {
                        "<" => false,
                        "<=" => true,
                        _ => return Err(wrong("behind p comes < or <=".to_owned())),
                    };
                    let limit =
                        limit.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| wrong(format!("{limit:?} is not a probability")))?;
                    rule.p = Some(Bound { limit, inclusive });
                }
                word => match word.strip_prefix("unit:") {
                    Some(unit) if !unit.is_empty() => rule.units.push(unit.to_owned()),
                    _ => return Err(wrong(format!("{word:?} is not expected there"))),
                },
            }
        }
        Ok(rule)
    }
}

/// Words, and the signs between them; a unit is one word whatever is in it.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split(|c: char| c.is_whitespace() || c == ',').filter(|part| !part.is_empty()) {
        if part.starts_with("unit:") {
            words.push(part.to_owned());
            continue;
        }
        let mut rest = part;
        while let Some(at) = rest.find(['<', '>']) {
            let (before, sign) = rest.split_at(at);
            let length = if sign.get(1..2) == Some("=") { 2 } else { 1 };
            let (sign, behind) = sign.split_at(length);
            words.extend([before, sign].into_iter().filter(|word| !word.is_empty()).map(str::to_owned));
            rest = behind;
        }
        words.extend(Some(rest).filter(|rest| !rest.is_empty()).map(str::to_owned));
    }
    words
}

impl Rule {
    /// Units may be named as they are written or as they are shown.
    fn covers(&self, table: &Table) -> bool {
        let named = |unit: &String| unit.as_bytes() == &*table.unit || *protocol_benchfmt::unit::tidy(unit.as_bytes()).0 == *table.unit;
        self.units.is_empty() || self.units.iter().any(named)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How p-values were corrected.
    pub correction: Correction,
    /// Rule by rule.
    pub rules: Vec<Judged>,
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// The rule.
    pub rule: Rule,
    /// Comparisons that it looked at: the number that is corrected for.
    pub judged: usize,
    /// Comparisons it could not look at, because nobody says which way their unit is better.
    pub undirected: usize,
    /// What it found.
    pub findings: Vec<Finding>,
}

/// A comparison that a rule does not accept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Configuration of its table.
    pub config: String,
    /// Unit.
    pub unit: String,
    /// Benchmark.
    pub row: String,
    /// Column.
    pub column: String,
    /// Relative difference to the base; infinite from zero. `None`: the benchmark is missing.
    pub change: Option<f64>,
    /// p as it was computed.
    pub p: Option<f64>,
    /// p after correction.
    pub corrected_p: Option<f64>,
}

impl Report {
    /// Whether something was found.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.rules.iter().any(|rule| !rule.findings.is_empty())
    }

    /// Whether some rule had nothing to look at: a gate that cannot fail is not one.
    #[must_use]
    pub fn idle(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.judged == 0).map(|rule| &rule.rule)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let corrected = match self.correction {
            Correction::BenjaminiHochberg => "corrected by Benjamini-Hochberg",
            Correction::Holm => "corrected by Holm",
            Correction::None => "not corrected",
        };
        for rule in &self.rules {
            let word = if rule.findings.is_empty() { "ok" } else { "FAILED" };
            let _ = writeln!(text, "gate {word}: {}: {} of {} comparisons, {corrected}", rule.rule, rule.findings.len(), rule.judged);
            if rule.undirected > 0 {
                let _ = writeln!(
                    text,
                    "  {} comparisons were not judged: their units do not say which way is better; add a line like 'Unit widgets/s better=higher'",
                    rule.undirected
                );
            }
            for finding in &rule.findings {
                let _ = writeln!(text, "  {finding}");
            }
        }
        text
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.unit, self.row, self.column)?;
        if !self.config.is_empty() {
            write!(f, " ({})", self.config)?;
        }
        match (self.change, self.p, self.corrected_p) {
            (Some(change), Some(p), Some(corrected)) => {
                write!(f, ": {} (p={}, corrected {})", signed_percent(change * 100.0), fixed(p, 3), fixed(corrected, 3))
            }
            _ => write!(f, ": missing"),
        }
    }
}

/// Applies rules to all comparisons of all tables.
#[must_use]
pub fn judge(tables: &Tables, rules: &[Rule], correction: Correction) -> Report {
    Report { correction, rules: rules.iter().map(|rule| judge_one(tables, rule, correction)).collect() }
}

/// A benchmark in a column that is not the base.
struct Place<'t> {
    table: &'t Table,
    row: &'t Row,
    column: &'t Column,
}

impl Place<'_> {
    fn finding(&self, change: Option<f64>, p: Option<f64>, corrected_p: Option<f64>) -> Finding {
        let fields = self.table.fields.iter().filter(|field| !field.value.is_empty());
        Finding {
            config: fields.map(|field| format!("{}: {}", lossy(&field.name), lossy(&field.value))).collect::<Vec<_>>().join(", "),
            unit: lossy(&self.table.unit).into_owned(),
            row: lossy(&self.row.label()).into_owned(),
            column: lossy(&self.column.label()).into_owned(),
            change,
            p,
            corrected_p,
        }
    }
}

fn judge_one(tables: &Tables, rule: &Rule, correction: Correction) -> Judged {
    if rule.kind == Kind::Missing {
        return judge_missing(tables, rule);
    }
    let mut judged = Judged { rule: rule.clone(), judged: 0, undirected: 0, findings: Vec::new() };
    let mut compared: Vec<(Place<'_>, f64, f64)> = Vec::new();
    for table in tables.tables.iter().filter(|table| rule.covers(table)) {
        for row in &table.rows {
            for (number, cell) in row.cells.iter().enumerate().skip(1) {
                let (Some(cell), Some(column)) = (cell, table.columns.get(number)) else { continue };
                let Some((change, p)) = difference(table, row, cell) else { continue };
                if table.better == Better::Unknown && rule.kind != Kind::Change {
                    judged.undirected += 1;
                } else {
                    compared.push((Place { table, row, column }, change, p));
                }
            }
        }
    }
    judged.judged = compared.len();
    let corrected = correction.apply(&compared.iter().map(|(_, _, p)| *p).collect::<Vec<_>>());
    let significant = rule.p.unwrap_or(Bound { limit: tables.thresholds.alpha, inclusive: true });
    for ((place, change, p), corrected) in compared.into_iter().zip(corrected) {
        // Positive in the direction that the rule looks in.
        let size = match (rule.kind, place.table.better) {
            (Kind::Regression, Better::Higher) | (Kind::Improvement, Better::Lower) => -change,
            (Kind::Change, _) => change.abs(),
            _ => change,
        };
        // A difference of exact values is one, at any level.
        if rule.size.above(size) && size > 0.0 && (significant.below(corrected) || place.table.assumption == Assumption::Exact) {
            judged.findings.push(place.finding(Some(change), Some(p), Some(corrected)));
        }
    }
    judged
}

/// A table has only the columns that its unit and configuration occur in, so that what is gone altogether is looked for in the columns of all tables.
fn judge_missing(tables: &Tables, rule: &Rule) -> Judged {
    let mut judged = Judged { rule: rule.clone(), judged: 0, undirected: 0, findings: Vec::new() };
    let widest = tables.tables.iter().max_by_key(|table| table.columns.len());
    let Some((base, others)) = widest.and_then(|table| table.columns.split_first()) else { return judged };
    for table in tables.tables.iter().filter(|table| rule.covers(table) && table.columns.first() == Some(base)) {
        for row in table.rows.iter().filter(|row| matches!(row.cells.first(), Some(Some(_)))) {
            for column in others {
                let cell = table.columns.iter().position(|own| own == column).and_then(|number| row.cells.get(number)?.as_ref());
                judged.judged += 1;
                if cell.is_none() {
                    judged.findings.push(Place { table, row, column }.finding(None, None, None));
                }
            }
        }
    }
    judged
}

/// Relative difference and p; from zero to something it is infinite. `None` without a base. p is the sound one: the one that tables show can be 0 for two values.
fn difference(table: &Table, row: &Row, cell: &Cell) -> Option<(f64, f64)> {
    let base = cell.base.as_ref()?;
    let change = cell.change().unwrap_or(if cell.summary.center > base.center { f64::INFINITY } else { f64::NEG_INFINITY });
    let p = match (table.assumption, row.cells.first()) {
        (Assumption::Nothing, Some(Some(first))) => utest::sound_p_value(first.sample.values(), cell.sample.values()).unwrap_or(1.0),
        _ => base.comparison.p,
    };
    Some((change, p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Rule {
        text.parse().unwrap_or_else(|e: RuleError| panic!("{e}"))
    }

    #[test]
    fn rules_are_read() {
        let read = rule("regression>2% p<0.01");
        assert_eq!((read.kind, read.size.limit, read.p), (Kind::Regression, 0.02, Some(Bound { limit: 0.01, inclusive: false })));
        let read = rule("change >= 0.5%, p<=0.1 unit:sec/op unit:B/op");
        assert_eq!((read.kind, read.size, read.units.len()), (Kind::Change, Bound { limit: 0.005, inclusive: true }, 2));
        assert_eq!(rule("improvement").size.limit, 0.0);
        assert_eq!(rule(" missing ").to_string(), "missing");
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        let cases = [
            ("", "it is empty"),
            ("slower>2%", "unknown kind \"slower\""),
            ("regression>2", "a percentage, not \"2\""),
            ("regression>x%", "\"x\" is not a number of percent"),
            ("regression p=0.1", "\"p=0.1\" is not expected there"),
            ("regression p<2", "\"2\" is not a probability"),
            ("regression<2%", "\"<\" is not expected there"),
            ("regression>-1%", "at least 0"),
            ("missing>2%", "\">\" is not expected there"),
            ("regression>1%>2%", "\">\" is not expected there"),
            ("regression unit:", "\"unit:\" is not expected there"),
            ("regression>", "a percentage, not \"\""),
        ];
        for (text, reason) in cases {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
