//! What is known of one file: what lies on stable storage, and what was done since.

/// The smallest piece that is written whole or not at all, of the disks that there are.
pub const SECTORS: [u64; 2] = [512, 4096];

/// Chance, as [`FileRecord::after_loss`] and [`Medium`](crate::medium::Medium) ask for it.
pub trait Chance {
    /// A number below `end`, which isn't 0.
    fn below(&mut self, end: u64) -> u64;

    /// Yes, once in `of` times.
    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// How much of what wasn't synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// All.
    All,
    /// Nothing.
    Nothing,
    /// Any of it: each write whole, in part or not.
    Some,
    /// What was done first, up to this moment; the last of it in part.
    UpTo(u64),
}

/// A file.
#[derive(Clone, Debug, Default)]
pub struct FileRecord {
    durable: Vec<u8>,
    since: Vec<Since>,
}

/// Something that was done since the last sync.
#[derive(Clone, Debug)]
struct Since {
    moment: u64,
    /// A sync that should have made it durable failed. It stays readable, and no later sync says
    /// anything of it: the kernel takes it for written.
    is_doubtful: bool,
    what: Done,
}

#[derive(Clone, Debug)]
enum Done {
    Write { offset: usize, data: Vec<u8> },
    Size(usize),
}

impl FileRecord {
    /// A file that lies on stable storage.
    #[must_use]
    pub fn durable(durable: Vec<u8>) -> Self {
        Self { durable, since: Vec::new() }
    }

    /// Bytes were written.
    pub fn write(&mut self, moment: u64, offset: u64, data: &[u8]) {
        let what = Done::Write { offset: index(offset), data: data.to_vec() };
        self.since.push(Since { moment, is_doubtful: false, what });
    }

    /// The size was changed.
    pub fn resize(&mut self, moment: u64, size: u64) {
        self.since.push(Since { moment, is_doubtful: false, what: Done::Size(index(size)) });
    }

    /// A sync succeeded.
    pub fn sync(&mut self) {
        let mut doubtful: Vec<Since> = Vec::new();
        for done in std::mem::take(&mut self.since) {
            if done.is_doubtful {
                doubtful.push(done);
                continue;
            }
            // What is written anew is synced anew, and ends the doubt about what it covers.
            doubtful = doubtful.into_iter().flat_map(|old| old.uncovered_by(&done.what)).collect();
            done.what.apply(&mut self.durable);
        }
        self.since = doubtful;
    }

    /// A sync failed.
    pub fn fail_sync(&mut self) {
        self.since.iter_mut().for_each(|done| done.is_doubtful = true);
    }

    /// What can be read of it.
    #[must_use]
    pub fn current(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        self.since.iter().for_each(|done| done.what.apply(&mut bytes));
        bytes
    }

    /// What a power cut leaves.
    pub fn after_loss(&self, leaves: Leaves, sector: u64, chance: &mut impl Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let garbage: u8 = if chance.one_in(2) { 0 } else { index_byte(chance.below(256)) };
        for (at, done) in self.since.iter().enumerate() {
            let (is_kept, is_torn) = match leaves {
                Leaves::All => (true, false),
                Leaves::Nothing => (false, false),
                Leaves::Some => (chance.one_in(2), chance.one_in(3)),
                Leaves::UpTo(moment) => {
                    let next = self.since.get(at + 1);
                    let is_last = next.is_none_or(|next| next.moment >= moment);
                    (done.moment < moment, is_last && chance.one_in(2))
                }
            };
            match &done.what {
                what if is_kept && !is_torn => what.apply(&mut bytes),
                Done::Write { offset, data } if is_kept => {
                    tear(&mut bytes, *offset, data, sector, chance);
                }
                // The file has grown, but what should be there isn't.
                Done::Write { offset, data } if leaves == Leaves::Some && chance.one_in(4) => {
                    let end = offset + data.len();
                    if bytes.len() < end {
                        bytes.resize(end, garbage);
                    }
                }
                _ => {}
            }
        }
        bytes
    }
}

/// Writes some of the sectors that the data touch: the first of them, or any.
fn tear(bytes: &mut Vec<u8>, offset: usize, data: &[u8], sector: u64, chance: &mut impl Chance) {
    let sector = index(sector);
    let (first, end) = (offset / sector, (offset + data.len()).div_ceil(sector));
    let any = chance.one_in(2);
    let up_to = first + index(chance.below((end - first) as u64 + 1));
    for number in first..end {
        let is_kept = if any { chance.one_in(2) } else { number < up_to };
        if is_kept {
            let from = (number * sector).max(offset);
            let to = ((number + 1) * sector).min(offset + data.len());
            put(bytes, from, &data[from - offset..to - offset]);
        }
    }
}

