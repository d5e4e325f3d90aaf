//! The documentation is right: its configuration is read, and every kind of source is in it.

use std::path::Path;

use burrow_certificates::config::Tls;
use burrow_pubsubhelper::Config;

#[test]
fn the_example_in_the_documentation_is_right() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pubsubhelper.md")).unwrap();
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse(Path::new("example.toml"), example).unwrap();
    let mut kinds: Vec<&str> = config.source.iter().map(|source| source.kind()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["generic", "gerrit-mail", "gerrit-stream", "gerrit-webhooks", "gitea", "github", "gitlab"]);
    // What is shown as usual is usual.
    let usual = Config::default();
    assert_eq!((config.keep.hours, config.keep.count, config.keep.megabytes), (usual.keep.hours, usual.keep.count, usual.keep.megabytes));
    assert_eq!((config.limits.body_mb, config.limits.wait_s, config.listen), (usual.limits.body_mb, usual.limits.wait_s, usual.listen));
    let certificate = text.split("```toml\n").nth(2).unwrap().split("```").next().unwrap();
    assert!(matches!(Config::parse(Path::new("certificate.toml"), certificate).unwrap().tls, Some(Tls::Acme(_))));
    for source in &config.source {
        let path = source.hook().map(|hook| hook.path.as_str()).unwrap_or_default();
        assert!(text.contains(path), "{path}");
    }
}
