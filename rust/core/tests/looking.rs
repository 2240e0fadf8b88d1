//! States from evidence: what run files, listings, absence and voids make of a job.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "sim/mod.rs"]
mod sim;
#[path = "sim/reg.rs"]
mod simreg;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use batchwright_core::error::ErrorKind;
use batchwright_core::frame::{self, Content, FileId, FrameWriter};
use batchwright_core::ids::IdSet;
use batchwright_core::layout::{ChunkId, RunId};
use batchwright_core::process;
use batchwright_core::registry::{Listed, Patience, Registry};
use batchwright_core::run::{self, Cause};
use batchwright_core::tables::Stage;
use sim::{Random, SimClock, SimFs, rounds};
use simreg::{Pen, create, intend, open, segment, watch};

struct World {
    fs: SimFs,
    clock: Arc<SimClock>,
    root: PathBuf,
    registry: Arc<Registry>,
    chunk: ChunkId,
}

impl World {
    /// Three jobs in one submitted chunk.
    fn new() -> Self {
        let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
        let registry = create(&fs, &clock, &root).expect("made");
        registry.define(segment(3), "{}").expect("defined");
        let chunk = intend(&registry, &[&[1, 2, 3]], false).expect("intended")[0];
        registry.submitted(chunk, &["9".into()], None).expect("written");
        Self { fs, clock, root, registry, chunk }
    }

    fn pen(&self, run: u32) -> Pen {
        Pen::new(&self.registry, self.chunk, 0, run)
    }

    fn sync(&self) -> bool {
        self.registry.sync(&|| false).expect("looked")
    }

    fn stages(&self) -> [Stage; 3] {
        self.registry.read(|t| [1, 2, 3].map(|job| t.jobs.stage_of(job)))
    }

    fn cause(&self, job: u32) -> Option<Cause> {
        self.registry.read(|t| t.cause_of(job))
    }

    /// Looks that do not show the chunk, and as many at its files, over so many seconds.
    fn vanish(&self, looks: u32, seconds: f64) {
        for _ in 0..looks {
            self.registry.observe("sim", Some(&[]));
            self.sync();
            self.clock.advance(seconds / f64::from(looks));
        }
        self.sync();
    }

    /// A look that shows the chunk.
    fn listed(&self, running: bool) {
        let listed = Listed { batch_id: "9".into(), running, reason: String::new() };
        self.registry.observe("sim", Some(&[listed]));
    }

    fn expire(&self) -> IdSet {
        self.registry.expire(3, &HashMap::new(), Patience::default()).expect("looked")
    }
}

use Stage::{Defined, Done, Error, Expired, Started, Submitted};

#[test]
fn records_move_jobs_forward() {
    let world = World::new();
    assert!(!world.sync(), "nothing there, nothing new");
    let pen = world.pen(0).claim().started(1).show(&world.fs);
    assert!(world.sync());
    assert_eq!(world.stages(), [Started, Submitted, Submitted]);
    let pen = pen.done(1).failed(2).show(&world.fs);
    assert!(world.sync());
    assert_eq!(world.stages(), [Done, Error, Submitted]);
    assert!(!world.sync());
    pen.done(3).closed(None).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Error, Done]);
    assert_eq!(world.registry.open_tasks(), []);
    assert_eq!(world.cause(2), Some(Cause::Error));
}

#[test]
fn done_never_leaves_done() {
    let world = World::new();
    world.pen(0).claim().done(1).show(&world.fs);
    world.sync();
    let accepted = world.registry.read(|t| (t.jobs.file.get(0), t.jobs.offset.get(0)));
    world.pen(1).claim().failed(1).done(1).closed(Some(Cause::Killed)).show(&world.fs);
    world.sync();
    assert_eq!(world.stages()[0], Done);
    let still = world.registry.read(|t| (t.jobs.file.get(0), t.jobs.offset.get(0)));
    assert_eq!(still, accepted, "a second result is never swapped in");
    world.registry.give_up(&[world.chunk], &IdSet::range(1, 3), Cause::Killed).expect("given up");
    world.registry.take_back(&[world.chunk]).expect("nothing to take back");
    assert_eq!(world.stages()[0], Done);
}

