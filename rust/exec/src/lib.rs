//! Runs one job collection on a node.

/// The version of the package, shared by all three crates.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
