//! Configurations as people write them: the shipped example, and every mistake with its place and advice.

use std::path::Path;
use std::time::Duration;

use burrow_builders::{Config, Document, Phase, Pools, Question, ResolvedBuilder, TestList};

const BASE: &str = r#"
[pool.here]
kind = "process"
[host.laptop]
pool = "here"
[project.widget]
recipe = "make"
release_branch = "release/{version}"
[repo.widget]
url = "/src/widget"
[recipe.make]
step = [{ name = "build", run = ["make"] }]
[builder.linux]
host = "laptop"
"#;

/// What is wrong with the base and this: `line:column message | help`, lines counted from the addition.
fn wrong(addition: &str) -> Vec<String> {
    let errors = match Config::parse("x.toml", &format!("{BASE}{addition}")) {
        Ok(_) => return Vec::new(),
        Err(errors) => errors,
    };
    let before = BASE.lines().count();
    errors.iter().map(|p| format!("{}:{} {} | {}", p.line as i64 - before as i64, p.column, p.message, p.help.as_deref().unwrap_or("-"))).collect()
}

#[test]
fn the_base_is_right_and_so_is_the_example() {
    assert_eq!(wrong(""), [""; 0]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../env/example.toml");
    let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    let post = |builder: &str, repo: &str, branch: &str| config.decide(builder, repo, branch, branch).post;
    assert!(post("widget-linux", "widget", "main") && !post("widget-linux", "widget-docs", "trunk"));
    assert!(post("widget-docs", "widget-docs", "trunk") && !post("widget-any", "widget", "main"));
    assert!(post("widget-linux-perf", "widget", "release/2.1") && !post("widget-linux-perf", "widget", "release/1.9"));
    assert!(post("widget-linux-perf", "widget-docs", "trunk"), "tip means each repository's own main branch");
    assert!(!post("widget-linux", "widget", "release/1.3") && post("widget-linux", "widget", "release/1.4"));
    assert!(config.decide("widget-linux", "widget", "release/1.3", "release/1.3").because.contains("[[deny]]"));
    let riscv = config.resolve("widget-riscv").unwrap();
    assert_eq!(riscv.scaled(riscv.recipe.steps[0].timeout.unwrap()), Duration::from_secs(80 * 60));
    let json = serde_json::to_string(&riscv).unwrap();
    assert_eq!(serde_json::from_str::<ResolvedBuilder>(&json).unwrap(), riscv, "what is stored with a build comes back the same");
    assert_eq!(riscv.config_hash, config.hash);
    assert_eq!(riscv.recipe.steps_for(Phase::Helper).map(|step| step.command("linux").join(" ")).collect::<Vec<_>>(), ["sh -ec df -h . | tail -n 1"]);
    let go = config.resolve("go-linux-amd64").unwrap();
    assert_eq!(go.recipe.inputs[0].url, "https://builds.example.org/blobs/gobootstrap-linux-amd64-go1.24.6.tar.gz");
    assert!(matches!(&go.recipe.tests.as_ref().unwrap().list, TestList::Command(list) if list[0] == "go/bin/go"));
}

#[test]
fn mistakes_are_named_with_place_and_advice() {
    for (addition, expected) in [
        ("[builder.b]\nhost = \"laptp\"", "2:8 no host is called \"laptp\" | did you mean \"laptop\"?"),
        ("[builder.b]\nhsot = \"laptop\"", "1:1 builder `b` has no `host` | -"),
        ("[builder.b]\nhost = \"laptop\"\ntimeout_scale = \"4\"", "3:17 `timeout_scale` of builder `b` is a text | it must be a number"),
        ("[builder.b]\nhost = \"laptop\"\ntimeout_scale = 0", "3:17 `timeout_scale` of builder `b` cannot be 0 | it must be greater than 0"),
        ("[builder.b]\nhost = \"laptop\"\nproject = \"wigdet\"", "3:11 no project is called \"wigdet\" | did you mean \"widget\"?"),
        ("[builder.b]\nhost = \"laptop\"\nbuilds = \"offf\"\n[policy]\noff = []", "3:10 no policy is called \"offf\" | did you mean \"off\"?"),
        ("[builder.b]\nhost = \"laptop\"\ntests = \"t\"", "3:9 no test policy is called \"t\" | there is none yet: add [test_policy.t]"),
        ("[builder.b]\nhost = \"laptop\"\nknown_issues = [0]", "3:17 `known_issues` of builder `b` cannot be 0 | it must be from 1 to 4294967295"),
        ("[builder.b]\nhost = \"laptop\"\nknown_issues_until = \"soon\"", "3:22 \"soon\" is not a date | write YYYY-MM-DD"),
        (
            "[builder.b]\nhost = \"laptop\"\nhelpers = [1, 2, 3]",
            "3:11 `helpers` of builder `b` is not two numbers | write [after submit, in try runs], for example [1, 4]",
        ),
        (
            "[builder.b]\nhost = \"laptop\"\nbuilds = [{ repo = [\"!x\"] }]",
            "3:11 this clause can never be true | the list `repo` only removes; begin it with \"*\"",
        ),
        ("[builder.b]\nhost = \"laptop\"\nbuilds = [{ repo = [\"wdget\"] }]", "3:11 this clause can never be true | no repository fits its `repo`"),
        (
            "[builder.b]\nhost = \"laptop\"\nbuilds = [{ base_version = \">=2, <1.9\" }]",
            "3:11 this clause can never be true | no version satisfies `base_version` = \">=2, <1.9\"",
        ),
        (
            "[builder.b]\nhost = \"laptop\"\nbuilds = [{ tip = true, branch = [\"dev\"] }]",
            "3:11 this clause can never be true | `tip` means main branches, and its `branch` or `base` leaves them out",
        ),
        (
            "[builder.b]\nhost = \"laptop\"\nbuilds = [{ base_version = \"1.2\" }]",
            "3:28 \"1.2\" in `base_version` is no condition on a version | write for example \">=1.20\", \">=1.19, <1.21\", \"<1.11 || >=2\" or \"*\"",
        ),
        ("[builder.b]\nhost = \"laptop\"\nbuilds = [{ repo = [\"@most\"] }]", "3:21 no reposet is called \"most\" | there is none yet: add [reposet.most]"),
        ("[[deny]]\nbuilder = [\"windows-*\"]", "1:1 this clause can never be true | no builder fits its `builder`, `os`, `arch` and `project`"),
        (
            "[[deny]]\nrepos = [\"x\"]",
            "2:1 a [[deny]] entry has no key `repos` | did you mean `repo`? Allowed: arch, base, base_version, branch, branch_version, builder, changed, label, os, project, release_version, repo, tip",
        ),
        ("[pool.p]\nkind = \"gce\"\nzones = [\"a\"]", "2:8 pool kind gce is not in this build | this program has: process, reverse, listen"),
        ("[pool.p]\nkind = \"proces\"", "2:8 \"proces\" is no kind of pool | did you mean \"process\"?"),
        ("[pool.p]\nkind = \"reverse\"\nlegacy_key = \"k\"", "3:14 no secret is called \"k\" | there is none yet: add [secret.k]"),
        (
            "[pool.p]\nkind = \"process\"\nlimits = { memory = \"2G\" }",
            "3:21 `memory` of `limits` of pool `p` is not a size | write for example \"512MiB\" or \"2GiB\", in quotes",
        ),
        (
            "[host.h]\npool = \"here\"\ncontainer = \"x\"",
            "1:7 host `h` has an image, but its pool \"here\" starts no machines | remove `image` and `container`, or name another pool",
        ),
        (
            "[host.h]\npool = \"here\"\nboot_timeout = 90",
            "3:16 `boot_timeout` of host `h` is not a duration | write for example \"90s\", \"20m\" or \"1h30m\", in quotes",
        ),
        ("[host.h]\npool = \"here\"\nowners = [\"joe\"]", "3:11 \"joe\" is not an address of an owner | write \"github:name\" or \"mailto:name@example.org\""),
        ("[recipe.r]", "1:1 recipe `r` runs nothing | give it a step: step = [{ name = \"build\", run = [\"make\"] }]"),
        (
            "[recipe.r]\nstep = [{ name = \"a\", run = \"make\" }]",
            "2:29 `run` of a step of recipe `r` is a text | write a list, [\"make\", \"check\"], or add shell = true",
        ),
        ("[recipe.r]\nstep = [{ name = \"a\", run = [\"a\"] }, { name = \"a\", run = [\"b\"] }]", "2:47 two steps are called \"a\" | -"),
        (
            "[recipe.r]\nstep = [{ name = \"a\", run = [\"a\"], dir = \"../x\" }]",
            "2:42 `dir` of a step of recipe `r` does not stay below the work directory | write a relative path with `/`, without `..`",
        ),
        (
            "[recipe.r.tests]\nfixed = [\"a\"]\nrun = [\"t\"]",
            "3:7 `run` of `tests` of recipe `r` has no place for the tests' names | write {tests} where they belong",
        ),
        (
            "[recipe.r]\nkind = \"step\"\nstep = [{ name = \"a\", run = [\"a\"] }]",
            "2:8 `kind` of recipe `r` cannot be \"step\" | did you mean `steps`? Allowed: detect, go-toolchain, steps",
        ),
        ("[repo.r]\nurl = \"--upload-pack=x\"", "2:7 `url` of repo `r` cannot be the address of a repository | -"),
        ("[repo.r]\nurl = \"x\"\nhook_secret = \"s\"\n[secret.t]\nenv = \"S\"", "3:15 no secret is called \"s\" | did you mean \"t\"?"),
        ("[secret.s]\nfile = \"x\"\nenv = \"X\"", "1:9 secret `s` does not say in one way where it is kept | set exactly one of `file`, `env` and `exec`"),
        (
            "[site]\nlisten = \"8080\"",
            "2:10 `listen` of [site] is not an address to listen on | write host:port, for example \"127.0.0.1:8080\" or \"[::]:8080\"",
        ),
        ("[site]\nstorage = { logs = \"blobs\" }", "2:20 no storage is called \"blobs\" | add a table [storage.blobs]"),
        ("[reposet]\na = [\"@b\"]\nb = [\"x\", \"!@a\"]", "2:1 reposet \"a\" contains itself, or sets more than 8 deep | -"),
        ("[template.a]\nuse = \"b\"\n[template.b]\nuse = [\"a\"]", "2:7 template \"b\" uses itself: b → a → b | -"),
        (
            "[\"builder\".\"a/b\"]\nhost = \"laptop\"",
            "1:12 \"a/b\" cannot be the name of a builder | 1 to 100 letters, digits and . _ - +, not beginning with a dot",
        ),
        (
            "[builders.x]\nhost = \"laptop\"",
            "1:2 the document has no key `builders` | did you mean `builder`? Allowed: builder, deny, host, host_template, policy, pool, project, recipe, repo, reposet, schema, secret, site, skip_tests, storage, template, test_policy",
        ),
        ("[builder.linux]\n", "1:10 duplicate key | -"),
        ("x = = 1", "1:5 extra `=`, expected nothing | -"),
    ] {
        let found = wrong(addition);
        assert!(found.iter().any(|line| line == expected), "{addition}\n  expected {expected}\n  found    {found:#?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_and_shown_like_a_compiler_shows_them() {
    let errors = Config::parse("farm.toml", "[host.a]\npool = \"x\"\n\n[builder.b]\nhost   = \"aa\"\nhelper = 1 # für später\n").unwrap_err();
    let text = errors.to_string();
    assert_eq!(errors.len(), 4, "{text}");
    assert!(
        text.contains(
            "error: builder `b` has no key `helper`\n --> farm.toml:6:1\n  |\n6 | helper = 1 # für später\n  | ^^^^^^\n  = help: did you mean `helpers`?"
        ),
        "{text}"
    );
    assert!(text.ends_with("the configuration has 4 errors and was not taken"), "{text}");
}

#[test]
fn a_folder_is_one_document_in_which_each_key_is_set_once() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    assert!(Config::load(dir.path()).unwrap_err().to_string().contains("there is no *.toml file"));
    write("10-base.toml", BASE);
    write("20-more.toml", "[builder.second]\nhost = \"laptop\"\n");
    write("notes.txt", "not a configuration");
    let config = Config::load(dir.path()).unwrap();
    assert_eq!(config.builders.len(), 2);
    assert_eq!(
        config.hash,
        Config::parse("other-name.toml", &format!("# moved\n{BASE}\n[builder.second]\nhost = \"laptop\"\npost = true\n")).unwrap().hash,
        "what counts is what it means"
    );
    write("30-again.toml", "[builder.second]\nhost = \"laptop\"\n[host.other]\npool = \"nowhere\"\n");
    let errors = Config::load(dir.path()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].file.ends_with("30-again.toml") && errors[0].message.contains("20-more.toml:1"), "{errors}");
    assert!(Config::load(&dir.path().join("missing.toml")).unwrap_err()[0].message.contains("cannot be read"));
}

#[test]
fn templates_merge_in_order_and_environments_key_by_key() {
    let text = format!(
        "{BASE}{}",
        r#"
[template.a]
env = { A = "a", X = "a" }
timeout_scale = 2
[template.b]
use = "a"
env = { B = "b", X = "b" }
flaky_net = true
[builder.c]
use = ["b"]
host = "laptop"
env = { C = "c", X = "c" }
timeout_scale = 3
"#
    );
    let config = Config::parse("x.toml", &text).unwrap();
    let resolved = config.resolve("c").unwrap();
    let of = |name: &str| resolved.env.get(name).map(String::as_str);
    assert_eq!((of("A"), of("B"), of("C"), of("X"), of("BURROW_TIMEOUT_SCALE")), (Some("a"), Some("b"), Some("c"), Some("c"), Some("3")));
    assert!(config.builders["c"].flaky_net);
}

#[test]
fn what_is_not_known_yet_makes_a_yes_that_says_so() {
    let text = format!("{BASE}builds = [{{ repo = [\"widget\"], changed = [\"src/*\"] }}]\n[[deny]]\nlabel = [\"wip\"]\n");
    let config = Config::parse("x.toml", &text).unwrap();
    let open = config.decide("linux", "widget", "main", "main");
    assert!(open.post && open.needs_changed && open.needs_labels);
    let told = |changed: &[&str], labels: &[&str]| {
        let (changed, labels): (Vec<_>, Vec<_>) = (changed.iter().map(|s| (*s).to_owned()).collect(), labels.iter().map(|s| (*s).to_owned()).collect());
        config.decide_about(&Question { builder: "linux", repo: "widget", branch: "main", base: "", changed: Some(&changed), labels: Some(&labels) })
    };
    assert!(told(&["README", "src/a/b"], &["ready"]).post);
    assert!(!told(&["README"], &[]).post);
    assert!(!told(&["src/a"], &["wip"]).post);
    assert!(!told(&["src/a"], &[]).needs_changed);
}

#[test]
fn a_farm_elsewhere_can_be_checked_here_but_not_run() {
    let text = BASE.replace("\"process\"", "\"kubernetes\"\ncluster = \"c\"");
    assert_eq!(Config::parse("x.toml", &text).unwrap_err().len(), 1);
    assert!(Config::from_document(&Document::parse("x.toml", &text).unwrap(), Pools::Any).is_ok());
}

#[test]
fn texts_that_nest_without_end_are_refused_not_followed() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("[builder.x]\nenv{} = 1", ".a".repeat(5_000)),
        format!("{}[host.a]\nuse = \"t0\"", (0..3_000).map(|at| format!("[host_template.t{at}]\nuse = \"t{}\"\n", at + 1)).collect::<String>()),
    ] {
        assert!(Config::parse("x.toml", &text).is_err());
    }
}
