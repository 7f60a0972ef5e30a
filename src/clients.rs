//! From which addresses requests came: the most frequent with their counts, and how many there are of all.
//!
//! As long as few addresses are told apart, everything is exact. What is trimmed keeps its requests, as other, and
//! leaves a mark in a sketch: of all marks those below a threshold, which stand for the same share of all addresses
//! (a theta sketch). Everything here merges in any order.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use crate::address::ClientAddress;
use crate::id_hash::IdHash;
use crate::varint;

/// Marks are numbers of so many bits, below `RANGE`.
const BITS: u32 = 40;
const RANGE: u64 = 1 << BITS;
const MARK: usize = BITS as usize / 8;

/// Marks that a sketch has at most: so many addresses are told apart, and of more the number is estimated with a
/// standard error of one by the root of it, 3.1 %.
pub(crate) const EXACT: usize = 1_024;

/// A number of the file, drawn at its creation, so that nobody outside can choose what has a low mark.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Seed(pub(crate) i64);

/// An address with its hash. The hash is what costs, and it is needed more than once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    hash: u64,
    pub(crate) address: ClientAddress,
}

impl Client {
    pub(crate) fn new(address: ClientAddress, seed: Seed) -> Self {
        let bytes = address.to_bytes();
        let (mut words, length) = ([0; 16], bytes.as_slice().len());
        words[..length].copy_from_slice(bytes.as_slice());
        let number = u128::from_le_bytes(words);
        let (low, high) = (number as u64, (number >> 64) as u64);
        let key = seed.0.cast_unsigned();
        let once = multiplied(low ^ key ^ ODD[0], high ^ ODD[1] ^ length as u64);
        Self { hash: multiplied(once ^ ODD[2], key ^ ODD[1]), address }
    }

    fn mark(self) -> u64 {
        self.hash >> (u64::BITS - BITS)
    }
}

/// Numbers without a pattern.
const ODD: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7];

/// Both halves of a product, folded. Each record is hashed, and the hash guards nothing but a count.
fn multiplied(one: u64, two: u64) -> u64 {
    let product = u128::from(one) * u128::from(two);
    product as u64 ^ (product >> 64) as u64
}

impl Eq for Client {}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// How many addresses there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sketch {
    /// Every mark below this is among the marks.
    threshold: u64,
    /// Ascending.
    marks: Vec<u64>,
    /// Addresses whose marks had to be forgotten.
    lost: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { threshold: RANGE, marks: Vec::new(), lost: 0 }
    }
}

impl Sketch {
    pub(crate) fn insert(&mut self, client: Client) {
        self.note(client.mark());
    }

    fn note(&mut self, mark: u64) {
        if mark < self.threshold
            && let Err(at) = self.marks.binary_search(&mark)
        {
            self.marks.insert(at, mark);
            self.shrink(EXACT);
        }
    }

    fn shrink(&mut self, most: usize) {
        while self.marks.len() > most {
            self.threshold = self.marks.pop().unwrap_or(self.threshold);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.threshold = self.threshold.min(other.threshold);
        self.lost = self.lost.saturating_add(other.lost);
        self.marks.extend_from_slice(&other.marks);
        self.marks.sort_unstable();
        self.marks.dedup();
        self.marks.truncate(self.marks.partition_point(|mark| *mark < self.threshold));
        self.shrink(EXACT);
    }

    /// The number of addresses, and whether it is exact.
    pub(crate) fn distinct(&self) -> (u64, bool) {
        let seen = self.marks.len() as u128;
        let all = seen * u128::from(RANGE) / u128::from(self.threshold.max(1));
        let all = u64::try_from(all).unwrap_or(u64::MAX).saturating_add(self.lost);
        (all, self.threshold == RANGE && self.lost == 0)
    }

    /// Adds all addresses of some requests.
    pub(crate) fn add(&mut self, clients: &Clients) {
        self.merge(&clients.sketch);
        clients.counts.keys().for_each(|client| self.insert(*client));
    }

    /// Adds what [`Clients::encode`] wrote, without the counts. `None` where something else did.
    pub(crate) fn add_encoded(&mut self, bytes: &[u8], seed: Seed) -> Option<()> {
        let mut reading = Reading::start(bytes)?;
        while let Some((address, _)) = reading.next()? {
            reading.sketch.marks.push(Client::new(address, seed).mark());
        }
        self.merge(&reading.sketch);
        Some(())
    }
}

/// Requests by the address that they came from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Clients {
    counts: HashMap<Client, u64, IdHash>,
    /// Requests of which no address is kept.
    none: u64,
    /// Requests from addresses that are not told apart any longer.
    other: u64,
    /// Has the addresses that were trimmed, and may have those that were not.
    sketch: Sketch,
}

