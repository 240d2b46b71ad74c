//! The journal: append-only segment files of checksummed frames. It is the ledger; everything
//! else can be rebuilt from it.
//!
//! A segment begins with 32 bytes: the magic (16), its number (u32), the index of its first entry
//! (u64) and the CRC-32C of these 28 bytes. A frame is the entry's length (u32), the CRC-32C of
//! that length and the entry (u32), and the entry. Integers are little-endian. Every byte is
//! covered by a check. Zeros may follow the last frame of a segment: room that was made for more.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::log::entry::MAX_ENTRY_BYTES;
use crate::store::at::read_exact_at;
use crate::store::disk::Disk;
use crate::store::error::{Damage, Error};
use crate::store::folder;

const MAGIC: &[u8; 16] = b"colearn journal\n";
const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 8;

/// How much room is made for frames to come, at least and at most: as much as there are, between these.
/// A sync of bytes in a file that keeps its length costs half of one that has to record a new length.
const LEAST_ROOM: u64 = 1 << 14;
const MOST_ROOM: u64 = 1 << 20;

/// Where an entry's frame begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Position {
    pub(crate) const START: Self = Self { segment: 0, offset: HEADER_BYTES as u32 };

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.segment) << 32 | u64::from(self.offset)).to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_be_bytes(bytes);
        Self { segment: (both >> 32) as u32, offset: both as u32 }
    }
}

fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.journal"))
}

fn segment_header(number: u32, first: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..16].copy_from_slice(MAGIC);
    header[16..20].copy_from_slice(&number.to_le_bytes());
    header[20..28].copy_from_slice(&first.to_le_bytes());
    let crc = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A frame's length and checksum.
fn frame_header(entry: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    // MAX_ENTRY_BYTES keeps the length far below u32::MAX.
    let length = (entry.len() as u32).to_le_bytes();
    // The length is checked too: a damaged one must not lead to bytes that happen to fit.
    let crc = crc32c::crc32c_append(crc32c::crc32c(&length), entry);
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&length);
    header[4..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The length a frame header announces, if an entry can have it.
fn announced_length(header: &[u8; FRAME_HEADER_BYTES]) -> Option<usize> {
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    // Not 0: file systems leave zeros behind when power fails, and those must not be an entry.
    (1..=MAX_ENTRY_BYTES).contains(&length).then_some(length)
}

/// The segments' files, shared between the writer and the readers.
#[derive(Clone, Default)]
pub(crate) struct Segments(Arc<RwLock<Vec<Arc<File>>>>);

impl Segments {
    fn push(&self, file: Arc<File>) {
        // A poisoned lock means a panic elsewhere; the list itself is always whole.
        self.0.write().unwrap_or_else(|e| e.into_inner()).push(file);
    }

    fn file(&self, segment: u32) -> Option<Arc<File>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).get(segment as usize).cloned()
    }

    /// Reads the entry at a position, and the position after it.
    pub(crate) fn read(&self, at: Position) -> Result<(Vec<u8>, Position), io::Error> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "no whole frame is there");
        let file = self.file(at.segment).ok_or_else(wrong)?;
        let offset = u64::from(at.offset);
        let mut header = [0; FRAME_HEADER_BYTES];
        read_exact_at(&file, &mut header, offset)?;
        let length = announced_length(&header).ok_or_else(wrong)?;
        let mut entry = vec![0; length];
        read_exact_at(&file, &mut entry, offset + FRAME_HEADER_BYTES as u64)?;
        // Checked at each reading: the bytes may have changed on the disk since recovery.
        if header != frame_header(&entry) {
            return Err(wrong());
        }
        let next = at.offset + (FRAME_HEADER_BYTES + length) as u32;
        Ok((entry, Position { segment: at.segment, offset: next }))
    }
}

/// Frames in the making: where the next one goes, and those that are not written yet.
pub(crate) struct Frames {
    end: Position,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(end: Position) -> Self {
        Self { end, buffer: Vec::new() }
    }

    /// Adds a frame, and says where it will be.
    pub(crate) fn push(&mut self, entry: &[u8]) -> Position {
        let at = self.end;
        self.buffer.extend_from_slice(&frame_header(entry));
        self.buffer.extend_from_slice(entry);
        self.end.offset += (FRAME_HEADER_BYTES + entry.len()) as u32;
        at
    }

