//! A build that measures its commit against the parent and shows the comparison.

use burrow_tests::{all_ended, build};
use testkit_harness::Burrow;
use testkit_harness::burrow::executable;
use testkit_harness::git::Repository;

#[test]
fn a_step_compares_a_commit_with_its_parent_and_the_build_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(dir.path().join("upstream"));
    repository.write("time", "1000").script("bench.sh", "#!/bin/sh\nread time < time\necho \"BenchmarkSort 10 $time ns/op\"\n").commit("a benchmark");
    repository.write("time", "1500").commit("slower");
    let compare = format!("{} bench run --max-rounds 6 --a 'cd ../parent; ./bench.sh' --b ./bench.sh", executable("burrow").display());
    let text = format!(
        "schema = 1\n[site]\nlisten = \"127.0.0.1:0\"\n[pool.local]\nkind = \"process\"\nworkers = 1\n[host.local]\npool = \"local\"\n\
         [project.app]\nmain_branch = \"main\"\n[repo.app]\nproject = \"app\"\nurl = {:?}\n\
         [recipe.measure]\nparent_checkout = \"parent\"\nstep = [{{ name = \"bench\", run = {compare:?}, shell = true }}]\n\
         [builder.one]\nhost = \"local\"\nrecipe = \"measure\"\n",
        repository.arg()
    );
    std::fs::write(dir.path().join("farm.toml"), text).unwrap();
    let burrow = Burrow::serving(dir.path(), &["coordinator", "--config", "farm.toml", "--data", "data"]);
    // One worker builds both, so that it has the trees of one build when it gets those of the other. The first commit has no parent and is compared with itself.
    for line in all_ended(&burrow, 2) {
        let build = build(&burrow, line["id"].as_i64().unwrap());
        let change = if build["title"] == "slower" { "+50.00%" } else { "~" };
        assert_eq!(build["state"], "passed", "{}", String::from_utf8_lossy(&burrow_tests::log(&burrow, &build)));
        let page = burrow.get(&format!("/build/{}", build["id"])).text();
        let shown = page.split("id=\"benchmarks\">").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap_or_else(|| panic!("no benchmarks: {page}"));
        assert!(shown.contains("Sort") && shown.contains(change), "{}: {shown}", build["title"]);
    }
}
