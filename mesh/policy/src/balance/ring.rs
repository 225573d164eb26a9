//! Consistent hashing as Envoy and gRPC do it (gRFC A42), so that a mixed mesh sends a key to the same
//! endpoint: every endpoint has places on a ring, in proportion to its weight, at the xxHash64 of
//! `address_0`, `address_1`, ...; a request goes to the first place at or after the hash of its header.
//!
//! An endpoint that may not be used keeps its places: only its own requests move, on to the next
//! endpoint along the ring, and come back to it afterwards.

use xxhash_rust::xxh64::xxh64;

/// The places of endpoints, by number.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    places: Vec<(u64, u32)>,
}

/// The hash of a request's header value.
pub fn hash(value: &str) -> u64 {
    xxh64(value.as_bytes(), 0)
}

impl Ring {
    /// A ring of endpoints: number, address, weight. Its size is the smallest that gives each a whole
    /// number of places, within the bounds.
    pub fn new(members: &[(u32, String, u32)], minimum: u32, maximum: u32) -> Self {
        let total: f64 = members
            .iter()
            .map(|(_, _, weight)| f64::from((*weight).max(1)))
            .sum();
        let shares = || {
            members
                .iter()
                .map(|(_, _, weight)| f64::from((*weight).max(1)) / total)
        };
        let smallest = shares().fold(1.0, f64::min);
        let scale = (smallest * f64::from(minimum)).ceil() / smallest;
        let scale = scale.min(f64::from(maximum.max(1)));
        let mut places = Vec::new();
        let (mut wanted, mut placed) = (0.0, 0.0);
        for ((number, address, _), share) in members.iter().zip(shares()) {
            wanted += scale * share;
            let mut key = format!("{address}_");
            let stem = key.len();
            let mut n = 0;
            while placed < wanted {
                key.truncate(stem);
                key.push_str(&n.to_string());
                places.push((hash(&key), *number));
                n += 1;
                placed += 1.0;
            }
        }
        places.sort_unstable();
        Self { places }
    }

    /// The first usable endpoint at or after `hash`. `None` if none is.
    pub fn pick(&self, hash: u64, is_usable: impl Fn(u32) -> bool) -> Option<u32> {
        let start = self.places.partition_point(|&(place, _)| place < hash);
        let (before, after) = self.places.split_at_checked(start)?;
        let mut last = None;
        for &(_, number) in after.iter().chain(before) {
            // Neighbours are often the same endpoint.
            if last != Some(number) && is_usable(number) {
                return Some(number);
            }
            last = Some(number);
        }
        None
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no endpoint has a place.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(count: u32) -> Vec<(u32, String, u32)> {
        (0..count)
            .map(|n| (n, format!("10.0.0.{n}:7070"), 1))
            .collect()
    }

    #[test]
    fn places_are_envoys() {
        // xxHash64 with seed 0, as in Envoy's and gRPC's rings; the values are xxhsum's.
        assert_eq!(hash(""), 0xef46_db37_51d8_e999);
        assert_eq!(hash("a"), 0xd24e_c4f1_a98c_6e5b);
        let ring = Ring::new(&members(3), 1024, 8192);
        assert_eq!(ring.len(), 1026);
        let ring = Ring::new(&members(3), 1024, 100);
        assert_eq!(ring.len(), 100);
        assert!(ring.places.contains(&(hash("10.0.0.1:7070_0"), 1)));
    }

    #[test]
    fn weights_are_shares_of_the_ring() {
        let mut members = members(2);
        members[1].2 = 3;
        let ring = Ring::new(&members, 1000, 8192);
        let second = ring
            .places
            .iter()
            .filter(|(_, number)| *number == 1)
            .count();
        assert_eq!((ring.len(), second), (1000, 750));
    }

    #[test]
    fn an_endpoint_left_out_moves_only_its_own_keys() {
        let ring = Ring::new(&members(5), 1024, 8192);
        for key in 0..2000 {
            let key = hash(&key.to_string());
            let normal = ring.pick(key, |_| true).expect("not empty");
            let without = ring.pick(key, |number| number != 2).expect("not empty");
            assert!(without != 2 && (normal == 2 || normal == without));
        }
        assert_eq!(ring.pick(1, |_| false), None);
    }

    proptest! {
        #[test]
        fn one_more_endpoint_moves_about_its_share_of_the_keys(count in 2u32..20) {
            let before = Ring::new(&members(count), 1024, 8192);
            let after = Ring::new(&members(count + 1), 1024, 8192);
            let keys = 4000;
            let moved = (0..keys).filter(|key: &i32| {
                let key = hash(&key.to_string());
                before.pick(key, |_| true) != after.pick(key, |_| true)
            });
            let share = moved.count() as f64 / f64::from(keys);
            let fair = 1.0 / f64::from(count + 1);
            // Beyond the fair share, since each endpoint has fewer places on a ring of the same size.
            prop_assert!(share < fair * 2.2, "{share} of {fair}");
        }
    }
}
