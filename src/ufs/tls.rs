//! Whom a mount whose storage speaks TLS trusts.

use goosefs_core::{Code, Error, Result};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use std::path::Path;
use std::sync::Arc;

/// TLS by rustls and ring. With `needed` unset nobody is trusted, and the machine's certificates, which a small
/// container may lack, are not asked for. `option` is the name of the mount option that `ca_file` comes from.
///
/// Errors: `InvalidArgument` when the file of certificates cannot be read or holds none.
pub(crate) fn config(needed: bool, ca_file: Option<&Path>, option: &str) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| Error::new(Code::Internal, "TLS cannot be set up").caused_by(cause))?;
    if !needed {
        return Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    }
    let extra = ca_file.map(|file| certificates(file, option)).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(|cause| {
        Error::new(Code::InvalidArgument, format!("no certificates to trust: {cause}"))
            .hint(format!("install ca-certificates, or set {option}"))
            .caused_by(cause)
    })?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn certificates(file: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>> {
    let refuse = |why: String| {
        let message = format!("{option} \"{}\" {why}", file.display());
        Error::new(Code::InvalidArgument, message).hint("give a file of PEM certificates")
    };
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|cause| refuse(format!("cannot be read: {cause}")).caused_by(cause))?;
    if certificates.is_empty() { Err(refuse("holds no certificate".to_owned())) } else { Ok(certificates) }
}