impl Clients {
    pub(crate) fn add(&mut self, client: Option<Client>, weight: u64) {
        let count = match client {
            // Most are known: to look for them alone is quicker than to be ready for another.
            Some(client) => match self.counts.get_mut(&client) {
                Some(count) => count,
                None => self.counts.entry(client).or_default(),
            },
            None => &mut self.none,
        };
        *count = count.saturating_add(weight);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (client, count) in &other.counts {
            self.add(Some(*client), *count);
        }
        self.none = self.none.saturating_add(other.none);
        self.other = self.other.saturating_add(other.other);
        self.sketch.merge(&other.sketch);
    }

    /// Where there are more than twice `most` addresses, keeps the `most` with most requests apart. Keeps no more than
    /// `marks` of all.
    pub(crate) fn trim(&mut self, most: usize, marks: usize) {
        self.sketch.shrink(marks);
        if self.counts.len() <= 2 * most {
            return;
        }
        let mut sketch = std::mem::take(&mut self.sketch);
        sketch.add(self);
        sketch.shrink(marks);
        self.sketch = sketch;
        let mut counts: Vec<_> = self.counts.drain().collect();
        counts.sort_unstable_by_key(|(client, count)| (Reverse(*count), client.address));
        for (_, count) in counts.drain(most..) {
            self.other = self.other.saturating_add(count);
        }
        self.counts.extend(counts);
    }

    /// The addresses that are told apart, in no order.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (ClientAddress, u64)> {
        self.counts.iter().map(|(client, count)| (client.address, *count))
    }

    pub(crate) fn none(&self) -> u64 {
        self.none
    }

    pub(crate) fn other(&self) -> u64 {
        self.other
    }

    pub(crate) fn total(&self) -> u64 {
        let counts = self.counts.values().chain([&self.none, &self.other]);
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Whether every address is told apart.
    pub(crate) fn is_whole(&self) -> bool {
        self.other == 0 && self.sketch == Sketch::default()
    }

    pub(crate) fn has_addresses(&self) -> bool {
        !self.counts.is_empty() || self.other > 0 || self.sketch != Sketch::default()
    }

    /// Forgets all addresses. How many requests there were stays.
    pub(crate) fn forget(&mut self) {
        *self = Self { none: self.total(), ..Self::default() };
    }

    /// Forgets the addresses of `part`, which is a part of it: those of nobody else, as far as that can be told.
    /// Where the part has addresses that it does not tell apart, all are forgotten.
    pub(crate) fn forget_part(&mut self, part: &Self) {
        if part.other > 0 {
            let (lost, _) = self.distinct();
            self.forget();
            self.sketch.lost = lost;
            return;
        }
        for (client, count) in &part.counts {
            self.none = self.none.saturating_add(*count);
            match self.counts.get_mut(client) {
                Some(all) if *all > *count => {
                    *all -= count;
                    continue;
                }
                Some(_) => drop(self.counts.remove(client)),
                None => self.other = self.other.saturating_sub(*count),
            }
            let mark = client.mark();
            self.sketch.marks.retain(|other| *other != mark);
        }
    }

    fn distinct(&self) -> (u64, bool) {
        let mut sketch = Sketch::default();
        sketch.add(self);
        sketch.distinct()
    }

    /// Requests without an address and from other ones; how many addresses are lost, the threshold, the marks in five
    /// bytes each; then each address and its count, in no order: to sort them took longer than all the rest. Nothing
    /// where there is nothing.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        if *self == Self::default() {
            return;
        }
        for number in [self.none, self.other, self.sketch.lost, RANGE - self.sketch.threshold] {
            varint::write(bytes, number);
        }
        varint::write(bytes, self.sketch.marks.len() as u64);
        for mark in &self.sketch.marks {
            bytes.extend_from_slice(&mark.to_le_bytes()[..MARK]);
        }
        for (address, count) in self.counts() {
            let address = address.to_bytes();
            bytes.push(address.as_slice().len() as u8);
            bytes.extend_from_slice(address.as_slice());
            varint::write(bytes, count);
        }
    }

    /// What [`Clients::encode`] wrote; `None` where something else did.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let mut reading = Reading::start(bytes)?;
        let (none, other) = (reading.none, reading.other);
        let mut counts = HashMap::default();
        while let Some((address, count)) = reading.next()? {
            if counts.insert(Client::new(address, seed), count).is_some() {
                return None;
            }
        }
        Some(Self { counts, none, other, sketch: reading.sketch })
    }
}

