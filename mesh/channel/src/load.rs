//! What endpoints say of their load in `endpoint-load-metrics` (ORCA, gRFC A51).

use weft_policy::LoadReport;

/// `xds.data.orca.v3.OrcaLoadReport`, as far as balancing reads it.
#[derive(Clone, PartialEq, prost::Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    /// In place of which `rps_fractional` came.
    #[prost(uint64, tag = "3")]
    rps: u64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

/// Reads the text form, `TEXT application_utilization=0.3,rps_fractional=120`. `None` if it is not one.
/// Names it does not know are skipped.
pub fn parse_text(value: &str) -> Option<LoadReport> {
    let mut report = OrcaLoadReport::default();
    for pair in value.strip_prefix("TEXT ")?.split(',') {
        let (name, number) = pair.trim().split_once('=')?;
        let number: f64 = number.trim().parse().ok()?;
        match name.trim() {
            "cpu_utilization" => report.cpu_utilization = number,
            "application_utilization" => report.application_utilization = number,
            "rps_fractional" | "rps" => report.rps_fractional = number,
            "eps" => report.eps = number,
            _ => {}
        }
    }
    report.read()
}

/// Reads the message, `endpoint-load-metrics-bin` without its base64. `None` if it is not one.
pub fn parse_binary(bytes: &[u8]) -> Option<LoadReport> {
    let report: OrcaLoadReport = prost::Message::decode(bytes).ok()?;
    report.read()
}

impl OrcaLoadReport {
    fn read(&self) -> Option<LoadReport> {
        let rps = match self.rps_fractional {
            0.0 => self.rps as f64,
            rps => rps,
        };
        let utilization = match self.application_utilization {
            0.0 => self.cpu_utilization,
            application => application,
        };
        let numbers = [utilization, rps, self.eps];
        // What comes from outside may be anything; weights are made of these.
        let are_sane = numbers
            .iter()
            .all(|number| number.is_finite() && *number >= 0.0);
        are_sane.then_some(LoadReport {
            utilization,
            rps,
            eps: self.eps,
        })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let report = LoadReport {
            utilization: 0.25,
            rps: 120.5,
            eps: 2.0,
        };
        let text =
            "TEXT application_utilization=0.25, cpu_utilization=0.9,rps_fractional=120.5,eps=2";
        assert_eq!(parse_text(text), Some(report));
        let binary = OrcaLoadReport {
            cpu_utilization: 0.9,
            rps: 0,
            rps_fractional: 120.5,
            eps: 2.0,
            application_utilization: 0.25,
        };
        assert_eq!(parse_binary(&binary.encode_to_vec()), Some(report));
    }

    #[test]
    fn the_cpu_stands_in_for_an_application_that_says_nothing() {
        let report =
            parse_text("TEXT cpu_utilization=0.9,named_metrics.queue=7").expect("a report");
        assert_eq!(report.utilization, 0.9);
    }

    #[test]
    fn what_is_no_report_is_none() {
        for text in [
            "",
            "JSON {}",
            "TEXT cpu",
            "TEXT eps=a",
            "TEXT eps=-1",
            "TEXT rps=inf",
            "TEXT eps=NaN",
        ] {
            assert_eq!(parse_text(text), None, "{text}");
        }
        assert_eq!(parse_binary(&[0xff, 0xff]), None);
    }
}
