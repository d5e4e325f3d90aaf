//! Which files arguments of a command mean, and what they are called in comparisons (`spec/perf.md` §2.6).

use std::collections::HashMap;

/// One file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its path.
    pub path: String,
    /// Its `.file` key.
    pub label: String,
    /// It is standard input.
    pub stdin: bool,
}

/// The files that arguments of the form `path` or `label=path` mean: `-` is standard input, no argument at all as well, and a path that is given several times
/// without a label becomes `path#0`, `path#1`, …, so that its results are not taken for one sample.
#[must_use]
pub fn inputs<S: AsRef<str>>(arguments: &[S]) -> Vec<Input> {
    if arguments.is_empty() {
        return vec![Input { path: "-".into(), label: "-".into(), stdin: true }];
    }
    let split = |argument: &S| match argument.as_ref().split_once('=') {
        Some((label, path)) => (Some(label.to_owned()), path.to_owned()),
        None => (None, argument.as_ref().to_owned()),
    };
    let named: Vec<(Option<String>, String)> = arguments.iter().map(split).collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for (_, path) in named.iter().filter(|(label, _)| label.is_none()) {
        *times.entry(path).or_default() += 1;
    }
    let mut given: HashMap<&str, usize> = HashMap::new();
    let input = |(label, path): &'_ (Option<String>, String), number: usize| Input {
        label: match label {
            Some(label) => label.clone(),
            None if times.get(path.as_str()) == Some(&1) => path.clone(),
            None => format!("{path}#{number}"),
        },
        stdin: path == "-",
        path: path.clone(),
    };
    let mut inputs = Vec::with_capacity(named.len());
    for one in &named {
        let mut number = 0;
        if one.0.is_none() {
            let count = given.entry(&one.1).or_default();
            number = *count;
            *count += 1;
        }
        inputs.push(input(one, number));
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(arguments: &[&str]) -> Vec<String> {
        inputs(arguments).into_iter().map(|input| format!("{}<{}{}", input.label, input.path, if input.stdin { "!" } else { "" })).collect()
    }

    #[test]
    fn labels_of_files() {
        assert_eq!(labels(&["a", "b"]), ["a<a", "b<b"]);
        assert_eq!(labels(&["a", "a", "b", "x=a"]), ["a#0<a", "a#1<a", "b<b", "x<a"]);
        assert_eq!(labels(&["x=a", "x=b=c"]), ["x<a", "x<b=c"]);
        assert_eq!(labels(&["-", "old=-"]), ["-<-!", "old<-!"]);
        assert_eq!(labels(&[]), ["-<-!"]);
        assert_eq!(labels(&["x=a", "a"]), ["x<a", "a<a"]);
    }
}
