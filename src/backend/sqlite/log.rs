//! Judges whether the write-ahead log beside a file belongs to that file.
//!
//! SQLite replays every log whose frames are whole, over whatever file lies beside it. A file that
//! was restored over the log of a later time then becomes a mixture: each page from the log is new,
//! each other page is old. So each commit writes, to a page of its own, a random id of its own and
//! that of the commit before. A file and a log belong together if the file's id is that of a commit
//! in the log, whose pages were copied into the file, or of the commit before them all.
//!
//! Copies that SQLite makes by `VACUUM INTO` or its backup API have the ids of the original, and their
//! pages in other places. SQLite gives them another `schema_version`, so that is compared too.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::connect;
use super::error::Fault;
use super::files::Files;
use super::schema::Identity;
use crate::backend::BackendErrorKind;

/// The pages on which the table `last_commit` may lie, the first one that is made. With `auto_vacuum` it
/// is the second of them, after a map of pages. The other one holds no row like its own.
const LINK_PAGES: [u32; 2] = [2, 3];

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first bytes of a log. The last bit says in which order the checksums read bytes.
const LOG_MARK: u32 = 0x377f_0682;
const LOG_FORMAT: u32 = 3_007_000;

/// The number of looks at files that another process is changing.
const LOOKS: u32 = 5;

/// The id of a commit. The commit that made the tables has none before it, which is all zeros.
type CommitId = [u8; 16];
const NONE: CommitId = [0; 16];

/// Refuses a log that doesn't belong to its file. Changes neither.
pub(super) fn judge(files: &Files) -> Result<(), Fault> {
    let path = files.beside("-wal");
    for _ in 0..LOOKS {
        if files.is_fresh()? || !files.has_log()? {
            return Ok(());
        }
        let before = FileState::read(files)?;
        let Some(log) = LogState::read(&path)? else { return Ok(()) };
        if log.fits(&before) {
            return Ok(());
        }
        // No id comes twice, so a file with the same one has not changed meanwhile. Neither has a log
        // with the same header begun again.
        let header = open_log(&path)?.map(|mut file| read_header(&mut file)).transpose()?.flatten();
        if FileState::read(files)? == before && header == Some(log.header) {
            let why = format!(
                "{} holds commits that don't follow the last one in the file",
                path.display()
            );
            return Err(Fault::refused(BackendErrorKind::ForeignLog, why));
        }
    }
    // Another process commits and copies all the time, so it has judged them.
    Ok(())
}

/// The last commit whose pages are in the file itself.
#[derive(Debug, PartialEq, Eq)]
enum FileState {
    /// There are no tables yet.
    Blank,
    At {
        id: CommitId,
        schema: u32,
    },
    /// The file is damaged, or the tables were being copied into it. If a commit is in the log, so is
    /// the page.
    Unreadable,
}

impl FileState {
    /// Reads it as if there were no log.
    fn read(files: &Files) -> Result<Self, Fault> {
        let connection = connect::unlogged(files)?;
        if Identity::read(&connection)?.version == 0 {
            return Ok(Self::Blank);
        }
        let schema = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
        let id = connection.query_row("SELECT id FROM last_commit", [], |row| row.get(0));
        match id.map_err(Fault::from) {
            Ok(id) => Ok(Self::At { id, schema }),
            Err(fault) if fault.kind() == BackendErrorKind::Corrupt => Ok(Self::Unreadable),
            Err(fault) => Err(fault),
        }
    }
}

/// The commits of a log.
#[derive(Debug, Default)]
struct LogState {
    header: [u8; LOG_HEADER],
    /// Of each commit, and of the one before the first.
    ids: BTreeSet<CommitId>,
    /// The values of `schema_version` on which the commits were made, and that they left.
    schemas: BTreeSet<u32>,
    /// The commit before the first.
    base: Option<CommitId>,
    /// Another program committed first, so the `schema_version` of the file itself isn't known.
    has_unknown_base: bool,
}

impl LogState {
    /// Reads the commits that SQLite would replay; `None` if there are none, or no log.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let Some(mut frames) = Frames::open(path)? else { return Ok(None) };
        let mut log = Self { header: frames.header, ..Self::default() };
        // Of the transaction that is being read.
        let (mut link, mut schema) = (None, None);
        while let Some(frame) = frames.next()? {
            match frame.page {
                1 => schema = Some(schema_version(frame.content)),
                page if LINK_PAGES.contains(&page) => link = Link::parse(frame.content).or(link),
                _ => {}
            }
            if frame.ends_commit {
                log.add(link.take(), schema.take());
            }
        }
        Ok(log.base.is_some().then_some(log))
    }

    fn add(&mut self, link: Option<Link>, schema: Option<u32>) {
        if let Some(Link { id, previous, schema }) = link {
            if self.base.is_none() {
                self.base = Some(previous);
                self.ids.insert(previous);
            }
            self.ids.insert(id);
            self.schemas.insert(schema);
        } else if self.base.is_none() && schema.is_some() {
            self.has_unknown_base = true;
        }
        self.schemas.extend(schema);
    }

    fn fits(&self, file: &FileState) -> bool {
        match file {
            FileState::Blank => self.base == Some(NONE),
            FileState::At { id, schema } => {
                self.ids.contains(id) && (self.has_unknown_base || self.schemas.contains(schema))
            }
            FileState::Unreadable => true,
        }
    }
}

