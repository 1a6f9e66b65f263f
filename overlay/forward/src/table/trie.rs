//! Longest prefix match: a tree with a node for each byte of the address, whose entries hold what their whole range
//! has (leaf pushing). The bytes that all prefixes share are compared at once, so that the subnets of one network are
//! one or two steps away, however many they are.

/// An entry: zero for nothing, `2 * child` for a node, `2 * value + 1` for a value. Node 0 is the root and nobody's
/// child.
type Entry = u32;

const NOTHING: Entry = 0;

/// A map from prefixes of `N` bytes to numbers below 2^31.
#[derive(Clone, Debug)]
pub(super) struct Trie<const N: usize> {
    /// Bytes that all prefixes begin with.
    shared: usize,
    /// Those bytes, and others behind them.
    start: [u8; N],
    /// Empty where there is no prefix.
    nodes: Vec<[Entry; 256]>,
}

impl<const N: usize> Trie<N> {
    /// A tree of prefixes, each with its length in bits and its value. Bits beyond the length must be zero. Of two
    /// equal prefixes the first counts.
    pub(super) fn new(mut prefixes: Vec<([u8; N], u8, u32)>) -> Self {
        prefixes.reverse();
        prefixes.sort_by_key(|(_, len, _)| *len); // Stable: the first of equals is now the last, and overwrites.
        let Some((start, shortest, _)) = prefixes.first().copied() else {
            return Self {
                shared: 0,
                start: [0; N],
                nodes: Vec::new(),
            };
        };
        // At least one byte is left to look up, so that the root has something to branch on.
        let most = (usize::from(shortest) / 8).min(N - 1);
        let common = |prefix: &[u8; N]| {
            let pairs = start.iter().zip(prefix);
            pairs.take_while(|(one, other)| one == other).count()
        };
        let shared = prefixes.iter().map(|(prefix, ..)| common(prefix));
        let mut trie = Self {
            shared: shared.min().unwrap_or(0).min(most),
            start,
            nodes: vec![[NOTHING; 256]],
        };
        for (prefix, len, value) in prefixes {
            trie.insert(prefix, usize::from(len), 2 * value + 1);
        }
        trie
    }

    /// The value of the longest prefix that an address begins with.
    #[inline]
    pub(super) fn lookup(&self, addr: [u8; N]) -> Option<u32> {
        if addr[..self.shared] != self.start[..self.shared] {
            return None;
        }
        let mut node = self.nodes.first()?;
        for byte in &addr[self.shared..] {
            let entry = node[usize::from(*byte)];
            if entry == NOTHING {
                return None;
            }
            if entry % 2 == 1 {
                return Some(entry / 2);
            }
            node = &self.nodes[(entry / 2) as usize];
        }
        None
    }

    /// How many nodes there are: a kilobyte each.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Longer prefixes come after shorter ones, so what is overwritten is never a node.
    fn insert(&mut self, prefix: [u8; N], len: usize, value: Entry) {
        let mut node = 0;
        let mut at = self.shared;
        while len > (at + 1) * 8 {
            node = self.child(node, prefix[at]);
            at += 1;
        }
        let first = usize::from(prefix[at]);
        let span = 1 << ((at + 1) * 8 - len).min(8);
        self.nodes[node][first..first + span].fill(value);
    }

    /// The node below an entry, made if there is none: it inherits what the entry's range had.
    fn child(&mut self, node: usize, byte: u8) -> usize {
        let entry = self.nodes[node][usize::from(byte)];
        if entry != NOTHING && entry.is_multiple_of(2) {
            return (entry / 2) as usize;
        }
        let child = self.nodes.len();
        self.nodes.push([entry; 256]);
        self.nodes[node][usize::from(byte)] = 2 * child as Entry;
        child
    }
}
