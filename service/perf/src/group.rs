//! Groups to be compared, and what their labels say (`spec/perf.md` §8.3).

use std::collections::{BTreeMap, BTreeSet};

use protocol_benchfmt::store::name_labels;

use crate::source::{Answer, Found, Source, SourceError, get};
use crate::split::{Split, narrowed};

/// Labels that split tables if they have several values within a group.
const SPLITTING: [&str; 4] = ["buildlet", "pkg", "goos", "goarch"];
/// Values of a differing label that are listed for each group.
const SHOWN: usize = 4;

/// Results of one query.
#[derive(Debug)]
pub struct Group {
    /// Heading of its column.
    pub title: String,
    /// Its results; names are those of the table's rows.
    pub results: Vec<Shown>,
}

/// A result as a row shows it.
#[derive(Debug)]
pub struct Shown {
    /// What was found.
    pub found: Found,
    /// The name with the parts blanked that the query fixed.
    pub row: String,
}

/// Groups with what is known of them.
#[derive(Debug, Default)]
pub struct Groups {
    /// The columns.
    pub groups: Vec<Group>,
    /// Labels by which tables are split.
    pub split_by: Vec<&'static str>,
    /// Labels that all results share.
    pub common: Vec<(String, String)>,
    /// Labels that differ.
    pub differing: Vec<Differing>,
    /// What `Unit` lines say.
    pub unit_lines: Vec<String>,
}

/// A label with several values.
#[derive(Debug, PartialEq, Eq)]
pub struct Differing {
    /// Its key.
    pub label: String,
    /// For each group: its most frequent values.
    pub groups: Vec<Vec<LabelValue>>,
}

/// A value of a label.
#[derive(Debug, PartialEq, Eq)]
pub struct LabelValue {
    /// The value; empty where it is missing, `…` for all the rest.
    pub value: String,
    /// Results that have it.
    pub count: usize,
    /// The query narrowed to it; empty for those that cannot be asked for.
    pub query: String,
}

/// Asks for every group of a query.
///
/// # Errors
/// [`SourceError`] of the first query that fails.
pub async fn fetch(source: &Source, split: &Split) -> Result<Vec<(String, Answer)>, SourceError> {
    let mut answers = Vec::new();
    for query in &split.queries {
        let whole = format!("{} {query}", split.prefix);
        answers.push((query.clone(), source.search(whole.trim()).await?));
    }
    Ok(answers)
}

/// Puts answers into groups. `query` is the text as it was asked, for links.
pub fn arrange(query: &str, answers: Vec<(String, Answer)>) -> Groups {
    let mut groups = Groups::default();
    for (title, answer) in answers {
        for line in answer.unit_lines {
            if !groups.unit_lines.contains(&line) {
                groups.unit_lines.push(line);
            }
        }
        let fixed = fixed_parts(&title);
        let results = answer.found.into_iter().map(|found| Shown { row: blanked(&found.name, &fixed), found }).collect();
        groups.groups.push(Group { title, results });
    }
    if let [only] = groups.groups.as_mut_slice()
        && let Some(parts) = single(only)
    {
        groups.groups = parts;
    }
    groups.split_by = SPLITTING
        .into_iter()
        .filter(|label| {
            groups
                .groups
                .iter()
                .any(|group| group.results.iter().map(|shown| get(&shown.found.labels, label).unwrap_or_default()).collect::<BTreeSet<_>>().len() > 1)
        })
        .collect();
    compare_labels(query, &mut groups);
    groups
}

/// A single group is split by the file or part of its upload, if it has several.
fn single(group: &mut Group) -> Option<Vec<Group>> {
    let values = |label: &str| group.results.iter().filter_map(|shown| get(&shown.found.labels, label)).collect::<BTreeSet<_>>();
    let label = if values("cl").len() == 1 && values("ps").len() == 1 && values("upload-file").len() > 1 {
        "upload-file"
    } else if values("upload").len() == 1 && values("upload-part").len() > 1 {
        "upload-part"
    } else {
        return None;
    };
    let mut parts: BTreeMap<String, Vec<Shown>> = BTreeMap::new();
    for shown in group.results.drain(..) {
        let value = get(&shown.found.labels, label).unwrap_or_default().to_owned();
        parts.entry(format!("{label}:{value}")).or_default().push(shown);
    }
    Some(parts.into_iter().map(|(title, results)| Group { title, results }).collect())
}

/// Keys that a query fixes with `:`.
fn fixed_parts(query: &str) -> BTreeSet<String> {
    let words = burrow_perfstore::query::split_words(query.as_bytes());
    words
        .iter()
        .filter_map(|word| {
            let word = String::from_utf8_lossy(word).into_owned();
            let at = word.find([':', '<', '>'])?;
            word.get(at..)?.starts_with(':').then(|| word.get(..at).map(str::to_owned)).flatten()
        })
        .collect()
}

