//! Plain models of sets, collections, tables and registries, run side by side with the real ones.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "sim/mod.rs"]
mod sim;
#[path = "sim/reg.rs"]
mod simreg;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use batchwright_core::collection::{Builder, Collection, Header, Row};
use batchwright_core::fs::Fs;
use batchwright_core::ids::{IdSet, JobId};
use batchwright_core::journal::{EndRow, Ends};
use batchwright_core::layout::ChunkId;
use batchwright_core::registry::Registry;
use batchwright_core::run::Cause;
use batchwright_core::tables::{Stage, Tables};
use proptest::prelude::*;
use sim::{Random, SimClock, SimFs, rounds};
use simreg::{Pen, create, digest, intend, open, segment, watch};

fn few() -> impl Strategy<Value = Vec<u32>> {
    let id = prop_oneof![0u32..40, 65_530u32..65_545, Just(u32::MAX), Just(u32::MAX - 1)];
    prop::collection::vec(id, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_of_ids_is_an_ordered_set(a in few(), b in few()) {
        let set: IdSet = a.iter().copied().collect();
        let other: IdSet = b.iter().copied().collect();
        let (model, theirs): (BTreeSet<u32>, BTreeSet<u32>) =
            (a.iter().copied().collect(), b.iter().copied().collect());
        let vec = |set: &IdSet| set.iter().collect::<Vec<u32>>();
        let of = |model: BTreeSet<u32>| model.into_iter().collect::<Vec<u32>>();
        prop_assert_eq!(vec(&set), of(model.clone()));
        prop_assert_eq!(set.len(), model.len() as u64);
        prop_assert_eq!(set.max(), model.last().copied());
        prop_assert_eq!(vec(&set.union(&other)), of(&model | &theirs));
        prop_assert_eq!(vec(&set.intersection(&other)), of(&model & &theirs));
        prop_assert_eq!(vec(&set.difference(&other)), of(&model - &theirs));
        prop_assert_eq!(vec(&set.symmetric_difference(&other)), of(&model ^ &theirs));
        prop_assert_eq!(set.is_subset(&other), model.is_subset(&theirs));
        prop_assert_eq!(set.is_disjoint(&other), model.is_disjoint(&theirs));
        let mut extended = set.clone();
        extended.extend(&other);
        prop_assert_eq!(&extended, &set.union(&other));
        for (place, id) in (0..).zip(&model) {
            prop_assert_eq!(set.select(place), Some(*id));
        }
        prop_assert_eq!(set.select(model.len() as u32), None);
        let ranges: Vec<(u32, u32)> = set.ranges().collect();
        prop_assert!(ranges.windows(2).all(|w| u64::from(w[0].1) + 1 < u64::from(w[1].0)));
        let unrolled = ranges.iter().flat_map(|(first, last)| *first..=*last);
        prop_assert_eq!(unrolled.collect::<Vec<u32>>(), of(model));
        prop_assert_eq!(IdSet::from_bytes(&set.to_bytes()), Some(set));
    }

    #[test]
    fn hostile_bytes_are_no_set(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _refused = IdSet::from_bytes(&bytes);
    }

    #[test]
    fn ends_come_back(rows in prop::collection::vec(
        (1u32..9, any::<u8>(), any::<(i64, i64)>(), any::<u32>(), any::<u32>(), any::<u64>()),
        0..40,
    )) {
        let mut job = 0;
        let rows: Vec<EndRow> = rows.into_iter().map(|(step, cause, at, peak_kib, file, offset)| {
            job += step;
            let (started, ended) = at;
            EndRow { job, cause, started, ended, peak_kib, file, offset, message: file }
        }).collect();
        let ends = Ends::new(&rows, vec!["m".into()]);
        let bytes = postcard::to_stdvec(&ends).expect("packed");
        let back: Ends = postcard::from_bytes(&bytes).expect("read back");
        prop_assert_eq!(back.rows(), Some(rows));
    }

    #[test]
    fn collections_come_back_whole_or_not_at_all(
        rows in prop::collection::vec((any::<u32>(), any::<u16>(), 0usize..3000), 0..60),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let header = Header { jobs: rows.len() as u32, job_name: "n".into(), ..Header::default() };
        let bodies: Vec<Vec<u8>> = rows.iter().map(|(job, _, n)| vec![*job as u8; *n]).collect();
        let rows: Vec<Row<'_>> = rows.iter().zip(&bodies).map(|((job, call, _), parameters)| Row {
            job: *job, task: job / 2, attempt: *call, call: *call, parameters,
        }).collect();
        let mut builder = Builder::new(&header);
        for row in &rows {
            builder.row(*row);
        }
        let bytes = builder.finish();
        let whole = Collection::parse(&bytes).expect("whole");
        prop_assert_eq!(&whole.header, &header);
        prop_assert_eq!(whole.rows, rows);
        prop_assert!(Collection::parse(&bytes[..cut.index(bytes.len())]).is_err());
        let mut damaged = bytes.clone();
        damaged[flip.index(bytes.len())] ^= 0x10;
        prop_assert!(Collection::parse(&damaged).is_err());
    }
}

