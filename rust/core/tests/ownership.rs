//! One writer: a claim has one winner, and who lost its epoch writes nothing that counts.
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "sim/mod.rs"]
mod sim;
#[path = "sim/reg.rs"]
mod simreg;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};

use batchwright_core::access::Access;
use batchwright_core::clock::SystemClock;
use batchwright_core::error::ErrorKind;
use batchwright_core::fs::{Fs, Published, RealFs};
use batchwright_core::layout::Layout;
use batchwright_core::process::Identity;
use batchwright_core::registry::ownership::{self, Lease, Owner};
use batchwright_core::registry::{Opening, Registry};
use sim::{SimClock, SimFs, rounds};
use simreg::{create, digest, intend, open, opening, root, segment, watch};

#[test]
fn of_many_threads_one_wins_and_its_file_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut tried, mut wrong) = (0, 0);
    for round in rounds(40) {
        let path = folder.path().join(format!("{round}"));
        let barrier = Barrier::new(6);
        let claim = |number: u8| {
            barrier.wait();
            let bytes = [number; 5000];
            RealFs::new(Access::Private).publish(&path, &bytes).expect("published")
        };
        let won: Vec<u8> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6u8).map(|n| scope.spawn(move || (n, claim(n)))).collect();
            let ended = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            ended.filter(|(_, p)| *p == Published::Won).map(|(n, _)| n).collect()
        });
        let bytes = RealFs::new(Access::Private).tail(&path, 0).expect("read");
        wrong += u32::from(won.len() != 1 || bytes != [won[0]; 5000]);
        tried += 1;
    }
    let names = RealFs::new(Access::Private).look(folder.path()).expect("listed");
    assert_eq!(names.len(), tried, "nothing else is left behind");
    println!("rounds {tried}; rounds with more or less than one winner {wrong}");
    assert_eq!(wrong, 0);
}

const EPOCHS: u64 = 60;

/// The contender of the next test, in a process of its own.
#[test]
fn contender() {
    let Ok(root) = std::env::var("BATCHWRIGHT_TEST_ROOT") else { return };
    let (fs, layout) = (RealFs::new(Access::Private), Layout::new(root));
    let owner = Owner::this_process("x", &SystemClock);
    let claim = |epoch: &u64| ownership::claim(&fs, &layout, *epoch, &owner).expect("claimed");
    println!("won={}.", (1..=EPOCHS).filter(claim).count());
}

#[test]
fn of_many_processes_one_wins_each_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    RealFs::new(Access::Private).make_folder(&folder.path().join("owner")).expect("made");
    let program = std::env::current_exe().expect("this program");
    let start = |_| {
        Command::new(&program)
            .args(["--exact", "contender", "--nocapture"])
            .env("BATCHWRIGHT_TEST_ROOT", folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("started")
    };
    let processes: Vec<_> = (0..4).map(start).collect();
    let won = |process: std::process::Child| -> u64 {
        let output = process.wait_with_output().expect("ended");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = text.split("won=").nth(1).and_then(|rest| rest.split('.').next());
        count.and_then(|count| count.parse().ok()).expect("it says how many")
    };
    let won: Vec<u64> = processes.into_iter().map(won).collect();
    println!("epochs {EPOCHS}; won by each process {won:?}");
    assert_eq!(won.iter().sum::<u64>(), EPOCHS);
}

/// An owner on another machine, which has claimed this epoch.
fn rival(fs: &SimFs, root: &Path, epoch: u64) -> Owner {
    let owner = Owner {
        token: "rival".into(),
        process: Identity { host: "elsewhere".into(), pid: 7, ..Identity::default() },
        user: "ann".into(),
        version: String::new(),
        at: 0,
    };
    assert!(ownership::claim(fs, &Layout::new(root), epoch, &owner).expect("claimed"));
    owner
}

struct Setting {
    fs: SimFs,
    clock: Arc<SimClock>,
    root: std::path::PathBuf,
    registry: Arc<Registry>,
}