#[test]
fn of_errors_the_largest_run_counts_and_of_results_the_smallest() {
    let world = World::new();
    world.pen(0).claim().failed(1).done(2).show(&world.fs);
    world.pen(1).claim().failed(1).failed(2).done(3).show(&world.fs);
    world.pen(2).claim().done(3).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Error, Done, Done]);
    let run_of = |job: u32| {
        world.registry.read(|t| t.files[t.jobs.file.get(job as usize - 1) as usize - 1].run)
    };
    assert_eq!([run_of(1), run_of(2), run_of(3)], [1, 0, 1]);
    let late = Pen::segment(&world.registry, RunId { chunk: world.chunk, task: 0, run: 0 }, 1);
    late.failed(1).show(&world.fs);
    world.sync();
    assert_eq!(run_of(1), 1, "an error of a smaller run comes too late");
}

#[test]
fn a_run_that_closes_gives_back_what_it_did_not_end() {
    let world = World::new();
    world.pen(0).claim().started(2).done(1).closed(Some(Cause::Preempted)).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Expired, Expired]);
    assert_eq!(world.cause(2), Some(Cause::Preempted));
    // A requeued run of the same chunk brings them back.
    world.pen(1).claim().done(2).failed(3).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Done, Error]);
}

#[test]
fn a_requeued_run_may_do_what_was_stopped_in_the_one_before() {
    let world = World::new();
    world.pen(0).claim().done(1).done(2).stopped(3).closed(None).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Done, Error]);
    // Minutes later, when nothing of the chunk is expected any more.
    for _ in 0..10 {
        world.sync();
    }
    world.pen(1).claim().done(3).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done; 3]);
}

#[test]
fn a_stopped_run_decides_nothing_while_the_queue_shows_its_task() {
    let world = World::new();
    world.listed(true);
    let pen = world.pen(0).claim().started(1).started(2).done(1).stopped(2);
    // A job that runs beside the stopped one ends in its time of grace.
    pen.failed(3).closed(Some(Cause::NotStarted)).show(&world.fs);
    assert!(world.sync());
    assert_eq!(world.stages(), [Done, Started, Error]);
    assert!(!world.sync(), "what waits is no news");
    // Requeued: it waits, it runs.
    world.listed(false);
    world.sync();
    assert_eq!(world.registry.counts(None).queued, 1);
    assert_eq!(world.registry.counts(None).running, 0);
    world.listed(true);
    world.pen(1).claim().started(2).done(2).closed(None).show(&world.fs);
    assert!(world.sync());
    assert_eq!(world.stages(), [Done, Done, Error]);
    assert_eq!(world.registry.open_tasks(), []);
}

#[test]
fn a_stopped_run_decides_once_the_queue_does_not_show_its_task() {
    let world = World::new();
    world.listed(true);
    world.pen(0).claim().started(1).stopped(1).closed(Some(Cause::NotStarted)).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Started, Submitted, Submitted]);
    world.registry.observe("sim", Some(&[]));
    world.sync();
    assert_eq!(world.stages(), [Error, Expired, Expired]);
    assert_eq!(world.cause(1), Some(Cause::Stopped));
    assert_eq!(world.cause(2), Some(Cause::NotStarted));
}

#[test]
fn accounting_says_why_a_run_was_stopped() {
    let said = |cause| HashMap::from([("9".to_owned(), cause)]);
    for (accounts, expected) in [
        (said(Some(Cause::Node)), Cause::Node),
        (said(Some(Cause::Preempted)), Cause::Preempted),
        // How the executor itself ended is not why it was stopped.
        (said(Some(Cause::Crashed)), Cause::Stopped),
        (HashMap::new(), Cause::Stopped),
    ] {
        let world = World::new();
        world.registry.ask("sim", true);
        world.listed(true);
        world.pen(0).claim().started(1).done(2).stopped(1).show(&world.fs);
        world.sync();
        assert_eq!(world.registry.stopped(), [], "it is listed");
        world.registry.observe("sim", Some(&[]));
        world.sync();
        assert_eq!(world.stages(), [Started, Done, Submitted], "accounting was not asked yet");
        assert_eq!(world.registry.stopped().len(), 1);
        world.registry.account_for(&accounts);
        world.sync();
        assert_eq!(world.stages(), [Error, Done, Submitted]);
        assert_eq!(world.cause(1), Some(expected));
    }
}

