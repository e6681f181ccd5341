use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::self_signed::SelfSigned;
use super::*;
use crate::domain::ports::Clock;
use crate::system::SystemClock;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate for this name, with its key.
fn pair(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Files of an operator, and where they are.
fn files(dir: &TempDir, (certificate, key): (&str, &str)) -> Files {
    let paths = ["c.pem", "k.pem"].map(|name| dir.path().join(name));
    fs::write(&paths[0], certificate).unwrap();
    fs::write(&paths[1], key).unwrap();
    Files::new(&paths[0], &paths[1])
}

fn now() -> Timestamp {
    SystemClock.now()
}

#[test]
fn a_certificate_of_our_own_is_kept_secret_and_made_once() {
    let dir = TempDir::new().unwrap();
    let source = SelfSigned::new(&dir.path().join("tls"), Some("video.example.org"));
    let made = source.open(now()).unwrap();
    for name in ["localhost", "127.0.0.1", "::1", "video.example.org"] {
        assert!(made.names.contains(name), "{name} of {:?}", made.names);
    }
    let file = dir.path().join("tls/self-signed.pem");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = source.open(now()).unwrap();
    assert_eq!(kept.key.cert, made.key.cert);
}

#[test]
fn it_is_made_anew_before_it_runs_out_and_for_other_names() {
    let dir = TempDir::new().unwrap();
    let source = SelfSigned::new(dir.path(), None);
    let made = source.open(now()).unwrap();
    let later = now() + 270 * DAY;
    assert!(source.suits(&made, now() + 260 * DAY) && !source.suits(&made, later));
    let renewed = source.open(later).unwrap();
    assert!(renewed.key.cert != made.key.cert && renewed.expires > made.expires);
    let renamed = SelfSigned::new(dir.path(), Some("other.example.org"));
    assert!(renamed.open(later).unwrap().names.contains("other.example.org"));
}

#[test]
fn a_damaged_file_of_our_own_is_replaced() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("self-signed.pem"), "garbage").unwrap();
    SelfSigned::new(dir.path(), None).open(now()).unwrap();
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let dir = TempDir::new().unwrap();
    let ((certificate, key), (_, other)) = (pair("a.example"), pair("a.example"));
    let said = |files: &mut Files, at| files.read(at).unwrap_err().to_string();
    let absent = said(&mut Files::new(&dir.path().join("x.pem"), &dir.path().join("k.pem")), now());
    assert!(absent.contains("cannot read") && absent.contains("x.pem"), "{absent}");
    let unfit = said(&mut files(&dir, (&certificate, &other)), now());
    assert!(unfit.contains("k.pem does not fit"), "{unfit}");
    let swapped = said(&mut files(&dir, (&key, &certificate)), now());
    assert!(swapped.contains("no certificate in"), "{swapped}");
    let keyless = said(&mut files(&dir, (&certificate, "")), now());
    assert!(keyless.contains("no key in"), "{keyless}");
    let expired = said(&mut files(&dir, (&certificate, &key)), Timestamp::from_millis(i64::MAX));
    assert!(expired.contains("expired at"), "{expired}");
}

#[test]
fn files_are_read_again_only_when_they_change() {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = pair("a.example");
    let mut source = files(&dir, (&certificate, &key));
    assert!(source.read(now()).unwrap().names.contains("a.example"));
    assert!(source.changed(now()).unwrap().is_none());
    let (certificate, key) = pair("b.example.org");
    files(&dir, (&certificate, "not yet written"));
    assert!(source.changed(now()).is_err());
    assert!(source.changed(now()).unwrap().is_none(), "said once");
    files(&dir, (&certificate, &key));
    assert!(source.changed(now()).unwrap().unwrap().names.contains("b.example.org"));
}
