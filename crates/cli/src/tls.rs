use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use norikv_core::{Error, Result};
use norikv_etcd::EtcdOptions;
use norikv_tls::{ClientTls, Identity, Pem, ServerTls};

/// What the port speaks TLS with.
#[derive(Debug, Default, Args)]
pub(crate) struct PortTls {
    /// Speak TLS with this certificate, in PEM, and those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Take only clients with a certificate of one of these authorities, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

impl PortTls {
    /// The settings, with what is in the files.
    ///
    /// # Errors
    /// `InvalidArgument` naming a file that cannot be read.
    pub(crate) fn settings(&self) -> Result<Option<ServerTls>> {
        let Some(identity) = identity(self.tls_cert.as_deref(), self.tls_key.as_deref())? else {
            return Ok(None);
        };
        let client_ca = self.tls_client_ca.as_deref().map(Pem::read).transpose()?;
        Ok(Some(ServerTls { identity, client_ca }))
    }
}

/// How the etcd cluster behind the server is reached.
#[derive(Debug, Default, Args)]
pub(crate) struct StoreAccess {
    /// The authorities of the etcd members' certificates, in PEM; TLS is spoken with them then
    /// [default: what the system trusts, with etcds://]
    #[arg(long, value_name = "FILE")]
    pub(crate) store_tls_ca: Option<PathBuf>,

    /// The certificate to show to etcd, in PEM
    #[arg(long, value_name = "FILE", requires = "store_tls_key")]
    pub(crate) store_tls_cert: Option<PathBuf>,

    /// The private key of --store-tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "store_tls_cert")]
    pub(crate) store_tls_key: Option<PathBuf>,

    /// The name that the etcd members' certificates are for [default: the host of each]
    #[arg(long, value_name = "NAME")]
    pub(crate) store_tls_server_name: Option<String>,

    /// The user to be in etcd, if not that of the address
    #[arg(long, value_name = "NAME", requires = "store_password_file")]
    pub(crate) store_user: Option<String>,

    /// The file with the user's password, on its first line
    #[arg(long, value_name = "FILE")]
    pub(crate) store_password_file: Option<PathBuf>,

    /// What all keys begin with in etcd, if not what the address says
    #[arg(long, value_name = "PREFIX")]
    pub(crate) store_prefix: Option<String>,
}

impl StoreAccess {
    /// Whether something is said of an etcd cluster.
    pub(crate) fn is_given(&self) -> bool {
        let Self {
            store_tls_ca: ca,
            store_tls_cert: cert,
            store_tls_key: key,
            store_tls_server_name: name,
            store_user: user,
            store_password_file: password,
            store_prefix: prefix,
        } = self;
        [ca, cert, key, password].iter().any(|file| file.is_some())
            || [name, user, prefix].iter().any(|text| text.is_some())
    }

    /// The settings, with what is in the files.
    ///
    /// # Errors
    /// `InvalidArgument` naming a file that cannot be read.
    pub(crate) fn options(&self) -> Result<EtcdOptions> {
        let identity = identity(self.store_tls_cert.as_deref(), self.store_tls_key.as_deref())?;
        let ca = self.store_tls_ca.as_deref().map(Pem::read).transpose()?;
        let encrypted = ca.is_some() || identity.is_some() || self.store_tls_server_name.is_some();
        Ok(EtcdOptions {
            user: self.store_user.clone(),
            password: self.store_password_file.as_deref().map(password).transpose()?,
            prefix: self.store_prefix.as_ref().map(|prefix| prefix.as_bytes().to_vec()),
            tls: encrypted.then(|| ClientTls {
                ca,
                identity,
                server_name: self.store_tls_server_name.clone(),
            }),
        })
    }
}

/// Both, or none: the command line does not take one alone.
fn identity(certificate: Option<&Path>, key: Option<&Path>) -> Result<Option<Identity>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Ok(Some(Identity { certificate: Pem::read(certificate)?, key: Pem::read(key)? }))
        }
        _ => Ok(None),
    }
}

/// The first line of a file.
fn password(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::invalid_argument(format!("cannot read {}: {error}", path.display())).caused_by(error)
    })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Error::invalid_argument(format!("{} has no password on its first line", path.display()))),
    }
}
