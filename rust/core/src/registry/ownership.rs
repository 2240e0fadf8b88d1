//! One writer without locks: epochs claimed by put-if-absent.
//!
//! An owner file is written once. The highest epoch owns the registry; whoever claims the next
//! one fixes how far the journals before it count. Clocks decide one thing only: that what was
//! acknowledged lies below that place.

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Micros};
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, Published, token};
use crate::layout::Layout;
use crate::process::{self, Identity};
use crate::seal;

use super::refuse_broken;

/// How long silence lasts before a registry is taken over, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lease {
    /// Seconds between beats of an owner.
    pub beat: f64,
    /// Seconds of silence after which another host may follow.
    pub lease: f64,
    /// Seconds before the end of the lease when an owner stops trusting it.
    pub margin: f64,
    /// Seconds after its last beat when an owner claims anew before it writes.
    pub renew: f64,
}

impl Default for Lease {
    fn default() -> Self {
        Self { beat: 15.0, lease: 90.0, margin: 10.0, renew: 45.0 }
    }
}

impl Lease {
    /// The same proportions for a lease of another length.
    pub fn of_seconds(lease: f64) -> Self {
        Self { beat: lease / 6.0, lease, margin: lease / 9.0, renew: lease / 2.0 }
    }
}

/// Content of `owner/<epoch>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub token: String,
    #[serde(flatten)]
    pub process: Identity,
    pub user: String,
    pub version: String,
    pub at: Micros,
}

impl Owner {
    pub fn this_process(user: &str, clock: &dyn Clock) -> Self {
        Self {
            token: token(),
            process: Identity::of_this_process(),
            user: user.to_owned(),
            version: crate::VERSION.to_owned(),
            at: clock.now(),
        }
    }

    fn unknown() -> Self {
        Self {
            token: String::new(),
            process: Identity { host: "an unknown host".into(), ..Identity::default() },
            user: "somebody".into(),
            version: String::new(),
            at: 0,
        }
    }

    pub fn describe(&self) -> String {
        format!("{}@{}, pid {}", self.user, self.process.host, self.process.pid)
    }
}

/// Who stands in the way of an owner-to-be.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nobody: the epoch to claim next.
    Free { next: u64 },
    /// This very process, through another handle.
    Own { epoch: u64 },
    /// A process of this machine that lives.
    Alive { epoch: u64, owner: Owner },
    /// Of another machine or container: only silence tells.
    Elsewhere { epoch: u64, owner: Owner },
}

/// The highest epoch of the owners' folder and whether its owner left.
pub fn highest(fs: &dyn Fs, layout: &Layout) -> Result<(u64, bool)> {
    let names = fs.look(&layout.owners())?;
    let marks: Vec<(u64, bool)> = names.iter().filter_map(|n| Layout::parse_owner(n)).collect();
    let epoch = marks.iter().filter(|(_, end)| !end).map(|(epoch, _)| *epoch).max().unwrap_or(0);
    Ok((epoch, marks.contains(&(epoch, true))))
}

pub fn standing(fs: &dyn Fs, layout: &Layout) -> Result<Standing> {
    let (epoch, released) = highest(fs, layout)?;
    if epoch == 0 || released {
        return Ok(Standing::Free { next: epoch + 1 });
    }
    let owner = match read_owner(fs, layout, epoch) {
        // Without hard links a name can appear before its bytes, or for ever without them.
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            return Ok(Standing::Elsewhere { epoch, owner: Owner::unknown() });
        }
        other => other?,
    };
    let here = Identity::of_this_process();
    if !here.shares_pids_with(&owner.process) {
        return Ok(Standing::Elsewhere { epoch, owner });
    }
    if here == owner.process {
        return Ok(Standing::Own { epoch });
    }
    if process::is_alive(owner.process.pid, owner.process.start_ticks) {
        return Ok(Standing::Alive { epoch, owner });
    }
    Ok(Standing::Free { next: epoch + 1 })
}

pub fn read_owner(fs: &dyn Fs, layout: &Layout, epoch: u64) -> Result<Owner> {
    let path = layout.owner(epoch);
    let bytes = fs.tail(&path, 0)?;
    refuse_broken(&path, &bytes)?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(&path, 0, format!("it names no owner: {e}")))
}

/// Claims an epoch; false if somebody else has it.
pub fn claim(fs: &dyn Fs, layout: &Layout, epoch: u64, owner: &Owner) -> Result<bool> {
    let bytes = seal::json(owner).expect("an owner is plain data");
    let path = layout.owner(epoch);
    if fs.publish(&path, &bytes)? == Published::Won {
        return Ok(true);
    }
    // A retransmitted request can tell its winner that it lost.
    Ok(read_owner(fs, layout, epoch).is_ok_and(|found| found.token == owner.token))
}

pub fn locked(owner: &Owner) -> Error {
    let what = format!("the registry is being written by {}", owner.describe());
    Error::new(ErrorKind::Locked, what)
        .hint("close it there, load it with writeable=False, or take it over with break_lock=True")
}
