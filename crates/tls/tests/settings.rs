//! What cannot be used is refused before anything is connected, and named.
#![allow(missing_docs, clippy::unwrap_used)] // they are tests

mod certificates;

use certificates::{Authority, pem};
use norikv_core::ErrorKind;
use norikv_tls::{ClientTls, Identity, Pem, ServerTls};

#[track_caller]
fn refused<T>(result: norikv_core::Result<T>, parts: &[&str]) {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for part in parts {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none.pem");
    refused(Pem::read(&missing), &[missing.to_str().unwrap(), "cannot read"]);
}

#[test]
fn what_is_no_certificate_or_no_key_is_named() {
    let pair = Authority::new().issue(&["localhost"]);
    let with = |certificate: &str, key: &str| ServerTls {
        identity: Identity { certificate: pem("server.crt", certificate), key: pem("server.key", key) },
        client_ca: None,
    };
    assert!(with(&pair.certificate, &pair.key).acceptor().is_ok());
    refused(with("", &pair.key).acceptor(), &["server.crt", "no certificate"]);
    refused(with(&pair.key, &pair.key).acceptor(), &["server.crt", "no certificate"]);
    refused(with(&pair.certificate, &pair.certificate).acceptor(), &["server.key", "no private key"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    refused(with(&pair.certificate, encrypted).acceptor(), &["server.key", "passphrase"]);
    let broken = pair.certificate.replace('\n', "\n!");
    refused(with(&broken, &pair.key).acceptor(), &["server.crt"]);
}

#[test]
fn a_key_that_is_not_the_certificates_is_named_with_it() {
    let authority = Authority::new();
    let (one, other) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let identity =
        Identity { certificate: pem("server.crt", &one.certificate), key: pem("server.key", &other.key) };
    let server = ServerTls { identity: identity.clone(), client_ca: None };
    refused(server.acceptor(), &["server.key is not the key of the certificate in server.crt"]);
    let client = ClientTls { identity: Some(identity), ..authority.client() };
    refused(client.connector(), &["server.key is not the key of the certificate in server.crt"]);
}

#[test]
fn authorities_and_names_that_cannot_be_are_named() {
    let pair = Authority::new().issue(&["localhost"]);
    let server = ServerTls { client_ca: Some(pem("clients.crt", "nothing")), ..pair.server() };
    refused(server.acceptor(), &["clients.crt", "no certificate"]);
    let client = ClientTls { ca: Some(pem("ca.crt", "nothing")), ..ClientTls::default() };
    refused(client.connector(), &["ca.crt", "no certificate"]);
    let client = ClientTls { server_name: Some("not a name".into()), ..Authority::new().client() };
    refused(client.connector(), &["not a name", "serverName"]);
}

#[test]
fn what_is_shown_of_settings_has_no_key_in_it() {
    let pair = Authority::new().issue(&["localhost"]);
    let shown = format!("{:?}", pair.server());
    assert!(shown.contains("cert") && !shown.contains("BEGIN"), "{shown}");
}
