//! Files in memory that know what power loss does.
//!
//! Each file holds its durable bytes and, in order, what was done since its last sync. Power loss keeps any part of that: each
//! 512-byte block of each write on its own, each change of length, and each change of a folder's names, as a seed decides.
//! After it all handles are dead, as those of an ended process are.
//!
//! Faults are asked for by count: the n-th call from now on fails, and power is away from then on; the n-th sync fails, and
//! what it should have kept is dropped from the list of things to keep while reads go on showing it, which is what a system
//! does. A capacity makes writes end half-way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Entry;

const BLOCK: usize = 512;

/// A simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a simulated disk.
#[derive(Debug)]
pub(super) struct Handle {
    disk: SimulatedDisk,
    inode: u64,
    life: u64,
}

#[derive(Debug, Default)]
struct State {
    folders: BTreeMap<PathBuf, Folder>,
    inodes: HashMap<u64, Inode>,
    inodes_made: u64,
    /// Raised by power loss: older handles are dead.
    life: u64,
    calls: u64,
    calls_left: Option<u64>,
    syncs_left: Option<u64>,
    capacity: Option<u64>,
}

type Names = BTreeMap<OsString, u64>;

#[derive(Debug, Default)]
struct Folder {
    durable: Names,
    now: Names,
    since: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Put(OsString, u64),
    Remove(OsString),
    /// One step: the old name goes with the new one's coming.
    Rename(OsString, OsString, u64),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Change>,
    /// Blocks that take room.
    blocks: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl SimulatedDisk {
    /// An empty disk without bounds or faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// File calls that change something, so far: the range in which [`fail_after`](Self::fail_after) is of interest.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// After so many more changing calls power is away: each call fails until [`lose_power`](Self::lose_power).
    pub fn fail_after(&self, calls: u64) {
        self.state.lock().calls_left = Some(calls);
    }

    /// The sync behind so many more syncs of files fails, once.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state.lock().syncs_left = Some(syncs);
    }

    /// Bounds the bytes that files may take, in blocks of 512; holes take none. Nothing lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that are taken.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Power is lost and comes back: what was not synced is kept in part, as the seed decides. Faults are over.
    pub fn lose_power(&self, seed: u64) {
        let mut state = self.state.lock();
        let mut random = StdRng::seed_from_u64(seed);
        state.life += 1;
        (state.calls_left, state.syncs_left) = (None, None);
        // Nothing, a little, half, nearly all or all of what was not synced is kept: each has bugs of its own.
        let kept = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
        let mut order: Vec<u64> = state.inodes.keys().copied().collect();
        order.sort_unstable();
        for inode in order {
            if let Some(inode) = state.inodes.get_mut(&inode) {
                inode.lose_power(&mut random, kept);
            }
        }
        for folder in state.folders.values_mut() {
            folder.lose_power(&mut random, kept);
        }
        state.forget_nameless();
    }

    /// The process ends and another begins: handles are dead and faults are over, and all that was written is there.
    pub fn end_process(&self) {
        let mut state = self.state.lock();
        state.life += 1;
        (state.calls_left, state.syncs_left) = (None, None);
    }

    /// Changes the bytes of a file behind everyone's back, durably: damage.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.inode_of(path)?;
        let inode = state.inodes.get_mut(&inode).ok_or_else(not_found)?;
        change(&mut inode.now);
        inode.durable.clone_from(&inode.now);
        inode.since.clear();
        Ok(())
    }

    pub(super) fn available_bytes(&self) -> u64 {
        let state = self.state.lock();
        state.capacity.map_or(u64::MAX, |all| all.saturating_sub(state.used_bytes()))
    }

    pub(super) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        for folder in path.ancestors() {
            state.folders.entry(folder.to_owned()).or_default();
        }
        Ok(())
    }

    pub(super) fn create_new(&self, path: &Path) -> io::Result<Handle> {
        let mut state = self.state.lock();
        state.change()?;
        state.inodes_made += 1;
        let (inode, life) = (state.inodes_made, state.life);
        let (folder, name) = state.place(path)?;
        if folder.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.change(NameChange::Put(name, inode));
        state.inodes.insert(inode, Inode::default());
        Ok(Handle { disk: self.clone(), inode, life })
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<Handle> {
        let state = self.state.lock();
        state.powered()?;
        Ok(Handle { disk: self.clone(), inode: state.inode_of(path)?, life: state.life })
    }

    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.folders.contains_key(path) || state.inode_of(path).is_ok())
    }

    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let folder = state.folders.get_mut(path).ok_or_else(not_found)?;
        folder.durable.clone_from(&folder.now);
        folder.since.clear();
        Ok(())
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        let inode = state.inode_of(from)?;
        if from.parent() != to.parent() {
            return Err(io::Error::other("the simulated disk renames within a folder"));
        }
        let name = to.file_name().ok_or_else(not_found)?.to_owned();
        let (folder, old) = state.place(from)?;
        folder.change(NameChange::Rename(old, name, inode));
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change()?;
        state.inode_of(path)?;
        let (folder, name) = state.place(path)?;
        folder.change(NameChange::Remove(name));
        Ok(())
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state.lock();
        state.powered()?;
        let found = state.folders.get(folder).ok_or_else(not_found)?;
        let text = |name: &OsString| name.to_str().map(str::to_owned);
        let mut entries = Vec::new();
        for (name, inode) in &found.now {
            let bytes = state.inodes.get(inode).map_or(0, |inode| inode.now.len() as u64);
            entries.extend(text(name).map(|name| Entry { name, bytes, folder: false }));
        }
        for below in state.folders.keys().filter(|below| below.parent() == Some(folder)) {
            let name = below.file_name().and_then(|name| text(&name.to_owned()));
            entries.extend(name.map(|name| Entry { name, bytes: 0, folder: true }));
        }
        Ok(entries)
    }
}

