//! What people write: prose, titles, paths, names. All of it valid UTF-8, some of it not ASCII.

use crate::random::{Id, Purpose, Random};

#[rustfmt::skip]
pub(crate) const WORDS: [&str; 256] = [
    "the", "of", "to", "and", "a", "in", "is", "it", "that", "for", "this", "on", "with", "be", "as", "not", "are", "we", "if", "an", "can", "when",
    "from", "by", "at", "or", "should", "have", "but", "no", "so", "which", "would", "there", "was", "does", "only", "all", "code", "new", "test", "value",
    "type", "method", "function", "call", "error", "return", "pointer", "memory", "package", "file", "build", "run", "use", "make", "need", "work",
    "change", "read", "write", "check", "fix", "add", "remove", "update", "move", "set", "get", "first", "last", "next", "same", "other", "more", "less",
    "than", "then", "here", "now", "still", "already", "before", "after", "while", "because", "however", "without", "within", "between", "about", "into",
    "over", "under", "also", "just", "even", "never", "always", "maybe", "likely", "instead", "otherwise", "since", "until", "unless", "each", "every",
    "both", "some", "any", "none", "one", "two", "three", "few", "many", "most", "such", "like", "case", "point", "time", "way", "thing", "part", "line",
    "name", "number", "result", "problem", "issue", "reason", "example", "question", "answer", "version", "release", "branch", "commit", "patch", "review",
    "comment", "request", "report", "user", "system", "machine", "builder", "server", "client", "network", "request,", "response", "header", "body",
    "stream", "buffer", "slice", "map", "string", "byte", "integer", "float", "struct", "interface", "channel", "goroutine", "scheduler", "garbage",
    "collector", "heap", "stack", "frame", "register", "allocation", "compiler", "linker", "assembler", "runtime", "reflection", "generics", "inference",
    "constant", "variable", "parameter", "argument", "expression", "statement", "declaration", "import", "module", "vendor", "proxy", "cache", "index",
    "table", "list", "tree", "node", "graph", "block", "loop", "branch,", "flag", "option", "default", "timeout", "deadline", "context", "lock", "mutex",
    "race", "deadlock", "leak", "panic", "recover", "defer", "signal", "process", "thread", "kernel", "syscall", "socket", "port", "address",
    "certificate", "key", "hash", "digest", "format", "parse", "print", "encode", "decode", "compress", "nil", "`nil`", "`err`", "`context.Context`",
    "`io.Reader`", "`go.mod`", "`GOOS=linux`", "amd64", "arm64", "windows", "darwin", "freebsd", "naïve", "→", "“quoted”", "0x1f", "1.18", "2×", "😕",
    "reproduce",
];

/// Where lines of prose are broken.
const WIDTH: usize = 72;

/// Appends prose of at least `length` bytes, at most a word and a full stop longer, with lines of a bearable width and no line end behind the last.
pub(crate) fn prose(random: &mut Random, out: &mut Vec<u8>, length: usize) {
    let goal = out.len() + length;
    out.reserve(length + 16);
    let mut line = out.len();
    let mut between: &[u8] = b"";
    loop {
        let (mut which, mut marks) = (random.next(), random.next());
        for _ in 0..8 {
            out.extend_from_slice(between);
            out.extend_from_slice(WORDS[(which & 0xff) as usize].as_bytes());
            if out.len() >= goal {
                out.push(b'.');
                return;
            }
            let wrap = out.len() - line > WIDTH;
            between = match (marks & 0x3f, wrap) {
                (0, _) => b".\n\n",
                (1..6, true) => b".\n",
                (1..6, false) => b". ",
                (6..10, true) => b",\n",
                (6..10, false) => b", ",
                (_, true) => b"\n",
                (_, false) => b" ",
            };
            if between.ends_with(b"\n") {
                line = out.len() + between.len();
            }
            which >>= 8;
            marks >>= 8;
        }
    }
}

const VERBS: [&str; 16] =
    ["fix", "add", "remove", "avoid", "make", "use", "don't", "move", "rename", "simplify", "document", "test", "allow", "reject", "handle", "speed up"];

