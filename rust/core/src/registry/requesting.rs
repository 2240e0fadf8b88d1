//! Asks hosts without a scheduler to run chunks.

use std::sync::PoisonError;

use crate::error::Result;
use crate::queue::{self, Request};

use super::Registry;

impl Registry {
    /// Appends a request to this owner's file on `host`, synced. Start the host afterwards.
    pub fn request(&self, host: &str, request: Request) -> Result<()> {
        let epoch = {
            let inner = self.lock_to_write()?;
            inner.epoch
        };
        let mut files = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, file| !file.is_dead());
        if let Some(file) = files.get_mut(host) {
            return file.append(&[request]);
        }
        let mut file = queue::open_requests(self.fs.as_ref(), &self.layout, host, epoch)?;
        file.append(&[request])?;
        files.insert(host.to_owned(), file);
        Ok(())
    }

    /// The wall clock, for requests.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }
}
