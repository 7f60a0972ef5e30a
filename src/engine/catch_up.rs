//! Everything into the file, and into its sums.

use super::Engine;
use crate::error::Error;
use crate::store::{Days, to_error};

impl Engine {
    /// Waits until what was recorded before is committed, and is in the sums of hours.
    pub(crate) fn catch_up(&self) -> Result<(), Error> {
        self.queue.flush()?;
        let rolled_up = self.queue.run(|session| session.upkeep(None, Days::Leave))?;
        rolled_up.map(drop).map_err(|error| to_error(error.into_inner()))
    }
}
