//! Numbers that look like chance and depend on a seed alone: SplitMix64 (Steele, Lea, Flood, 2014).

/// A sequence of numbers.
pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() >> 32) as usize % end
    }

    pub fn byte(&mut self) -> u8 {
        self.bits() as u8
    }

    pub fn word(&mut self) -> u16 {
        self.bits() as u16
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).map(|_| self.bits().to_ne_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        bytes
    }

    /// A length: mostly small, now and then up to `most`.
    pub fn len(&mut self, most: usize) -> usize {
        let most = match self.below(8) {
            0 => most,
            1..4 => most.min(300),
            _ => most.min(40),
        };
        self.below(most + 1)
    }
}
