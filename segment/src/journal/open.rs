//! Opening: what is below the checkpoint goes, what is whole is proved durable, what is torn is overruled.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::commit::{Shared, State};
use super::scan::{self, Loaded, NEW_SUFFIX, Walk, file_path};
use super::writer::{Current, Writer};
use super::{Damage, FileInfo, JournalOptions, Opened};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{Result, SegmentError};
use crate::failpoint;

pub(super) fn open(
    disk: Disk,
    folder: &Path,
    stream: &str,
    options: JournalOptions,
    clock: Arc<dyn Clock>,
) -> Result<(Shared, Opened)> {
    if options.checkpoint < 0 {
        return Err(SegmentError::invalid("checkpoint", "record numbers begin at 0"));
    }
    disk.create_dir_all(folder)?;
    remove_unfinished(&disk, folder)?;
    remove_below(&disk, folder, options.checkpoint)?;
    // A process that ended between the naming of a file and the sync of the folder leaves a name that power loss takes away,
    // together with all that is appended to the file from here on.
    disk.sync_folder(folder)?;
    let hash = scan::stream_hash(stream);
    let mut found = Survey::of(&disk, folder, hash, options.checkpoint)?;
    let mut writer = Writer {
        disk: disk.clone(),
        folder: folder.to_owned(),
        stream: hash,
        file_bytes: options.file_bytes,
        salt: options.salt,
        current: None,
    };
    if found.opened.damage.is_none() {
        go_on(&mut writer, &mut found, options.checkpoint)?;
        if let Some(file) = writer.current_file() {
            found.files.retain(|known| known.first < file.first);
            found.files.push(file);
        }
    }
    let opened = found.opened;
    let mut state = State::default();
    (state.next, state.synced) = (opened.next, opened.next);
    state.damage.clone_from(&opened.damage);
    state.files = found.files;
    let shared = Shared {
        name: stream.into(),
        disk,
        folder: folder.to_owned(),
        stream: hash,
        options,
        clock,
        writer: Mutex::new(writer),
        state: Mutex::new(state),
        work: Condvar::new(),
    };
    Ok((shared, opened))
}

/// Finds the place to write at: behind the last record if nothing is there and all before is proved, else in a new file.
fn go_on(writer: &mut Writer, found: &mut Survey, checkpoint: i64) -> Result<()> {
    let (disk, folder) = (writer.disk.clone(), writer.folder.clone());
    let Some((loaded, walk)) = found.last.take() else {
        return writer.start_file(checkpoint, &[], 0);
    };
    if walk.next < checkpoint {
        // All of it is published. The numbers go on where the catalog says, so that none is given twice.
        tracing::warn!(file = %loaded.name, next = walk.next, checkpoint, "a journal ends below its checkpoint");
        writer.start_file(checkpoint, &[], 0)?;
        remove_below(&disk, &folder, checkpoint)?;
        found.files.clear();
        found.opened.next = checkpoint;
        return Ok(());
    }
    if walk.clean && walk.proved == walk.next {
        let file = disk.open_write(&file_path(&folder, loaded.header.first))?;
        // The mark at the end was not synced by itself, and may be only in the cache, even after a sync that failed. The next
        // group writes over it with one of its own.
        let (header, used) = (loaded.header, walk.records_end as u64);
        writer.current = Some(Current { file, header, used, marked: -1 });
        return Ok(());
    }
    // A whole record that no mark proves may be only in the system's cache, even after a sync that failed: it is written
    // again, and synced with the new file.
    let unproved = walk.records.iter().filter(|(number, _, _)| *number >= walk.proved);
    let carried: Vec<(i64, &[u8])> =
        unproved.filter_map(|(number, body, _)| Some((*number, loaded.bytes.get(body.clone())?))).collect();
    writer.start_file(walk.proved, &carried, 0)?;
    writer.write_mark(walk.next);
    Ok(())
}

/// What is in a folder.
struct Survey {
    opened: Opened,
    files: Vec<FileInfo>,
    /// The last file, when there is no damage.
    last: Option<(Loaded, Walk)>,
}

impl Survey {
    fn of(disk: &Disk, folder: &Path, stream: u64, checkpoint: i64) -> Result<Self> {
        let opened = Opened { next: checkpoint, torn_bytes: 0, records: 0, bytes: 0, gaps: Vec::new(), damage: None };
        let mut survey = Self { opened, files: Vec::new(), last: None };
        let numbers = scan::file_numbers(disk, folder)?;
        if let Some(first) = numbers.first().filter(|first| **first > checkpoint) {
            survey.opened.damage = Some(Damage {
                file: crate::disk::shown(&file_path(folder, *first)),
                at: 0,
                number: checkpoint,
                reason: format!(
                    "it is the first file, and the records from the checkpoint {checkpoint} on are missing"
                ),
            });
            return Ok(survey);
        }
        for (at, first) in numbers.iter().enumerate() {
            let loaded = match Loaded::read(disk, folder, *first, Some(stream)) {
                Ok(loaded) => loaded,
                Err(SegmentError::Corrupt { what, reason }) => {
                    survey.opened.next = *first;
                    survey.opened.damage = Some(Damage { file: what, at: 0, number: *first, reason });
                    return Ok(survey);
                }
                Err(failed) => return Err(failed),
            };
            let walk = loaded.walk(numbers.get(at + 1).copied());
            survey.take(&walk, *first, checkpoint);
            if walk.damage.is_some() {
                return Ok(survey);
            }
            survey.last = Some((loaded, walk));
        }
        Ok(survey)
    }

    fn take(&mut self, walk: &Walk, first: i64, checkpoint: i64) {
        self.files.push(FileInfo { first, used: walk.end as u64 });
        let replayed = walk.records.iter().filter(|(number, _, _)| *number >= checkpoint);
        for (_, _, bytes) in replayed {
            self.opened.records += 1;
            self.opened.bytes += bytes;
        }
        self.opened.gaps.extend(walk.gaps.iter().filter(|gap| gap.to > checkpoint));
        self.opened.next = walk.next;
        self.opened.torn_bytes = walk.torn_bytes;
        self.opened.damage.clone_from(&walk.damage);
    }
}

fn remove_unfinished(disk: &Disk, folder: &Path) -> Result<()> {
    for entry in disk.list(folder)? {
        if entry.name.ends_with(NEW_SUFFIX) {
            disk.remove(&folder.join(entry.name))?;
        }
    }
    Ok(())
}

/// Removes the files whose records are all below the checkpoint, oldest first; the last one stays. Gives their first numbers.
pub(super) fn remove_below(disk: &Disk, folder: &Path, checkpoint: i64) -> Result<Vec<i64>> {
    let numbers = scan::file_numbers(disk, folder)?;
    let below = numbers.iter().zip(numbers.iter().skip(1)).filter(|(_, next)| **next <= checkpoint);
    let below: Vec<i64> = below.map(|(first, _)| *first).collect();
    for first in &below {
        failpoint!("journal.cut_one")?;
        match disk.remove(&file_path(folder, *first)) {
            Err(SegmentError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    if !below.is_empty() {
        disk.sync_folder(folder)?;
    }
    Ok(below)
}