impl Handle {
    fn with<T>(&self, deed: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if self.life != state.life {
            return Err(io::Error::other("this file was opened before the power was lost"));
        }
        deed(&mut state, self.inode)
    }

    pub(super) fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.change()?;
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let mut room = state.capacity.map(|all| all.saturating_sub(state.used_bytes()));
            let inode = state.inodes.get_mut(&inode).ok_or_else(not_found)?;
            for (block, part) in blocks(at, bytes) {
                if !inode.blocks.contains(&block) {
                    match &mut room {
                        Some(left) if *left < BLOCK as u64 => return Err(io::ErrorKind::StorageFull.into()),
                        Some(left) => *left -= BLOCK as u64,
                        None => {}
                    }
                    inode.blocks.insert(block);
                }
                let start = at.max(block * BLOCK);
                put(&mut inode.now, start, part);
                inode.since.push(Change::Write(start, part.to_vec()));
            }
            Ok(())
        })
    }

    pub(super) fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.powered()?;
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let inode = state.inodes.get(&inode).ok_or_else(not_found)?;
            let found = at.checked_add(into.len()).and_then(|end| inode.now.get(at..end));
            into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        self.with(|state, inode| {
            state.powered()?;
            Ok(state.inodes.get(&inode).ok_or_else(not_found)?.now.len() as u64)
        })
    }

    pub(super) fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.change()?;
            let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
            let inode = state.inodes.get_mut(&inode).ok_or_else(not_found)?;
            inode.now.resize(bytes, 0);
            inode.blocks.split_off(&bytes.div_ceil(BLOCK));
            inode.since.push(Change::Length(bytes));
            Ok(())
        })
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        self.with(|state, inode| {
            state.change()?;
            let fails = match &mut state.syncs_left {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            };
            let inode = state.inodes.get_mut(&inode).ok_or_else(not_found)?;
            let changes = std::mem::take(&mut inode.since);
            if fails {
                // The pages count as clean from now on, and are not on the disk.
                state.syncs_left = None;
                return Err(io::Error::other("simulated: input/output error"));
            }
            changes.into_iter().for_each(|change| inode.keep(change));
            Ok(())
        })
    }
}

impl State {
    fn powered(&self) -> io::Result<()> {
        if self.calls_left == Some(0) { Err(io::Error::other("simulated: power is away")) } else { Ok(()) }
    }

    fn change(&mut self) -> io::Result<()> {
        self.powered()?;
        self.calls += 1;
        if let Some(left) = &mut self.calls_left {
            *left -= 1;
        }
        Ok(())
    }

    fn place(&mut self, path: &Path) -> io::Result<(&mut Folder, OsString)> {
        let name = path.file_name().ok_or_else(not_found)?.to_owned();
        let folder = path.parent().and_then(|folder| self.folders.get_mut(folder)).ok_or_else(not_found)?;
        Ok((folder, name))
    }

    fn inode_of(&self, path: &Path) -> io::Result<u64> {
        let folder = path.parent().and_then(|folder| self.folders.get(folder)).ok_or_else(not_found)?;
        path.file_name().and_then(|name| folder.now.get(name)).copied().ok_or_else(not_found)
    }

    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<u64> = self.folders.values().flat_map(|folder| folder.now.values().copied()).collect();
        let blocks = named.iter().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.blocks.len());
        (blocks.sum::<usize>() * BLOCK) as u64
    }

    fn forget_nameless(&mut self) {
        let named: BTreeSet<u64> = self.folders.values().flat_map(|folder| folder.now.values().copied()).collect();
        self.inodes.retain(|inode, _| named.contains(inode));
    }
}

impl Folder {
    fn change(&mut self, change: NameChange) {
        apply_name(&mut self.now, change.clone());
        self.since.push(change);
    }

    fn lose_power(&mut self, random: &mut StdRng, kept: f64) {
        for change in std::mem::take(&mut self.since) {
            if random.random_bool(kept) {
                apply_name(&mut self.durable, change);
            }
        }
        self.now.clone_from(&self.durable);
    }
}

fn apply_name(names: &mut Names, change: NameChange) {
    match change {
        NameChange::Put(name, inode) => {
            names.insert(name, inode);
        }
        NameChange::Remove(name) => {
            names.remove(&name);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(&from);
            names.insert(to, inode);
        }
    }
}

impl Inode {
    fn keep(&mut self, change: Change) {
        match change {
            Change::Write(at, bytes) => put(&mut self.durable, at, &bytes),
            Change::Length(bytes) => self.durable.resize(bytes, 0),
        }
    }

    fn lose_power(&mut self, random: &mut StdRng, kept: f64) {
        for change in std::mem::take(&mut self.since) {
            if random.random_bool(kept) {
                self.keep(change);
            }
        }
        self.now.clone_from(&self.durable);
        // Holes are not told from zeros here, so a block of zeros is taken for one.
        let blocks = self.now.chunks(BLOCK).enumerate().filter(|(_, block)| block.iter().any(|b| *b != 0));
        self.blocks = blocks.map(|(at, _)| at).collect();
    }
}

/// The parts of a write by the block in which they lie.
fn blocks(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut at, mut rest) = (at, bytes);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let block = at / BLOCK;
        let (part, behind) = rest.split_at(rest.len().min((block + 1) * BLOCK - at));
        (at, rest) = (at + part.len(), behind);
        Some((block, part))
    })
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}
