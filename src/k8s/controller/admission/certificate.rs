//! Certificates of the webhook: made, read, checked. Pure but for randomness.
//!
//! A certificate comes with an authority of its own, whose key is thrown away as soon as it has signed: nobody can make a
//! second one that the apiserver would trust. Called by [`super::rotation`], and by [`super::serve`] which shows them.

use goosefs_core::{Code, Error, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;

/// Clocks of machines may differ by so much.
const SKEW: Duration = Duration::from_secs(300);

/// A certificate, its key and the authority that says it is ours, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) authority: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

// Keys are in no log.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

impl Pair {
    /// A new one for the server called `name`, from `now` (since 1970) for `life`.
    ///
    /// # Errors
    /// `Internal` when it cannot be made.
    pub(super) fn make(name: &str, now: Duration, life: Duration) -> Result<Pair> {
        let failed = |error: rcgen::Error| Error::new(Code::Internal, format!("make a certificate: {error}"));
        let begin = rcgen::date_time_ymd(1970, 1, 1);
        let (from, until) = (begin + now.saturating_sub(SKEW), begin + now + life);
        let mut authority = rcgen::CertificateParams::new(Vec::new()).map_err(failed)?;
        (authority.not_before, authority.not_after) = (from, until);
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        authority.distinguished_name.push(rcgen::DnType::CommonName, "GooseFS pod admission");
        let authority_key = rcgen::KeyPair::generate().map_err(failed)?;
        let signed = authority.self_signed(&authority_key).map_err(failed)?;
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let mut own = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(failed)?;
        (own.not_before, own.not_after) = (from, until);
        own.use_authority_key_identifier_extension = true;
        own.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        own.distinguished_name.push(rcgen::DnType::CommonName, "goosefs");
        let key = rcgen::KeyPair::generate().map_err(failed)?;
        let certificate = own.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Pair { authority: signed.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Whether a client that trusts the authority accepts the certificate as that of `name` at `time` (since 1970), and the
    /// key is the certificate's.
    pub(super) fn holds(&self, name: &str, time: Duration) -> bool {
        self.check(name, time).is_some()
    }

    fn check(&self, name: &str, time: Duration) -> Option<()> {
        let shown = self.shown()?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).ok()?).ok()?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
        let name = ServerName::try_from(name).ok()?;
        let time = UnixTime::since_unix_epoch(time);
        verifier.verify_server_cert(shown.end_entity_cert().ok()?, &[], &name, &[], time).ok()?;
        Some(())
    }

    /// As a server shows it; none when it is no certificate or the key is not its key.
    pub(super) fn shown(&self) -> Option<CertifiedKey> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok()?;
        CertifiedKey::from_der(vec![certificate], key, &provider()).ok()
    }
}

/// What signs and checks.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "webhook.fluid-system.svc";
    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const LIFE: Duration = Duration::from_secs(3600);

    #[test]
    fn a_certificate_holds_for_its_name_and_its_life() {
        let pair = Pair::make(NAME, NOW, LIFE).unwrap();
        for (name, time, holds) in [
            (NAME, NOW, true),
            (NAME, NOW - SKEW, true),
            (NAME, NOW + LIFE - Duration::from_secs(1), true),
            (NAME, NOW + LIFE + Duration::from_secs(1), false),
            (NAME, NOW - SKEW - Duration::from_secs(1), false),
            ("other.fluid-system.svc", NOW, false),
        ] {
            assert_eq!(pair.holds(name, time), holds, "{name} at {time:?}");
        }
    }

    #[test]
    fn what_does_not_belong_together_does_not_hold() {
        let (one, other) = (Pair::make(NAME, NOW, LIFE).unwrap(), Pair::make(NAME, NOW, LIFE).unwrap());
        for mixed in [
            Pair { authority: other.authority.clone(), ..one.clone() },
            Pair { key: other.key.clone(), ..one.clone() },
            Pair { certificate: String::new(), ..one.clone() },
            Pair { certificate: "no certificate".to_owned(), ..one.clone() },
        ] {
            assert!(!mixed.holds(NAME, NOW));
        }
        assert!(!format!("{one:?}").contains("KEY"), "keys are in no log");
    }
}
