//! One error type for the whole core. It says what was wrong and what to do next; the kind tells
//! callers which class of their own language it becomes.

use std::fmt;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, by the way a caller would react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operating system refused; the outcome of a write is known to be "not done".
    Io,
    /// No space or quota left.
    StorageFull,
    /// Another process owns the registry.
    Locked,
    /// This process owned the registry and lost it.
    OwnershipLost,
    /// A write was asked of a registry opened for reading.
    ReadOnly,
    NotFound,
    Exists,
    /// Written by a newer format than this program knows.
    Version,
    /// Bytes that were durable are damaged.
    Corrupt,
    UnknownJob,
    /// A value that the caller gave cannot be used.
    Invalid,
    JobsOnSystem,
    Interrupted,
}

#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    hint: Option<String>,
    path: Option<PathBuf>,
    errno: Option<i32>,
}

impl Error {
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, path: None, errno: None }
    }

    /// An error of the operating system about `path`.
    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => ErrorKind::StorageFull,
            _ => match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::AlreadyExists => ErrorKind::Exists,
                _ => ErrorKind::Io,
            },
        };
        Self {
            kind,
            what: format!("cannot {doing} `{}`: {error}", path.display()),
            hint: (kind == ErrorKind::StorageFull).then(|| {
                "free space or quota, then call again; sweep_registry removes what no job needs"
                    .into()
            }),
            path: Some(path.to_owned()),
            errno: error.raw_os_error(),
        }
    }

    pub fn corrupt(path: &Path, offset: u64, what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Corrupt,
            format!("`{}` is damaged at byte {offset}: {what}", path.display()),
        )
        .at(path)
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// True where a reader should look again later: the failure says nothing about the file.
    pub fn is_failed_look(&self) -> bool {
        matches!(self.errno, Some(libc::EIO | libc::ETIMEDOUT | libc::ESTALE | libc::EAGAIN))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
