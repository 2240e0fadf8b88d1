//! Jobs into chunks by weight: numbers from 1, deterministic, ties by position.

use crate::Interrupted;

/// A weight or a capacity that packing cannot use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unpackable {
    /// (position, weight): not finite or negative.
    Weight(usize, f64),
    /// (position, weight): larger than a whole chunk.
    TooLarge(usize, f64),
    Interrupted,
}

/// After so many items it is asked whether to stop.
const STEP: usize = 1 << 14;

/// Positions by descending weight; equal weights keep their order.
fn by_weight(weights: &[f64]) -> Result<Vec<usize>, Unpackable> {
    let wrong = weights.iter().position(|w| !w.is_finite() || *w < 0.0);
    if let Some(at) = wrong {
        return Err(Unpackable::Weight(at, weights[at]));
    }
    // Weights are not negative (and no zero is, once one is added), so their bits are ordered.
    let mut order: Vec<(u64, usize)> =
        weights.iter().zip(0..).map(|(weight, place)| (!(weight + 0.0).to_bits(), place)).collect();
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, place)| place).collect())
}

/// Longest processing time first (Graham 1969): each next item goes to the chunk with the
/// smallest sum. O(n log n).
pub fn lpt(
    weights: &[f64],
    n_chunks: usize,
    interrupted: Interrupted<'_>,
) -> Result<Vec<i32>, Unpackable> {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    let order = by_weight(weights)?;
    let n_chunks = n_chunks.min(weights.len());
    // Sums are not negative, so their bits are ordered as they are.
    let mut sums: BinaryHeap<Reverse<(u64, usize)>> =
        (0..n_chunks).map(|chunk| Reverse((0f64.to_bits(), chunk))).collect();
    let mut chunks = vec![0; weights.len()];
    for (place, item) in order.into_iter().enumerate() {
        if place % STEP == 0 && interrupted() {
            return Err(Unpackable::Interrupted);
        }
        // The first items open one chunk each, also those without weight.
        let chunk = if place < n_chunks {
            sums.retain(|Reverse((_, chunk))| *chunk != place);
            Reverse((0f64.to_bits(), place))
        } else {
            let Some(smallest) = sums.pop() else { break };
            smallest
        };
        let Reverse((sum, chunk)) = chunk;
        sums.push(Reverse(((f64::from_bits(sum) + weights[item]).to_bits(), chunk)));
        chunks[item] = chunk as i32 + 1;
    }
    Ok(chunks)
}

/// First fit decreasing (Johnson 1973): each item goes to the first chunk with room, found in a
/// tree of free room. O(n log n).
pub fn binpack(
    weights: &[f64],
    chunk_size: f64,
    interrupted: Interrupted<'_>,
) -> Result<Vec<i32>, Unpackable> {
    let order = by_weight(weights)?;
    if let Some(first) = order.first().filter(|item| weights[**item] > chunk_size) {
        return Err(Unpackable::TooLarge(*first, weights[*first]));
    }
    let leaves = weights.len().next_power_of_two();
    // Each node holds the largest free room below it; an unopened chunk is empty.
    let mut free = vec![chunk_size; 2 * leaves];
    let mut chunks = vec![0; weights.len()];
    for (place, item) in order.into_iter().enumerate() {
        if place % STEP == 0 && interrupted() {
            return Err(Unpackable::Interrupted);
        }
        let mut node = 1;
        while node < leaves {
            node = 2 * node + usize::from(free[2 * node] < weights[item]);
        }
        chunks[item] = (node - leaves) as i32 + 1;
        free[node] -= weights[item];
        while node > 1 {
            node /= 2;
            free[node] = free[2 * node].max(free[2 * node + 1]);
        }
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::Unpackable;
    use proptest::prelude::*;

    fn lpt(weights: &[f64], n_chunks: usize) -> Result<Vec<i32>, Unpackable> {
        super::lpt(weights, n_chunks, &|| false)
    }

    fn binpack(weights: &[f64], chunk_size: f64) -> Result<Vec<i32>, Unpackable> {
        super::binpack(weights, chunk_size, &|| false)
    }

    #[test]
    fn long_work_can_be_stopped() {
        let stopped = super::lpt(&[1.0; 9], 2, &|| true);
        assert_eq!(stopped, Err(Unpackable::Interrupted));
        assert_eq!(super::binpack(&[1.0; 9], 2.0, &|| true), Err(Unpackable::Interrupted));
    }

    #[test]
    fn as_batchtools_measured() {
        assert_eq!(lpt(&[5.0, 4.0, 3.0, 3.0, 3.0], 2), Ok(vec![1, 2, 2, 1, 2]));
        assert_eq!(binpack(&[5.0, 4.0, 3.0, 3.0, 3.0], 8.0), Ok(vec![1, 2, 1, 2, 3]));
    }

    #[test]
    fn an_item_beyond_the_capacity_is_named() {
        assert_eq!(binpack(&[1.0, 9.0], 8.0), Err(Unpackable::TooLarge(1, 9.0)));
        let nan = lpt(&[1.0, f64::NAN], 2);
        assert!(matches!(nan, Err(Unpackable::Weight(1, _))));
    }

    proptest! {
        #[test]
        fn binpack_is_the_first_fit(weights in prop::collection::vec(0u32..100, 0..60)) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
            let mut free: Vec<f64> = Vec::new();
            let mut expected = vec![0; weights.len()];
            for item in order {
                let fits = free.iter().position(|room| *room >= weights[item]);
                let chunk = fits.unwrap_or_else(|| { free.push(100.0); free.len() - 1 });
                free[chunk] -= weights[item];
                expected[item] = chunk as i32 + 1;
            }
            prop_assert_eq!(binpack(&weights, 100.0), Ok(expected));
        }
    }
}
