//! HTTPS and RTMPS, as clients that are not ours meet them.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::{Publisher, ask, in_state, make, text};
use crate::support::server::{PASSWORD, Server, ServerOptions};
use crate::support::tools::{output, run, until};

fn curl(args: &[&str]) -> String {
    run(Command::new("curl").args(["-sS", "--fail-with-body", "-m", "30"]).args(args))
}

/// A certificate authority for tests (Debian's pebble); ended by its process id.
struct Authority {
    child: Child,
    dir: TempDir,
    port: u16,
}

impl Authority {
    /// Checks domains on this port.
    async fn start(tls_port: u16) -> Self {
        let dir = TempDir::new().expect("a directory");
        write_pair(dir.path(), "authority");
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
        let config = json!({"pebble": {
            "listenAddress": free.to_string(), "managementListenAddress": "", "httpPort": 1, "tlsPort": tls_port,
            "certificate": dir.path().join("certificate.pem"), "privateKey": dir.path().join("key.pem"),
        }});
        std::fs::write(dir.path().join("config.json"), config.to_string()).expect("a configuration");
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(dir.path().join("config.json")).env("PEBBLE_VA_NOSLEEP", "1");
        let child =
            pebble.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("pebble, of the package of this name");
        until("the authority", Duration::from_secs(60), || async { TcpStream::connect(free).ok().map(drop) }).await;
        Self { child, dir, port: free.port() }
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    fn roots(&self) -> String {
        self.dir.path().join("certificate.pem").display().to_string()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who issued the certificate that a server shows.
fn issuer(server: &Server) -> String {
    let address = format!("127.0.0.1:{}", server.port_of("https"));
    let shown = output(Command::new("openssl").args(["s_client", "-connect", &address, "-servername", "localhost"]));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    shown.lines().find(|line| line.starts_with("issuer=")).unwrap_or_default().to_owned()
}

/// Writes a certificate for this address, whose organisation tells it from others, and its key.
fn write_pair(dir: &Path, organisation: &str) {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organisation);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("a key file");
    std::fs::write(dir.join("certificate.pem"), certificate.pem()).expect("a certificate file");
}

fn with_files(dir: &Path) -> ServerOptions {
    let path = |name: &str| dir.join(name).display().to_string();
    let options = ServerOptions::new().set("tls.mode", "files").set("tls.check_interval", "100ms");
    options.set("tls.certificate", &path("certificate.pem")).set("tls.key", &path("key.pem"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_http_are_spoken_over_tls_and_urls_stay_there() {
    let server = Server::start();
    let trusted = server.data().join("tls/self-signed.pem");
    let trusted = trusted.to_str().expect("a path");
    let ready = format!("{}/readyz", server.https_url());
    for (flag, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let said = curl(&["--cacert", trusted, flag, "-w", "%{http_version}", &ready]);
        assert_eq!(said, format!("ready\n{version}"));
    }
    let account = json!({"username": "ann", "email": "ann@example.org", "password": PASSWORD}).to_string();
    let register = format!("{}/api/v1/auth/register", server.https_url());
    let browser = ["-k", "-D", "-", "-H", "content-type: application/json", "-H", "x-playhouse-client: browser"];
    let answer = curl(&[&browser[..], &["-d", &account, &register]].concat());
    assert!(answer.contains("SameSite=Strict; Secure"), "{answer}");
    let body: Value = serde_json::from_str(answer.rsplit("\r\n\r\n").next().expect("a body")).expect("JSON");
    let token = format!("authorization: Bearer {}", text(&body, "/access_token"));
    let live = format!("{}/api/v1/live", server.https_url());
    let made = curl(&["-k", "-H", &token, "-H", "content-type: application/json", "-d", r#"{"title": "x"}"#, &live]);
    let made: Value = serde_json::from_str(&made).expect("JSON");
    assert!(text(&made, "/playback/hls").starts_with(&server.https_url()), "{made}");
    let rtmps = format!("rtmps://127.0.0.1:{}/live/", server.port_of("rtmps"));
    assert!(text(&made, "/ingest/rtmps").starts_with(&rtmps), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_published_and_watched_over_tls() {
    let server = Server::start();
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Concert"})).await;
    let _publisher = Publisher::standard(text(&live, "/ingest/rtmps"));
    in_state(&creator, &live, "live").await;
    let manifest = text(&live, "/playback/hls").replace(&server.url(), &server.https_url());
    let watched = output(Command::new("ffmpeg").args(["-v", "warning", "-i", &manifest, "-t", "4", "-f", "null", "-"]));
    let said = String::from_utf8_lossy(&watched.stderr);
    // ffmpeg hands itself the initialisation segment anew with every reload of a live playlist.
    let complaints: Vec<&str> =
        said.lines().filter(|line| !line.ends_with("duplicated MOOV Atom. Skipped it")).collect();
    assert!(watched.status.success() && complaints.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_on_disk_while_the_server_runs() {
    let dir = TempDir::new().expect("a directory");
    write_pair(dir.path(), "before");
    let server = with_files(dir.path()).start();
    let (certificate, ready) = (dir.path().join("certificate.pem"), format!("{}/readyz", server.https_url()));
    let trusted = certificate.to_str().expect("a path");
    let verified = || output(Command::new("curl").args(["-sS", "-m", "30", "--cacert", trusted, &ready]));
    assert!(verified().status.success());
    // A stream of bytes that lasts: no connection ends because of a new certificate.
    let mut kept = TcpStream::connect(("127.0.0.1", server.port())).expect("a connection");
    std::fs::write(dir.path().join("key.pem"), "not yet").expect("a key file");
    until("the half of a change to be refused", Duration::from_secs(10), || async {
        server.log_text().contains("the certificate in use stays").then_some(())
    })
    .await;
    assert!(verified().status.success(), "the one before stays in use");
    write_pair(dir.path(), "after");
    until("the new certificate", Duration::from_secs(10), || async { verified().status.success().then_some(()) }).await;
    kept.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("an open connection");
    let mut answer = String::new();
    kept.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_gives_a_certificate_by_acme() {
    // The authority has to know where the domain leads before the server has a port.
    let domain = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let authority = Authority::start(domain.local_addr().expect("its address").port()).await;
    let mut server = ServerOptions::new()
        .set("tls.mode", "acme")
        .set("tls.acme_domains", r#"["localhost"]"#)
        .set("tls.acme_directory", &authority.directory())
        .set("tls.acme_authority_roots", &authority.roots())
        .set("tls.acme_terms_accepted", "true")
        .start();
    let https = server.port_of("https");
    let leading = tokio::spawn(async move {
        while let Ok((mut asked, _)) = domain.accept().await {
            let mut answering = tokio::net::TcpStream::connect(("127.0.0.1", https)).await.expect("the server");
            // Either may hang up on the other.
            let _ = tokio::io::copy_bidirectional(&mut asked, &mut answering).await;
        }
    });
    until("a certificate of the authority", Duration::from_secs(60), || async {
        issuer(&server).contains("Pebble").then_some(())
    })
    .await;
    let kept = server.data().join("tls/acme.pem");
    let issued = std::fs::read(&kept).expect("a certificate that is kept");
    leading.abort();
    drop(authority);
    server.restart();
    assert!(issuer(&server).contains("Pebble"), "it is kept over a restart");
    assert_eq!(std::fs::read(&kept).expect("a certificate that is kept"), issued);
}

#[test]
fn a_server_without_a_usable_certificate_says_why() {
    let dir = TempDir::new().expect("a directory");
    write_pair(dir.path(), "one");
    let key = KeyPair::generate().expect("another key").serialize_pem();
    std::fs::write(dir.path().join("key.pem"), key).expect("a key file");
    let mut server = Command::new(env!("CARGO_BIN_EXE_playhouse"));
    server.args(["serve", "--ephemeral-ports", "--data"]).arg(dir.path().join("data"));
    server.env("PLAYHOUSE_TLS__MODE", "files").env("PLAYHOUSE_TLS__KEY", dir.path().join("key.pem"));
    let ended = output(server.env("PLAYHOUSE_TLS__CERTIFICATE", dir.path().join("certificate.pem")));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("does not fit the certificate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_slow_handshakes_are_dropped_in_time() {
    let server = ServerOptions::new().set("http.header_timeout", "500ms").start();
    // A record that announces a client's greeting and never brings it.
    let beginning = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for (listener, patience) in [("https", Duration::from_secs(5)), ("rtmps", Duration::from_secs(20))] {
        let connect = || TcpStream::connect(("127.0.0.1", server.port_of(listener))).expect("a connection");
        let (mut garbage, mut slow, mut silent) = (connect(), connect(), connect());
        garbage.write_all(&[0x42; 4096]).expect("a connection");
        slow.write_all(&beginning).expect("a connection");
        let started = Instant::now();
        for stream in [&mut garbage, &mut slow, &mut silent] {
            stream.set_read_timeout(Some(patience)).expect("a time-out");
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer);
            let is_timeout = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!is_timeout && answer.len() < 100, "{listener}: {} bytes", answer.len());
        }
        assert!(started.elapsed() < patience, "{listener}: {:?}", started.elapsed());
    }
    assert_eq!(curl(&["-k", &format!("{}/readyz", server.https_url())]), "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_nothing_listens_for_it() {
    let server = ServerOptions::new().set("tls.mode", "off").start();
    let ports = std::fs::read_to_string(server.data().join("ports.json")).expect("ports");
    assert!(!ports.contains("https") && !ports.contains("rtmps"), "{ports}");
    assert!(!server.data().join("tls").exists());
    let creator = server.account("creator").await;
    let live = make(&creator, json!({"title": "Concert"})).await;
    assert_eq!(live["ingest"].get("rtmps"), None, "{live}");
    ask(&creator, creator.request(reqwest::Method::GET, "/api/v1/live")).await;
}