/// Encoded counts, read up to the addresses.
struct Reading<'b> {
    none: u64,
    other: u64,
    sketch: Sketch,
    rest: &'b [u8],
}

impl<'b> Reading<'b> {
    fn start(bytes: &'b [u8]) -> Option<Self> {
        let mut reading = Self { none: 0, other: 0, sketch: Sketch::default(), rest: bytes };
        if bytes.is_empty() {
            return Some(reading);
        }
        let rest = &mut reading.rest;
        (reading.none, reading.other) = (varint::read(rest)?, varint::read(rest)?);
        let sketch = &mut reading.sketch;
        sketch.lost = varint::read(rest)?;
        sketch.threshold = RANGE.checked_sub(varint::read(rest)?)?;
        let many = usize::try_from(varint::read(rest)?).ok().filter(|many| *many <= EXACT)?;
        let marks;
        (marks, *rest) = rest.split_at_checked(many * MARK)?;
        sketch.marks.extend(
            marks.chunks_exact(MARK).map(|mark| {
                mark.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
            }),
        );
        let ascend = sketch.marks.is_sorted_by(|one, two| one < two);
        let are_below = sketch.marks.last().is_none_or(|last| *last < sketch.threshold);
        Some(reading).filter(|_| ascend && are_below)
    }

    /// The next address and its count; `Some(None)` at the end.
    fn next(&mut self) -> Option<Option<(ClientAddress, u64)>> {
        let Some((length, rest)) = self.rest.split_first() else { return Some(None) };
        let (address, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        let count = varint::read(&mut self.rest).filter(|count| *count > 0)?;
        Some(Some((ClientAddress::from_bytes(address)?, count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed(7);

    fn client(number: u32) -> Client {
        Client::new(ClientAddress::Address(std::net::Ipv4Addr::from(number).into()), SEED)
    }

    fn of(numbers: impl IntoIterator<Item = u32>) -> Clients {
        let mut clients = Clients::default();
        numbers.into_iter().for_each(|number| clients.add(Some(client(number)), 1));
        clients
    }

    #[test]
    fn up_to_the_stated_number_addresses_are_counted_exactly_however_they_are_trimmed_and_merged() {
        let mut merged = Clients::default();
        for part in 0..64 {
            let mut clients = of((part * 16..part * 16 + 40).map(|number| number % 1_024));
            clients.trim(4, EXACT);
            merged.merge(&clients);
            merged.trim(8, EXACT);
        }
        assert_eq!(merged.distinct(), (1_024, true));
        assert_eq!(merged.total(), 64 * 40);
        merged.merge(&of([5_000]));
        assert!(!merged.distinct().1);
    }

    #[test]
    fn more_addresses_are_estimated_within_four_standard_errors() {
        for many in [2_000_u32, 10_000, 100_000, 400_000] {
            let mut clients = Clients::default();
            for chunk in 0..many / 1_000 {
                let mut part = of(chunk * 1_000..(chunk + 1) * 1_000);
                part.trim(64, EXACT);
                clients.merge(&part);
                clients.trim(64, EXACT);
            }
            let (estimate, exact) = clients.distinct();
            let error = (estimate as f64 / f64::from(many) - 1.0).abs();
            assert!(!exact && error < 4.0 / 32.0, "{estimate} for {many}");
            assert_eq!(clients.total(), u64::from(many));
            assert!(clients.counts.len() <= 128 && clients.sketch.marks.len() <= EXACT);
        }
    }

    #[test]
    fn parts_merged_in_any_order_say_the_same() {
        let parts: Vec<Clients> = (0..6)
            .map(|part| {
                let mut clients = of(part * 300..part * 300 + 500);
                clients.trim(if part % 2 == 0 { 1_000 } else { 30 }, EXACT);
                clients.add(None, u64::from(part));
                clients
            })
            .collect();
        let merged = |order: [usize; 6]| {
            let mut all = Clients::default();
            order.iter().for_each(|at| all.merge(&parts[*at]));
            (all.distinct(), all)
        };
        assert_eq!(merged([0, 1, 2, 3, 4, 5]), merged([5, 2, 4, 0, 1, 3]));
        let mut sketch = Sketch::default();
        parts.iter().for_each(|part| sketch.add(part));
        assert_eq!(sketch.distinct(), merged([0, 1, 2, 3, 4, 5]).0);
    }

    #[test]
    fn what_is_trimmed_keeps_the_most_frequent_and_all_requests() {
        let mut clients = of((0..100).flat_map(|number| vec![number; number as usize + 1]));
        clients.add(None, 7);
        clients.trim(50, EXACT);
        assert_eq!(clients.counts.len(), 100, "twice as many are not too many");
        clients.trim(10, EXACT);
        let mut kept: Vec<_> = clients.counts().map(|(_, count)| count).collect();
        kept.sort_unstable();
        assert_eq!(kept, (91..=100).collect::<Vec<u64>>());
        assert_eq!((clients.none(), clients.other()), (7, (1..=90).sum()));
        assert_eq!(clients.distinct(), (100, true));
    }

    #[test]
    fn counts_survive_their_bytes_and_other_bytes_are_none() {
        let mut clients = of((0..3_000).map(|number| number % 900));
        clients.add(None, 3);
        for most in [1_000, 100, 1] {
            clients.trim(most, EXACT);
            let mut bytes = Vec::new();
            clients.encode(&mut bytes);
            let decoded = Clients::decode(&bytes, SEED).unwrap();
            assert_eq!(decoded, clients);
            let mut sketch = Sketch::default();
            sketch.add_encoded(&bytes, SEED).unwrap();
            assert_eq!(sketch.distinct(), clients.distinct());
            assert_eq!(Clients::decode(&bytes[..bytes.len() - 1], SEED), None);
        }
        let mut nothing = Vec::new();
        Clients::default().encode(&mut nothing);
        assert!(nothing.is_empty());
        assert_eq!(Clients::decode(&[], SEED), Some(Clients::default()));
        let twice = [0, 0, 0, 0, 0, 4, 1, 1, 1, 1, 1, 4, 1, 1, 1, 1, 1];
        let wrong: [&[u8]; 6] = [
            &[1],
            &[0, 0, 0, 0, 0, 5, 1, 1, 1, 1, 1, 1],
            &[0, 0, 0, 0, 2, 1, 0],
            &twice,
            &[0; 6],
            &[0, 0, 0, 0, 0, 4, 1, 1, 1, 1, 0],
        ];
        for wrong in wrong {
            assert_eq!(Clients::decode(wrong, SEED), None, "{wrong:?}");
        }
    }

    #[test]
    fn addresses_of_a_part_are_forgotten_and_those_of_others_stay() {
        let (mut his, others) = (of([1, 1, 2, 3]), of([3, 4]));
        let mut all = his.clone();
        all.merge(&others);
        all.forget_part(&his);
        let mut left: Vec<_> = all.counts().collect();
        left.sort_unstable();
        assert_eq!(left, [(client(3).address, 1), (client(4).address, 1)]);
        assert_eq!((all.none(), all.total(), all.distinct()), (4, 6, (2, true)));
        his.forget();
        assert!(!his.has_addresses());
        assert_eq!((his.total(), his.distinct()), (4, (0, true)));
    }

    #[test]
    fn addresses_that_were_trimmed_leave_no_mark_when_they_are_forgotten() {
        let his = of(0..10);
        let mut all = of((0..10).chain(20..3_000));
        all.trim(16, EXACT);
        let before = all.distinct().0;
        all.forget_part(&his);
        assert!(his.counts.keys().all(|client| !all.sketch.marks.contains(&client.mark())));
        assert!(all.distinct().0 <= before && all.total() == 2_990);

        let mut trimmed = of(0..100);
        trimmed.trim(4, EXACT);
        let mut all = of(0..200);
        all.forget_part(&trimmed);
        assert_eq!((all.counts().count(), all.total()), (0, 200), "which they are is not known");
        assert_eq!(all.distinct(), (200, false));
    }
}
