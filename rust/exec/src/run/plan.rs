//! What this process shall run: the collection, and which of its array tasks.

use std::path::Path;
use std::time::Duration;

use batchwright_core::clock::Clock;
use batchwright_core::collection::{Collection, CollectionFault};
use batchwright_core::frame::HeaderFault;
use batchwright_core::fs::Fs;

/// How long a file that is not there yet, or not whole yet, is waited for.
const PATIENCE: f64 = 10.0;

/// Variables that hold an array task's number, by scheduler.
const TASK_VARIABLES: [&str; 6] = [
    "SLURM_ARRAY_TASK_ID",
    "SGE_TASK_ID",
    "PBS_ARRAYID",
    "PBS_ARRAY_INDEX",
    "LSB_JOBINDEX",
    "BATCHWRIGHT_TASK",
];

/// The bytes of a collection that parses, waited for where the file system is slow to show it.
pub(crate) fn read_collection(
    fs: &dyn Fs,
    clock: &dyn Clock,
    path: &Path,
) -> Result<Vec<u8>, String> {
    let begun = clock.monotonic();
    let mut pause = Duration::from_millis(20);
    loop {
        let (reason, is_final) = match attempt(fs, path) {
            Ok(bytes) => return Ok(bytes),
            Err(failure) => failure,
        };
        if is_final || clock.monotonic() - begun > PATIENCE {
            return Err(format!("cannot read the collection `{}`: {reason}", path.display()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// The bytes, or why not and whether waiting is useless.
fn attempt(fs: &dyn Fs, path: &Path) -> Result<Vec<u8>, (String, bool)> {
    // Listing first: a name that was looked up too early stays invisible for a while.
    if let Some(folder) = path.parent() {
        fs.look(folder).map_err(|e| (e.to_string(), false))?;
    }
    let bytes = fs.tail(path, 0).map_err(|e| (e.to_string(), false))?;
    match Collection::parse(&bytes) {
        Ok(_) => Ok(bytes),
        Err(fault) => Err(describe(&fault)),
    }
}

fn describe(fault: &CollectionFault) -> (String, bool) {
    match fault {
        CollectionFault::Header(HeaderFault::Short) | CollectionFault::Short => {
            ("it is cut short".into(), false)
        }
        CollectionFault::Damaged(at) => (format!("it is damaged at byte {at}"), false),
        CollectionFault::Header(HeaderFault::Damaged) => ("its header is damaged".into(), false),
        CollectionFault::Header(HeaderFault::Newer(version)) => {
            (format!("its format {version} is newer than this executor"), true)
        }
        CollectionFault::Newer(kind) => {
            (format!("its frame of kind {kind} is newer than this executor"), true)
        }
        CollectionFault::Header(HeaderFault::NotOurs | HeaderFault::OtherContent(_)) => {
            ("it is no job collection".into(), true)
        }
    }
}

/// The array task that this process runs, 0 without an array.
pub(crate) fn task_index(
    tasks: u32,
    option: Option<u32>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<u32, String> {
    if tasks == 0 {
        return Ok(0);
    }
    let numeric = |name: &&str| variable(name).and_then(|text| text.trim().parse().ok());
    option.or_else(|| TASK_VARIABLES.iter().find_map(numeric)).ok_or_else(|| {
        format!(
            "the collection is an array of {tasks} tasks, and neither --task nor one of {} says \
             which to run",
            TASK_VARIABLES.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_first_numeric_variable_counts() {
        let set = &[("SGE_TASK_ID", "undefined"), ("LSB_JOBINDEX", "7"), ("BATCHWRIGHT_TASK", "2")];
        assert_eq!(task_index(9, None, variable(set)), Ok(7));
        assert_eq!(task_index(9, Some(3), variable(set)), Ok(3));
        assert_eq!(task_index(0, Some(3), variable(set)), Ok(0));
        assert!(task_index(9, None, variable(&[])).is_err());
    }
}