/// The row of `last_commit`.
struct Link {
    id: CommitId,
    previous: CommitId,
    schema: u32,
}

impl Link {
    /// Reads the one row of a page. `None` if something else is on it.
    fn parse(page: &[u8]) -> Option<Self> {
        // A leaf of a table with one cell: length, rowid, then the types of the columns. The rowid
        // stands for the first column; 44 is a blob of 16 bytes.
        let [13, _, _, 0, 1, _, _, _, high, low, ..] = *page else { return None };
        let cell = page.get(usize::from(u16::from_be_bytes([high, low]))..)?;
        let [_, 1, 5, 0, 44, 44, kind, values @ ..] = cell else { return None };
        let (id, values) = values.split_first_chunk()?;
        let (previous, values) = values.split_first_chunk()?;
        // An integer, in as few bytes as it needs.
        let schema = match kind {
            8 => 0,
            9 => 1,
            length @ 1..=4 => values
                .get(..usize::from(*length))?
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte)),
            _ => return None,
        };
        Some(Self { id: *id, previous: *previous, schema })
    }
}

/// The number in the database's header that SQLite raises with each change of the schema, and with
/// each `VACUUM`.
fn schema_version(first_page: &[u8]) -> u32 {
    first_page.get(40..44).map_or(0, |bytes| number(bytes, 0))
}

/// The frames of a log up to the first that SQLite wouldn't replay.
struct Frames {
    file: BufReader<File>,
    header: [u8; LOG_HEADER],
    is_big_endian: bool,
    checksum: (u32, u32),
    frame: Vec<u8>,
}

struct Frame<'f> {
    page: u32,
    ends_commit: bool,
    content: &'f [u8],
}

impl Frames {
    /// Opens a log; `None` if none is there, or SQLite would take it for empty.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        // Once: another process may cut the log off at any time.
        let Some(file) = open_log(path)? else { return Ok(None) };
        let mut file = BufReader::with_capacity(1 << 18, file);
        let Some(header) = read_header(&mut file)? else { return Ok(None) };
        let is_big_endian = number(&header, 0) == LOG_MARK | 1;
        let checksum = sum((0, 0), &header[..24], is_big_endian);
        let page_size = number(&header, 8);
        if number(&header, 0) | 1 != LOG_MARK | 1
            || number(&header, 4) != LOG_FORMAT
            || !(page_size.is_power_of_two() && (512..=65_536).contains(&page_size))
            || checksum != (number(&header, 24), number(&header, 28))
        {
            return Ok(None);
        }
        let frame = vec![0; FRAME_HEADER + page_size as usize];
        Ok(Some(Self { file, header, is_big_endian, checksum, frame }))
    }

    fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        if !read_whole(&mut self.file, &mut self.frame)? {
            return Ok(None);
        }
        let (head, content) = self.frame.split_at(FRAME_HEADER);
        let page = number(head, 0);
        let checksum = sum(self.checksum, &head[..8], self.is_big_endian);
        self.checksum = sum(checksum, content, self.is_big_endian);
        let is_whole = page != 0
            && head[8..16] == self.header[16..24]
            && self.checksum == (number(head, 16), number(head, 20));
        Ok(is_whole.then(|| Frame { page, ends_commit: number(head, 4) != 0, content }))
    }
}

/// Opens a log; `None` if none is there.
fn open_log(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the header of a log; `None` if it isn't whole.
fn read_header(file: &mut impl Read) -> io::Result<Option<[u8; LOG_HEADER]>> {
    let mut header = [0; LOG_HEADER];
    Ok(read_whole(file, &mut header)?.then_some(header))
}

/// Fills a buffer; false if the file ends before.
fn read_whole(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The checksum of a log, which goes on from frame to frame.
fn sum(before: (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs.iter().fold(before, |(one, two), &[a, b, c, d, e, f, g, h]| {
        let word = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
        (one, two.wrapping_add(word([e, f, g, h])).wrapping_add(one))
    })
}

/// A number of 4 bytes, the most significant first.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .map_or(0, |four| u32::from_be_bytes(*four))
}
