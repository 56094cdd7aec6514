//! The same endpoint for the same key, with a bound on what a hot key may do to it.
//!
//! Weighted rendezvous hashing (Thaler and Ravishankar, 1998): each endpoint scores every key, and the highest wins. An
//! endpoint that leaves gives up its own keys and moves no other; the second highest is where a key goes meanwhile. It
//! needs no table, so that there is nothing to rebuild when endpoints come and go. Maglev and a ring choose in less than
//! O(n), which pays from hundreds of endpoints on; the ring is uneven, and Maglev moves keys that need not move.
//!
//! Bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016): nobody takes more
//! than c = 1.25 times its share of what is in progress; what is too much goes to the next in the key's own order.
//!
//! Not here: what the key is made of (`config.rs`).

use super::set::Set;

/// Mirrokni's c. Less moves more keys, more lets a hot key do more harm.
const BOUND: f32 = 1.25;

/// Calls in progress that no endpoint minds: with few, staying in place is worth more than being even.
const FREE: f32 = 8.0;

/// A key or a name as 64 even bits. The same in every process and version, since all gateways should choose alike.
///
/// FNV-1a, mixed once more because its high bits depend too little on the last bytes.
#[must_use]
pub fn key(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// An endpoint's claim on `key`: of several, each is highest for a share of keys that is proportional to its weight.
fn score(key: u64, name: u64, weight: f32) -> f32 {
    /// 2^-24: as many bits as an `f32` is exact in.
    const UNIT: f32 = 1.0 / 16_777_216.0;
    // Strictly between 0 and 1, so that the logarithm is finite and not 0.
    let even = ((mix(key ^ name) >> 41) as f32 + 0.5) * (2.0 * UNIT);
    -weight / even.ln()
}

/// One of `among`, by `key`. `None` only when there are none.
pub(super) fn choose(
    key: u64,
    among: &Set,
    names: &[u64],
    weights: &[f32],
    in_flight: impl Fn(usize) -> u32,
) -> Option<usize> {
    let total: f32 = among.iter().map(|index| in_flight(index) as f32).sum::<f32>() + 1.0;
    let capacity = BOUND * total / among.iter().map(|index| weights[index]).sum::<f32>();
    // The paper rounds the bound up; for whole numbers, being below either is the same.
    let has_room = |index: usize| (in_flight(index) as f32) < (capacity * weights[index]).max(FREE);
    // Counts that change while they are read may leave room nowhere; then the highest is as good as any.
    let ranked = among.iter().map(|index| (has_room(index), score(key, names[index], weights[index]), index));
    ranked.max_by(|one, two| one.0.cmp(&two.0).then(one.1.total_cmp(&two.1))).map(|(_, _, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn names(count: usize) -> Vec<u64> {
        (0..count).map(|index| key(format!("10.0.0.{index}:8080").as_bytes())).collect()
    }

    fn chosen(among: &Set, weights: &[f32]) -> Vec<usize> {
        let names = names(weights.len());
        let one = |key: u64| choose(mix(key), among, &names, weights, |_| 0).unwrap();
        (0..KEYS).map(one).collect()
    }

    fn share(chosen: &[usize], index: usize) -> f32 {
        chosen.iter().filter(|one| **one == index).count() as f32 / chosen.len() as f32
    }

    #[test]
    fn an_endpoint_that_leaves_moves_its_own_keys_and_no_other() {
        for count in [2, 3, 5, 16] {
            let all: Set = (0..count).collect();
            let gone = all.without(&[1].into_iter().collect());
            let (before, after) = (chosen(&all, &vec![1.0; count]), chosen(&gone, &vec![1.0; count]));
            let moved = before.iter().zip(&after).filter(|(one, two)| one != two).count();
            assert_eq!(moved, before.iter().filter(|index| **index == 1).count());
            assert!((moved as f32) < 1.1 * KEYS as f32 / count as f32, "{moved} of {KEYS} by 1 of {count}");
        }
    }

    #[test]
    fn keys_are_shared_by_weight() {
        let chosen = chosen(&(0..3).collect(), &[0.25, 0.25, 0.5]);
        for (index, expected) in [(0, 0.25), (1, 0.25), (2, 0.5)] {
            assert!((share(&chosen, index) - expected).abs() < 0.02, "{index}: {}", share(&chosen, index));
        }
    }

    #[test]
    fn a_hot_key_goes_on_to_the_next_once_its_endpoint_has_more_than_its_share() {
        let (names, weights, all) = (names(3), [1.0; 3], (0..3).collect());
        let mut in_flight = [0_u32; 3];
        for _ in 0..300 {
            let index = choose(7, &all, &names, &weights, |index| in_flight[index]).unwrap();
            in_flight[index] += 1;
        }
        assert_eq!(*in_flight.iter().max().unwrap(), 125);
    }

    #[test]
    fn a_few_calls_at_once_stay_in_place() {
        let (names, weights, all) = (names(3), [1.0; 3], (0..3).collect());
        let alone = choose(7, &all, &names, &weights, |_| 0);
        let busy = choose(7, &all, &names, &weights, |index| if Some(index) == alone { 7 } else { 0 });
        assert_eq!(busy, alone);
    }

    #[test]
    fn keys_hash_alike_for_ever() {
        assert_eq!(key(b""), 0xf52a_15e9_a9b5_e89b);
        assert_ne!(key(b"a"), key(b"b"));
    }
}
