//! Gerrit's query language, as far as programs use it, and the options of answers.

use crate::model::{Change, Status};
use crate::world::World;

/// The `o=` options that Gerrit knows.
const OPTIONS: &[&str] = &[
    "LABELS",
    "DETAILED_LABELS",
    "SUBMIT_REQUIREMENTS",
    "CURRENT_REVISION",
    "ALL_REVISIONS",
    "DOWNLOAD_COMMANDS",
    "CURRENT_COMMIT",
    "ALL_COMMITS",
    "CURRENT_FILES",
    "ALL_FILES",
    "DETAILED_ACCOUNTS",
    "REVIEWER_UPDATES",
    "MESSAGES",
    "CURRENT_ACTIONS",
    "CHANGE_ACTIONS",
    "REVIEWED",
    "SKIP_DIFFSTAT",
    "SUBMITTABLE",
    "WEB_LINKS",
    "CHECK",
    "COMMIT_FOOTERS",
    "PUSH_CERTIFICATES",
    "TRACKING_IDS",
    "CUSTOM_KEYED_VALUES",
];

/// The operators that are modelled.
const OPERATORS: &[&str] = &[
    "status", "is", "project", "repo", "p", "projects", "prefix", "branch", "ref", "change", "hashtag", "commit", "owner", "reviewer", "cc", "after", "since",
    "before", "until", "label",
];

/// What an answer is to hold.
#[derive(Debug, Default)]
pub(crate) struct Options(Vec<String>);

impl Options {
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Options, String> {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        match names.iter().find(|name| !OPTIONS.contains(&name.as_str())) {
            Some(unknown) => Err(format!("\"{unknown}\" is not a valid value for \"-o\"")),
            None => Ok(Options(names)),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

/// One condition of a query.
struct Term {
    negated: bool,
    operator: String,
    value: String,
}

/// Conditions that must all hold.
pub(crate) struct Query(Vec<Term>);

impl Query {
    /// Reads it. `OR` and brackets are not modelled.
    pub(crate) fn parse(text: &str) -> Result<Query, String> {
        let mut terms = Vec::new();
        for word in words(text) {
            let (negated, word) = match word.strip_prefix('-') {
                Some(rest) => (true, rest.to_owned()),
                None => (false, word),
            };
            if word == "AND" {
                continue;
            }
            let (operator, value) = match word.split_once(':') {
                Some((operator, value)) => (operator.to_owned(), value.to_owned()),
                // A bare word is a change.
                None => ("change".to_owned(), word),
            };
            if !OPERATORS.contains(&operator.as_str()) {
                return Err(format!("Unsupported operator {operator}:{value}"));
            }
            terms.push(Term { negated, operator, value });
        }
        Ok(Query(terms))
    }

    pub(crate) fn fits(&self, world: &World, change: &Change) -> Result<bool, String> {
        for term in &self.0 {
            if holds(world, change, term)? == term.negated {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Splits at blanks, but not within double quotes or braces.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut end = None;
    for character in text.chars() {
        match (end, character) {
            (Some(close), c) if c == close => end = None,
            (None, '"') => end = Some('"'),
            (None, '{') => end = Some('}'),
            (None, c) if c.is_whitespace() => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            (_, c) => word.push(c),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn holds(world: &World, change: &Change, term: &Term) -> Result<bool, String> {
    let value = term.value.as_str();
    let account = |name: &str| {
        let known = |account: &&crate::Account| account.id.to_string() == name || account.email == name || account.name == name;
        world.accounts().iter().find(known).map(|account| account.id)
    };
    Ok(match term.operator.as_str() {
        "status" | "is" => match value {
            "open" | "new" | "pending" => change.status == Status::New,
            "closed" => change.status != Status::New,
            "merged" => change.status == Status::Merged,
            "abandoned" => change.status == Status::Abandoned,
            "wip" => change.wip,
            "private" => change.private,
            _ => return Err(format!("Unrecognized value: {value}")),
        },
        "project" | "repo" | "p" => change.project == value,
        "projects" | "prefix" => change.project.starts_with(value),
        "branch" => change.branch == value.strip_prefix("refs/heads/").unwrap_or(value),
        "ref" => format!("refs/heads/{}", change.branch) == value,
        "change" => change.number.to_string() == value || change.change_id == value,
        "hashtag" => change.hashtags.contains(value),
        "commit" => change.patch_sets.iter().any(|patch_set| patch_set.commit.starts_with(value)),
        "owner" => account(value) == Some(change.owner),
        "reviewer" => account(value).is_some_and(|id| change.reviewers.contains(&id)),
        "cc" => account(value).is_some_and(|id| change.ccs.contains(&id)),
        "after" | "since" => change.updated / 1000 >= moment(value)?,
        "before" | "until" => change.updated / 1000 <= moment(value)?,
        "label" => label(world, change, value)?,
        other => return Err(format!("Unsupported operator {other}:{value}")),
    })
}

/// `2006-01-02` with an optional ` 15:04:05`, UTC.
fn moment(text: &str) -> Result<i64, String> {
    let full = if text.contains(' ') { text.replacen(' ', "T", 1) } else { format!("{text}T00:00:00") };
    format!("{full}Z").parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(|_| format!("cannot parse {text:?} as a date"))
}

/// `Run-TryBot=1`, `Code-Review>=1`, `Code-Review+2`, optionally with `,user=…`.
fn label(world: &World, change: &Change, text: &str) -> Result<bool, String> {
    let text = text.split(',').next().unwrap_or_default();
    let split = text.find(['=', '<', '>', '+']).or_else(|| text.rfind('-').filter(|at| text[at + 1..].bytes().all(|byte| byte.is_ascii_digit())));
    let at = split.ok_or_else(|| format!("Invalid label: {text}"))?;
    let (name, rest) = text.split_at(at);
    if !world.policy.labels.iter().any(|label| label.name == name) {
        return Err(format!("Invalid label: {name}"));
    }
    let operator = rest.trim_end_matches(|c: char| c.is_ascii_digit() || c == '+' || c == '-');
    let wanted: i8 = rest[operator.len()..].trim_start_matches('+').parse().map_err(|_| format!("Invalid label: {text}"))?;
    let votes = || change.votes.iter().filter(|vote| vote.label == name).map(|vote| vote.value);
    Ok(match operator {
        // No vote at all counts as nothing.
        "" | "=" if wanted == 0 => votes().count() == 0,
        "" | "=" => votes().any(|value| value == wanted),
        ">=" => votes().any(|value| value >= wanted),
        "<=" => votes().any(|value| value <= wanted),
        ">" => votes().any(|value| value > wanted),
        "<" => votes().any(|value| value < wanted),
        _ => return Err(format!("Invalid label: {text}")),
    })
}
