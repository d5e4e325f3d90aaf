//! Random inputs: a number makes a case, the same one every time.

/// A call of the program.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) args: Vec<String>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// SplitMix64.
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

const NAMES: [&str; 14] = [
    "Encode",
    "Encode/format=json",
    "Encode/format=gob",
    "Encode/format=json-8",
    "Encode/format=gob-8",
    "Sort/n=10-4",
    "Sort/n=2k-4",
    "Sort/n=1Mi-4",
    "Sort/n=x",
    "a/b//c",
    "",
    "µ/ß=é-16",
    "Sort/n=10/gomaxprocs=2",
    "VeryLongBenchmarkNameThatNeedsRoom/with=many/parts=in/it=yes-128",
];
const UNITS: [&str; 12] = ["ns/op", "B/op", "allocs/op", "MB/s", "x-ns/op", "widgets/s", "text-bytes", "sec/op", "ns/GC", "ns*MB/s", "op/ns", "p99-ns"];
const CONFIG: [(&str, &[&str]); 6] = [
    ("goos", &["linux", "plan9"]),
    ("goarch", &["amd64", "arm64"]),
    ("pkg", &["z", "a", "example.org/m"]),
    ("note", &["before", "after", "hw acceleration"]),
    ("cpu", &["Some CPU @ 3GHz"]),
    ("n", &["10", "9", "1k", "2Ki", "x"]),
];
const FILTERS: [&str; 16] = [
    "*",
    ".unit:ns/op",
    "-.unit:B/op",
    ".unit:(sec/op OR allocs/op)",
    "goos:linux",
    ".name:/^E/",
    "/format:json OR /n:10",
    "-(goos:plan9 note:after)",
    ".file:a.txt",
    "goos:\"\"",
    "/gomaxprocs:8",
    ".fullname:/[st]/ .unit:/op$/",
    "bad",
    "a:(b c)",
    ".config:x",
    "goos:/li/x",
];
const ROWS: [&str; 10] = [".fullname", ".name", "/format", "/n@num", ".name,/n@(10 2k x)", ".fullname@alpha", "/gomaxprocs,.name", "", "pkg .fullname", "a@"];
const COLS: [&str; 12] =
    [".file", "note", "goos,goarch", "note@(before after)", "/format", ".file@alpha", "pkg@alpha,.file", "n@num", ".config", "note,.file", "", "goos@nosuch"];
const TABLES: [&str; 6] = [".config", "goos", "", "pkg@alpha", ".config@alpha", ".name"];
const IGNORES: [&str; 6] = ["", "note", "goos,goarch", "/n", "pkg,cpu,note,n", ".config"];

/// How values of one benchmark and unit are drawn.
#[derive(Clone, Copy)]
enum Values {
    Noisy,
    Ties,
    Zeros,
    Negative,
    Huge,
    Tiny,
    Constant,
    Odd,
}

/// The case of a number.
pub(crate) fn case(number: u64) -> Case {
    let mut source = Source(number.wrapping_mul(0xd134_2543_de82_ef95));
    let files = [1, 2, 2, 2, 3, 4][source.below(6)];
    // Of samples with NaN the reference compares for ever.
    let nan = files == 1 && source.one_in(6);
    let mut args = Vec::new();
    let mut flag = |source: &mut Source, chance: usize, name: &str, values: &[&str]| {
        if source.one_in(chance) {
            args.extend([name.to_owned(), source.of(values).to_owned()]);
        }
    };
    if !nan {
        flag(&mut source, 3, "-col", &COLS);
    }
    flag(&mut source, 3, "-row", &ROWS);
    flag(&mut source, 4, "-table", &TABLES);
    flag(&mut source, 4, "-ignore", &IGNORES);
    flag(&mut source, 3, "-filter", &FILTERS);
    flag(&mut source, 6, "-alpha", &["0.01", "0.1", "0", "1", "1e-05"]);
    flag(&mut source, 6, "-confidence", &["0.9", "0.99", "0.5", "1", "0", "0.999"]);
    flag(&mut source, 2, "-format", &["csv"]);
    let names: Vec<&str> = (0..1 + source.below(5)).map(|_| source.of(&NAMES)).collect();
    let units: Vec<&str> = (0..1 + source.below(4)).map(|_| source.of(&UNITS)).collect();
    let count = [1, 2, 3, 4, 5, 6, 8, 10, 10, 12, 15, 20, 21, 24, 26, 30, 31, 51, 60][source.below(19)];
    let contents: Vec<(String, Vec<u8>)> =
        (0..files).map(|i| (format!("{}.txt", ["a", "b", "new", "z"][i]), file(&mut source, &names, &units, count, nan))).collect();
    for (name, _) in &contents {
        if source.one_in(6) {
            args.push(format!("{}={name}", source.of(&["x", "old one", "label"])));
        } else {
            args.push(name.clone());
        }
    }
    if source.one_in(40) && !nan {
        args.push(contents[0].0.clone());
    }
    if source.one_in(150) {
        args.push("nosuch.txt".to_owned());
    }
    Case { args, files: contents }
}

