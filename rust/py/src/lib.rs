//! The extension module `batchwright._core`: registration only.
//!
//! The other files translate, one concept each: convert the arguments, call the core through
//! [`runtime::enter`], convert the result. No decision about jobs is taken in this crate.

mod arrow;
mod errors;
mod runtime;

use pyo3::pymodule;

#[pymodule]
mod _core {
    #[pymodule_export]
    use super::arrow::ArrowTable;
    #[pymodule_export]
    use super::runtime::wait_for_interrupt;

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "the name is Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
