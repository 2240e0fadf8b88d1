//! A file system in memory that forgets what no sync has covered, fails the call that a test
//! names and lies after a failed sync as Linux does; and a clock that a test turns.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use batchwright_core::Result;
use batchwright_core::clock::{Clock, Micros};
use batchwright_core::error::{Error, ErrorKind};
use batchwright_core::fs::{Fs, JournalFile, Published};

/// What reaches the disk as one.
const PAGE: usize = 64;

/// What goes wrong, from the call numbered `at` (0 is the first).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: u64,
    pub(crate) errno: i32,
    pub(crate) for_ever: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Page { file: usize, offset: usize, bytes: Vec<u8> },
    Name { path: PathBuf, file: Option<usize> },
}

#[derive(Debug, Default)]
struct State {
    /// As every process sees them now.
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    /// As a power cut leaves them at least.
    durable_files: Vec<Vec<u8>>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// What a power cut may leave in any combination.
    pending: Vec<Change>,
    calls: u64,
    fault: Option<Fault>,
    failed: u64,
    /// A clock, and how many seconds each sync of a journal takes on it.
    slow: Option<(Arc<SimClock>, f64)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SimFs(Arc<Mutex<State>>);

fn failure(doing: &str, path: &Path, errno: i32) -> Error {
    Error::io(doing, path, &io::Error::from_raw_os_error(errno))
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if bytes.len() < offset + new.len() {
        bytes.resize(offset + new.len(), 0);
    }
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

impl State {
    fn step(&mut self, doing: &str, path: &Path) -> Result<()> {
        let call = self.calls;
        self.calls += 1;
        let hit = |f: &Fault| call == f.at || (f.for_ever && call > f.at);
        match self.fault.filter(hit) {
            None => Ok(()),
            Some(fault) => {
                self.failed += 1;
                Err(failure(doing, path, fault.errno))
            }
        }
    }

    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        put(&mut self.files[file], offset, bytes);
        let mut start = 0;
        while start < bytes.len() {
            let end = bytes.len().min(start + PAGE - (offset + start) % PAGE);
            let page = bytes[start..end].to_vec();
            self.pending.push(Change::Page { file, offset: offset + start, bytes: page });
            start = end;
        }
    }

    fn make_durable(&mut self, is_meant: impl Fn(&Change) -> bool) {
        let (meant, rest) = std::mem::take(&mut self.pending).into_iter().partition(is_meant);
        self.pending = rest;
        let meant: Vec<Change> = meant;
        for change in meant {
            self.settle(change);
        }
    }

    fn settle(&mut self, change: Change) {
        match change {
            Change::Page { file, offset, bytes } => {
                put(&mut self.durable_files[file], offset, &bytes);
            }
            Change::Name { path, file: Some(file) } => {
                self.durable_names.insert(path, file);
            }
            Change::Name { path, file: None } => {
                self.durable_names.remove(&path);
            }
        }
    }

    fn sync_file(&mut self, file: usize, path: &Path) -> Result<()> {
        let its = |c: &Change| matches!(c, Change::Page { file: f, .. } if *f == file);
        if let Err(error) = self.step("sync", path) {
            // The pages are marked clean, and the next sync will say that all is well.
            self.pending.retain(|change| !its(change));
            return Err(error);
        }
        self.make_durable(its);
        Ok(())
    }

    fn file(&self, path: &Path) -> Result<usize> {
        let file = self.names.get(path).copied();
        file.ok_or_else(|| failure("open", path, 2))
    }

    fn new_file(&mut self) -> usize {
        self.files.push(Vec::new());
        self.durable_files.push(Vec::new());
        self.files.len() - 1
    }
}

impl SimFs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn failed(&self) -> u64 {
        self.state().failed
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Fails the call `after` calls from now.
    pub(crate) fn fail_after(&self, after: u64, errno: i32, for_ever: bool) {
        let at = self.calls() + after;
        self.fail(Some(Fault { at, errno, for_ever }));
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[path]].clone()
    }

