//! Balancing policies.

use prost_types::Any;
use weft_model::dataplane::LoadBalancing;

use super::{Invalid, duration, positive, required, unpack, unsupported};
use crate::{
    encode::balancing::{
        LEAST_REQUEST, PICK_FIRST, RING_HASH, ROUND_ROBIN, SUBSET, WEIGHTED, WRR_LOCALITY,
    },
    proto::envoy::{
        config::cluster::v3::{self as wire, LoadBalancingPolicy, load_balancing_policy::Policy},
        extensions::load_balancing_policies::{
            client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
            pick_first::v3::PickFirst,
            ring_hash::v3::{RingHash, ring_hash::HashFunction},
            subset::v3::Subset,
            wrr_locality::v3::WrrLocality,
        },
    },
};

/// Envoy's largest ring, and its default sizes.
const LARGEST_RING: u64 = 8_388_608;
const MINIMUM_RING: u64 = 1024;
/// A list within a list within a list is nobody's configuration.
const MAX_DEPTH: usize = 3;

/// The policy of a cluster: the list's if there is one, else the enumerated one.
pub(super) fn of_cluster(found: &wire::Cluster) -> Result<LoadBalancing, Invalid> {
    use wire::cluster::LbPolicy;
    unsupported("lb_subset_config", found.lb_subset_config.is_some())?;
    if let Some(list) = &found.load_balancing_policy {
        return policies(list, MAX_DEPTH).map_err(|e| e.within("load_balancing_policy"));
    }
    match found.lb_policy() {
        LbPolicy::LeastRequest => Ok(LoadBalancing::LeastRequest),
        LbPolicy::RoundRobin => Ok(LoadBalancing::RoundRobin),
        other => {
            let reason = format!("`{}` is not supported", other.as_str_name());
            Err(Invalid::new("lb_policy", reason))
        }
    }
}

/// The first policy that is supported counts (gRFC A52).
fn policies(list: &LoadBalancingPolicy, depth: usize) -> Result<LoadBalancing, Invalid> {
    for (at, policy) in list.policies.iter().enumerate() {
        let read = policy_of(policy, depth);
        let path = format!("policies[{at}].typed_extension_config.typed_config");
        if let Some(found) = read.transpose() {
            return found.map_err(|e| e.within(path));
        }
    }
    Err(Invalid::new(
        "policies",
        "none is supported; least request would be",
    ))
}

/// `None` for a policy that is not known.
fn policy_of(policy: &Policy, depth: usize) -> Result<Option<LoadBalancing>, Invalid> {
    let Some(config) = &policy.typed_extension_config else {
        return Ok(None);
    };
    let inner = |list: Option<&LoadBalancingPolicy>, path: &str| {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Invalid::new(path, "too many lists within each other"));
        };
        policies(required(path, list)?, depth).map_err(|e| e.within(path))
    };
    let found = || required("", config.typed_config.as_ref());
    match config.name.as_str() {
        LEAST_REQUEST => Ok(Some(LoadBalancing::LeastRequest)),
        ROUND_ROBIN => Ok(Some(LoadBalancing::RoundRobin)),
        WEIGHTED => weighted(found()?).map(Some),
        RING_HASH => ring_hash(found()?).map(Some),
        PICK_FIRST => {
            let settings: PickFirst = unpack(found()?)?;
            unsupported("shuffle_address_list", settings.shuffle_address_list)?;
            Ok(Some(LoadBalancing::PickFirst))
        }
        WRR_LOCALITY => {
            let settings: WrrLocality = unpack(found()?)?;
            let list = settings.endpoint_picking_policy.as_ref();
            inner(list, "endpoint_picking_policy").map(Some)
        }
        SUBSET => {
            let settings: Subset = unpack(found()?)?;
            inner(settings.subset_lb_policy.as_ref(), "subset_lb_policy").map(Some)
        }
        _ => Ok(None),
    }
}

fn weighted(config: &Any) -> Result<LoadBalancing, Invalid> {
    let found: ClientSideWeightedRoundRobin = unpack(config)?;
    let out_of_band = found.enable_oob_load_report.unwrap_or_default();
    unsupported("enable_oob_load_report", out_of_band)?;
    let penalty = found.error_utilization_penalty.unwrap_or(1.0);
    if !(0.0..=1000.0).contains(&penalty) {
        return Err(Invalid::new("error_utilization_penalty", "not 0 to 1000"));
    }
    let seconds = std::time::Duration::from_secs;
    Ok(LoadBalancing::WeightedRoundRobin {
        blackout_period: duration("blackout_period", found.blackout_period.as_ref())?
            .unwrap_or(seconds(10)),
        expiration_period: positive(
            "weight_expiration_period",
            found.weight_expiration_period.as_ref(),
            seconds(180),
        )?,
        // In range, and rounded, so the cast is exact.
        error_utilization_penalty_permille: (penalty * 1000.0).round() as u32,
    })
}

fn ring_hash(config: &Any) -> Result<LoadBalancing, Invalid> {
    let found: RingHash = unpack(config)?;
    if found.hash_function() == HashFunction::MurmurHash2 {
        return Err(Invalid::new("hash_function", "only `XX_HASH` is supported"));
    }
    unsupported(
        "consistent_hashing_lb_config",
        found.consistent_hashing_lb_config.is_some(),
    )?;
    let minimum = found.minimum_ring_size.unwrap_or(MINIMUM_RING);
    let maximum = found.maximum_ring_size.unwrap_or(LARGEST_RING);
    let size = |path: &str, size: u64| {
        u32::try_from(size)
            .ok()
            .filter(|size| (1..=LARGEST_RING).contains(&u64::from(*size)))
            .ok_or_else(|| Invalid::new(path, format!("not 1 to {LARGEST_RING}")))
    };
    if minimum > maximum {
        return Err(Invalid::new(
            "minimum_ring_size",
            "above `maximum_ring_size`",
        ));
    }
    Ok(LoadBalancing::RingHash {
        header: String::new(),
        minimum_ring_size: size("minimum_ring_size", minimum)?,
        maximum_ring_size: size("maximum_ring_size", maximum)?,
    })
}
