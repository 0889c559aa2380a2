//! The SnapshotMetadata operations: which blocks of a device's snapshot hold data, or differ from another.
//!
//! Holes are skipped without reading them. Messages carry up to `max_results` entries (256 if not given)
//! and are never empty.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use csi::v1;
use rustix::io::Errno;

use crate::backend::Item;
use crate::check;
use crate::lock::{Key, Slot};
use crate::options::BlockType;
use crate::plugin::Plugin;
use crate::refusal::Refusal;

/// Bytes per block.
const BLOCK: u64 = 4096;
/// Bytes per block of fixed length where a volume does not consist of whole larger ones: all blocks have one size, and
/// none reaches past the end.
const SECTOR: u64 = 512;
/// Entries per message when the caller does not say.
const DEFAULT_RESULTS: usize = 256;

/// One message's content, before it becomes one of the two reply types.
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    /// The form of the runs.
    pub kind: v1::BlockMetadataType,
    /// Size of the snapshot's volume in bytes.
    pub capacity: i64,
    /// The runs, ascending.
    pub runs: Vec<v1::BlockMetadata>,
}

/// What to compare, checked and opened.
#[derive(Debug)]
pub struct Walk {
    base: Option<File>,
    target: File,
    start: u64,
    length: u64,
    /// Bytes per block.
    block: u64,
    capacity: i64,
    limit: usize,
    variable: bool,
    _slot: Slot,
}

impl Plugin {
    /// Checks a request for the blocks with data.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad field or a snapshot that is not a device's; NOT_FOUND; OUT_OF_RANGE for
    /// an offset below 0 or past the volume's end. At the end there is nothing more, which is no error: a
    /// caller may have got everything before its connection broke.
    pub fn allocated(&self, request: &v1::GetMetadataAllocatedRequest) -> Result<Walk, Refusal> {
        check::secrets(&request.secrets)?;
        self.walk(None, ("snapshot_id", &request.snapshot_id), request.starting_offset, request.max_results)
    }

    /// Checks a request for the blocks that differ.
    ///
    /// # Errors
    /// As [`Self::allocated`]; INVALID_ARGUMENT too when the snapshots are of different volumes.
    pub fn delta(&self, request: &v1::GetMetadataDeltaRequest) -> Result<Walk, Refusal> {
        check::secrets(&request.secrets)?;
        let target = ("target_snapshot_id", request.target_snapshot_id.as_str());
        self.walk(Some(&request.base_snapshot_id), target, request.starting_offset, request.max_results)
    }

    fn walk(
        &self,
        base: Option<&str>,
        target: (&'static str, &str),
        offset: i64,
        limit: i32,
    ) -> Result<Walk, Refusal> {
        let base = base.map(|id| self.device_snapshot("base_snapshot_id", id)).transpose()?;
        let target = self.device_snapshot(target.0, target.1)?;
        if let Some(base) = base.as_ref().filter(|base| base.volume != target.volume) {
            let reason = format!("it is of volume {:?}, the target of {:?}", base.volume, target.volume);
            return Err(Refusal::invalid("base_snapshot_id", reason));
        }
        let limit = check::max_entries(limit)?.unwrap_or(DEFAULT_RESULTS);
        let start = u64::try_from(offset).ok().filter(|_| offset <= target.size).ok_or_else(|| {
            Refusal::Size(format!("starting_offset {offset} is outside the volume's {} bytes", target.size))
        })?;
        let ids = base.iter().chain([&target]).map(|snapshot| snapshot.id.clone());
        // Until the files are open: from then on a deletion takes nothing from this walk.
        let _guards = ids.map(|id| self.locks.shared(Key::Content(id))).collect::<Result<Vec<_>, _>>()?;
        let open = |item: &Item| self.backend.open(item).map_err(Refusal::system("cannot read the snapshot"));
        let file = open(&Item::from(&*target))?;
        let length = file.metadata().map_err(Refusal::system("cannot read the snapshot"))?.len();
        let variable = self.options.block_type == BlockType::Variable;
        let block = if variable || length % BLOCK == 0 { BLOCK } else { SECTOR };
        Ok(Walk {
            base: base.map(|base| open(&Item::from(&*base))).transpose()?,
            target: file,
            start: start / block * block,
            length,
            block,
            capacity: target.size,
            limit: limit.min(DEFAULT_RESULTS * 64),
            variable,
            _slot: self.streams.take()?,
        })
    }
}

impl Walk {
    /// Reads the snapshots and hands out message by message until there are no more or `send` says stop
    /// (false).
    ///
    /// # Errors
    /// The system's.
    pub fn run(&self, mut send: impl FnMut(Runs) -> bool) -> io::Result<()> {
        let mut runs: Vec<v1::BlockMetadata> = Vec::new();
        let mut position = self.start;
        let block = usize::try_from(self.block).unwrap_or(0);
        let (mut ours, mut theirs) = (vec![0; block], vec![0; block]);
        while let Some(next) = self.next_data(position)? {
            position = next / self.block * self.block;
            if self.counts(position, &mut ours, &mut theirs)? {
                self.add(&mut runs, position);
                // One more than the limit may still merge into the last run.
                if runs.len() > self.limit {
                    let rest = runs.split_off(self.limit);
                    if !send(self.message(std::mem::replace(&mut runs, rest))) {
                        return Ok(());
                    }
                }
            }
            position += self.block;
        }
        if !runs.is_empty() {
            send(self.message(runs));
        }
        Ok(())
    }

    fn add(&self, runs: &mut Vec<v1::BlockMetadata>, position: u64) {
        let byte_offset = i64::try_from(position).unwrap_or(i64::MAX);
        // A Go driver's volume need not have whole sectors.
        let size = self.block.min(self.length - position);
        let size_bytes = i64::try_from(size).unwrap_or(0);
        match runs.last_mut() {
            Some(last) if self.variable && last.byte_offset + last.size_bytes == byte_offset => {
                last.size_bytes += size_bytes;
            }
            _ => runs.push(v1::BlockMetadata { byte_offset, size_bytes }),
        }
    }

    fn message(&self, runs: Vec<v1::BlockMetadata>) -> Runs {
        use v1::BlockMetadataType::{FixedLength, VariableLength};
        let kind = if self.variable { VariableLength } else { FixedLength };
        Runs { kind, capacity: self.capacity, runs }
    }

    /// The first byte from `position` on where either snapshot may hold data.
    fn next_data(&self, position: u64) -> io::Result<Option<u64>> {
        let mut next = data_from(&self.target, position)?;
        if let Some(base) = &self.base {
            let other = data_from(base, position)?;
            next = match (next, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Ok(next.filter(|next| *next < self.length))
    }

    /// Whether the block at `position` holds data, or differs from the base's.
    fn counts(&self, position: u64, ours: &mut [u8], theirs: &mut [u8]) -> io::Result<bool> {
        read_block(&self.target, position, ours)?;
        match &self.base {
            None => Ok(ours.iter().any(|byte| *byte != 0)),
            Some(base) => {
                read_block(base, position, theirs)?;
                Ok(ours != theirs)
            }
        }
    }
}

fn data_from(file: &File, position: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(position)) {
        Ok(next) => Ok(Some(next)),
        Err(Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(Errno::INVAL) => Ok(Some(position)),
        Err(error) => Err(error.into()),
    }
}

/// Reads one block; what lies behind the end of the file is zero.
fn read_block(file: &File, position: u64, block: &mut [u8]) -> io::Result<()> {
    block.fill(0);
    let mut filled = 0;
    while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(())
}
