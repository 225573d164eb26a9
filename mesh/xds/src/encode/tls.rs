//! TLS contexts: certificates come from the node's own provider, only the peer's name is sent.

use crate::proto::envoy::{
    extensions::transport_sockets::tls::v3::{
        CertificateProviderPluginInstance, CertificateValidationContext, CommonTlsContext,
        DownstreamTlsContext, UpstreamTlsContext, common_tls_context::ValidationContextType,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};

/// The name that gRPC's bootstrap files and istiod use for the workload's own certificates.
const PROVIDER: &str = "default";
const ROOTS: &str = "ROOTCA";

/// Present our certificate; the server must be `identity`.
pub(super) fn upstream(identity: &str) -> UpstreamTlsContext {
    UpstreamTlsContext {
        common_tls_context: Some(common(vec![StringMatcher {
            match_pattern: Some(MatchPattern::Exact(identity.to_owned())),
            ..Default::default()
        }])),
        ..Default::default()
    }
}

/// Demand a certificate of the trust domain; who may do what is the authorization filter's matter.
pub(super) fn downstream() -> DownstreamTlsContext {
    DownstreamTlsContext {
        common_tls_context: Some(common(Vec::new())),
        require_client_certificate: Some(true),
        ..Default::default()
    }
}

#[expect(
    deprecated,
    reason = "gRPC's xDS clients read this field for the server's name (gRFC A29)"
)]
fn common(match_subject_alt_names: Vec<StringMatcher>) -> CommonTlsContext {
    CommonTlsContext {
        tls_certificate_provider_instance: Some(instance(PROVIDER)),
        validation_context_type: Some(ValidationContextType::ValidationContext(
            CertificateValidationContext {
                ca_certificate_provider_instance: Some(instance(ROOTS)),
                match_subject_alt_names,
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn instance(certificate_name: &str) -> CertificateProviderPluginInstance {
    CertificateProviderPluginInstance {
        instance_name: PROVIDER.to_owned(),
        certificate_name: certificate_name.to_owned(),
    }
}