    pub(crate) fn end(&self) -> Position {
        self.end
    }

    /// Takes the frames to be written. With `new_segment` the next frame begins a new segment.
    pub(crate) fn take(&mut self, new_segment: bool) -> Vec<u8> {
        if new_segment {
            self.end = Position { segment: self.end.segment + 1, ..Position::START };
        }
        std::mem::take(&mut self.buffer)
    }
}

/// The writing end: the last segment's file.
pub(crate) struct Journal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    segments: Segments,
    tail: Arc<File>,
    number: u32,
    length: u64,
    /// Where the zeros end that follow the last frame.
    room: u64,
}

impl Journal {
    /// Opens the journal for appending at `end`, cutting off whatever lies behind. `next` is the
    /// index of the next entry.
    pub(crate) fn open(
        dir: &Path,
        end: Position,
        next: u64,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let segments = Segments::default();
        for number in 0..end.segment {
            let path = segment_path(dir, number);
            let file = File::open(&path).map_err(Error::storage("open", &path))?;
            segments.push(Arc::new(file));
        }
        // Recovery has found nothing there that was acknowledged. Left where they are, these segments
        // would be read as what follows once the ledger has grown up to them.
        for number in end.segment + 1.. {
            let path = segment_path(dir, number);
            match disk.remove(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(Error::storage("remove", &path)(error)),
            }
        }
        let path = segment_path(dir, end.segment);
        let length = u64::from(end.offset);
        // A segment without frames is made anew: its header may be torn.
        let tail = if end.offset == Position::START.offset {
            create_segment(dir, end.segment, next, &*disk)?
        } else {
            let open = || {
                let file = disk.open(&path, false)?;
                // Synced before anything is written behind: otherwise what was cut off could come
                // back after a crash, behind new frames that are shorter.
                if file.metadata()?.len() != length {
                    disk.set_len(&path, &file, length)?;
                    disk.sync(&path, &file)?;
                }
                Ok(Arc::new(file))
            };
            open().map_err(Error::storage("open", &path))?
        };
        segments.push(tail.clone());
        Ok(Self {
            dir: dir.to_owned(),
            disk,
            segments,
            tail,
            number: end.segment,
            length,
            room: length,
        })
    }

    pub(crate) fn segments(&self) -> Segments {
        self.segments.clone()
    }

    /// Writes frames and syncs them. After an error nothing may be written any more.
    pub(crate) fn write(&mut self, frames: &[u8]) -> Result<(), Error> {
        let path = segment_path(&self.dir, self.number);
        // Given back only if all is well: after an error nothing may be written.
        let mut room = std::mem::take(&mut self.room);
        // At the place that was handed out, not at the file's end: readers know positions already.
        self.disk
            .write_at(&path, &self.tail, frames, self.length)
            .map_err(Error::storage("write", &path))?;
        self.length += frames.len() as u64;
        if self.length > room {
            let zeros = vec![0; self.length.clamp(LEAST_ROOM, MOST_ROOM) as usize];
            // Written, since room that a file system only sets aside is recorded anew as it is filled.
            // Without it all is as it was, only slower: a disk that is nearly full has none to give.
            let made = self.disk.write_at(&path, &self.tail, &zeros, self.length);
            room = self.length + made.map_or(0, |()| zeros.len() as u64);
        }
        self.disk.sync(&path, &self.tail).map_err(Error::storage("sync", &path))?;
        self.room = room;
        Ok(())
    }

    /// Begins a new segment; `first` is the index of its first entry.
    pub(crate) fn roll(&mut self, first: u64) -> Result<(), Error> {
        self.give_room_back();
        self.number += 1;
        self.tail = create_segment(&self.dir, self.number, first, &*self.disk)?;
        (self.length, self.room) = (HEADER_BYTES, HEADER_BYTES);
        self.segments.push(self.tail.clone());
        Ok(())
    }

