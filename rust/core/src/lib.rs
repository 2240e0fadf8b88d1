//! Batchwright's core: what owner and node must agree on, and the owner's tables.
//!
//! Knows no Python, prints nothing, reads no environment, starts no process. Time and files come
//! in through [`clock::Clock`] and [`fs::Fs`].

pub mod access;
pub mod clock;
pub mod collection;
pub mod columns;
pub mod error;
pub mod experiments;
pub mod frame;
pub mod fs;
pub mod ids;
pub mod journal;
#[cfg(feature = "arrow")]
pub mod keys;
pub mod layout;
mod pack;
pub mod packing;
#[cfg(feature = "arrow")]
pub mod pickle;
pub mod probe;
pub mod process;
pub mod queue;
pub mod registry;
pub mod run;
pub mod seal;
#[cfg(feature = "arrow")]
pub mod segments;
pub mod tables;
pub mod texts;
pub mod unpickle;

pub use error::{Error, ErrorKind, Result};

/// Asked between the steps of long work; true stops it.
pub type Interrupted<'a> = &'a dyn Fn() -> bool;

/// The version of the whole project.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