fn file(source: &mut Source, names: &[&str], units: &[&str], count: usize, nan: bool) -> Vec<u8> {
    let mut out = String::new();
    let mut styles = Vec::new();
    for _ in 0..names.len() * units.len() {
        use Values::{Constant, Huge, Negative, Noisy, Odd, Ties, Tiny, Zeros};
        let style = [Noisy, Noisy, Noisy, Noisy, Ties, Ties, Ties, Zeros, Negative, Huge, Tiny, Constant, Odd][source.below(13)];
        let base = 10_f64.powf(source.part() * 8.0 - 1.0);
        styles.push((style, if source.one_in(3) { base } else { 100.0 + source.part() * 30.0 }));
    }
    for (key, values) in CONFIG {
        if source.one_in(3) {
            out.push_str(&format!("{key}: {}\n", source.of(values)));
        }
    }
    if source.one_in(3) {
        out.push_str(source.of(&[
            "Unit text-bytes assume=exact\n",
            "Unit ns/op better=lower x\n",
            "Unit widgets/s better=higher assume=exact\n",
            "Unit widgets/s better=lower\n",
            "Unit\n",
            "\nPASS\nok  pkg 1.2s\n",
        ]));
    }
    // One benchmark after the other, or rounds.
    let rounds = source.one_in(2);
    let vary = if source.one_in(2) { 1 + source.below(count) } else { count };
    for step in 0..count * names.len() {
        let (round, which) = if rounds { (step / names.len(), step % names.len()) } else { (step % count, step / count) };
        if round >= vary && source.one_in(2) || source.one_in(60) {
            continue;
        }
        if source.one_in(50) {
            let (key, values) = CONFIG[source.below(CONFIG.len())];
            out.push_str(&format!("{key}: {}\n", if source.one_in(4) { "" } else { source.of(values) }));
        }
        if source.one_in(150) {
            out.push_str(source.of(&[
                "BenchmarkX\n",
                "BenchmarkX \n",
                "BenchmarkX 1 5\n",
                "BenchmarkX 1 5x ns/op\n",
                "BenchmarkX y 5 ns/op\n",
                "BenchmarkX 99999999999999999999 1 s\n",
                "BenchmarkEncode 1 1_0 ns/op 0x1p3 B/op\n",
                "key:value\n",
            ]));
        }
        out.push_str(&format!("Benchmark{} {}", names[which], 1 + source.below(100_000)));
        for (i, unit) in units.iter().enumerate() {
            let (style, base) = styles[which * units.len() + i];
            let value = value(source, style, base);
            let text = match value {
                _ if nan && source.one_in(12) => "NaN".to_owned(),
                value if value == value.trunc() && value.abs() < 1e15 => format!("{value}"),
                value if source.one_in(30) => format!("{value:e}"),
                value => format!("{value:.*}", [0, 1, 2, 4][source.below(4)]),
            };
            // Of 0 and -0, which are equal, the reference takes either for the median of a large sample.
            let text = if text.starts_with("-0") && text.parse() == Ok(0.0) { "0" } else { &text };
            out.push_str(&format!("{}{text} {unit}", source.of(&[" ", "  ", "\t"])));
        }
        out.push_str(if source.one_in(100) { "\r\n" } else { "\n" });
    }
    let mut bytes = out.into_bytes();
    if source.one_in(60) {
        bytes.extend_from_slice(b"pkg: \xff\xfe\nBenchmark\xe2\x82/a=\xff 1 5 ns/op\n");
    }
    if source.one_in(200) {
        bytes.extend(std::iter::repeat_n(b'x', 65_536));
        bytes.push(b'\n');
    }
    bytes
}

fn value(source: &mut Source, style: Values, base: f64) -> f64 {
    let noise = 1.0 + (source.part() + source.part() - 1.0) * 0.05;
    match style {
        Values::Noisy => base * noise,
        Values::Ties => (base / 20.0 + source.part() * 4.0).floor(),
        Values::Zeros => {
            if source.one_in(2) {
                0.0
            } else {
                source.below(3) as f64
            }
        }
        Values::Negative => base * noise - if source.one_in(2) { 2.0 * base } else { base },
        Values::Huge => base * noise * 1e300_f64.powf(source.part()),
        Values::Tiny => base * noise * 1e-12,
        Values::Constant => base.floor(),
        Values::Odd => match source.below(12) {
            0 => f64::INFINITY,
            1 => 1e18,
            2 => -5.0,
            _ => (base * noise).round(),
        },
    }
}
