//! The authority's files, and what it signs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use weft_identity::{
    AuthorityError, CertificateAuthority, MAX_TTL, SigningRequest, SpiffeId, TrustDomain,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

fn trust_domain() -> TrustDomain {
    TrustDomain::new("sockshop.local").unwrap()
}

fn orders() -> SpiffeId {
    SpiffeId::workload(&trust_domain(), "shop", "orders").unwrap()
}

fn request(names: &[&str]) -> (KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let csr = CertificateParams::new(names)
        .unwrap()
        .serialize_request(&key)
        .unwrap();
    (key, csr.pem().unwrap())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn keys_are_private_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("control");
    let first = CertificateAuthority::open(&state, &trust_domain()).unwrap();
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("ca")), 0o700);
    for key in ["root-key.pem", "intermediate-key.pem"] {
        assert_eq!(mode(&state.join("ca").join(key)), 0o600, "{key}");
    }
    let second = CertificateAuthority::open(&state, &trust_domain()).unwrap();
    assert_eq!(first.root_pem(), second.root_pem());
    assert_eq!(
        std::fs::read_to_string(state.join("root.pem")).unwrap(),
        first.root_pem()
    );
}

#[test]
fn half_made_authority_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("ca.new")).unwrap();
    std::fs::write(dir.path().join("ca.new/root-key.pem"), "half").unwrap();
    CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
}

#[test]
fn lost_intermediate_is_issued_again_under_the_same_root() {
    let dir = tempfile::tempdir().unwrap();
    let first = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    std::fs::remove_file(dir.path().join("ca/intermediate.pem")).unwrap();
    let second = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    assert_eq!(first.root_pem(), second.root_pem());
    second.issue(&orders(), Duration::ZERO).unwrap();
}

#[test]
fn damaged_intermediate_heals_and_damaged_root_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let first = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    let file = |name: &str| dir.path().join("ca").join(name);
    for name in ["intermediate.pem", "intermediate-key.pem"] {
        std::fs::write(file(name), "\u{0}rubbish").unwrap();
        let again = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
        assert_eq!(first.root_pem(), again.root_pem(), "{name}");
    }
    // A key that is one, but not this certificate's.
    let stranger = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(file("intermediate-key.pem"), &stranger).unwrap();
    CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();

    // Without the root's key everything goes on until the intermediate is lost too.
    std::fs::write(file("root-key.pem"), &stranger).unwrap();
    CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    std::fs::remove_file(file("intermediate.pem")).unwrap();
    let error = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap_err();
    assert!(
        error.to_string().contains("ca/root-key.pem is damaged"),
        "{error}"
    );

    for content in [Some("rubbish"), None] {
        match content {
            Some(content) => std::fs::write(file("root.pem"), content).unwrap(),
            None => std::fs::remove_file(file("root.pem")).unwrap(),
        }
        let error = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ca/root.pem is damaged"), "{text}");
        assert!(text.contains("/ca away"), "{text}");
    }
}

#[test]
fn intermediate_near_its_end_is_replaced_while_running() {
    let dir = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    let now = SystemTime::now();
    let intermediate = || {
        let (_, csr) = request(&[]);
        let request = SigningRequest::from_pem(&csr).unwrap();
        authority.sign(&request, &orders(), Duration::ZERO).unwrap()[1].clone()
    };
    let day = Duration::from_secs(24 * 60 * 60);
    let first = intermediate();
    assert!(!authority.renew_intermediate(now + 330 * day).unwrap());
    assert_eq!(first, intermediate());
    assert!(authority.renew_intermediate(now + 340 * day).unwrap());
    assert_ne!(first, intermediate());
}

#[test]
fn authority_of_another_trust_domain_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    let other = TrustDomain::new("other.local").unwrap();
    let error = CertificateAuthority::open(dir.path(), &other).unwrap_err();
    assert!(
        matches!(error, AuthorityError::OtherTrustDomain { .. }),
        "{error}"
    );
}

#[test]
fn names_in_the_request_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    let (_, csr) = request(&["payments.example", "10.0.0.1"]);
    let request = SigningRequest::from_pem(&csr).unwrap();
    let chain = authority.sign(&request, &orders(), Duration::MAX).unwrap();
    assert_eq!(chain.len(), 3);
    assert_eq!(chain[2], authority.root_pem());

    let der = CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
        panic!("{names:?}");
    };
    assert_eq!(*uri, orders().as_str());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(!leaf.is_ca());

    let now = i64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap();
    let validity = leaf.validity();
    assert!((15..=25).contains(&(now - validity.not_before.timestamp())));
    let life = u64::try_from(validity.not_after.timestamp() - now).unwrap();
    assert!(life <= MAX_TTL.as_secs() + 1, "{life}");
}

#[test]
fn request_signed_by_another_key_is_refused() {
    let (_, csr) = request(&[]);
    let mut lines: Vec<_> = csr.lines().map(str::to_owned).collect();
    // The signature is at the end of the DER; a changed character there breaks it.
    let at = lines.len() - 2;
    let line = lines[at].clone();
    let changed = match line.chars().nth(4).unwrap() {
        'A' => 'B',
        _ => 'A',
    };
    lines[at] = format!("{}{changed}{}", &line[..4], &line[5..]);
    assert!(SigningRequest::from_pem(&lines.join("\n")).is_err());
    for broken in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----",
        &"x".repeat(20_000),
    ] {
        assert!(SigningRequest::from_pem(broken).is_err());
    }
}

#[test]
fn identity_of_another_trust_domain_is_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::open(dir.path(), &trust_domain()).unwrap();
    let other = SpiffeId::parse("spiffe://other.local/ns/shop/sa/orders").unwrap();
    assert!(authority.issue(&other, Duration::ZERO).is_err());
}
