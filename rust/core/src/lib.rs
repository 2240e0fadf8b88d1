//! Batchwright's core: what owner and node must agree on, and the owner's tables.
//!
//! Knows no Python, prints nothing, reads no environment, starts no process. Time and files come
//! in through [`clock::Clock`] and [`fs::Fs`].

pub mod access;
pub mod clock;
pub mod collection;
pub mod error;
pub mod frame;
pub mod fs;
pub mod layout;
pub mod process;
pub mod queue;
pub mod run;

pub use error::{Error, ErrorKind, Result};

/// The version of the whole project.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