impl Since {
    /// What is left of the doubt after something else became durable: pieces before and behind.
    fn uncovered_by(self, done: &Done) -> Vec<Self> {
        let Self { moment, is_doubtful, what } = self;
        let pieces = match (what, done) {
            (Done::Write { offset, data }, Done::Write { offset: from, data: new }) => {
                let (end, to) = (offset + data.len(), from + new.len());
                let mut pieces = Vec::new();
                if offset < *from {
                    pieces.push((offset, data[..data.len().min(from - offset)].to_vec()));
                }
                if end > to {
                    let start = to.max(offset) - offset;
                    pieces.push((offset + start, data[start..].to_vec()));
                }
                pieces
            }
            (Done::Write { offset, mut data }, Done::Size(size)) => {
                data.truncate(size.saturating_sub(offset));
                vec![(offset, data)]
            }
            // The write is there whether or not the file was cut before.
            (Done::Size(size), Done::Write { offset, data }) => {
                let what = Done::Size(size.max(offset + data.len()));
                return vec![Self { moment, is_doubtful, what }];
            }
            (Done::Size(_), Done::Size(_)) => Vec::new(),
        };
        let pieces = pieces.into_iter().filter(|(_, data)| !data.is_empty());
        let write = |(offset, data)| Done::Write { offset, data };
        pieces.map(|piece| Self { moment, is_doubtful, what: write(piece) }).collect()
    }
}

impl Done {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(bytes, *offset, data),
            Self::Size(size) => bytes.resize(*size, 0),
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a small file")
}

fn index_byte(number: u64) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says these numbers, one after the other, and then nothing but 0.
    struct Says(Vec<u64>);

    impl Chance for Says {
        fn below(&mut self, end: u64) -> u64 {
            if self.0.is_empty() { 0 } else { self.0.remove(0).min(end - 1) }
        }
    }

    fn lost(file: &FileRecord, leaves: Leaves) -> Vec<u8> {
        file.after_loss(leaves, 2, &mut Says(Vec::new()))
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_not() {
        let mut file = FileRecord::default();
        file.write(1, 0, b"abcd");
        file.sync();
        file.write(2, 2, b"XYZ");
        assert_eq!(file.current(), b"abXYZ");
        assert_eq!(lost(&file, Leaves::All), b"abXYZ");
        assert_eq!(lost(&file, Leaves::Nothing), b"abcd");
        file.resize(3, 1);
        assert_eq!((file.current(), lost(&file, Leaves::UpTo(2))), (b"a".into(), b"abcd".into()));
        file.sync();
        assert_eq!(lost(&file, Leaves::Nothing), b"a");
    }

    #[test]
    fn a_torn_write_leaves_whole_sectors() {
        let mut file = FileRecord::durable(b"......".into());
        file.write(1, 1, b"abcd");
        // Kept, torn, not any of the sectors, but the first two of three.
        let mut says = Says(vec![0, 0, 0, 1, 2]);
        assert_eq!(file.after_loss(Leaves::Some, 2, &mut says), b".abc..");
    }

    #[test]
    fn a_repeated_sync_says_nothing_of_what_a_failed_one_was_about() {
        let mut file = FileRecord::durable(b"......".into());
        file.write(1, 0, b"abcdef");
        file.fail_sync();
        file.sync();
        assert_eq!(file.current(), b"abcdef");
        assert_eq!(lost(&file, Leaves::Nothing), b"......");
        file.write(2, 2, b"CD");
        file.sync();
        assert_eq!(file.current(), b"abCDef");
        assert_eq!(lost(&file, Leaves::Nothing), b"..CD..");
        file.resize(3, 5);
        file.sync();
        assert_eq!(
            (file.current(), lost(&file, Leaves::Nothing)),
            (b"abCDe".into(), b"..CD.".into())
        );
        file.write(4, 0, b".....");
        file.sync();
        assert_eq!(lost(&file, Leaves::All), b".....");
        file.resize(5, 1);
        file.fail_sync();
        file.write(6, 1, b"x");
        file.sync();
        assert_eq!((file.current(), lost(&file, Leaves::Nothing)), (b".x".into(), b".x...".into()));
    }
}
