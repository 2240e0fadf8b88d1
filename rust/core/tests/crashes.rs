//! Power cuts and failing calls: nothing acknowledged is lost, nothing half-made appears.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "sim/mod.rs"]
mod sim;
#[path = "sim/reg.rs"]
mod simreg;

use std::path::Path;
use std::sync::Arc;

use batchwright_core::Result;
use batchwright_core::error::{Error, ErrorKind};
use batchwright_core::ids::IdSet;
use batchwright_core::registry::Registry;
use batchwright_core::tables::Tables;
use sim::{SimClock, SimFs, rounds};
use simreg::{Pen, create, digest, intend, open, segment};

type Verb = (&'static str, fn(&SimFs, &Arc<Registry>) -> Result<()>);

const VERBS: &[Verb] = &[
    ("define", |_, r| r.define(segment(4), "{}").map(drop)),
    ("name", |_, r| r.set_names(vec![1, 2], vec![Some("a".into()), Some("b".into())])),
    ("tag", |_, r| r.tag(&IdSet::range(2, 4), &["t".into(), "u".into()])),
    ("intend", |_, r| intend(r, &[&[1, 2], &[3]], false).map(drop)),
    ("beat", |_, r| {
        let _owned = r.beat();
        Ok(())
    }),
    ("submitted", |_, r| {
        let chunk = r.read(|t| t.chunks[0].chunk());
        r.submitted(chunk, &["17".into()], None)?;
        r.flush()
    }),
    ("sync", |fs, r| {
        let chunk = r.read(|t| t.chunks[0].chunk());
        if fs.paths().iter().all(|path| path.parent() != Some(&r.layout().runs_of(chunk))) {
            Pen::new(r, chunk, 0, 0).claim().done(1).failed(2).mark().closed(None).show(fs);
        }
        // A failed look is no error; it changes nothing and is repeated.
        if r.sync(&|| false)? { Ok(()) } else { Err(Error::new(ErrorKind::Io, "it saw nothing")) }
    }),
    ("save", |_, r| r.save(true).map(drop)),
    ("untag", |_, r| r.untag(&IdSet::range(3, 3), &["t".into(), "u".into()]).map(drop)),
    ("reset", |_, r| r.reset(&IdSet::range(2, 2))),
    ("assign", |_, r| r.assign("long", Some(&"x".repeat(300)))),
    ("void", |_, r| r.take_back(&[r.read(|t| t.chunks[1].chunk())]).map(drop)),
    ("save again", |_, r| r.save(true).map(drop)),
    ("define again", |_, r| r.define(segment(2), "{}").map(drop)),
];

struct Told {
    /// Tables after each acknowledged verb; the first are those of the empty registry.
    digests: Vec<Tables>,
    calls: u64,
}

/// The tables after each verb where nothing fails.
fn told() -> Told {
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
    let registry = create(&fs, &clock, &root).expect("made");
    let mut digests = vec![registry.read(digest)];
    let before = fs.calls();
    for (name, verb) in VERBS {
        verb(&fs, &registry).unwrap_or_else(|e| panic!("{name}: {e}"));
        digests.push(registry.read(digest));
    }
    let calls = fs.calls() - before;
    registry.close().expect("closed");
    let again = open(&fs, &clock, &root).expect("opened");
    assert_eq!(&again.read(digest), digests.last().expect("one a verb"));
    Told { digests, calls }
}

/// Runs the verbs until one fails; how many were acknowledged.
fn run_until_failure(fs: &SimFs, registry: &Arc<Registry>) -> usize {
    VERBS.iter().take_while(|(_, verb)| verb(fs, registry).is_ok()).count()
}

const EIO: i32 = 5;

/// The power goes at every call; every legal state of the disk is opened.
#[test]
fn crash_states_owner() {
    let told = told();
    let (mut states, mut lost) = (0u64, 0u64);
    for cut in 0..told.calls {
        let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
        let registry = create(&fs, &clock, &root).expect("made");
        fs.fail_after(cut, EIO, true);
        let acknowledged = run_until_failure(&fs, &registry);
        assert!(acknowledged < VERBS.len(), "the call {cut} failed nothing");
        for state in fs.crash_states(if cut % 7 == 0 { 60 } else { 25 }, cut) {
            states += 1;
            lost += u64::from(!is_between(&state, &clock, &root, &told, acknowledged, cut));
        }
    }
    println!("calls {}; states tried {states}; verbs lost {lost}", told.calls);
    assert!(states > told.calls);
    assert_eq!(lost, 0);
}

/// Whether the tables are those after the acknowledged verbs, or after the one in doubt too.
fn is_between(
    fs: &SimFs,
    clock: &Arc<SimClock>,
    root: &Path,
    told: &Told,
    acknowledged: usize,
    cut: u64,
) -> bool {
    let name = VERBS[acknowledged].0;
    let registry = match open(fs, clock, root) {
        Ok(registry) => registry,
        Err(error) => {
            println!("cut at call {cut} in {name}: {error}");
            return false;
        }
    };
    let found = registry.read(digest);
    let fits = told.digests[acknowledged..=acknowledged + 1].contains(&found);
    if !fits {
        println!("cut at call {cut} in {name}: the tables are neither before nor after it");
    }
    fits
}

/// Every call fails, once and for ever, in each way: what was acknowledged stands, the handle
/// either shows what a reader will see or is read-only, and reopening works.
#[test]
fn io_error_sweep() {
    let told = told();
    let errors = [EIO, 28, 122, 116, 110];
    let (mut failed, mut wrong) = (0u64, 0u64);
    for at in 0..told.calls {
        for (place, errno) in errors.into_iter().enumerate() {
            for for_ever in [false, true] {
                if place > 1 && at % 3 != 0 {
                    continue;
                }
                let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
                let registry = create(&fs, &clock, &root).expect("made");
                fs.fail_after(at, errno, for_ever);
                let acknowledged = run_until_failure(&fs, &registry);
                failed += fs.failed();
                fs.fail(None);
                let flushed = registry.flush().is_ok() && registry.is_writeable();
                let in_memory = registry.read(digest);
                let again = open(&fs, &clock, &root).expect("reopening works");
                let found = again.read(digest);
                let last = (acknowledged + 1).min(VERBS.len());
                let fits = told.digests[acknowledged..=last].contains(&found);
                if !fits || (flushed && in_memory != found) {
                    let verb = VERBS.get(acknowledged).map_or("the end", |verb| verb.0);
                    println!("call {at}, errno {errno}, {for_ever}: wrong after {verb}");
                    wrong += 1;
                }
            }
        }
    }
    println!("calls failed {failed}; wrong states {wrong}");
    assert!(failed > told.calls);
    assert_eq!(wrong, 0);
}

/// After a failed sync the pages are gone though the next sync says that all is well.
#[test]
fn fsync_is_final() {
    let (mut syncs, mut absent) = (0u64, 0u64);
    for round in rounds(40) {
        let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
        let registry = create(&fs, &clock, &root).expect("made");
        let mut kept = Vec::new();
        for number in 0..12u64 {
            if (round + number) % 3 == 0 {
                // The sync of the next verb: its append is the call before.
                fs.fail_after(1, EIO, false);
                syncs += 1;
            }
            let name = format!("k{number}");
            if registry.assign(&name, Some("v")).is_ok() {
                kept.push(name);
            }
            fs.fail(None);
        }
        assert_eq!(kept.len(), 12, "one failed sync costs a segment, not a verb");
        for state in fs.crash_states(8, round) {
            let again = open(&state, &clock, &root).expect("opened");
            absent +=
                again.read(|t| kept.iter().filter(|k| !t.settings.contains_key(*k)).count()) as u64;
        }
    }
    println!("failed syncs {syncs}; acknowledged but absent {absent}");
    assert!(syncs > 0);
    assert_eq!(absent, 0);
}

/// Frames that no sync had covered can reach the disk in any order: that is no damage.
#[test]
fn unsynced_frames_in_any_order_are_a_torn_tail() {
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), simreg::root());
    let registry = create(&fs, &clock, &root).expect("made");
    registry.define(segment(2), "{}").expect("defined");
    let chunk = intend(&registry, &[&[1, 2]], false).expect("intended")[0];
    for number in 0..3 {
        let id = format!("{number}").repeat(70);
        registry.submitted(chunk, &[id], None).expect("written, not synced");
    }
    let states = fs.crash_states(3000, 1);
    assert!(states.len() > 500);
    for state in states {
        let again = open(&state, &clock, &root).expect("a torn tail opens");
        assert_eq!(again.read(|t| (t.n_jobs(), t.chunks.len())), (2, 1));
    }
}
