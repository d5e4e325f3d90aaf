//! Configurations that are wrong say where and what to do.

use std::path::Path;

use burrow_certificates::{Challenge, LETS_ENCRYPT, Source};
use burrow_pubsubhelper::Config;

fn refused(text: &str) -> String {
    Config::parse(Path::new("p.toml"), text).unwrap_err().to_string()
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_what_is_allowed() {
    let error = refused("listen = [\"127.0.0.1:1\"]\nlisten_on = 5\n");
    assert!(error.starts_with("p.toml:2: ") && error.contains("listen_on") && error.contains("`listen`"), "{error}");
    let error = refused("\n\n[[source]]\nkind = \"github\"\nsecretfile = \"x\"\n");
    assert!(error.starts_with("p.toml:3: ") && error.contains("secretfile") && error.contains("secret_file"), "{error}");
    let error = refused("[[source]]\nkind = \"guthib\"\n");
    assert!(error.contains("guthib") && error.contains("gerrit-stream"), "{error}");
    let error = refused("trusted_proxies = [\"10.0.0.0/8\", \"x\"]\n");
    assert!(error.starts_with("p.toml:1: ") && error.contains("10.0.0.0/8, fd00::/8"), "{error}");
}

#[test]
fn sources_that_make_no_sense_are_refused() {
    let github = "[[source]]\nkind = \"github\"\nsecret_file = \"x\"\n";
    assert!(refused("[[source]]\nkind = \"github\"\n").contains("needs a `secret_file`"));
    assert!(refused(&format!("{github}{github}")).contains("give each a `name`"));
    assert!(refused(&format!("{github}{github}name = \"b\"\n")).contains("has the path \"/github-webhook\", too"));
    assert!(refused(&format!("{github}path = \"/waitevent\"\n")).contains("cannot be posted to"));
    assert!(refused(&format!("{github}name = \"a b\"\n")).contains("letters"));
    assert!(refused("[[source]]\nkind = \"generic\"\nname = \"x\"\nsecret_file = \"x\"\n").contains("`topic`"));
    assert!(refused("[[reader]]\nname = \"r\"\ntoken_file = \"t\"\ntopics = [\"a b\"]\n").contains("no topic pattern"));
    assert!(refused("[[source]]\nkind = \"gerrit-webhooks\"\n").contains("`from`"));
    Config::parse(Path::new("p.toml"), "[[source]]\nkind = \"gerrit-webhooks\"\nfrom = [\"192.0.2.7\"]\n").unwrap();
}

#[test]
fn a_certificate_comes_from_files_or_from_an_authority() {
    let acme = "acme = { hosts = [\"events.example.org\"] }";
    for wrong in ["cert = \"c\"".to_owned(), format!("cert = \"c\", key = \"k\", {acme}"), String::new()] {
        let error = refused(&format!("data = \"d\"\ntls = {{ {wrong} }}\n"));
        assert!(error.starts_with("p.toml:2: ") && error.contains("`cert` and `key`") && error.contains("`acme`"), "{error}");
    }
    assert!(refused("[tls.acme]\nhost = \"x\"\n").contains("`hosts`"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    std::fs::write(&file, format!("tls = {{ {acme} }}\n")).unwrap();
    let config = Config::load(&file).unwrap();
    let Source::Acme(acme) = config.tls.unwrap().source(&config.data) else { panic!("an authority was asked for") };
    assert_eq!((acme.dir, acme.directory.as_str(), acme.challenge), (config.data.join("acme"), LETS_ENCRYPT, Challenge::TlsAlpn));
    std::fs::write(&file, "[tls.acme]\nhosts = [\"events.example.org\"]\nhttp = \"0.0.0.0:80\"\ndir = \"a\"\n").unwrap();
    let config = Config::load(&file).unwrap();
    let Source::Acme(acme) = config.tls.unwrap().source(&config.data) else { panic!("an authority was asked for") };
    assert_eq!((acme.dir, acme.challenge), (dir.path().join("a"), Challenge::Http));
}

#[test]
fn paths_are_relative_to_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    std::fs::write(&file, "data = \"d\"\n[[source]]\nkind = \"github\"\nsecret_file = \"s\"\n[[source]]\nkind = \"generic\"\npath = \"/notify/one\"\ntopic = [\"t\"]\nsecret_file = \"/abs\"\n").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.data, dir.path().join("d"));
    assert_eq!(config.source[0].hook().unwrap().secret_file.as_deref(), Some(dir.path().join("s").as_path()));
    assert_eq!((config.source[1].name(), config.source[1].hook().unwrap().secret_file.as_deref()), ("one", Some(Path::new("/abs"))));
}