    pub(crate) fn replace(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let file = state.names[path];
        state.files[file] = bytes;
    }

    /// From now on a sync of a journal takes so long.
    pub(crate) fn slow_down(&self, clock: &Arc<SimClock>, seconds: f64) {
        self.state().slow = Some((clock.clone(), seconds));
    }

    /// Puts bytes under a name, durable at once.
    pub(crate) fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = state.new_file();
        state.files[file] = bytes.to_vec();
        state.durable_files[file] = bytes.to_vec();
        state.folders.extend(path.parent().map(Path::to_owned));
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// What a power cut may leave: all combinations of what no sync has covered, or `most` of
    /// them drawn by `seed`, with none and all of it among them.
    pub(crate) fn crash_states(&self, most: usize, seed: u64) -> Vec<Self> {
        let state = self.state();
        let options: Vec<usize> = state
            .pending
            .iter()
            .map(|change| if matches!(change, Change::Page { .. }) { 3 } else { 2 })
            .collect();
        let all = options.iter().try_fold(1usize, |n, o| n.checked_mul(*o)).unwrap_or(usize::MAX);
        let mut random = Random(seed);
        let choices = (0..all.min(most)).map(|number| {
            let mut rest = number;
            let digit = |options: &usize| match number {
                _ if all <= most => {
                    let digit = rest % options;
                    rest /= options;
                    digit
                }
                0 => 0,
                1 => 1,
                _ => random.below(*options),
            };
            options.iter().map(digit).collect::<Vec<usize>>()
        });
        let choices: Vec<Vec<usize>> = choices.collect();
        choices.iter().map(|choice| Self::after_crash(&state, choice)).collect()
    }

    fn after_crash(before: &State, choice: &[usize]) -> Self {
        let mut after = State {
            durable_files: before.durable_files.clone(),
            durable_names: before.durable_names.clone(),
            folders: before.folders.clone(),
            ..State::default()
        };
        for (change, choice) in before.pending.iter().zip(choice) {
            match (change.clone(), choice) {
                (_, 0) => {}
                (Change::Page { file, offset, bytes }, 2) => {
                    // The file has grown and its bytes have not arrived.
                    let bytes = vec![0; bytes.len()];
                    after.settle(Change::Page { file, offset, bytes });
                }
                (change, _) => after.settle(change),
            }
        }
        after.files.clone_from(&after.durable_files);
        after.names.clone_from(&after.durable_names);
        Self(Arc::new(Mutex::new(after)))
    }
}

impl Fs for SimFs {
    fn publish(&self, path: &Path, bytes: &[u8]) -> Result<Published> {
        let mut state = self.state();
        state.step("create", path)?;
        let file = state.new_file();
        state.step("write", path)?;
        state.write(file, 0, bytes);
        state.sync_file(file, path)?;
        state.step("publish", path)?;
        if state.names.contains_key(path) {
            return Ok(Published::Lost);
        }
        state.names.insert(path.to_owned(), file);
        state.pending.push(Change::Name { path: path.to_owned(), file: Some(file) });
        let folder = path.parent().expect("a file lies in a folder").to_owned();
        state.step("sync the folder", &folder)?;
        state.make_durable(
            |c| matches!(c, Change::Name { path, .. } if path.parent() == Some(&folder)),
        );
        Ok(Published::Won)
    }

    fn publish_all(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
        for (path, bytes) in files {
            if self.publish(path, bytes)? == Published::Lost {
                return Err(failure("publish", path, 17));
            }
        }
        Ok(())
    }

    fn look(&self, folder: &Path) -> Result<Vec<String>> {
        let mut state = self.state();
        state.step("list", folder)?;
        let names = state.names.keys().filter(|path| path.parent() == Some(folder));
        let folders = state.folders.iter().filter(|path| path.parent() == Some(folder));
        let text = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(names.chain(folders).filter_map(text).collect())
    }

    fn tail(&self, path: &Path, offset: u64) -> Result<Vec<u8>> {
        self.read(path, offset, usize::MAX)
    }

