use std::{fmt, fs, path::Path, sync::Arc};

use norikv_core::{Error, Result};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Certificates or a key in PEM, and what to call them when something is wrong with them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    name: String,
    content: Arc<[u8]>,
}

impl Pem {
    /// What was given under a name, such as that of a setting.
    #[must_use]
    pub fn new(name: impl Into<String>, content: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), content: content.into() }
    }

    /// What is in a file.
    ///
    /// # Errors
    /// `InvalidArgument` naming the file that cannot be read, and why.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        match fs::read(path) {
            Ok(content) => Ok(Self::new(name, content)),
            Err(error) => {
                Err(Error::invalid_argument(format!("cannot read {name}: {error}")).caused_by(error))
            }
        }
    }

    /// What to call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.content)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::invalid_argument(format!("{} is not PEM: {error}", self.name)))?;
        if certificates.is_empty() {
            return Err(Error::invalid_argument(format!(
                "{} has no certificate; in PEM one begins with -----BEGIN CERTIFICATE-----",
                self.name
            )));
        }
        Ok(certificates)
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.content).map_err(|error| {
            let encrypted = self.content.windows(9).any(|label| label == b"ENCRYPTED");
            let what = if encrypted {
                "a key that is encrypted with a passphrase; give it decrypted, readable by the server's user alone"
                    .to_owned()
            } else {
                format!("no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----: {error}")
            };
            Error::invalid_argument(format!("{} has {what}", self.name))
        })
    }

    /// The certificates, as those of authorities.
    pub(crate) fn authorities(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| {
                Error::invalid_argument(format!(
                    "{} has a certificate that cannot be an authority's: {error}",
                    self.name
                ))
            })?;
        }
        Ok(roots)
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A private key does not belong into a log.
        f.debug_struct("Pem").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A certificate and its key: who one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and those of the authorities between it and the one that is trusted.
    pub certificate: Pem,
    /// The certificate's private key.
    pub key: Pem,
}

impl Identity {
    /// What rustls says of a certificate and a key that it does not take.
    pub(crate) fn refused(&self, error: rustls::Error) -> Error {
        let (certificate, key) = (&self.certificate.name, &self.key.name);
        let text = match &error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{key} is not the key of the certificate in {certificate}")
            }
            _ => format!("{certificate} and {key} cannot be used: {error}"),
        };
        Error::invalid_argument(text).caused_by(error)
    }
}
