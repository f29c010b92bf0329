//! TLS to a server: what is trusted, and what is wrong with a certificate in words.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto};

/// How the server's certificate is checked.
#[derive(Clone)]
pub struct Tls {
    /// Roots, client certificate, versions.
    pub config: Arc<ClientConfig>,
    /// Name that the certificate must be for; `None`: the host of the address.
    pub name: Option<String>,
}

impl Tls {
    /// Trusts exactly the certificates of a PEM text.
    pub fn with_roots(pem: &[u8], name: Option<String>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("not a PEM certificate: {error}"))?;
            roots.add(certificate).map_err(|error| format!("not a root certificate: {}", words(&error)))?;
        }
        if roots.is_empty() {
            return Err("no certificate in it".to_owned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), name })
    }

    /// Begins TLS with the server at `addr`.
    pub(crate) async fn begin(&self, stream: TcpStream, addr: &str) -> io::Result<TlsStream<TcpStream>> {
        let host = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
        let name = self.name.as_deref().unwrap_or(host).to_owned();
        let name =
            ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await.map_err(told)
    }
}

/// An error of a handshake, in words.
fn told(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(inner) => io::Error::new(error.kind(), format!("TLS: {}", words(inner))),
        None if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::new(
            error.kind(),
            "TLS: the server has closed the connection within the handshake; does it speak TLS?",
        ),
        None => error,
    }
}

/// What is wrong, and what to do about it.
fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(wrong) => of_certificate(wrong),
        Error::InvalidMessage(_) => {
            "the server does not speak TLS: its answer is none; is it another port?".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the server has refused: {alert:?}; does it ask for a client's certificate?")
        }
        Error::PeerIncompatible(why) => {
            format!("the server has no version or cipher in common with this client ({why:?})")
        }
        other => other.to_string(),
    }
}

fn of_certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired => "the server's certificate has expired: renew it".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("the server's certificate has expired {days} days ago: renew it, or set the clock of this machine")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: is the clock of this machine, or of the one that made it, right?".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "none of the trusted certificates has signed the server's certificate: trust the certificate of its issuer".to_owned()
        }
        CertificateError::NotValidForName => {
            "the server's certificate is for another name: connect by a name that it has".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // As `DnsName("cache.example")`.
            let names = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name));
            let names = names.collect::<Vec<_>>().join(", ");
            let has = if names.is_empty() { "no name at all" } else { &names };
            let expected = expected.to_str();
            format!("the server's certificate is not for {expected}, but for {has}: expect a name that it has, or make another")
        }
        CertificateError::BadSignature => {
            "the signature of the server's certificate is wrong: a trusted certificate has the issuer's name, but another key".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers: make one whose extended key usage has serverAuth".to_owned()
        }
        CertificateError::BadEncoding => "the server's certificate cannot be read: make a new one".to_owned(),
        CertificateError::Revoked => "the server's certificate was revoked: renew it".to_owned(),
        // A type of another crate, which is known by its name only.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the server shows the certificate of an authority (CA:TRUE) as its own: make one for the server (CA:FALSE), signed by that authority".to_owned()
        }
        other => format!("the server's certificate is refused ({other}): make a new one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_error_says_what_is_wrong_and_what_to_do() {
        use tokio_rustls::rustls::pki_types::UnixTime;
        let day = |n: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(n * 86_400));
        let expected = ServerName::try_from("cache.example").unwrap();
        let presented = vec!["DnsName(\"other.example\")".to_owned()];
        for (error, told) in [
            (CertificateError::Expired, "has expired: renew it"),
            (CertificateError::ExpiredContext { time: day(12), not_after: day(9) }, "expired 3 days ago"),
            (CertificateError::NotValidYet, "not valid yet"),
            (CertificateError::UnknownIssuer, "trust the certificate of its issuer"),
            (CertificateError::NotValidForName, "for another name"),
            (
                CertificateError::NotValidForNameContext { expected, presented },
                "not for cache.example, but for other.example: ",
            ),
            (CertificateError::BadSignature, "another key"),
            (CertificateError::InvalidPurpose, "serverAuth"),
            (CertificateError::ApplicationVerificationFailure, "make a new one"),
        ] {
            let text = words(&Error::InvalidCertificate(error));
            assert!(text.contains(told), "{text}");
        }
    }
}
