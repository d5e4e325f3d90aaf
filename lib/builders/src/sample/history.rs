//! The sample project's commits, and the stream that `git fast-import` makes them from.

/// The main branch first.
pub(super) const BRANCHES: [&str; 2] = ["main", "roman-numerals"];

/// Where the second branch leaves the first: after this commit (counted from 0).
const FORK: usize = 4;

/// One commit, with the files it brings or changes, whole. (None is ever removed here.)
pub(super) struct Commit {
    branch: &'static str,
    author: &'static str,
    /// Age in minutes.
    age: i64,
    message: &'static str,
    files: Vec<(String, String)>,
}

const MAIN: &str = include_str!("files/main.sh");
const NUMBERS: &str = include_str!("files/numbers.sh");

/// The tests of the first commit: name, and what they check.
const UNIT: [(&str, &str); 12] = [
    ("add", "check 5 add 2 3\ncheck 0 add\ncheck -1 add 2 -3\n"),
    ("subtract", "check 1 subtract 3 2\ncheck -4 subtract 0 4\n"),
    ("multiply", "check 42 multiply 6 7\ncheck 0 multiply 0 9\n"),
    ("divide", "check '3 1' divide 10 3\ncheck '0 2' divide 2 5\n"),
    ("gcd", "check 6 gcd 12 18\ncheck 1 gcd 7 9\ncheck 12 gcd 12 0\n"),
    ("lcm", "check 36 lcm 12 18\n"),
    ("power", "check 1024 power 2 10\ncheck 1 power 9 0\n"),
    ("factorial", "check 120 factorial 5\ncheck 1 factorial 0\n"),
    ("fibonacci", "check 55 fibonacci 10\ncheck 0 fibonacci 0\n"),
    ("prime", "check yes prime 97\ncheck 'no: 7 * 13' prime 91\n"),
    ("digits", "check 4 digits 1234\n"),
    ("reverse", "check 4321 reverse 1234\ncheck 7 reverse 7\n"),
];

fn unit(body: &str) -> String {
    format!(". tests/check.sh\n{body}exit $failed\n")
}

/// The text with one part replaced by another.
fn with(text: &str, part: &str, by: &str) -> String {
    text.replacen(part, by, 1)
}

