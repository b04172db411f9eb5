//! Certificates, made for a test.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use norikv_tls::{ClientTls, Identity, Pem, ServerTls};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Pair {
    pub fn identity(&self) -> Identity {
        Identity { certificate: pem("cert", &self.certificate), key: pem("key", &self.key) }
    }

    pub fn server(&self) -> ServerTls {
        ServerTls { identity: self.identity(), client_ca: None }
    }
}

static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// What signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Each has a name of its own: one with the name of another would be taken for it, with a wrong key.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number} of a test"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn pem(&self) -> Pem {
        pem("ca", &self.certificate)
    }

    /// How a client speaks TLS that trusts this authority.
    pub fn client(&self) -> ClientTls {
        ClientTls { ca: Some(self.pem()), ..ClientTls::default() }
    }

    /// A certificate for names and addresses, good for servers and for clients.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.sign(&params(names))
    }

    /// One whose time is over.
    pub fn expired(&self, names: &[&str]) -> Pair {
        let mut params = params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        self.sign(&params)
    }

    /// One whose time has not come.
    pub fn early(&self, names: &[&str]) -> Pair {
        let mut params = params(names);
        params.not_before = date_time_ymd(4000, 1, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }
}

/// A certificate that nobody signed but itself.
pub fn self_signed(names: &[&str]) -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = params(names).self_signed(&key).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

/// One that nobody signed but itself, and that may sign others.
pub fn self_signed_authority(names: &[&str]) -> Pair {
    let mut params = params(names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

pub fn pem(name: &str, content: &str) -> Pem {
    Pem::new(name, content.as_bytes())
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
