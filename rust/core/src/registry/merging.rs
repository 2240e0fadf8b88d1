//! What another copy of a registry may take over: jobs that are the same in both, and what their
//! runs told of them.

use std::collections::BTreeMap;
#[cfg(feature = "arrow")]
use std::collections::btree_map::Entry;

use crate::Interrupted;
use crate::error::Result;
#[cfg(feature = "arrow")]
use crate::error::{Error, ErrorKind};
use crate::ids::{IdSet, JobId};
use crate::run::{Body, End, Failure, LogPiece};
use crate::tables::{NEVER, Tables, row};

use super::Registry;
use super::collecting::{Window, end_place, go_on, runs_of, stored};

#[cfg(feature = "arrow")]
/// So many jobs are compared at a time.
const SOME: usize = 1 << 12;

impl Registry {
    /// Those of `ids` that call the same with the same parameters in both registries.
    #[cfg(feature = "arrow")]
    pub fn same_as(
        &self,
        other: &Self,
        ids: &IdSet,
        interrupted: Interrupted<'_>,
    ) -> Result<IdSet> {
        let jobs: Vec<JobId> = ids.iter().collect();
        let mut same_calls: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        let mut same = Vec::new();
        for some in jobs.chunks(SOME) {
            if interrupted() {
                return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            // Never both locks at once: another thread may merge the other way.
            let (here, there) = (self.parameters_of(some)?, other.parameters_of(some)?);
            for (job, ((place, given), (other_place, other_given))) in
                some.iter().zip(here.iter().zip(&there))
            {
                let calls = (*place, *other_place);
                if let Entry::Vacant(unknown) = same_calls.entry(calls) {
                    unknown.insert(self.call(calls.0)? == other.call(calls.1)?);
                }
                same.extend((given == other_given && same_calls[&calls]).then_some(*job));
            }
        }
        Ok(same.into_iter().collect())
    }

    /// Hands over how each of these jobs ended, results in full, with what it printed; chunk by
    /// chunk, so that the output of one is in memory at a time.
    pub fn tell(
        &self,
        ids: &IdSet,
        interrupted: Interrupted<'_>,
        mut take: impl FnMut(&End<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut window = Window::default();
        for jobs in self.read(|tables| by_chunk(tables, ids)).into_values() {
            let printed = self.printed(&jobs, interrupted)?;
            for (number, job) in jobs.iter().enumerate() {
                go_on(number, interrupted)?;
                let log = printed.get(&job).map(Vec::as_slice).unwrap_or_default();
                let Some(place) = self.read(|tables| end_place(tables, job)) else {
                    take(&self.unrecorded(job, &failure_json()), log)?;
                    continue;
                };
                window.end(self, &place, |end| match end.body {
                    Body::Stored(at) => {
                        let bytes = stored(self, place.run, at)?;
                        take(&End { body: Body::Result(&bytes), ..*end }, log)
                    }
                    _ => take(end, log),
                })?;
            }
        }
        Ok(())
    }

    fn printed(
        &self,
        jobs: &IdSet,
        interrupted: Interrupted<'_>,
    ) -> Result<BTreeMap<JobId, Vec<u8>>> {
        let mut printed: BTreeMap<JobId, Vec<u8>> = BTreeMap::new();
        for (run, segments) in self.read(|tables| runs_of(tables, jobs)) {
            let wanted = |piece: &LogPiece| jobs.contains(piece.job);
            let log = self.run_log(run, &segments, wanted, interrupted)?;
            for (job, text) in log.into_iter().flatten() {
                printed.entry(job).or_default().extend(text);
            }
        }
        Ok(printed)
    }

    /// How a job ended whose node did not record it: it was stopped with its chunk.
    fn unrecorded<'a>(&self, job: JobId, failure: &'a [u8]) -> End<'a> {
        self.read(|tables| {
            let jobs = &tables.jobs;
            let known = |at: i64, else_at: i64| if at == NEVER { else_at } else { at };
            let begun = known(jobs.started.get(row(job)), jobs.submitted.get(row(job)));
            let ended = known(jobs.ended.get(row(job)), begun);
            End {
                job,
                cause: tables.cause_of(job),
                tries: 1,
                started: known(jobs.started.get(row(job)), ended),
                ended,
                peak_kib: 0,
                cpu_us: 0,
                body: Body::Failure(failure),
            }
        })
    }
}

fn failure_json() -> Vec<u8> {
    serde_json::to_vec(&Failure::default()).expect("plain data serialises")
}

/// The jobs by the chunk of their newest attempt.
fn by_chunk(tables: &Tables, ids: &IdSet) -> BTreeMap<u32, IdSet> {
    let mut chunks: BTreeMap<u32, Vec<JobId>> = BTreeMap::new();
    for job in ids.iter() {
        if let Some((index, _)) = tables.chunk_of(job) {
            chunks.entry(index).or_default().push(job);
        }
    }
    chunks.into_iter().map(|(index, jobs)| (index, jobs.into_iter().collect())).collect()
}