const PACKAGES: [&str; 32] = [
    "cmd/compile",
    "runtime",
    "cmd/go",
    "net/http",
    "net",
    "cmd/link",
    "all",
    "os",
    "crypto/tls",
    "testing",
    "go/types",
    "syscall",
    "reflect",
    "encoding/json",
    "time",
    "cmd/vet",
    "math/big",
    "strings",
    "database/sql",
    "go/doc",
    "html/template",
    "io",
    "sync",
    "path/filepath",
    "image/png",
    "bufio",
    "debug/elf",
    "log",
    "sort",
    "cmd/cgo",
    "internal/poll",
    "unicode/utf8",
];

/// Appends a line such as `net/http: fix race in the server`.
pub(crate) fn title(random: &mut Random, out: &mut Vec<u8>) {
    out.extend_from_slice(PACKAGES[random.zipf(PACKAGES.len())].as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(random.pick(&VERBS).as_bytes());
    let mut which = random.next();
    for _ in 0..4 + random.below(4) {
        out.push(b' ');
        out.extend_from_slice(WORDS[(which & 0xff) as usize].as_bytes());
        which >>= 8;
    }
}

const FILES: [&str; 32] = [
    "doc",
    "main",
    "server",
    "client",
    "transport",
    "value",
    "parse",
    "print",
    "scan",
    "walk",
    "type",
    "rewrite",
    "ssa",
    "malloc",
    "proc",
    "select",
    "chan",
    "map",
    "export",
    "zversion",
    "conn",
    "dial",
    "lookup",
    "cache",
    "load",
    "build",
    "mod",
    "reader",
    "writer",
    "format",
    "sync",
    "stat",
];

const ENDINGS: [&str; 8] = [".go", "_test.go", ".go", "_linux.go", "_amd64.s", ".go", "_windows.go", ".txt"];

/// Appends a path such as `src/net/http/server_test.go`.
pub(crate) fn path(random: &mut Random, out: &mut Vec<u8>) {
    let bits = random.next();
    if bits & 1 == 1 {
        out.extend_from_slice(b"src/");
    }
    out.extend_from_slice(PACKAGES[random.zipf(PACKAGES.len())].as_bytes());
    out.push(b'/');
    if bits & 6 == 6 {
        out.extend_from_slice(b"internal/");
        out.extend_from_slice(FILES[(bits >> 3 & 31) as usize].as_bytes());
        out.push(b'/');
    }
    out.extend_from_slice(FILES[(bits >> 8 & 31) as usize].as_bytes());
    out.extend_from_slice(ENDINGS[(bits >> 13 & 7) as usize].as_bytes());
}

const FIRST: [&str; 32] = [
    "Ada",
    "Alan",
    "Barbara",
    "Chris",
    "Dennis",
    "Edsger",
    "Frances",
    "Grace",
    "Hedy",
    "Ivan",
    "Jean",
    "Katherine",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Ole",
    "Per",
    "Radia",
    "Søren",
    "Tony",
    "Ursula",
    "Vint",
    "Whitfield",
    "Xiaoyun",
    "Yukihiro",
    "Zsófia",
    "Ken",
    "Rob",
    "Lynn",
    "Donald",
    "Joan",
    "Kristen",
];

const SYLLABLES: [&str; 32] = [
    "ba", "ko", "ri", "nu", "se", "ta", "mo", "li", "du", "fe", "ga", "hi", "jo", "ka", "lu", "me", "no", "pa", "qui", "ro", "su", "to", "va", "wi", "xe",
    "yo", "zu", "an", "el", "or", "us", "en",
];

const HOSTS: [&str; 8] = ["golang.org", "google.com", "gmail.com", "example.org", "users.noreply.github.com", "intel.com", "arm.com", "gmx.de"];

fn syllables(mut number: usize, count: usize, out: &mut Vec<u8>) {
    for _ in 0..count {
        out.extend_from_slice(SYLLABLES[number & 31].as_bytes());
        number >>= 5;
    }
}

/// Login of the `number`-th user of GitHub.
pub(crate) fn login(number: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    syllables(number, 4, &mut out);
    if number.is_multiple_of(5) {
        out.extend_from_slice(format!("{}", number % 97).as_bytes());
    }
    out
}

/// GitHub's id of the `number`-th user.
pub(crate) fn user_id(number: usize) -> i64 {
    // A prime larger than any number of users keeps them apart and out of order.
    (number as i64 * 7_919 + 1_023) % 66_666_667 + 1
}

/// Appends `Name <mail>` of the `number`-th person of git.
pub(crate) fn person(number: usize, out: &mut Vec<u8>) {
    let first = FIRST[number % FIRST.len()];
    let mut last = Vec::with_capacity(12);
    syllables(number / FIRST.len(), 3, &mut last);
    out.extend_from_slice(first.as_bytes());
    out.push(b' ');
    out.extend(last.iter().enumerate().map(|(at, byte)| if at == 0 { byte.to_ascii_uppercase() } else { *byte }));
    out.extend_from_slice(b" <");
    out.extend(first.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase()));
    out.push(b'.');
    out.extend_from_slice(&last);
    out.push(b'@');
    out.extend_from_slice(HOSTS[number % 13 % HOSTS.len()].as_bytes());
    out.push(b'>');
}

