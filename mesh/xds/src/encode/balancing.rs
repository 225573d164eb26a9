//! Balancing policies. A receiver takes the first of the list that it knows (gRFC A52), so what gRPC's
//! clients do not have is followed by what all of them have.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Any;
use weft_model::dataplane::LoadBalancing;

use super::duration;
use crate::{
    proto::envoy::{
        config::{
            cluster::v3::{LoadBalancingPolicy, load_balancing_policy::Policy},
            core::v3::TypedExtensionConfig,
        },
        extensions::load_balancing_policies::{
            client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
            least_request::v3::LeastRequest,
            pick_first::v3::PickFirst,
            ring_hash::v3::{RingHash, ring_hash::HashFunction},
            round_robin::v3::RoundRobin,
            subset::v3::{
                Subset,
                subset::{
                    LbSubsetFallbackPolicy, LbSubsetSelector,
                    lb_subset_selector::LbSubsetSelectorFallbackPolicy,
                },
            },
            wrr_locality::v3::WrrLocality,
        },
    },
    resources::any,
};

pub(crate) const LEAST_REQUEST: &str = "envoy.load_balancing_policies.least_request";
pub(crate) const ROUND_ROBIN: &str = "envoy.load_balancing_policies.round_robin";
pub(crate) const WEIGHTED: &str = "envoy.load_balancing_policies.client_side_weighted_round_robin";
pub(crate) const RING_HASH: &str = "envoy.load_balancing_policies.ring_hash";
pub(crate) const PICK_FIRST: &str = "envoy.load_balancing_policies.pick_first";
pub(crate) const WRR_LOCALITY: &str = "envoy.load_balancing_policies.wrr_locality";
pub(crate) const SUBSET: &str = "envoy.load_balancing_policies.subset";

pub(super) fn policies(
    balancing: &LoadBalancing,
    subsets: &BTreeMap<String, BTreeMap<String, String>>,
) -> LoadBalancingPolicy {
    let mut policies = plain(balancing);
    if !subsets.is_empty() {
        policies.insert(0, policy(SUBSET, any(&by_subset(balancing, subsets))));
    }
    LoadBalancingPolicy { policies }
}

fn plain(balancing: &LoadBalancing) -> Vec<Policy> {
    let round_robin = || policy(ROUND_ROBIN, any(&RoundRobin::default()));
    let within_localities = |inner: Policy| {
        let picking = LoadBalancingPolicy {
            policies: vec![inner],
        };
        let config = WrrLocality {
            endpoint_picking_policy: Some(picking),
        };
        policy(WRR_LOCALITY, any(&config))
    };
    match balancing {
        LoadBalancing::LeastRequest => vec![
            policy(LEAST_REQUEST, any(&LeastRequest::default())),
            within_localities(round_robin()),
        ],
        LoadBalancing::RoundRobin => vec![round_robin()],
        LoadBalancing::WeightedRoundRobin {
            blackout_period,
            expiration_period,
            error_utilization_penalty_permille,
        } => {
            #[expect(
                clippy::cast_precision_loss,
                reason = "at most 100 in thousandths, which a float holds exactly enough to round back"
            )]
            let penalty = *error_utilization_penalty_permille as f32 / 1000.0;
            let weighted = ClientSideWeightedRoundRobin {
                blackout_period: Some(duration(*blackout_period)),
                weight_expiration_period: Some(duration(*expiration_period)),
                error_utilization_penalty: Some(penalty),
                ..Default::default()
            };
            vec![
                within_localities(policy(WEIGHTED, any(&weighted))),
                round_robin(),
            ]
        }
        LoadBalancing::RingHash {
            minimum_ring_size,
            maximum_ring_size,
            ..
        } => {
            let ring = RingHash {
                hash_function: HashFunction::XxHash as i32,
                minimum_ring_size: Some(u64::from(*minimum_ring_size)),
                maximum_ring_size: Some(u64::from(*maximum_ring_size)),
                ..Default::default()
            };
            vec![policy(RING_HASH, any(&ring))]
        }
        LoadBalancing::PickFirst => {
            vec![
                policy(PICK_FIRST, any(&PickFirst::default())),
                round_robin(),
            ]
        }
    }
}

/// Envoy's subsets: a request that names none may go anywhere, one that does nowhere else.
fn by_subset(
    balancing: &LoadBalancing,
    subsets: &BTreeMap<String, BTreeMap<String, String>>,
) -> Subset {
    let keys: BTreeSet<Vec<String>> = subsets
        .values()
        .map(|labels| labels.keys().cloned().collect())
        .collect();
    let selectors = keys.into_iter().map(|keys| LbSubsetSelector {
        keys,
        fallback_policy: LbSubsetSelectorFallbackPolicy::NoFallback as i32,
        ..Default::default()
    });
    Subset {
        fallback_policy: LbSubsetFallbackPolicy::AnyEndpoint as i32,
        subset_selectors: selectors.collect(),
        subset_lb_policy: Some(LoadBalancingPolicy {
            policies: plain(balancing),
        }),
        ..Default::default()
    }
}

fn policy(name: &str, config: Any) -> Policy {
    Policy {
        typed_extension_config: Some(TypedExtensionConfig {
            name: name.to_owned(),
            typed_config: Some(config),
        }),
    }
}