#[test]
fn what_accounting_takes_for_running_is_waited_for_and_not_for_ever() {
    let world = World::new();
    world.registry.ask("sim", true);
    world.pen(0).claim().started(1).stopped(1).show(&world.fs);
    let mut looks = 0;
    while world.stages()[0] != Error {
        assert!(looks < 10);
        world.registry.observe("sim", Some(&[]));
        world.registry.account_for(&HashMap::from([("9".to_owned(), None)]));
        world.sync();
        looks += 1;
    }
    assert!(looks > 2, "{looks}");
    assert_eq!(world.cause(1), Some(Cause::Stopped));
}

#[test]
fn of_two_stopped_runs_the_later_decides() {
    let world = World::new();
    world.listed(true);
    world.pen(0).claim().started(1).stopped(1).closed(Some(Cause::NotStarted)).show(&world.fs);
    world.sync();
    world.pen(1).claim().started(1).closed(Some(Cause::Preempted)).show(&world.fs);
    world.sync();
    world.registry.observe("sim", Some(&[]));
    world.sync();
    assert_eq!(world.stages(), [Expired; 3]);
    assert_eq!(world.cause(1), Some(Cause::Preempted));
}

#[test]
fn a_later_run_that_vanishes_leaves_nothing_to_the_stopped_one() {
    let world = World::new();
    world.listed(true);
    world.pen(0).claim().started(1).stopped(1).closed(Some(Cause::NotStarted)).show(&world.fs);
    world.pen(1).claim().started(1).show(&world.fs);
    world.sync();
    world.vanish(5, 300.0);
    assert_eq!(world.expire(), IdSet::range(1, 3));
    assert_eq!(world.cause(1), Some(Cause::Lost));
}

#[test]
fn a_queue_that_does_not_answer_leaves_a_stopped_run_open() {
    let world = World::new();
    world.registry.ask("sim", false);
    world.pen(0).claim().started(1).stopped(1).closed(Some(Cause::NotStarted)).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Started, Submitted, Submitted]);
    // Nothing is to be expected from one that lists nothing, or of another kind.
    world.registry.observe("sim", None);
    world.sync();
    assert_eq!(world.stages(), [Error, Expired, Expired]);
    let world = World::new();
    world.listed(true);
    world.registry.ask("another", false);
    world.pen(0).claim().started(1).stopped(1).closed(Some(Cause::NotStarted)).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Error, Expired, Expired]);
}

#[test]
fn a_superseded_run_gives_nothing_back() {
    let world = World::new();
    world.pen(0).claim().started(1).closed(Some(Cause::Stopped)).show(&world.fs);
    world.pen(1).claim().show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Started, Submitted, Submitted]);
}

#[test]
fn a_late_record_turns_expired_into_its_end() {
    let world = World::new();
    let pen = world.pen(0).claim().started(1).started(2).show(&world.fs);
    world.vanish(5, 300.0);
    assert_eq!(world.expire(), IdSet::range(1, 3));
    assert_eq!(world.stages(), [Expired; 3]);
    assert_eq!(world.cause(1), Some(Cause::Lost));
    let pen = pen.done(1).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Expired, Expired]);
    // Also for an owner that has just come.
    let World { fs, clock, root, registry, chunk } = world;
    drop(registry);
    let registry = open(&fs, &clock, &root).expect("opened");
    pen.failed(2).show(&fs);
    let world = World { fs, clock, root, registry, chunk };
    world.sync();
    assert_eq!(world.stages(), [Done, Error, Expired]);
}

