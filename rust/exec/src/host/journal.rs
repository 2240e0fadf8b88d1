//! The file of a host process: its claim to the queue, and what it did.

use std::time::{Duration, Instant};

use batchwright_core::clock::{Clock as _, SystemClock};
use batchwright_core::error::Result;
use batchwright_core::fs::Fs;
use batchwright_core::layout::Layout;
use batchwright_core::process::{self, Identity};
use batchwright_core::queue::{Host, QueueFile, Record, numbered, read_records};
use serde::Serialize;

use super::Place;

/// Records may be lost with the machine, and so are the executors: claims in `runs/` decide.
const SYNC_EVERY: Duration = Duration::from_secs(5);
/// A full disk is tried again so often.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The newest host process of a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Newest {
    pub number: u32,
    /// It has not left, and its process lives on this machine.
    pub alive: bool,
    /// In good order, after its last record.
    pub left: bool,
    #[serde(flatten)]
    pub host: Host,
}

/// Who serves this queue, or served it last.
pub fn newest(fs: &dyn Fs, layout: &Layout, host: &str) -> Result<Option<Newest>> {
    match newest_number(fs, layout, host)? {
        Some(number) => read_newest(fs, layout, host, number),
        None => Ok(None),
    }
}

/// None where damage has taken the claim: such a host is as good as gone.
pub(super) fn read_newest(
    fs: &dyn Fs,
    layout: &Layout,
    host: &str,
    number: u32,
) -> Result<Option<Newest>> {
    let mut claim = None;
    let mut left = false;
    for record in read_records(fs, &layout.host(host, number))? {
        match record {
            Record::Host(host) => claim = Some(host),
            Record::Left(_) => left = true,
            _ => {}
        }
    }
    Ok(claim.map(|host| Newest { number, alive: !left && lives(&host), left, host }))
}

pub(super) fn newest_number(fs: &dyn Fs, layout: &Layout, host: &str) -> Result<Option<u32>> {
    let hosts = numbered(fs, &layout.queue(host), "host")?;
    Ok(hosts.last().map(|(number, _)| *number as u32))
}

fn lives(host: &Host) -> bool {
    host.boot_id == Identity::of_this_process().boot_id
        && process::is_alive(host.pid, host.start_ticks)
}

/// The claim of this process, and what it appends to it.
pub(super) struct Journal {
    place: Place,
    number: u32,
    file: QueueFile,
    /// What no sync has covered yet: it goes to the next file if this one fails.
    unsynced: Vec<Record>,
    /// How many of those are in this file.
    written: usize,
    synced: Instant,
    tried: Option<Instant>,
}

impl Journal {
    /// None where another process has won this number.
    pub(super) fn claim(place: &Place, number: u32) -> Result<Option<Self>> {
        place.fs.make_folder(&place.layout.queue(&place.host))?;
        let Some(file) = publish(place, number, &[])? else { return Ok(None) };
        Ok(Some(Self {
            place: place.clone(),
            number,
            file,
            unsynced: Vec::new(),
            written: 0,
            synced: Instant::now(),
            tried: None,
        }))
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Keeps the record, and writes it now if that is possible.
    pub(super) fn record(&mut self, record: Record) {
        self.unsynced.push(record);
        self.tend();
    }

    /// Writes and syncs what is due.
    pub(super) fn tend(&mut self) {
        if self.tried.is_some_and(|tried| tried.elapsed() < RETRY_EVERY) {
            return;
        }
        let due = !self.unsynced.is_empty() && self.synced.elapsed() >= SYNC_EVERY;
        let done = self.write().and_then(|()| if due { self.sync_now() } else { Ok(()) });
        self.tried = done.err().map(|_| Instant::now());
    }

    /// Everything is durable when it succeeds.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.write()?;
        // A file that failed has a successor now, or this is the failure to report.
        self.sync_now().or_else(|_| self.write().and_then(|()| self.sync_now()))
    }

    fn write(&mut self) -> Result<()> {
        if self.file.is_dead() {
            return self.replace();
        }
        if self.written == self.unsynced.len() {
            return Ok(());
        }
        if self.file.append(&self.unsynced[self.written..]).is_err() {
            return self.replace();
        }
        self.written = self.unsynced.len();
        Ok(())
    }

    /// An error is final for a file: the next number takes over what may be missing.
    fn replace(&mut self) -> Result<()> {
        let next = self.number + 1;
        if let Some(file) = publish(&self.place, next, &self.unsynced)? {
            (self.file, self.number) = (file, next);
            self.saved();
        }
        // Lost: another process serves, which the loop will see.
        Ok(())
    }

    fn sync_now(&mut self) -> Result<()> {
        self.file.sync()?;
        self.saved();
        Ok(())
    }

    fn saved(&mut self) {
        self.unsynced.clear();
        self.written = 0;
        self.synced = Instant::now();
    }
}

fn publish(place: &Place, number: u32, more: &[Record]) -> Result<Option<QueueFile>> {
    let me = Identity::of_this_process();
    let claim = Host {
        host: me.host,
        boot_id: me.boot_id,
        pid: me.pid,
        start_ticks: me.start_ticks,
        at: SystemClock.now(),
        version: batchwright_core::VERSION.to_owned(),
    };
    let mut records = vec![Record::Host(claim)];
    records.extend_from_slice(more);
    QueueFile::publish(&place.fs, &place.layout.host(&place.host, number), &records)
}
