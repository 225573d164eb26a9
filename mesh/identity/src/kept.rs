//! The last certificate and its key in a file system in memory, for a start while the control plane is away.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{InvalidCertificate, Svid, TrustBundle, verify::chain_problem, write_private};

/// Whether what is written there never touches a disk.
///
/// # Errors
/// If it is not there.
#[cfg(target_os = "linux")]
pub fn is_in_memory(dir: &Path) -> io::Result<bool> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58F6;
    // The numbers have 32 bits; the field's width and sign are the machine's.
    let kind = rustix::fs::statfs(dir)?.f_type as u32;
    Ok([TMPFS, RAMFS].contains(&kind))
}

/// Whether what is written there never touches a disk. Other systems do not tell.
///
/// # Errors
/// If it is not there.
#[cfg(not(target_os = "linux"))]
pub fn is_in_memory(dir: &Path) -> io::Result<bool> {
    fs::metadata(dir)?;
    Ok(false)
}

/// A file of this process alone, mode 0600: the key, then the chain, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    file: PathBuf,
    bundle: TrustBundle,
}

impl Kept {
    /// # Errors
    /// If `dir` is not there or may be on a disk.
    pub(crate) fn open(dir: &Path, name: &str, bundle: TrustBundle) -> io::Result<Self> {
        if !is_in_memory(dir)? {
            let reason = "not in memory, and keys never touch a disk: use a tmpfs such as /dev/shm, or a \
                          Kubernetes emptyDir with `medium: Memory`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let file = dir.join(format!("{name}.pem"));
        Ok(Self { file, bundle })
    }

    /// Replaces what is kept. A failure is logged: the certificate is good without it.
    pub(crate) async fn save(&self, key: &str, chain: &[String]) {
        let content = std::iter::once(key).chain(chain.iter().map(String::as_str));
        let content: String = content.collect();
        let file = self.file.clone();
        let write = move || write_private(&file, content.as_bytes());
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, file = %self.file.display(), "certificate not kept");
        }
    }

    /// What is kept, if peers would accept it now.
    pub(crate) fn load(&self) -> Option<Svid> {
        let content = match fs::read(&self.file) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.unusable(&error.to_string()),
        };
        match self.read(&content) {
            Ok(svid) => Some(svid),
            Err(reason) => self.unusable(&reason),
        }
    }

    fn read(&self, content: &[u8]) -> Result<Svid, String> {
        let shown = |error: InvalidCertificate| error.to_string();
        let unreadable = |what| InvalidCertificate::Unreadable { what }.to_string();
        let key = PrivateKeyDer::from_pem_slice(content).map_err(|_| unreadable("the key"))?;
        let chain = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| unreadable("the certificate chain"))?;
        let [leaf, above, ..] = chain.as_slice() else {
            return Err(unreadable("the certificate chain"));
        };
        // Also tells if it has expired.
        if let Some(problem) = chain_problem(leaf, above, &self.bundle) {
            return Err(problem);
        }
        let svid = Svid::new(chain, key).map_err(shown)?;
        if svid.id().trust_domain() != *self.bundle.trust_domain() {
            return Err(format!("{} is of another trust domain", svid.id()));
        }
        Ok(svid)
    }

    fn unusable(&self, reason: &str) -> Option<Svid> {
        tracing::warn!(reason, file = %self.file.display(), "the last certificate is unusable");
        None
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{CertificateAuthority, SigningRequest, SpiffeId, TrustDomain};

    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    /// An authority of `domain`, and what a workload keeps that it has certified for `ttl`.
    async fn certified(dir: &std::path::Path, domain: &str, ttl: Duration) -> Kept {
        let domain = TrustDomain::new(domain).unwrap();
        let authority = CertificateAuthority::open(dir, &domain).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key);
        let request = SigningRequest::from_pem(&request.unwrap().pem().unwrap()).unwrap();
        let id = SpiffeId::workload(&domain, "shop", "orders").unwrap();
        let chain = authority.sign(&request, &id, ttl).unwrap();
        let kept = Kept::open(dir, NAME, authority.bundle().clone()).unwrap();
        kept.save(&key.serialize_pem(), &chain[..2]).await;
        kept
    }

    const NAME: &str = "orders-1";
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_was_kept_is_the_same_identity_and_others_cannot_read_it() {
        let dir = in_memory();
        let kept = certified(dir.path(), "kept.local", MINUTE).await;
        let svid = kept.load().unwrap();
        assert_eq!(svid.id().as_str(), "spiffe://kept.local/ns/shop/sa/orders");
        assert!(!svid.is_expired(SystemTime::now()));
        let mode = fs::metadata(&kept.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_folder_that_may_be_on_a_disk_is_refused() {
        let dir = in_memory();
        let bundle = certified(dir.path(), "kept.local", MINUTE).await.bundle;
        let on_disk = Path::new(env!("CARGO_MANIFEST_DIR"));
        let refused = Kept::open(on_disk, NAME, bundle.clone()).unwrap_err();
        assert!(refused.to_string().contains("tmpfs"), "{refused}");
        let missing = Kept::open(&dir.path().join("missing"), NAME, bundle).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_peers_would_refuse_is_not_used() {
        let dir = in_memory();
        let kept = certified(dir.path(), "kept.local", MINUTE).await;
        let good = fs::read(&kept.file).unwrap();
        for broken in [&good[..good.len() / 2], b"", b"no PEM"] {
            fs::write(&kept.file, broken).unwrap();
            assert!(kept.load().is_none());
        }
        fs::remove_file(&kept.file).unwrap();
        assert!(kept.load().is_none());

        let other = in_memory();
        certified(other.path(), "kept.local", MINUTE).await;
        let moved = Kept::open(other.path(), NAME, kept.bundle.clone()).unwrap();
        assert!(moved.load().is_none(), "another authority has signed it");

        let expired = certified(dir.path(), "kept.local", Duration::from_secs(1)).await;
        let over = async {
            while expired.load().is_some() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let over = tokio::time::timeout(Duration::from_secs(30), over).await;
        over.expect("what has expired is not used");
    }
}