    /// Whoever reads zeros behind the last frame takes them for what they are; without them the file is
    /// only smaller.
    fn give_room_back(&mut self) {
        let path = segment_path(&self.dir, self.number);
        if self.room > self.length && self.disk.set_len(&path, &self.tail, self.length).is_ok() {
            self.room = self.length;
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.give_room_back();
    }
}

fn create_segment(
    dir: &Path,
    number: u32,
    first: u64,
    disk: &dyn Disk,
) -> Result<Arc<File>, Error> {
    let path = segment_path(dir, number);
    let create = || {
        // A crash may have left a segment here that never held an acknowledged entry.
        let file = disk.open(&path, true)?;
        // Header and name are durable before the first frame is written. Recovery relies on it: a
        // bad header before frames is damage, never an interrupted write.
        disk.write_at(&path, &file, &segment_header(number, first), 0)?;
        disk.sync(&path, &file)?;
        disk.sync_dir(dir)?;
        Ok(Arc::new(file))
    };
    create().map_err(Error::storage("create", &path))
}

/// One entry as the journal holds it.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// The entry's bytes; their checksum was right.
    pub bytes: Vec<u8>,
    pub(crate) at: Position,
}

/// A place in a journal to which reading can return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    at: Position,
    index: u64,
}

/// Reads a journal from front to back. Works on the folder of a running ledger too.
pub struct JournalReader {
    dir: PathBuf,
    at: Position,
    index: u64,
    segment: Option<BufReader<File>>,
}