/// A name with the parts blanked whose keys are fixed, so that variants line up.
fn blanked(name: &str, fixed: &BTreeSet<String>) -> String {
    if fixed.is_empty() {
        return name.to_owned();
    }
    let labels = name_labels(name.as_bytes());
    let procs = labels.iter().any(|(key, _)| **key == *b"gomaxprocs");
    let (rest, suffix) = match name.rfind('-').filter(|_| procs) {
        Some(at) => (name.get(..at).unwrap_or(name), name.get(at..).unwrap_or_default()),
        None => (name, ""),
    };
    let mut out = String::with_capacity(name.len());
    for (place, part) in rest.split('/').enumerate() {
        if place > 0 {
            out.push('/');
        }
        match part.split_once('=') {
            _ if place == 0 => out.push_str(if fixed.contains("name") { "*" } else { part }),
            Some((key, _)) if fixed.contains(key) => {
                out.push_str(key);
                out.push_str("=*");
            }
            None if fixed.contains(&format!("sub{place}")) => out.push('*'),
            _ => out.push_str(part),
        }
    }
    if fixed.contains("gomaxprocs") && !suffix.is_empty() {
        out.push_str("-*");
    } else {
        out.push_str(suffix);
    }
    out
}

fn compare_labels(query: &str, groups: &mut Groups) {
    // For each label and group: how many results have which value.
    let mut counts: BTreeMap<String, Vec<BTreeMap<String, usize>>> = BTreeMap::new();
    for (number, group) in groups.groups.iter().enumerate() {
        for shown in &group.results {
            for (key, value) in shown.found.all_labels() {
                let of = counts.entry(key).or_insert_with(|| vec![BTreeMap::new(); groups.groups.len()]);
                if let Some(of) = of.get_mut(number) {
                    *of.entry(value).or_default() += shown.found.lines.len();
                }
            }
        }
    }
    let totals: Vec<usize> = groups.groups.iter().map(|group| group.results.iter().map(|shown| shown.found.lines.len()).sum()).collect();
    for (label, mut of) in counts {
        for (counts, total) in of.iter_mut().zip(&totals) {
            let missing = total - counts.values().sum::<usize>().min(*total);
            if missing > 0 {
                counts.insert(String::new(), missing);
            }
        }
        let values: BTreeSet<&String> = of.iter().flat_map(BTreeMap::keys).collect();
        if let [only] = values.iter().collect::<Vec<_>>().as_slice() {
            groups.common.push((label, (**only).clone()));
            continue;
        }
        let per_group = of
            .into_iter()
            .map(|counts| {
                let mut values: Vec<(String, usize)> = counts.into_iter().collect();
                values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                let rest: usize = values.iter().skip(SHOWN).map(|(_, count)| count).sum();
                values.truncate(SHOWN);
                let mut shown: Vec<LabelValue> = values
                    .into_iter()
                    .map(|(value, count)| LabelValue { query: if value.is_empty() { String::new() } else { narrowed(query, &label, &value) }, value, count })
                    .collect();
                if rest > 0 {
                    shown.push(LabelValue { value: "…".to_owned(), count: rest, query: String::new() });
                }
                shown
            })
            .collect();
        groups.differing.push(Differing { label, groups: per_group });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_fixes_is_blanked() {
        let fixed = |query: &str| fixed_parts(query);
        assert_eq!(blanked("Sort/n=10/fast-8", &fixed("n:10")), "Sort/n=*/fast-8");
        assert_eq!(blanked("Sort/n=10/fast-8", &fixed("gomaxprocs:8 name:Sort")), "*/n=10/fast-*");
        assert_eq!(blanked("Sort/n=10/fast-8", &fixed("sub2:fast")), "Sort/n=10/*-8");
        assert_eq!(blanked("Sort/n=10/fast-8", &fixed("n>9 commit:a")), "Sort/n=10/fast-8");
    }

    fn answer(text: &str) -> Answer {
        crate::source::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_label_that_one_group_lacks_differs_and_what_all_share_is_common() {
        let groups = arrange(
            "a vs b",
            vec![
                ("a".into(), answer("upload: 1\nlabel: x\nBenchmarkA 1 1 ns/op\n")),
                ("b".into(), answer("upload: 1\nBenchmarkA 1 1 ns/op\nBenchmarkA 1 1 ns/op\n")),
            ],
        );
        assert_eq!(groups.common, [("name".to_owned(), "A".to_owned()), ("upload".to_owned(), "1".to_owned())]);
        assert_eq!(groups.differing.len(), 1);
        assert_eq!(groups.differing[0].groups[0], [LabelValue { value: "x".into(), count: 1, query: "label:x | a vs b".into() }]);
        assert_eq!(groups.differing[0].groups[1], [LabelValue { value: String::new(), count: 2, query: String::new() }]);
    }

    #[test]
    fn one_upload_of_two_parts_is_two_groups() {
        let text = "upload: 1\nupload-part: 1/1\nBenchmarkA 1 1 ns/op\nupload-part: 1/0\nBenchmarkA 1 2 ns/op\n";
        let titles = |text: &str| arrange("q", vec![("q".into(), answer(text))]).groups.into_iter().map(|group| group.title).collect::<Vec<_>>();
        assert_eq!(titles(text), ["upload-part:1/0", "upload-part:1/1"]);
        let change =
            "cl: 7\nps: 2\nupload: 1\nupload-part: 1/0\nupload-file: old\nBenchmarkA 1 1 ns/op\nupload-part: 1/1\nupload-file: new\nBenchmarkA 1 2 ns/op\n";
        assert_eq!(titles(change), ["upload-file:new", "upload-file:old"]);
        assert_eq!(titles("upload: 1\nupload-part: 1/0\nBenchmarkA 1 1 ns/op\n"), ["q"]);
    }
}
