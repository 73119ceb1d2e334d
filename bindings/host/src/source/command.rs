//! A command that prints a key.

use keyswap::{Error, Source as _, source};

use super::seconds;
use crate::options::CommandOptions;

impl CommandOptions {
    /// The source.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn build(&self) -> Result<source::Command, Error> {
        let mut command = source::Command::new(&self.argv);
        for (name, value) in &self.env {
            command = command.env(name, value.to_core());
        }
        for name in &self.inherit_env {
            command = command.inherit_env(name);
        }
        if self.mints {
            command = command.minting();
        }
        if let Some(timeout) = seconds(self.timeout, "timeout")? {
            command = command.timeout(timeout);
        }
        // What is not valid is told here, and not when it is followed.
        command.begin(&source::Terms::default())?;
        Ok(command)
    }
}
