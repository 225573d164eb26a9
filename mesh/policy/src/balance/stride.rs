//! The static stride scheduler of gRFC A58: weighted round robin from a counter alone.
//!
//! Weights are scaled to 16 bits. Each round asks every place in turn; a place of full weight always
//! takes its turn, one of half the weight every second time. An offset per place keeps equal weights
//! from taking and leaving their turns together.

use rand::{Rng as _, RngCore};

const FULL: u64 = u16::MAX as u64;

/// Weights, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub struct Stride {
    weights: Vec<u16>,
    /// Counts turns, taken and left.
    sequence: u64,
}

impl Stride {
    /// Takes new weights; 0 is unknown and counts as the mean of the others. At least one is known.
    pub fn set(&mut self, weights: &[f64], rng: &mut dyn RngCore) {
        let known = || weights.iter().copied().filter(|&weight| weight > 0.0);
        let count = known().count();
        let mean = if count == 0 {
            1.0
        } else {
            known().sum::<f64>() / count as f64
        };
        let largest = known().fold(mean, f64::max);
        let scale = |&weight: &f64| {
            let weight = if weight > 0.0 { weight } else { mean };
            // Never 0, so that every place gets a turn in the end.
            (weight / largest * FULL as f64)
                .round()
                .clamp(1.0, FULL as f64) as u16
        };
        self.weights.clear();
        self.weights.extend(weights.iter().map(scale));
        if self.sequence == 0 {
            self.sequence = rng.random_range(0..u64::from(u32::MAX));
        }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whose turn it is. `None` if there is no place.
    pub fn turn(&mut self) -> Option<usize> {
        let places = self.weights.len() as u64;
        // The place of the largest weight takes its turn in every round, so this ends within one round
        // of tries; the bound only spares the reader the proof.
        for _ in 0..=places.checked_mul(2)? {
            let place = self.sequence.checked_rem(places)?;
            let round = self.sequence / places;
            self.sequence = self.sequence.wrapping_add(1);
            let weight = u64::from(*self.weights.get(place as usize)?);
            let offset = if place % 2 == 0 { 0 } else { FULL / 2 };
            if (weight * round + offset) % FULL < weight {
                return Some(place as usize);
            }
        }
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn counts(weights: &[f64], picks: usize) -> Vec<u32> {
        let mut stride = Stride::default();
        stride.set(weights, &mut StdRng::seed_from_u64(1));
        let mut counts = vec![0; weights.len()];
        for _ in 0..picks {
            counts[stride.turn().expect("not empty")] += 1;
        }
        counts
    }

    #[test]
    fn turns_are_in_proportion_to_the_weights() {
        let counts = counts(&[1.0, 2.0, 5.0], 8000);
        assert!((990..=1010).contains(&counts[0]), "{counts:?}");
        assert!((1990..=2010).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn an_unknown_weight_is_the_mean_of_the_others() {
        let counts = counts(&[1.0, 3.0, 0.0], 6000);
        assert!((1990..=2010).contains(&counts[2]), "{counts:?}");
    }

    proptest! {
        #[test]
        fn every_place_gets_its_share(weights in proptest::collection::vec(1u32..50, 1..10)) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let total: f64 = weights.iter().sum();
            let picks = 20_000;
            for (count, weight) in counts(&weights, picks).into_iter().zip(&weights) {
                let expected = weight / total * picks as f64;
                prop_assert!((f64::from(count) - expected).abs() < expected * 0.05 + 5.0, "{count} {expected}");
            }
        }
    }
}
