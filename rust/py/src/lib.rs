//! The extension module `batchwright._core`: registration only.
//!
//! The other files translate, one concept each: convert the arguments, call the core through
//! [`runtime::enter`], convert the result. No decision about jobs is taken in this crate.
#![allow(clippy::needless_pass_by_value, reason = "the interpreter hands arguments over by value")]

mod arrow;
mod errors;
mod experiments;
mod host;
mod ids;
mod packing;
mod run;
mod runtime;
mod store;

use pyo3::pymodule;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::arrow::ArrowTable;
    #[pymodule_export]
    use super::experiments::{Block, key_of};
    #[pymodule_export]
    use super::host::{host_listing, host_name, host_request, host_serves};
    #[pymodule_export]
    use super::ids::IdSet;
    #[pymodule_export]
    use super::packing::{binpack, lpt};
    #[pymodule_export]
    use super::run::{Collection, Run};
    #[pymodule_export]
    use super::runtime::wait_for_interrupt;
    #[pymodule_export]
    use super::store::{LogReader, ResultReader, Store, is_sealed};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name is Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
