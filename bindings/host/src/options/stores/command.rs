//! A command that prints a key.

use std::{collections::HashMap, sync::Arc};

use keyswap::{
    Error,
    source::{self, Source},
};
use serde::Deserialize;

use super::begun;
use crate::{
    SecretText,
    source::{Inputs, Recipe, seconds},
};

/// A command that prints a key, or a set. What AWS and Kubernetes have such commands print is read, too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandOptions {
    /// The program and its arguments, as they are: no shell looks at them.
    pub argv: Vec<String>,
    /// Variables that are set for it.
    pub env: HashMap<String, SecretText>,
    /// Names of variables of the program's own environment that it sees too, beside `PATH`, `HOME` and the few others
    /// that programs need to find their files.
    pub inherit_env: Vec<String>,
    /// That each run makes a new credential, such as a token: it is then run by the life of what it made, and not
    /// polled.
    pub mints: bool,
    /// How long a run may take, in seconds. By default the policy's `fetch_timeout`, 10 s, which always holds as well.
    /// Then it is killed, with all that it started.
    pub timeout: Option<f64>,
}

impl Recipe for CommandOptions {
    fn build(&self, _: &mut Inputs) -> Result<Arc<dyn Source>, Error> {
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
        begun(command)
    }
}
