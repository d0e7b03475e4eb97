//! Certificates of a test's own.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

/// A CA of our own, and a certificate of it for one name or address.
pub fn certificates(dir: &Path, host: &str) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let write = |name: &str, pem: String| std::fs::write(dir.join(name), pem).unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let ca = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.into()]).unwrap();
    // A certificate with its issuer's name would be taken for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, host);
    write("cert.pem", params.signed_by(&key, &ca).unwrap().pem());
    write("key.pem", key.serialize_pem());
}
