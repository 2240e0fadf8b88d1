//! Runs one job collection on a node, and the queue of a host without a scheduler.
//!
//! Starts no Python of its own making beyond the workers, depends on the core alone, and never
//! unpickles.

pub mod host;
pub mod inspect;
pub mod run;

/// The version of the package, shared by all three crates.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