    fn read(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut state = self.state();
        state.step("read", path)?;
        let bytes = &state.files[state.file(path)?];
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length).min(bytes.len());
        Ok(bytes[start..end].to_vec())
    }

    fn length(&self, path: &Path) -> Result<u64> {
        let mut state = self.state();
        state.step("stat", path)?;
        Ok(state.files[state.file(path)?].len() as u64)
    }

    fn append(&self, path: &Path, end: u64) -> Result<Box<dyn JournalFile>> {
        let mut state = self.state();
        state.step("open", path)?;
        let file = state.file(path)?;
        Ok(Box::new(SimJournal { fs: self.clone(), path: path.to_owned(), file, end, dead: false }))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        let file = state.file(path)?;
        state.sync_file(file, path)
    }

    fn make_folder(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("make the folder", path)?;
        state.folders.insert(path.to_owned());
        Ok(())
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        state.step("remove", path)?;
        if state.names.remove(path).is_some() {
            state.pending.push(Change::Name { path: path.to_owned(), file: None });
        }
        Ok(())
    }
}

struct SimJournal {
    fs: SimFs,
    path: PathBuf,
    file: usize,
    end: u64,
    dead: bool,
}

impl SimJournal {
    fn ensure_alive(&self) -> Result<()> {
        if self.dead { Err(Error::new(ErrorKind::Io, "a dead file was written")) } else { Ok(()) }
    }
}

impl JournalFile for SimJournal {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.ensure_alive()?;
        let mut state = self.fs.state();
        let at = usize::try_from(self.end).expect("small files");
        if let Err(error) = state.step("append to", &self.path) {
            // A short write that then fails.
            state.write(self.file, at, &bytes[..bytes.len() / 2]);
            drop(state);
            self.dead = true;
            return Err(error);
        }
        state.write(self.file, at, bytes);
        drop(state);
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.ensure_alive()?;
        let mut state = self.fs.state();
        let synced = state.sync_file(self.file, &self.path);
        if let Some((clock, seconds)) = &state.slow {
            clock.advance(*seconds);
        }
        drop(state);
        self.dead = synced.is_err();
        synced
    }

    fn end(&self) -> u64 {
        self.end
    }

    fn is_dead(&self) -> bool {
        self.dead
    }

    fn abandon(&mut self) {
        self.dead = true;
    }
}

/// A clock that stands still until a test turns it.
#[derive(Debug, Default)]
pub(crate) struct SimClock {
    micros: AtomicU64,
    /// Microseconds that each look at it takes.
    pub(crate) step: AtomicU64,
}

/// Wall time where every clock of a test begins.
pub(crate) const BEGIN: Micros = 1_700_000_000_000_000;

impl SimClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn advance(&self, seconds: f64) {
        self.micros.fetch_add((seconds * 1e6) as u64, Ordering::SeqCst);
    }

    fn seconds(&self) -> f64 {
        self.micros.load(Ordering::SeqCst) as f64 / 1e6
    }
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        BEGIN + self.micros.load(Ordering::SeqCst) as i64
    }

    fn monotonic(&self) -> f64 {
        let step = self.step.load(Ordering::SeqCst);
        self.micros.fetch_add(step, Ordering::SeqCst);
        self.seconds()
    }

    fn boottime(&self) -> f64 {
        self.seconds()
    }
}

/// `SplitMix64`: the same numbers on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// How often a loop runs: `short` in CI, by the clock when `BATCHWRIGHT_SOAK` gives minutes.
pub(crate) fn rounds(short: u64) -> impl Iterator<Item = u64> {
    let minutes: Option<f64> =
        std::env::var("BATCHWRIGHT_SOAK").ok().and_then(|text| text.parse().ok());
    let end =
        minutes.map(|m| std::time::Instant::now() + std::time::Duration::from_secs_f64(m * 60.0));
    (0..).take_while(move |round| match end {
        Some(end) => *round < short || std::time::Instant::now() < end,
        None => *round < short,
    })
}