impl JournalReader {
    /// Reads from the first entry on.
    ///
    /// # Errors
    /// If the folder has no first segment.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let reader = Self::from_start(dir);
        let path = segment_path(&reader.dir, 0);
        std::fs::metadata(&path).map_err(Error::storage("open", &path))?;
        Ok(reader)
    }

    pub(crate) fn from_start(dir: &Path) -> Self {
        Self::from(dir, Position::START, 0)
    }

    /// Whether a whole entry comes next.
    pub(crate) fn has_entry(mut self) -> bool {
        matches!(self.next_entry(), Ok(Some(_)))
    }

    pub(crate) fn from(dir: &Path, at: Position, index: u64) -> Self {
        Self { dir: folder::journal(dir), at, index, segment: None }
    }

    /// Where the next entry begins, to return to with [`JournalReader::resume`].
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, index: self.index }
    }

    /// Reads from a mark on.
    pub fn resume(dir: &Path, mark: Mark) -> Self {
        Self::from(dir, mark.at, mark.index)
    }

    /// Where the next frame begins, or where damage was found.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    /// The index of the entry that comes next, or that is damaged.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The next entry; `None` at the journal's end.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a frame that is not what was written, whether by damage or because
    /// writing it was interrupted; reading cannot get past it.
    pub fn next_entry(&mut self) -> Result<Option<JournalEntry>, Error> {
        // What was read ahead may be older than what is there now, if the ledger is in use: it is
        // believed where it is an entry, else it is read anew.
        let read_ahead = self.segment.is_some();
        let mut read = self.read_entry(read_ahead);
        if read_ahead && read.is_err() {
            self.segment = None;
            read = self.read_entry(false);
        }
        // After an error the same place is read again, and gives the same error.
        read.inspect_err(|_| self.segment = None)
    }

    fn read_entry(&mut self, mut read_ahead: bool) -> Result<Option<JournalEntry>, Error> {
        loop {
            if self.segment.is_none() && !self.open_segment()? {
                return Ok(None);
            }
            let Some(segment) = self.segment.as_mut() else { return Ok(None) };
            let mut header = [0; FRAME_HEADER_BYTES];
            let read = read_up_to(segment, &mut header);
            let ends = match read {
                Ok(_) if header == [0; FRAME_HEADER_BYTES] => is_zero(segment),
                Ok(read) => Ok(read == 0),
                Err(_) => Ok(false),
            };
            let read = read.map_err(|e| self.storage(e))?;
            if ends.map_err(|e| self.storage(e))? {
                self.segment = None;
                // Not from what was read ahead: the segment may have gone on, and have been followed
                // by the next one, since.
                if !std::mem::take(&mut read_ahead) && !self.next_segment() {
                    return Ok(None);
                }
                continue;
            }
            if read < header.len() {
                return Err(self.corrupt(Damage::CutOff));
            }
            let length = announced_length(&header).ok_or_else(|| self.corrupt(Damage::Length))?;
            let mut bytes = vec![0; length];
            let read = match self.segment.as_mut().map(|s| read_up_to(s, &mut bytes)) {
                Some(read) => read.map_err(|e| self.storage(e))?,
                None => 0,
            };
            if read < length {
                return Err(self.corrupt(Damage::CutOff));
            }
            if header != frame_header(&bytes) {
                return Err(self.corrupt(Damage::Checksum));
            }
            let at = self.at;
            self.at.offset += (FRAME_HEADER_BYTES + length) as u32;
            self.index += 1;
            return Ok(Some(JournalEntry { bytes, at }));
        }
    }

    /// Goes on from a segment's end to the next one, which must be there unless this is the last:
    /// `false`. That one is missing shows by the one behind it.
    fn next_segment(&mut self) -> bool {
        let next = self.at.segment + 1;
        let is_there = self.has_segment(next) || self.has_segment(next + 1);
        if is_there {
            self.at = Position { segment: next, ..Position::START };
        }
        is_there
    }

    /// Opens the segment at the present position; `false` if the journal ends before it.
    fn open_segment(&mut self) -> Result<bool, Error> {
        let path = segment_path(&self.dir, self.at.segment);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if self.has_segment(self.at.segment + 1) {
                    Err(self.corrupt(Damage::MissingSegment))
                } else {
                    Ok(false)
                };
            }
            Err(error) => return Err(self.storage(error)),
        };
        let mut header = [0; HEADER_BYTES as usize];
        read_up_to(&mut file, &mut header).map_err(|e| self.storage(e))?;
        // Past the header the first entry's index is not known, only that it is consistent.
        let first = if self.at.offset == Position::START.offset {
            self.index
        } else {
            header[20..28].try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX)
        };
        if header != segment_header(self.at.segment, first) {
            return Err(self.corrupt(Damage::Header));
        }
        file.seek(SeekFrom::Start(u64::from(self.at.offset))).map_err(|e| self.storage(e))?;
        self.segment = Some(BufReader::with_capacity(1 << 18, file));
        Ok(true)
    }

    fn has_segment(&self, number: u32) -> bool {
        segment_path(&self.dir, number).exists()
    }

    pub(crate) fn corrupt(&self, what: Damage) -> Error {
        let file = segment_path(&self.dir, self.at.segment);
        Error::Corrupt { index: self.index, what, file }
    }

    fn storage(&self, source: io::Error) -> Error {
        Error::storage("read", &segment_path(&self.dir, self.at.segment))(source)
    }

    /// The bytes from the present position to the end of the journal, without the zeros there.
    pub(crate) fn bytes_behind(&self) -> u64 {
        let length = |number| length_without_zeros(&segment_path(&self.dir, number)).ok();
        // A segment without even a whole header lies behind its own start.
        let before = if self.at == (Position { segment: self.at.segment, ..Position::START }) {
            0
        } else {
            u64::from(self.at.offset)
        };
        let mut bytes = length(self.at.segment).unwrap_or(0).saturating_sub(before);
        // A segment that is begun and has no frame yet is nothing to cut off.
        if bytes == HEADER_BYTES {
            bytes = 0;
        }
        for number in self.at.segment + 1.. {
            let Some(length) = length(number) else { break };
            bytes += length;
        }
        bytes
    }
}

/// Whether there are only zeros until the end.
fn is_zero(reader: &mut impl BufRead) -> Result<bool, io::Error> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(bytes.is_empty());
        }
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Where the last byte of a segment ends that is not zero; its header has an end of its own.
fn length_without_zeros(path: &Path) -> Result<u64, io::Error> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let (mut end, header) = (length, length.min(HEADER_BYTES));
    let mut piece = [0; 1 << 14];
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        let bytes = &mut piece[..(end - start) as usize];
        read_exact_at(&file, bytes, start)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(header.max(start + last as u64 + 1));
        }
        end = start;
    }
    Ok(header)
}

/// Fills the buffer as far as the reader has bytes.
fn read_up_to(reader: &mut impl io::Read, buffer: &mut [u8]) -> Result<usize, io::Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
