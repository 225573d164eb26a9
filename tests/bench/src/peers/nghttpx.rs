//! nghttpx: one process with one worker, no access log.

use super::{Side, Stand};
use crate::certificates::SERVER_NAME;

/// All it needs are flags.
pub fn arguments(stand: &Stand<'_>) -> anyhow::Result<Vec<String>> {
    let (listen, upstream) = (stand.listen, stand.upstream);
    let down = stand.tls == Some(Side::Downstream);
    let up = stand.tls == Some(Side::Upstream);
    let frontend = if down { "" } else { ";no-tls" };
    let backend = if up {
        format!(";tls;sni={SERVER_NAME}")
    } else {
        String::new()
    };
    // An empty file instead of the system's configuration.
    let mut args = vec![
        format!("--conf={}", stand.write("conf", "")?),
        format!("--frontend={},{}{frontend}", listen.ip(), listen.port()),
        format!(
            "--backend={},{};;proto=h2{backend}",
            upstream.ip(),
            upstream.port()
        ),
        "--workers=1".to_owned(),
        "--single-process".to_owned(),
        format!("--pid-file={}", stand.folder.join("nghttpx.pid").display()),
    ];
    let own = |name: &str| stand.certificate(name);
    if down {
        args.extend([
            "--verify-client".to_owned(),
            format!("--verify-client-cacert={}", own("ca.pem")),
            "--tls-min-proto-version=TLSv1.3".to_owned(),
            "--no-ocsp".to_owned(),
            own("server.key"),
            own("server.pem"),
        ]);
    }
    if up {
        args.extend([
            format!("--cacert={}", own("ca.pem")),
            format!("--client-private-key-file={}", own("client.key")),
            format!("--client-cert-file={}", own("client.pem")),
            "--tls-min-proto-version=TLSv1.3".to_owned(),
        ]);
    }
    Ok(args)
}