fn setting() -> Setting {
    let (fs, clock, root) = (SimFs::default(), SimClock::new(), root());
    let registry = create(&fs, &clock, &root).expect("made");
    registry.assign("acknowledged", Some("1")).expect("written");
    Setting { fs, clock, root, registry }
}

#[test]
fn who_lost_its_epoch_cannot_write() {
    let Setting { fs, clock, root, registry } = setting();
    rival(&fs, &root, 2);
    clock.advance(46.0);
    let journal = fs.bytes(&registry.layout().journal(1, 0));
    let error = registry.assign("late", Some("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    assert!(error.to_string().contains("ann@elsewhere, pid 7"), "{error}");
    assert_eq!(fs.bytes(&registry.layout().journal(1, 0)), journal, "not a byte");
    assert!(!registry.beat() && !registry.is_writeable());
    for error in [
        registry.reset(&batchwright_core::ids::IdSet::default()).unwrap_err(),
        registry.sweep().unwrap_err(),
        registry.put_object(b"x").unwrap_err(),
        registry.define(segment(1), "{}").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    }
    let seen = watch(&fs, &clock, &root).expect("opened");
    assert!(seen.read(|t| t.settings.contains_key("acknowledged")));
}

#[test]
fn a_beat_tells_a_displaced_owner() {
    let Setting { fs, root, registry, .. } = setting();
    rival(&fs, &root, 2);
    assert!(!registry.beat());
    let error = registry.assign("late", Some("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnershipLost);
}

#[test]
fn a_sync_that_outlasts_the_lease_acknowledges_nothing() {
    let Setting { fs, clock, root, registry } = setting();
    rival(&fs, &root, 2);
    fs.slow_down(&clock, 85.0);
    let before = registry.read(digest);
    let error = registry.assign("late", Some("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    assert_eq!(registry.read(digest), before);
}

#[test]
fn a_sync_that_outlasts_the_lease_counts_where_nobody_came() {
    let Setting { fs, clock, root, registry } = setting();
    fs.slow_down(&clock, 85.0);
    registry.assign("late", Some("1")).expect("claimed anew");
    assert_eq!(registry.epoch(), 2);
    let before = registry.read(digest);
    assert_eq!(watch(&fs, &clock, &root).expect("opened").read(digest), before);
}

#[test]
fn an_old_beat_claims_anew_and_keeps_what_was_not_synced() {
    let Setting { fs, clock, root, registry } = setting();
    registry.define(segment(2), "{}").expect("defined");
    let chunk = intend(&registry, &[&[1, 2]], false).expect("intended")[0];
    registry.submitted(chunk, &["17".into()], None).expect("for later");
    clock.advance(46.0);
    assert!(registry.beat(), "it does not hide that the lease ran out");
    assert_eq!(registry.epoch(), 1);
    // The journal cannot be synced any more either: the next epoch has it all.
    registry.assign("late", Some("1")).expect("written");
    assert_eq!(registry.epoch(), 2);
    let before = registry.read(digest);
    assert_eq!(before.chunks[0].batch_id.as_deref(), Some("17"));
    assert_eq!(watch(&fs, &clock, &root).expect("opened").read(digest), before);
}

/// Dated by its end it would hide that the owner was silent for so long.
#[test]
fn a_beat_is_dated_by_its_start() {
    let Setting { fs, clock, registry, .. } = setting();
    fs.slow_down(&clock, 50.0);
    assert!(registry.beat());
    fs.slow_down(&clock, 0.0);
    registry.assign("late", Some("1")).expect("claimed anew");
    assert_eq!(registry.epoch(), 2);
}

#[test]
fn a_beat_keeps_the_lease() {
    let Setting { clock, registry, .. } = setting();
    for _ in 0..20 {
        clock.advance(40.0);
        assert!(registry.beat());
        registry.assign("again", Some("1")).expect("written");
    }
    assert_eq!(registry.epoch(), 1);
}

#[test]
fn a_silent_owner_elsewhere_is_followed_after_its_lease() {
    let Setting { fs, clock, root, registry } = setting();
    rival(&fs, &root, 2);
    clock.step.store(4_000_000, std::sync::atomic::Ordering::SeqCst);
    let lease = Lease::default();
    let eager = Opening { lease, ..opening() };
    let before = clock_seconds(&clock);
    let next = Registry::open_with(Arc::new(fs.clone()), clock.clone(), &root, eager, &|| false)
        .expect("followed");
    assert!(clock_seconds(&clock) - before >= 90.0);
    assert_eq!(next.epoch(), 3);
    assert_eq!(next.displaced().as_deref(), Some("ann@elsewhere, pid 7"));
    assert!(next.read(|t| t.settings.contains_key("acknowledged")));
    drop((next, registry));
}

fn clock_seconds(clock: &SimClock) -> f64 {
    use batchwright_core::clock::Clock;
    clock.boottime()
}

#[test]
fn an_owner_elsewhere_that_shows_life_is_left_alone() {
    let Setting { fs, clock, root, registry } = setting();
    rival(&fs, &root, 2);
    let journal = Layout::new(&root).journal(2, 0);
    fs.plant(&journal, b"x");
    clock.step.store(4_000_000, std::sync::atomic::Ordering::SeqCst);
    let looks = std::cell::Cell::new(0);
    let alive = || {
        looks.set(looks.get() + 1);
        if looks.get() == 5 {
            fs.replace(&journal, b"xx".to_vec());
        }
        false
    };
    let eager = Opening { lease: Lease::default(), ..opening() };
    let opened = Registry::open_with(Arc::new(fs.clone()), clock, &root, eager, &alive);
    let error = opened.err().expect("locked");
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("ann@elsewhere, pid 7"), "{error}");
    drop(registry);
}

#[test]
fn break_lock_follows_at_once_and_says_whom_it_displaced() {
    let Setting { fs, clock, root, registry } = setting();
    rival(&fs, &root, 2);
    let breaking = Opening { break_lock: true, ..opening() };
    let before = clock_seconds(&clock);
    let next = Registry::open_with(Arc::new(fs.clone()), clock.clone(), &root, breaking, &|| false)
        .expect("followed");
    assert!(clock_seconds(&clock) - before < 1.0);
    assert_eq!((next.epoch(), next.displaced().as_deref()), (3, Some("ann@elsewhere, pid 7")));
    drop(registry);
}

#[test]
fn what_a_broken_lock_displaced_acknowledges_nothing_more() {
    let Setting { fs, clock, root, registry } = setting();
    let before = registry.read(digest);
    // Its last beat is fresh and its lease runs: only a look tells it.
    rival(&fs, &root, 2);
    let error = registry.assign("late", Some("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    assert!(error.to_string().contains("ann@elsewhere, pid 7"), "{error}");
    assert_eq!(registry.read(digest), before);
    drop((clock, registry));
}

#[test]
fn a_displaced_owner_publishes_no_void() {
    let Setting { fs, root, registry, .. } = setting();
    registry.define(segment(1), "{}").expect("defined");
    let chunk = intend(&registry, &[&[1]], false).expect("intended")[0];
    rival(&fs, &root, 2);
    let before = fs.paths();
    for error in [
        registry.void(&[chunk]).unwrap_err(),
        registry.take_back(&[chunk]).map(drop).unwrap_err(),
        registry.require_owner().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    }
    assert_eq!(fs.paths(), before);
}

#[test]
fn an_owner_file_without_content_is_waited_for_not_stumbled_over() {
    let Setting { fs, clock, root, registry } = setting();
    fs.plant(&Layout::new(&root).owner(2), b"");
    clock.step.store(4_000_000, std::sync::atomic::Ordering::SeqCst);
    let eager = Opening { lease: Lease::default(), ..opening() };
    let next = Registry::open_with(Arc::new(fs.clone()), clock, &root, eager, &|| false)
        .expect("followed");
    assert_eq!(next.epoch(), 3);
    drop(registry);
}

#[test]
fn a_process_that_opens_twice_follows_itself() {
    let Setting { fs, clock, root, registry } = setting();
    registry.define(segment(2), "{}").expect("defined");
    let chunk = intend(&registry, &[&[1, 2]], false).expect("intended")[0];
    registry.submitted(chunk, &["17".into()], None).expect("for later");
    let before = registry.read(digest);
    let second = open(&fs, &clock, &root).expect("opened");
    assert_eq!(second.read(digest), before, "also what was for later");
    let error = registry.assign("late", Some("1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OwnershipLost);
    assert!(error.to_string().contains("opened again in this process"), "{error}");
    second.assign("second", Some("1")).expect("written");
}

/// Threads write through whichever handle they have while others open new ones.
#[test]
fn what_any_handle_acknowledged_is_there() {
    let Setting { fs, clock, root, registry } = setting();
    let kept = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (kept, fs, clock, root) = (&kept, &fs, &clock, &root);
            let mut mine = registry.clone();
            scope.spawn(move || {
                for number in 0..60 {
                    let name = format!("{thread}.{number}");
                    if mine.assign(&name, Some("v")).is_ok() {
                        kept.lock().expect("no panic").push(name);
                    }
                    if number % 5 == thread
                        && let Ok(other) = open(fs, clock, root)
                    {
                        mine = other;
                    }
                }
            });
        }
    });
    drop(registry);
    let last = open(&fs, &clock, &root).expect("opened");
    let kept = kept.into_inner().expect("no panic");
    let lost = last.read(|t| kept.iter().filter(|name| !t.settings.contains_key(*name)).count());
    println!("takeovers {}; acknowledged {}; lost {lost}", last.epoch(), kept.len());
    assert!(kept.len() > 10);
    assert_eq!(lost, 0);
}

#[test]
fn a_failed_opening_leaves_nobody_to_wait_for() {
    let Setting { fs, clock, root, registry } = setting();
    drop(registry);
    let before = fs.calls();
    drop(open(&fs, &clock, &root).expect("opened"));
    let calls = fs.calls() - before;
    let mut failed = 0;
    for at in 0..calls {
        fs.fail_after(at, 5, false);
        failed += u32::from(open(&fs, &clock, &root).is_err());
        fs.fail(None);
        let again = open(&fs, &clock, &root).expect("the next one opens");
        assert!(again.read(|t| t.settings.contains_key("acknowledged")));
    }
    println!("openings that failed {failed}");
    assert!(failed > 3);
}

#[test]
#[expect(unsafe_code, reason = "the standard library cannot fork")]
fn a_forked_child_neither_writes_nor_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("registry");
    let registry =
        Registry::create(&path, "registry", 1, Access::Private, opening()).expect("made");
    let keep_busy = registry.clone();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    // The lock of the tables is held most of the time, so also at a fork.
    let busy = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
            keep_busy.assign("busy", Some("1")).expect("written");
        }
    });
    for _ in 0..10 {
        // SAFETY: the child calls nothing but what is tested and leaves by `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let refused = registry.assign("child", Some("1")).is_err()
                && registry.put_object(b"child").is_err()
                && registry.close().is_ok()
                && !registry.beat();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!refused)) };
        }
        let mut status = 0;
        let waited = std::time::Instant::now();
        loop {
            // SAFETY: waits for the child above; `status` outlives the call.
            let done = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
            if done == pid {
                break;
            }
            assert!(waited.elapsed().as_secs() < 20, "the child hangs");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(status, 0);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    busy.join().expect("no panic");
    registry.close().expect("closed");
    drop(registry);
    let again = Registry::open(&path, opening(), &|| false).expect("opened");
    assert!(again.read(|t| !t.settings.contains_key("child")));
}
