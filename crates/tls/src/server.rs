use std::sync::Arc;

use norikv_core::{Error, Result};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

use crate::{
    HTTP1, HTTP2,
    pem::{Identity, Pem},
    provider,
};

/// How a server speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The server's certificate and key.
    pub identity: Identity,
    /// The authorities of the certificates that clients have to have. Without them, clients need none.
    pub client_ca: Option<Pem>,
}

impl ServerTls {
    /// What takes connections.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is no certificate or key, or does not belong together.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        let chain = self.identity.certificate.certificates()?;
        let key = self.identity.key.key()?;
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS has no versions").caused_by(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(ca.authorities()?.into(), provider)
                        .build()
                        .map_err(|error| {
                        Error::invalid_argument(format!("{} cannot be used: {error}", ca.name()))
                    })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| self.identity.refused(error))?;
        config.alpn_protocols = vec![HTTP2.into(), HTTP1.into()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