#[test]
fn records_of_an_older_chunk_are_ignored() {
    let world = World::new();
    let old = world.pen(0).claim().started(1).show(&world.fs);
    world.vanish(5, 300.0);
    world.expire();
    let new = intend(&world.registry, &[&[1]], false).expect("intended")[0];
    old.done(1).done(2).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Submitted, Done, Expired]);
    Pen::new(&world.registry, new, 0, 0).claim().failed(1).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Error, Done, Expired]);
}

#[test]
fn silence_alone_and_absence_alone_decide_nothing() {
    let world = World::new();
    let pen = world.pen(0).claim().started(1).show(&world.fs);
    world.sync();
    for _ in 0..9 {
        world.listed(true);
        world.sync();
        world.clock.advance(1000.0);
        assert!(world.expire().is_empty(), "silent and listed");
    }
    pen.mark().show(&world.fs);
    for _ in 0..9 {
        world.registry.observe("sim", Some(&[]));
        world.sync();
        world.clock.advance(1.0);
        assert!(world.expire().is_empty(), "absent and fresh");
    }
    for _ in 0..9 {
        world.registry.observe("sim", None);
        world.registry.observe("another", Some(&[]));
    }
    assert_eq!(world.stages(), [Started, Submitted, Submitted]);
}

#[test]
fn a_dead_pid_counts_only_on_this_machine_and_outside_containers() {
    let here = process::Identity::of_this_process();
    let dead = run::Claim {
        host: here.host,
        boot_id: here.boot_id,
        namespace: here.namespace,
        pid: u32::MAX,
        ..run::Claim::default()
    };
    let in_a_container = run::Claim { namespace: "pid:[1]".to_owned(), ..dead.clone() };
    let elsewhere = run::Claim { boot_id: "another".to_owned(), ..dead.clone() };
    for (claim, is_lost) in [(dead, true), (in_a_container, false), (elsewhere, false)] {
        let world = World::new();
        world.pen(0).claim_by(claim).started(1).show(&world.fs);
        world.vanish(3, 1.0);
        assert_eq!(world.expire().is_empty(), !is_lost);
    }
}

#[test]
fn failed_looks_and_restarts_are_no_silence() {
    let world = World::new();
    world.pen(0).claim().started(1).show(&world.fs);
    world.vanish(3, 1.0);
    // The files cannot be read for an hour.
    let calls = world.fs.calls();
    world.fs.fail(Some(sim::Fault { at: calls, errno: 5, for_ever: true }));
    world.clock.advance(40.0);
    world.sync();
    world.fs.fail(None);
    assert!(world.expire().is_empty());
    drop(world.registry);
    world.clock.advance(40.0);
    let registry = open(&world.fs, &world.clock, &world.root).expect("opened");
    let world = World { registry, ..world };
    world.vanish(5, 5.0);
    assert!(world.expire().is_empty(), "this process has watched it for seconds only");
    world.clock.advance(161.0);
    world.sync();
    // (The lease ran out while nothing was written: the epoch moves on, and no more.)
    assert_eq!(world.expire(), IdSet::range(1, 3));
}

#[test]
fn only_a_won_void_expires_what_was_never_claimed() {
    let world = World::new();
    world.vanish(3, 1.0);
    // An executor claims it in the last moment, unseen by the last look.
    let pen = world.pen(0).claim().show(&world.fs);
    assert!(world.expire().is_empty());
    pen.done(1).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Submitted, Submitted]);

    let world = World::new();
    world.vanish(3, 1.0);
    assert_eq!(world.expire(), IdSet::range(1, 3));
    assert_eq!(world.cause(1), Some(Cause::NotStarted));
    let void = world.registry.layout().run(RunId { chunk: world.chunk, task: 0, run: 0 }, 0);
    assert!(world.fs.paths().contains(&void));
}

const LATE_LISTING: Patience = Patience { listing: 60.0, accounting: 0.0 };

