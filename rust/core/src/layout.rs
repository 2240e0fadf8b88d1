//! Every name on disk, and nowhere else.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::fs::fill_random;

/// One submission: a scheduler job, or an array of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub u128);

impl ChunkId {
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        fill_random(&mut bytes);
        Self(u128::from_le_bytes(bytes))
    }

    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    /// `b` and 14 base-32 characters (70 bits): what fits into every scheduler's job name.
    pub fn short(self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digit = |i: u32| char::from(ALPHABET[((self.0 >> (5 * i)) & 31) as usize]);
        std::iter::once('b').chain((0..14).map(digit)).collect()
    }

    /// What its folders are named after.
    pub fn prefix(self) -> u8 {
        (self.0 >> 120) as u8
    }

    fn folder(self) -> String {
        format!("{:02x}", self.prefix())
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One executor's start on a task of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    pub chunk: ChunkId,
    /// Array index; 0 without an array.
    pub task: u32,
    pub run: u32,
}

/// The names below one registry folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The registry that a collection file lies in: `ROOT/jobs/hh/CHUNK.bwc`.
    pub fn of_collection(path: &Path) -> Option<(Self, ChunkId)> {
        let chunk = ChunkId::parse(path.file_name()?.to_str()?.strip_suffix(".bwc")?)?;
        let jobs = path.parent()?.parent()?;
        (jobs.file_name()? == "jobs").then_some(())?;
        Some((Self::new(jobs.parent()?), chunk))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn identity(&self) -> PathBuf {
        self.root.join("registry.json")
    }

    pub fn owners(&self) -> PathBuf {
        self.root.join("owner")
    }

    pub fn owner(&self, epoch: u64) -> PathBuf {
        self.owners().join(format!("{epoch:010}"))
    }

    pub fn released(&self, epoch: u64) -> PathBuf {
        self.owners().join(format!("{epoch:010}.end"))
    }

    /// The epoch in a name of the owners' folder, and whether it says that the owner left.
    pub fn parse_owner(name: &str) -> Option<(u64, bool)> {
        let (digits, released) = match name.strip_suffix(".end") {
            Some(digits) => (digits, true),
            None => (name, false),
        };
        (digits.len() == 10).then(|| digits.parse().ok()).flatten().map(|epoch| (epoch, released))
    }

    pub fn journal(&self, epoch: u64, segment: u32) -> PathBuf {
        self.root.join(format!("journal-{epoch:010}-{segment:06}.bwj"))
    }

    pub fn snapshot(&self, epoch: u64, number: u32) -> PathBuf {
        self.root.join(format!("snapshot-{epoch:010}-{number:06}.bwj"))
    }

    /// Epoch and number of a file of the given kind (`journal` or `snapshot`).
    pub fn parse_numbered(kind: &str, name: &str) -> Option<(u64, u32)> {
        let rest = name.strip_prefix(kind)?.strip_prefix('-')?.strip_suffix(".bwj")?;
        let (epoch, number) = rest.split_once('-')?;
        Some((epoch.parse().ok()?, number.parse().ok()?))
    }

    pub fn definitions(&self) -> PathBuf {
        self.root.join("defs")
    }

    pub fn definition(&self, epoch: u64, number: u32) -> PathBuf {
        self.definitions().join(format!("{epoch:010}-{number:06}.arrow"))
    }

    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub fn object(&self, hash: &str) -> PathBuf {
        let folder: String = hash.chars().take(2).collect();
        self.objects().join(folder).join(format!("{hash}.pkl"))
    }

    pub fn collections(&self) -> PathBuf {
        self.root.join("jobs")
    }

    pub fn collection(&self, chunk: ChunkId) -> PathBuf {
        self.collections().join(chunk.folder()).join(format!("{chunk}.bwc"))
    }

    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Where the run files of a chunk are looked up.
    pub fn runs_of(&self, chunk: ChunkId) -> PathBuf {
        self.runs().join(chunk.folder())
    }

    pub fn run(&self, id: RunId, segment: u32) -> PathBuf {
        let RunId { chunk, task, run } = id;
        self.runs_of(chunk).join(format!("{chunk}.{task}.{run}.{segment}.bwj"))
    }

    pub fn results(&self, id: RunId, worker: u32) -> PathBuf {
        let RunId { chunk, task, run } = id;
        self.runs_of(chunk).join(format!("{chunk}.{task}.{run}.{worker}.res"))
    }

    /// Run and segment of a name in [`Self::runs_of`].
    pub fn parse_run(name: &str) -> Option<(RunId, u32)> {
        let mut parts = name.strip_suffix(".bwj")?.split('.');
        let chunk = ChunkId::parse(parts.next()?)?;
        let task = parts.next()?.parse().ok()?;
        let run = parts.next()?.parse().ok()?;
        let segment = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((RunId { chunk, task, run }, segment))
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn log(&self, id: RunId) -> PathBuf {
        self.root.join(Self::log_name(id))
    }

    /// A run's log, relative to the registry.
    pub fn log_name(id: RunId) -> String {
        let RunId { chunk, task, run } = id;
        format!("logs/{}/{chunk}.{task}.{run}.log", chunk.folder())
    }

    /// What the scheduler itself or the executor prints about a task.
    pub fn output(&self, chunk: ChunkId) -> PathBuf {
        self.logs().join(chunk.folder()).join(format!("{chunk}.out"))
    }

    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    pub fn external(&self) -> PathBuf {
        self.root.join("external")
    }

    /// Queues of hosts without a scheduler, one folder a host.
    pub fn queue(&self, host: &str) -> PathBuf {
        self.root.join("queue").join(host)
    }

    /// One owner's requests to a host.
    pub fn requests(&self, host: &str, epoch: u64, number: u32) -> PathBuf {
        self.queue(host).join(format!("requests-{epoch:010}-{number:06}.bwj"))
    }

    /// The claim and journal of one host process; the numbers count host processes.
    pub fn host(&self, host: &str, number: u32) -> PathBuf {
        self.queue(host).join(format!("host-{number:010}-000000.bwj"))
    }

    /// Why a host process failed; there only if it did.
    pub fn host_output(&self, host: &str, number: u32) -> PathBuf {
        self.queue(host).join(format!("host-{number:010}.out"))
    }

    /// The folders that exist from the start.
    pub fn folders(&self) -> Vec<PathBuf> {
        vec![
            self.owners(),
            self.definitions(),
            self.objects(),
            self.collections(),
            self.runs(),
            self.logs(),
        ]
    }
}
