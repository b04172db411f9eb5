use std::{fmt, sync::Arc};

use norikv_core::Error;
use rustls::{ClientConfig, RootCertStore, client::WebPkiServerVerifier, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    HTTP2,
    fault::Fault,
    pem::{Identity, Pem},
    provider,
    verifier::Verifier,
    wire::Unmade,
};

/// How a client speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// The authorities that servers' certificates are of. Default: those that the system trusts.
    pub ca: Option<Pem>,
    /// The client's own certificate and key, for servers that ask for one.
    pub identity: Option<Identity>,
    /// The name that servers' certificates are for. Default: the host of each address.
    pub server_name: Option<String>,
}

impl ClientTls {
    /// What makes connections.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is no certificate, key or name, or does not belong together.
    pub fn connector(&self) -> norikv_core::Result<Connector> {
        let roots = match &self.ca {
            Some(ca) => ca.authorities()?,
            None => system()?,
        };
        let provider = provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
            .build()
            .map_err(|error| Error::invalid_argument(format!("the authorities cannot be used: {error}")))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS has no versions").caused_by(error))?
            .dangerous()
            // It judges as rustls's own does, and only says more about it.
            .with_custom_certificate_verifier(Arc::new(Verifier(verifier)));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = (identity.certificate.certificates()?, identity.key.key()?);
                builder.with_client_auth_cert(chain, key).map_err(|error| identity.refused(error))?
            }
        };
        config.alpn_protocols = vec![HTTP2.into()];
        Ok(Connector {
            tls: TlsConnector::from(Arc::new(config)),
            name: self.server_name.as_deref().map(name).transpose()?,
            has_identity: self.identity.is_some(),
        })
    }
}

/// What trusts nobody.
pub(crate) fn stranger(host: &str) -> norikv_core::Result<Connector> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("TLS has no versions").caused_by(error))?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Connector { tls: TlsConnector::from(Arc::new(config)), name: Some(name(host)?), has_identity: false })
}

/// The authorities that the system trusts.
fn system() -> norikv_core::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(Error::invalid_argument(format!(
            "this system has no certificates of authorities{why}; install them (Debian, Ubuntu: ca-certificates), or name those to trust as the ca of tls"
        )));
    }
    Ok(roots)
}

/// A host or a name as certificates have it.
fn name(host: &str) -> norikv_core::Result<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match ServerName::try_from(bare) {
        Ok(name) => Ok(name.to_owned()),
        Err(error) => Err(Error::invalid_argument(format!(
            "{host:?} is no name that a certificate can be for; name one as the serverName of tls: {error}"
        ))),
    }
}

/// Makes connections of TLS.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    name: Option<ServerName<'static>>,
    has_identity: bool,
}

impl Connector {
    /// The handshake of a connection to a host.
    ///
    /// # Errors
    /// Why it did not come about.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Unmade> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name(host).map_err(Unmade::Wrong)?,
        };
        self.tls.connect(name, stream).await.map_err(|error| match Fault::of(&error, self.has_identity) {
            Some(fault) => Unmade::Fault(fault),
            None => Unmade::Io(error),
        })
    }

    /// Whether the client has a certificate to show.
    pub(crate) const fn has_identity(&self) -> bool {
        self.has_identity
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}