#[test]
fn what_no_look_ever_showed_may_be_listed_late() {
    let world = World::new();
    let patient = || world.registry.expire(3, &HashMap::new(), LATE_LISTING).expect("looked");
    for _ in 0..50 {
        world.registry.observe("sim", Some(&[]));
        world.sync();
        assert!(patient().is_empty());
        world.clock.advance(1.0);
    }
    // What was shown and is gone is not late.
    world.listed(false);
    world.vanish(3, 1.0);
    assert_eq!(patient(), IdSet::range(1, 3));

    let world = World::new();
    world.vanish(3, 61.0);
    assert_eq!(world.registry.expire(3, &HashMap::new(), LATE_LISTING).expect("asked").len(), 3);

    // Nor is what accounting knows the end of.
    let world = World::new();
    world.vanish(3, 1.0);
    let failed = HashMap::from([("9".to_owned(), Some(Cause::Setup))]);
    assert_eq!(world.registry.expire(3, &failed, LATE_LISTING).expect("asked").len(), 3);
    assert_eq!(world.cause(1), Some(Cause::Setup));
}

#[test]
fn accounting_may_learn_late_what_became_of_a_task() {
    let slow = Patience { listing: 0.0, accounting: 20.0 };
    let expire = |world: &World, causes| world.registry.expire(3, causes, slow).expect("looked");
    let silent = HashMap::new();
    let world = World::new();
    world.listed(true);
    world.vanish(10, 1.0);
    assert!(expire(&world, &silent).is_empty(), "its record is on its way");
    let told = HashMap::from([("9".to_owned(), Some(Cause::Oom))]);
    assert_eq!(expire(&world, &told), IdSet::range(1, 3));
    assert_eq!(world.cause(1), Some(Cause::Oom));

    let world = World::new();
    world.listed(true);
    world.vanish(10, 21.0);
    assert_eq!(expire(&world, &silent), IdSet::range(1, 3), "it knows nothing");
    assert_eq!(world.cause(1), Some(Cause::NotStarted));
}

#[test]
fn a_void_of_an_owner_that_died_is_a_won_one() {
    let world = World::new();
    let other = intend(&world.registry, &[], false).expect("nothing").len();
    assert_eq!(other, 0);
    let file = FileId::random();
    let mut bytes = frame::file_header(Content::Run, file).to_vec();
    let void = run::Void { by: "me".into(), at: 0, reason: "it vanished".into() };
    run::Record::Void(void).write(&mut FrameWriter::new(file), &mut bytes);
    let path = world.registry.layout().run(RunId { chunk: world.chunk, task: 0, run: 0 }, 0);
    world.fs.plant(&path, &bytes);
    assert_eq!(world.registry.take_back(&[world.chunk]).expect("asked"), []);
    assert_eq!(world.stages(), [Defined; 3]);
}

#[test]
fn tasks_of_an_array_are_taken_back_one_by_one() {
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
    let registry = create(&fs, &clock, &root).expect("made");
    registry.define(segment(3), "{}").expect("defined");
    let chunk = intend(&registry, &[&[3, 1, 2]], true).expect("intended")[0];
    Pen::new(&registry, chunk, 2, 0).claim().done(2).show(&fs);
    assert_eq!(registry.take_back(&[chunk]).expect("asked"), [chunk]);
    registry.sync(&|| false).expect("looked");
    let stages = registry.read(|t| [1, 2, 3].map(|job| t.jobs.stage_of(job)));
    assert_eq!(stages, [Defined, Done, Defined]);
    // What is done is not taken back either.
    assert_eq!(registry.take_back(&[chunk]).expect("asked"), []);
    assert_eq!(registry.read(|t| t.jobs.stage_of(2)), Done);
}

