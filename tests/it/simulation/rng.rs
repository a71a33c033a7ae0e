//! All chance of a simulated world, from one seed. It knows nothing of what is decided with it.

/// SplitMix64: small, good enough to decide what goes wrong next, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is above 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something happens that happens in so many of a thousand cases.
    pub(crate) fn happens(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Mostly little, seldom up to `most`: how long things take.
    pub(crate) fn delay_ms(&mut self, most: u64) -> u64 {
        match self.below(10) {
            0..5 => 0,
            5..9 => self.below(most / 10 + 1),
            _ => self.below(most + 1),
        }
    }
}
