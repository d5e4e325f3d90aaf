//! Pages for other machines: over TLS, everybody reads, who changes something shows the token.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use testkit_harness::git::Repository;
use testkit_harness::{Burrow, HANG};

struct Https {
    address: String,
    config: Arc<rustls::ClientConfig>,
}

impl Https {
    /// Status of the answer; the certificate must be good for `localhost`.
    fn status(&self, request: &str) -> u16 {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = rustls::ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(HANG)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server may close without TLS's own farewell; what came before it counts.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no answer to {request:?}: {answer:?}"))
    }
}

#[test]
fn other_machines_read_over_tls_and_write_with_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let repository = Repository::create(dir.path().join("app"));
    repository.write("Makefile", "all:\n\techo made\n").commit("first");
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(dir.path().join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(dir.path().join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.path().join("token"), "open sesame\n").unwrap();
    let farm = format!(
        "schema = 1\n[site]\nlisten = \"0.0.0.0:0\"\nadmin_token = \"admin\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n[secret.admin]\nfile = \"token\"\n\
         [pool.local]\nkind = \"process\"\nworkers = 1\n[host.local]\npool = \"local\"\n[project.app]\nmain_branch = \"main\"\n[repo.app]\nproject = \"app\"\nurl = {:?}\n\
         [recipe.make]\nstep = [{{ name = \"build\", run = [\"make\"] }}]\n[builder.one]\nhost = \"local\"\nrecipe = \"make\"\n",
        repository.arg()
    );
    std::fs::write(dir.path().join("farm.toml"), farm).unwrap();
    let burrow = Burrow::serving(dir.path(), &["coordinator", "--config", "farm.toml", "--data", "data"]);
    let port = burrow.address.rsplit(':').next().unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let https = Https { address: format!("127.0.0.1:{port}"), config };

    let get = |path: &str| https.status(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let post = |token: &str| {
        https.status(&format!(
            "POST /api/v1/builds HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        ))
    };
    assert_eq!(get("/queue.json"), 200, "everybody reads");
    assert_eq!(post("open door"), 401, "a wrong token changes nothing");
    assert_eq!(post("open sesame"), 400, "with the token the request itself is looked at");

    // Somebody who connects and says nothing holds up nobody.
    let silent = TcpStream::connect(&https.address).unwrap();
    assert_eq!(get("/queue.json"), 200);
    drop(silent);
    // And who does not speak TLS gets no page.
    let mut plain = TcpStream::connect(&https.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
}