#[test]
fn array_tasks_run_the_job_that_the_tables_expect() {
    use batchwright_core::collection::Collection;
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
    let registry = create(&fs, &clock, &root).expect("made");
    registry.define(segment(3), "{}").expect("defined");
    let chunk = intend(&registry, &[&[3, 1, 2]], true).expect("intended")[0];
    let bytes = fs.bytes(&registry.layout().collection(chunk));
    let collection = Collection::parse(&bytes).expect("whole");
    let rows: Vec<(u32, u32)> = collection.rows.iter().map(|row| (row.task, row.job)).collect();
    let expected = registry.read(|t| {
        let tasks = t.chunks.iter();
        tasks.map(|c| (c.task, c.jobs.select(0).expect("one"))).collect::<Vec<_>>()
    });
    assert_eq!(rows, expected);
}

#[test]
fn a_kill_takes_back_what_was_asked_and_expires_the_rest() {
    let world = World::new();
    world.pen(0).claim().started(1).show(&world.fs);
    world.sync();
    world.registry.void(&[world.chunk]).expect("voided");
    let stop = world.registry.layout().run(RunId { chunk: world.chunk, task: 0, run: 1 }, 0);
    assert!(world.fs.paths().contains(&stop), "the running run is told to stop");
    let asked = IdSet::range(1, 2);
    world.registry.give_up(&[world.chunk], &asked, Cause::Killed).expect("given up");
    assert_eq!(world.stages(), [Defined, Defined, Expired]);
    assert_eq!(world.cause(3), Some(Cause::Killed));
}

#[test]
fn damage_below_a_mark_costs_what_it_hit() {
    let world = World::new();
    let pen = world.pen(0).claim();
    let start = pen.bytes.len();
    let mut pen = pen.done(1).mark().done(2).done(3);
    pen.bytes[start + 30] ^= 1;
    let pen = pen.mark().show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Submitted, Done, Done]);
    assert_eq!(world.registry.damage().len(), 1);
    pen.closed(None).show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Error, Done, Done]);
    assert_eq!(world.cause(1), Some(Cause::Storage));
}

#[test]
fn bytes_behind_a_gap_that_no_mark_covers_may_be_late() {
    let world = World::new();
    let pen = world.pen(0).claim();
    let start = pen.bytes.len();
    let mut pen = pen.done(1).done(2);
    let whole = pen.bytes.clone();
    pen.bytes[start..start + 20].fill(0);
    let mut pen = pen.show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Submitted; 3]);
    pen.bytes = whole;
    pen.show(&world.fs);
    world.sync();
    assert_eq!(world.stages(), [Done, Done, Submitted]);
    assert_eq!(world.registry.damage(), []);
}

#[test]
fn a_gap_that_stays_is_damage_in_the_end() {
    let world = World::new();
    let pen = world.pen(0).claim();
    let start = pen.bytes.len();
    let mut pen = pen.done(1).done(2);
    pen.bytes[start..start + 20].fill(0);
    pen.show(&world.fs);
    world.sync();
    world.clock.advance(200.0);
    world.sync();
    assert_eq!(world.stages(), [Submitted, Done, Submitted]);
}

#[test]
fn a_watcher_sees_the_same_and_writes_nothing() {
    let world = World::new();
    world.registry.flush().expect("synced");
    world.pen(0).claim().done(1).failed(2).closed(Some(Cause::Walltime)).show(&world.fs);
    let watcher = watch(&world.fs, &world.clock, &world.root).expect("opened");
    let files = world.fs.paths();
    watcher.sync(&|| false).expect("looked");
    assert_eq!(
        watcher.expire(1, &HashMap::new(), Patience::default()).expect("asked"),
        IdSet::default()
    );
    assert_eq!(world.fs.paths(), files);
    let stages = watcher.read(|t| [1, 2, 3].map(|job| t.jobs.stage_of(job)));
    world.sync();
    assert_eq!(stages, world.stages());
    assert_eq!(
        watcher.tag(&IdSet::range(1, 1), &["t".into()]).unwrap_err().kind(),
        ErrorKind::ReadOnly
    );
    assert!(watcher.refresh().expect("read"));
    let calls = world.fs.calls();
    assert!(!watcher.refresh().expect("read"));
    assert_eq!(world.fs.calls() - calls, 2, "a list and a length where nothing is new");
}

