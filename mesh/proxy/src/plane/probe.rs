//! Active health checks: calls of our own to endpoints, over the connections that other calls use.

use weft_http2::{HeaderBlock, Name};
use weft_policy::{Probe, code};

use super::{
    arena::Key,
    core::{Core, Timer},
    exchange::{Attempt, Exchange, Place, Policy},
    finish::End,
    head,
    kind::Side,
    links::Current,
    wheel::TimerKey,
};

/// `HealthCheckResponse { status: SERVING }`, with the head of a gRPC message.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

/// Probes at once.
const CONCURRENCY: usize = 64;

/// Probes that are due.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    waiting: Vec<Probe>,
    under_way: usize,
}

impl Core {
    /// Makes the probes that are due, a bounded number at once.
    pub(crate) fn probe(&mut self) {
        let now = self.now;
        if self.identity.is_none() {
            return;
        }
        // Those that wait may be due again; they need not wait twice.
        let is_due = |at| at <= now;
        if self.probes.waiting.is_empty() && self.engine.next_probe_at(now).is_some_and(is_due) {
            self.probes.waiting = self.engine.probes_due(now);
        }
        while self.probes.under_way < CONCURRENCY
            && let Some(probe) = self.probes.waiting.pop()
        {
            self.probes.under_way += 1;
            self.ask_endpoint(probe);
        }
    }

    fn ask_endpoint(&mut self, probe: Probe) {
        let now = self.now;
        let pool = self
            .pools
            .find(probe.endpoint.address, probe.identity.as_ref());
        let (key, exchange) = self.exchanges.take(|| Exchange::fresh(now));
        exchange.side = Side::Outbound;
        exchange.down = Key::NONE;
        (exchange.started, exchange.request_ended) = (now, true);
        write_head(&mut exchange.head, &probe.target);
        head::set_scheme(&mut exchange.head, probe.identity.is_none());
        exchange.body.push(&message(&probe.service_name));
        exchange.deadline = self.wheel.set(now + probe.timeout, Timer::Deadline(key));
        exchange.policy = Policy::Probe(Box::new(probe));
        exchange.attempts.push(Attempt {
            picked: None,
            place: Place::Delayed,
            pool,
            pending: None,
            sent: 0,
            sent_end: false,
            timer: TimerKey::NONE,
            started: now,
            is_counted: true,
        });
        self.find_link(&mut Current::none(), key, 0);
    }

    /// Tells the engine what a probe came to. gRFC A17: who has no health service is healthy as long as
    /// it answers.
    pub(crate) fn probed(&mut self, probe: &Probe, answer: &[u8], end: &End) {
        let is_healthy = match end.status {
            code::OK => answer == SERVING,
            code::UNIMPLEMENTED => true,
            _ => false,
        };
        if !is_healthy {
            let (instance, target) = (&probe.endpoint.instance, &*probe.target);
            tracing::debug!(instance, target, error = end.message, "probe failed");
        }
        self.probes.under_way -= 1;
        self.engine.probed(probe, is_healthy, self.now);
    }
}

fn write_head(head: &mut HeaderBlock, authority: &str) {
    head.push(Name::Method, b"POST");
    head.push(Name::Authority, authority.as_bytes());
    head.push(Name::Path, b"/grpc.health.v1.Health/Check");
    head.push(Name::Te, b"trailers");
    head.push(Name::ContentType, b"application/grpc");
    // A workload in overload is not sick: probes are shed last.
    head.push(Name::XWeftCriticality, b"CRITICAL_PLUS");
}

/// `HealthCheckRequest { service }`, with the head of a gRPC message. Longer names than 127 bytes are
/// cut: no service has one.
fn message(service: &str) -> Vec<u8> {
    let name = &service.as_bytes()[..service.len().min(127)];
    let mut bytes = vec![0; 5];
    if !name.is_empty() {
        bytes.extend([0x0a, name.len() as u8]);
        bytes.extend_from_slice(name);
    }
    bytes[4] = (bytes.len() - 5) as u8;
    bytes
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

    use super::*;

    #[test]
    fn requests_and_answers_are_those_of_the_contract() {
        for service in ["", "shop.v1.Carts"] {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let bytes = message(service);
            assert_eq!(bytes[5..], request.encode_to_vec());
            assert_eq!(usize::from(bytes[4]), bytes.len() - 5);
        }
        let serving = HealthCheckResponse { status: 1 };
        assert_eq!(SERVING[5..], serving.encode_to_vec());
    }
}