/// A set that claims four thousand million ids in a few bytes costs no memory.
#[test]
fn ends_that_cannot_be_true_are_refused() {
    let all = IdSet::range(1, u32::MAX);
    let mut bytes = postcard::to_stdvec(&all).expect("packed");
    bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let ends: Ends = postcard::from_bytes(&bytes).expect("well formed");
    assert_eq!(ends.rows(), None);
}

/// A job as a plain model sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Job {
    stage: Stage,
    cause: u8,
    attempt: u16,
    name: Option<String>,
    /// Number of the task of its newest attempt.
    task: Option<usize>,
}

#[derive(Clone, Debug)]
struct Task {
    chunk: ChunkId,
    jobs: Vec<JobId>,
    /// Jobs as they were before, while the scheduler has not accepted the task.
    before: Option<BTreeMap<JobId, Job>>,
    is_claimed: bool,
    is_open: bool,
    is_voided: bool,
}

#[derive(Default)]
struct Model {
    jobs: Vec<Job>,
    tasks: Vec<Task>,
    tags: BTreeMap<String, BTreeSet<JobId>>,
    settings: BTreeMap<String, String>,
}

struct World {
    fs: SimFs,
    clock: Arc<SimClock>,
    root: PathBuf,
    registry: Arc<Registry>,
    model: Model,
    pens: HashMap<usize, Pen>,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
        let registry = create(&fs, &clock, &root).expect("made");
        let random = Random(seed);
        Self { fs, clock, root, registry, model: Model::default(), pens: HashMap::new(), random }
    }

    fn some_jobs(&mut self, fits: impl Fn(&Job) -> bool) -> Vec<JobId> {
        let random = &mut self.random;
        let jobs = self.model.jobs.iter().zip(1u32..);
        jobs.filter(|(job, _)| fits(job) && random.below(3) == 0).map(|(_, id)| id).collect()
    }

    fn some_task(&mut self, fits: impl Fn(&Task) -> bool) -> Option<usize> {
        let tasks = self.model.tasks.iter().enumerate();
        let fitting: Vec<usize> = tasks.filter(|(_, t)| fits(t)).map(|(i, _)| i).collect();
        (!fitting.is_empty()).then(|| fitting[self.random.below(fitting.len())])
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        &mut self.model.jobs[id as usize - 1]
    }

    fn unfinished(&self, task: usize) -> Vec<JobId> {
        let is_its = |id: &JobId| {
            let job = &self.model.jobs[*id as usize - 1];
            job.task == Some(task) && job.stage.is_unfinished()
        };
        self.model.tasks[task].jobs.iter().copied().filter(is_its).collect()
    }

    fn close_if_over(&mut self, task: usize) {
        if self.unfinished(task).is_empty() {
            self.model.tasks[task].is_open = false;
            self.model.tasks[task].before = None;
        }
    }

    fn step(&mut self) -> &'static str {
        let name = [
            "define",
            "submit",
            "accept",
            "take back",
            "run",
            "give up",
            "reset",
            "tag",
            "untag",
            "name",
            "assign",
            "save",
            "reopen",
            "crash",
            "beat",
            "sweep",
            "lease",
        ];
        let name = name[self.random.below(name.len())];
        match name {
            "define" => self.define(),
            "submit" => self.submit(),
            "accept" => self.accept(),
            "take back" => self.take_back(),
            "run" => self.run(),
            "give up" => self.give_up(),
            "reset" => self.reset(),
            "tag" | "untag" => self.tag(name == "tag"),
            "name" => self.name(),
            "assign" => self.assign(),
            "save" => assert!(self.registry.save(true).expect("saved")),
            "beat" => assert!(self.registry.beat()),
            "sweep" => drop(self.registry.sweep().expect("swept")),
            "lease" => {
                self.clock.advance(50.0);
                self.assign();
            }
            _ => self.reopen(name == "crash"),
        }
        name
    }

    fn define(&mut self) {
        let count = 1 + self.random.below(6);
        let first = self.model.jobs.len() as u32 + 1;
        let given = self.registry.define(segment(count as u32), "{}").expect("defined");
        assert_eq!(given, (first, first + count as u32 - 1));
        self.model.jobs.extend(std::iter::repeat_n(Job::default(), count));
    }

    fn submit(&mut self) {
        let jobs = self.some_jobs(|job| !job.stage.is_unfinished());
        let is_array = self.random.below(3) == 0;
        let size = 1 + self.random.below(3);
        let chunks: Vec<&[JobId]> = jobs.chunks(size).collect();
        let given = intend(&self.registry, &chunks, is_array).expect("intended");
        for (jobs, chunk) in chunks.into_iter().zip(given) {
            let tasks: Vec<Vec<JobId>> = if is_array {
                jobs.iter().map(|job| vec![*job]).collect()
            } else {
                vec![jobs.to_vec()]
            };
            for jobs in tasks {
                let before = jobs.iter().map(|id| (*id, self.job(*id).clone())).collect();
                let task = self.model.tasks.len();
                for id in &jobs {
                    let job = self.job(*id);
                    let attempt = job.attempt + 1;
                    let name = job.name.take();
                    *job =
                        Job { stage: Stage::Submitted, cause: 0, attempt, name, task: Some(task) };
                }
                self.model.tasks.push(Task {
                    chunk,
                    jobs,
                    before: Some(before),
                    is_claimed: false,
                    is_open: true,
                    is_voided: false,
                });
            }
        }
    }

    fn accept(&mut self) {
        let Some(task) = self.some_task(|task| task.is_open) else { return };
        let chunk = self.model.tasks[task].chunk;
        let n = self.model.tasks.iter().filter(|task| task.chunk == chunk).count();
        let ids: Vec<String> = (0..n).map(|n| n.to_string()).collect();
        self.registry.submitted(chunk, &ids, None).expect("written");
        if self.random.below(2) == 0 {
            self.registry.flush().expect("synced");
        }
        for task in self.model.tasks.iter_mut().filter(|task| task.chunk == chunk) {
            task.before = None;
        }
    }

    /// Only what the scheduler has not accepted is ever taken back.
    fn take_back(&mut self) {
        let Some(task) = self.some_task(|t| t.is_open && t.before.is_some()) else { return };
        let chunk = self.model.tasks[task].chunk;
        let its = |t: &Task| t.chunk == chunk && t.is_open;
        let tasks: Vec<usize> =
            (0..self.model.tasks.len()).filter(|task| its(&self.model.tasks[*task])).collect();
        let claimed = self.registry.take_back(&[chunk]).expect("asked");
        let is_claimed = |task: &usize| self.model.tasks[*task].is_claimed;
        assert_eq!(claimed.is_empty(), !tasks.iter().any(is_claimed));
        for task in tasks {
            if self.model.tasks[task].is_claimed {
                continue;
            }
            for (id, before) in self.model.tasks[task].before.take().into_iter().flatten() {
                let name = self.job(id).name.take();
                *self.job(id) = Job { name, ..before };
            }
            self.model.tasks[task].is_open = false;
            self.model.tasks[task].is_voided = true;
        }
    }

    /// An executor reports something, and the owner looks.
    fn run(&mut self) {
        let Some(task) = self.some_task(|task| task.is_open && !task.is_voided) else { return };
        let Task { chunk, jobs, .. } = self.model.tasks[task].clone();
        let siblings = self.model.tasks[..task].iter().filter(|t| t.chunk == chunk).count();
        let is_array = self.registry.read(|t| t.chunk_index(chunk, 0)).is_none();
        let number = if is_array { siblings as u32 + 1 } else { 0 };
        let mut pen = self
            .pens
            .remove(&task)
            .unwrap_or_else(|| Pen::new(&self.registry, chunk, number, 0).claim());
        self.model.tasks[task].is_claimed = true;
        self.model.tasks[task].before = None;
        let mut ended = false;
        for id in jobs {
            if !self.unfinished(task).contains(&id) {
                continue;
            }
            let what = self.random.below(5);
            match what {
                0 => {
                    pen = pen.started(id);
                    self.job(id).stage = Stage::Started;
                }
                1 | 2 => {
                    pen = if what == 1 { pen.done(id) } else { pen.failed(id) };
                    let job = self.job(id);
                    job.stage = if what == 1 { Stage::Done } else { Stage::Error };
                    job.cause = if what == 1 { 0 } else { Cause::Error as u8 };
                    ended = true;
                }
                _ => {}
            }
        }
        if self.random.below(4) == 0 {
            pen = pen.mark().closed(Some(Cause::Walltime));
            for id in self.unfinished(task) {
                let job = self.job(id);
                (job.stage, job.cause) = (Stage::Expired, Cause::Walltime as u8);
            }
            self.model.tasks[task].is_open = false;
        } else if ended {
            self.close_if_over(task);
        }
        self.pens.insert(task, pen.show(&self.fs));
        self.registry.sync(&|| false).expect("looked");
    }

    fn give_up(&mut self) {
        let Some(task) = self.some_task(|task| task.is_open) else { return };
        let chunk = self.model.tasks[task].chunk;
        let asked = self.some_jobs(|_| true);
        self.registry.void(&[chunk]).expect("voided");
        let ids = asked.iter().copied().collect();
        self.registry.give_up(&[chunk], &ids, Cause::Killed).expect("given up");
        for task in 0..self.model.tasks.len() {
            if self.model.tasks[task].chunk != chunk || !self.model.tasks[task].is_open {
                continue;
            }
            for id in self.unfinished(task) {
                let job = self.job(id);
                (job.stage, job.cause) = if asked.contains(&id) {
                    (Stage::Defined, 0)
                } else {
                    (Stage::Expired, Cause::Killed as u8)
                };
            }
            self.model.tasks[task].is_open = false;
            self.model.tasks[task].is_voided = true;
        }
    }

    fn reset(&mut self) {
        let ids = self.some_jobs(|job| !job.stage.is_unfinished());
        self.registry.reset(&ids.iter().copied().collect()).expect("reset");
        for id in ids {
            let job = self.job(id);
            (job.stage, job.cause, job.task) = (Stage::Defined, 0, None);
        }
    }

    fn tag(&mut self, add: bool) {
        let ids = self.some_jobs(|_| true);
        let tag = format!("t{}", self.random.below(3));
        let set: IdSet = ids.iter().copied().collect();
        if add {
            self.registry.tag(&set, std::slice::from_ref(&tag)).expect("tagged");
            self.model.tags.entry(tag).or_default().extend(ids);
            return;
        }
        let lost = self.registry.untag(&set, std::slice::from_ref(&tag)).expect("untagged");
        let Some(tagged) = self.model.tags.get_mut(&tag) else {
            assert!(lost.is_empty());
            return;
        };
        let gone: Vec<JobId> = ids.into_iter().filter(|id| tagged.remove(id)).collect();
        assert_eq!(lost.iter().collect::<Vec<_>>(), gone);
        if tagged.is_empty() && !gone.is_empty() {
            self.model.tags.remove(&tag);
        }
    }

    fn name(&mut self) {
        let ids = self.some_jobs(|_| true);
        let random = &mut self.random;
        let names: Vec<Option<String>> =
            ids.iter().map(|id| (random.below(2) == 0).then(|| format!("n{}", id % 3))).collect();
        self.registry.set_names(ids.clone(), names.clone()).expect("named");
        for (id, name) in ids.into_iter().zip(names) {
            self.job(id).name = name;
        }
    }

    fn assign(&mut self) {
        let name = format!("s{}", self.random.below(4));
        let value = (self.random.below(3) > 0).then(|| self.random.next().to_string());
        self.registry.assign(&name, value.as_deref()).expect("written");
        match value {
            Some(value) => drop(self.model.settings.insert(name, value)),
            None => drop(self.model.settings.remove(&name)),
        }
    }

    fn reopen(&mut self, crash: bool) {
        self.registry.flush().expect("synced");
        let before = self.registry.read(digest);
        let watcher = watch(&self.fs, &self.clock, &self.root).expect("opened");
        assert_eq!(watcher.read(digest), before, "a reader sees what the owner does");
        if crash {
            // The process is gone and the power with it: one of the states the disk may be in.
            let states = self.fs.crash_states(5, self.random.next());
            self.fs = states[self.random.below(states.len())].clone();
        } else if self.random.below(2) == 0 {
            self.registry.close().expect("closed");
        }
        self.registry = open(&self.fs, &self.clock, &self.root).expect("opened");
        assert_eq!(self.registry.read(digest), before, "tables differ after reopening");
    }

    fn check(&self) {
        self.registry.read(|tables| {
            assert_eq!(tables.n_jobs() as usize, self.model.jobs.len());
            for (job, id) in self.model.jobs.iter().zip(1u32..) {
                assert_eq!(&seen(tables, id), job, "job {id}");
            }
            let open: Vec<usize> = tables.open.iter().map(|index| *index as usize).collect();
            let tasks = self.model.tasks.iter().enumerate();
            let expected: Vec<usize> = tasks.filter(|(_, t)| t.is_open).map(|(i, _)| i).collect();
            assert_eq!(open, expected, "open tasks");
            for task in open {
                let unfinished: Vec<JobId> = tables.unfinished_of(task as u32).iter().collect();
                assert_eq!(unfinished, self.unfinished(task));
                assert_eq!(tables.chunks[task].unfinished as usize, unfinished.len());
            }
            assert_eq!(tables.settings, self.model.settings);
            let tags = tables.tags.iter().map(|(tag, ids)| (tag.clone(), ids.iter().collect()));
            assert_eq!(tags.collect::<BTreeMap<String, BTreeSet<JobId>>>(), self.model.tags);
        });
    }
}

fn seen(tables: &Tables, id: JobId) -> Job {
    let row = id as usize - 1;
    Job {
        stage: tables.jobs.stage_of(id),
        cause: tables.jobs.cause.get(row),
        attempt: tables.jobs.attempt.get(row),
        name: tables.texts.get(tables.jobs.name.get(row)).map(str::to_owned),
        task: (tables.jobs.chunk.get(row) as usize).checked_sub(1),
    }
}

/// Random verbs, closings, crashes and reopenings: the registry is its model after each step.
#[test]
fn model_core() {
    let mut steps = 0u64;
    for seed in rounds(60) {
        let mut world = World::new(seed);
        let mut told = Vec::new();
        for _ in 0..60 {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                told.push(world.step());
                world.check();
            }));
            if let Err(panic) = checked {
                println!("seed {seed}: {told:?}");
                std::panic::resume_unwind(panic);
            }
            steps += 1;
        }
        world.reopen(false);
        world.check();
        assert!(world.fs.look(&world.root).is_ok());
    }
    println!("steps {steps}; divergences 0");
}