/// Account at Gerrit of the `number`-th person.
pub(crate) fn account(number: usize) -> usize {
    5_000 + number * 7
}

/// What every account's address at this Gerrit ends in.
pub(crate) const SERVER: &str = "62eb7196-b449-3ce5-99f1-c037f21e1705";

/// `Gerrit User 5167 <5167@…>`: how Gerrit's own commits name people.
pub(crate) fn gerrit_user(account: usize) -> String {
    format!("Gerrit User {account} <{account}@{SERVER}>")
}

/// Zones that people live in.
const ZONES: [&str; 22] = [
    "-0700", "-0400", "-0500", "+0000", "-0800", "+1100", "+0200", "+0100", "+0530", "+0900", "+0800", "+0300", "-0300", "+1000", "+1300", "-0600", "+0700",
    "+0400", "-0200", "+0930", "+1200", "+0600",
];

/// The zone of the `number`-th person.
pub(crate) fn zone(number: usize) -> &'static str {
    ZONES[Random::of(0, Purpose::Plan, number as u64, 0).zipf(ZONES.len())]
}

/// The bytes of a commit object, as `git cat-file commit` prints them. `author` and `committer` are `Name <mail> seconds zone`.
pub(crate) fn raw_commit(tree: Id, parents: &[Id], author: &[u8], committer: &[u8], message: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(120 + 48 * parents.len() + author.len() + committer.len() + message.len());
    let mut header = |key: &str, value: &[u8]| {
        raw.extend_from_slice(key.as_bytes());
        raw.extend_from_slice(value);
        raw.push(b'\n');
    };
    header("tree ", &tree.0);
    for parent in parents {
        header("parent ", &parent.0);
    }
    header("author ", author);
    header("committer ", committer);
    raw.push(b'\n');
    raw.extend_from_slice(message);
    raw
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn prose_is_text_of_the_wanted_length_in_short_lines() {
        let mut random = Random::of(3, Purpose::IssueText, 0, 0);
        for length in [0, 1, 10, 1000, 60_000] {
            let mut out = b"> ".to_vec();
            prose(&mut random, &mut out, length);
            assert!((length..length + 20).contains(&(out.len() - 2)), "{} bytes for {length}", out.len() - 2);
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| line.len() < WIDTH + 40), "{text}");
        }
    }

    #[test]
    fn nobody_is_two_people() {
        let logins: HashSet<Vec<u8>> = (0..40_000).map(login).collect();
        let ids: HashSet<i64> = (0..40_000).map(user_id).collect();
        let people: HashSet<Vec<u8>> = (0..9_000)
            .map(|number| {
                let mut out = Vec::new();
                person(number, &mut out);
                out
            })
            .collect();
        assert_eq!((logins.len(), ids.len(), people.len()), (40_000, 40_000, 9_000));
    }
}