/// Two runs of one chunk in two segments each, seen piece by piece in any order: the end state
/// is that of seeing all at once.
#[test]
fn the_order_of_evidence_does_not_matter() {
    let mut tried = 0;
    for round in rounds(60) {
        let world = World::new();
        let mut random = Random(round);
        let files = |world: &World| {
            let id = |run| RunId { chunk: world.chunk, task: 0, run };
            [
                world.pen(0).claim().started(1).failed(1).failed(2),
                Pen::segment(&world.registry, id(0), 1).failed(3),
                world.pen(1).claim().started(2).failed(1).done(2),
                Pen::segment(&world.registry, id(1), 1).closed(Some(Cause::Killed)),
            ]
        };
        let mut shown: Vec<(Pen, usize)> = files(&world).into_iter().map(|pen| (pen, 0)).collect();
        while shown.iter().any(|(pen, length)| *length < pen.bytes.len()) {
            // What closes the task comes last, or what is behind may be late for good.
            let open = shown[..3].iter().any(|(pen, length)| *length < pen.bytes.len());
            let (pen, length) = &mut shown[if open { random.below(3) } else { 3 }];
            *length = pen.bytes.len().min(*length + 1 + random.below(120));
            let bytes = pen.bytes[..*length].to_vec();
            if world.fs.paths().contains(&pen.path) {
                world.fs.replace(&pen.path, bytes);
            } else {
                world.fs.plant(&pen.path, &bytes);
            }
            if random.below(2) == 0 {
                world.sync();
            }
        }
        world.sync();
        assert_eq!(world.stages(), [Error, Done, Error], "round {round}");
        let run = world.registry.read(|t| t.files[t.jobs.file.get(0) as usize - 1].run);
        assert_eq!(run, 1, "round {round}");
        tried += 1;
    }
    println!("orders {tried}; law breaks 0");
}

#[test]
fn clearing_forgets_what_was_seen_of_the_old_chunks() {
    let world = World::new();
    world.vanish(9, 1.0);
    world.pen(0).claim().done(1).done(2).done(3).show(&world.fs);
    world.sync();
    world.registry.clear().expect("cleared");
    world.registry.define(segment(1), "{}").expect("defined");
    let chunk = intend(&world.registry, &[&[1]], false).expect("intended")[0];
    world.registry.submitted(chunk, &["10".into()], None).expect("written");
    assert!(world.expire().is_empty(), "the new chunk was never looked for");
}

#[test]
fn unknown_and_doubled_jobs_are_refused_before_anything_is_written() {
    let world = World::new();
    let registry = &world.registry;
    let names = registry.set_names(vec![4], vec![None]).unwrap_err();
    assert_eq!(names.kind(), ErrorKind::UnknownJob);
    for ids in [IdSet::range(0, 0), IdSet::range(3, 4)] {
        assert_eq!(registry.tag(&ids, &["t".into()]).unwrap_err().kind(), ErrorKind::UnknownJob);
        assert_eq!(registry.reset(&ids).unwrap_err().kind(), ErrorKind::UnknownJob);
    }
    registry.give_up(&[world.chunk], &IdSet::range(1, 3), Cause::Killed).expect("given up");
    for (chunks, kind) in [
        (vec![&[0u32][..]], ErrorKind::UnknownJob),
        (vec![&[1, 9][..]], ErrorKind::UnknownJob),
        (vec![&[1, 1][..]], ErrorKind::Invalid),
        (vec![&[1][..], &[1]], ErrorKind::Invalid),
        (vec![&[][..]], ErrorKind::Invalid),
    ] {
        assert_eq!(intend(registry, &chunks, false).unwrap_err().kind(), kind, "{chunks:?}");
    }
    let ids = ["1".to_owned(), "2".to_owned()];
    let many = registry.submitted(world.chunk, &ids, None).unwrap_err();
    assert_eq!(many.kind(), ErrorKind::Invalid);
    assert!(registry.is_writeable());
    open(&world.fs, &world.clock, &world.root).expect("still opens");
}
