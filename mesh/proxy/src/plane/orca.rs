//! Load reports in trailers (ORCA, gRFC A51): `endpoint-load-metrics` as text or JSON, `-bin` as a
//! protobuf message.

use prost::Message as _;
use weft_http2::{HeaderBlock, Name};
use weft_policy::LoadReport;

/// The fields of `xds.data.orca.v3.OrcaLoadReport` that balance calls.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

impl OrcaLoadReport {
    /// gRFC A58: the application's own word first, the CPU's where it says nothing.
    fn to_report(self) -> LoadReport {
        LoadReport {
            utilization: match self.application_utilization {
                known if known > 0.0 => known,
                _ => self.cpu_utilization,
            },
            rps: self.rps_fractional,
            eps: self.eps,
        }
    }
}

/// What the trailers say. `None` if they say nothing that can be read.
pub(crate) fn report(block: &HeaderBlock) -> Option<LoadReport> {
    if let Some(encoded) = block.get(Name::EndpointLoadMetricsBin) {
        let bytes = decode_base64(encoded)?;
        return Some(OrcaLoadReport::decode(bytes.as_slice()).ok()?.to_report());
    }
    let text = std::str::from_utf8(block.get(Name::EndpointLoadMetrics)?).ok()?;
    from_text(text.trim()).map(OrcaLoadReport::to_report)
}

/// `TEXT cpu_utilization=0.3, rps_fractional=100`, the native HTTP form.
fn from_text(text: &str) -> Option<OrcaLoadReport> {
    let mut report = OrcaLoadReport::default();
    for pair in text.strip_prefix("TEXT ")?.split(',') {
        let (name, value) = pair.trim().split_once('=')?;
        let value: f64 = value.trim().parse().ok()?;
        match name.trim() {
            "cpu_utilization" => report.cpu_utilization = value,
            "application_utilization" => report.application_utilization = value,
            "rps_fractional" => report.rps_fractional = value,
            "eps" => report.eps = value,
            _ => {}
        }
    }
    Some(report)
}

/// gRPC's binary metadata: standard alphabet, padding optional.
fn decode_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&base64::alphabet::STANDARD, lenient)
        .decode(encoded)
        .ok()
}