const POWER: &str = r#"power() { p=1; i=0; while [ "$i" -lt "$2" ]; do p=$((p * $1)); i=$((i + 1)); done; echo "$p"; }"#;
/// Works, unless the shell minds that `$2` may be missing.
const POWER_CARELESS: &str = r#"power() {
    exponent=$2
    [ -n "$exponent" ] || exponent=2
    p=1; i=0
    while [ "$i" -lt "$exponent" ]; do p=$((p * $1)); i=$((i + 1)); done
    echo "$p"
}"#;
const GCD: &str = r#"gcd() {
    a=$1 b=$2
    while [ "$b" -ne 0 ]; do t=$((a % b)); a=$b; b=$t; done
    echo "$a"
}"#;
/// Forgets that one of the numbers may be zero.
const GCD_SHORT: &str = r#"gcd() { if [ $(($1 % $2)) -eq 0 ]; then echo "$2"; else gcd "$2" $(($1 % $2)); fi; }"#;
const GCD_RIGHT: &str = r#"gcd() { if [ "$2" -eq 0 ]; then echo "$1"; else gcd "$2" $(($1 % $2)); fi; }"#;
const ROMAN_BROKEN: &str = r#"# roman NUMBER
roman() {
    n=$1 r=
    for pair in 1000:M 500:D 100:C 50:L 10:X 5:V 1:I; do
        while [ "$n" -ge "${pair%:*}" ]; do n=$((n - ${pair%:*})); r=$r${pair#*:}
    done
    echo "$r"
}
"#;
const MEDIAN: &str = r#"# median NUMBER...
median() {
    printf '%s\n' "$@" | sort -n | { i=0; while read -r n; do i=$((i + 1)); [ "$i" -ne $((($# + 1) / 2)) ] || echo "$n"; done; }
}
"#;

/// All commits, oldest first within each branch.
pub(super) fn commits() -> Vec<Commit> {
    let careless = with(NUMBERS, POWER, POWER_CARELESS);
    let squares = with(&careless, "exponent=$2\n    [ -n \"$exponent\" ] || exponent=2", "exponent=${2:-2}");
    let short = with(&squares, GCD, GCD_SHORT);
    let right = with(&squares, GCD, GCD_RIGHT);
    let version = with(MAIN, "*) echo", "version) echo 'abacus 1.1' ;;\n*) echo");
    let median = with(&version, "| reverse)", "| reverse | median)");
    let roman = with(MAIN, "| reverse)", "| reverse | roman)");
    let roman_closed = with(ROMAN_BROKEN, "r=$r${pair#*:}\n", "r=$r${pair#*:}; done\n");
    let roman_right = with(&roman_closed, "1000:M 500:D 100:C 50:L 10:X 5:V 1:I", "1000:M 900:CM 500:D 400:CD 100:C 90:XC 50:L 40:XL 10:X 9:IX 5:V 4:IV 1:I");
    let mut first: Vec<(&str, String)> = vec![
        ("build.sh", include_str!("files/build.sh").to_owned()),
        ("main.sh", MAIN.to_owned()),
        ("lib/arithmetic.sh", include_str!("files/arithmetic.sh").to_owned()),
        ("lib/numbers.sh", NUMBERS.to_owned()),
        ("lib/text.sh", include_str!("files/text.sh").to_owned()),
        ("tests/list", include_str!("files/test_list").to_owned()),
        ("tests/run", include_str!("files/test_run").to_owned()),
        ("tests/check.sh", include_str!("files/check.sh").to_owned()),
        ("tests/long.sh", include_str!("files/long.sh").to_owned()),
        ("tests/flaky/cold-start.sh", include_str!("files/cold_start.sh").to_owned()),
        ("tests/flaky/steady.sh", include_str!("files/steady.sh").to_owned()),
        (".gitignore", "/out\n".to_owned()),
    ];
    let names: Vec<String> = UNIT.iter().map(|(name, _)| format!("tests/unit/{name}.sh")).collect();
    first.extend(names.iter().zip(UNIT).map(|(path, (_, body))| (path.as_str(), unit(body))));
    let commit = |branch, author, age, message, files: Vec<(&str, String)>| {
        let files = files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect();
        Commit { branch, author, age, message, files }
    };
    let (main, side) = (BRANCHES[0], BRANCHES[1]);
    vec![
        commit(main, "Ada Sample", 3 * 1440, "An abacus that counts\n\nAdds, multiplies, divides, and knows a little about numbers. Shell only.\n", first),
        commit(main, "Burrow Sample", 3 * 1440 - 50, "Say how to build and test it\n", vec![("README.md", include_str!("files/README.md").to_owned())]),
        commit(
            main,
            "Grace Sample",
            2 * 1440,
            "power: squares by default\n\nMost people want squares. Without an exponent it is 2.\n",
            vec![("lib/numbers.sh", careless), ("tests/unit/power.sh", unit("check 1024 power 2 10\ncheck 1 power 9 0\ncheck 49 power 7\n"))],
        ),
        commit(
            main,
            "Ada Sample",
            2 * 1440 - 65,
            "power: do not look at an argument that may be missing\n\nStrict shells stop there.\n",
            vec![("lib/numbers.sh", squares)],
        ),
        commit(
            main,
            "Burrow Sample",
            1440 + 300,
            "check: show what was wanted and what came\n",
            vec![("tests/check.sh", include_str!("files/check.sh").replace("failed=0\n", "# Included by every test.\nfailed=0\n"))],
        ),
        commit(main, "Grace Sample", 400, "gcd: shorter\n\nOne line instead of five.\n", vec![("lib/numbers.sh", short)]),
        commit(main, "Burrow Sample", 330, "A version command\n", vec![("main.sh", version)]),
        commit(main, "Ada Sample", 240, "gcd: nothing and something is something\n\nThe short one divided by zero.\n", vec![("lib/numbers.sh", right)]),
        commit(
            main,
            "Grace Sample",
            35,
            "median of any list\n",
            vec![("main.sh", median), ("lib/median.sh", MEDIAN.to_owned()), ("tests/unit/median.sh", unit("check 3 median 5 1 3\ncheck 2 median 4 2 9 1\n"))],
        ),
        commit(
            side,
            "Ida Sample",
            180,
            "Roman numerals\n",
            vec![
                ("main.sh", roman),
                ("lib/roman.sh", ROMAN_BROKEN.to_owned()),
                ("tests/unit/roman.sh", unit("check XII roman 12\ncheck MMXXVI roman 2026\ncheck XIV roman 14\n")),
            ],
        ),
        commit(side, "Ida Sample", 150, "roman: close the loop\n", vec![("lib/roman.sh", roman_closed)]),
        commit(side, "Ida Sample", 12, "roman: four is IV, not IIII\n", vec![("lib/roman.sh", roman_right)]),
    ]
}

/// The input of `git fast-import` (its documented format): blobs inline, marks from 1.
pub(super) fn stream(now_s: i64) -> Vec<u8> {
    let mut out = String::new();
    let mut previous: Option<&str> = None;
    for (at, commit) in commits().iter().enumerate() {
        let time = now_s - commit.age * 60;
        let mail = commit.author.split(' ').next().unwrap_or_default().to_lowercase();
        let mail = if mail == "burrow" { "sample".to_owned() } else { mail };
        let person = format!("{} <{mail}@localhost> {time} +0000", commit.author);
        out.push_str(&format!("commit refs/heads/{}\nmark :{}\nauthor {person}\ncommitter {person}\n", commit.branch, at + 1));
        data(&mut out, commit.message);
        match previous {
            Some(branch) if branch == commit.branch => out.push_str(&format!("from :{at}\n")),
            Some(_) => out.push_str(&format!("from :{}\n", FORK + 1)),
            None => {}
        }
        for (path, text) in &commit.files {
            let runnable = text.starts_with("#!");
            out.push_str(&format!("M {} inline {path}\n", if runnable { "100755" } else { "100644" }));
            data(&mut out, text);
        }
        out.push('\n');
        previous = Some(commit.branch);
    }
    out.push_str("done\n");
    out.into_bytes()
}

fn data(out: &mut String, text: &str) {
    out.push_str(&format!("data {}\n{text}\n", text.len()));
}
