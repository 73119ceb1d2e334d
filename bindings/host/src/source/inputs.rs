//! What a program passes to a source that JSON cannot hold.

use std::{any::Any, sync::Arc};

use keyswap::Error;

use super::{Kind, Recipe, Source};
use crate::{error::invalid, function::Function, secret::SecretText};

/// Inputs by the names of the options that they are given for.
#[derive(Clone, Default)]
pub struct Inputs(Vec<(String, Input)>);

/// One of them.
#[derive(Clone)]
pub enum Input {
    /// A function of the program.
    Function(Function),
    /// Keys that another handle follows: that one, as it is in this process.
    #[cfg(feature = "stores")]
    Keys(Arc<dyn Fn() -> Result<keyswap::KeySwap, Error> + Send + Sync>),
    /// Other sources: regions, or those that one stands in for.
    Sources(Vec<Source>),
    /// What the program sees in an environment variable: it may have an environment of its own.
    Seen(SecretText),
}

impl Inputs {
    /// These, and another one.
    pub fn with(mut self, name: &str, input: Input) -> Self {
        self.0.push((name.to_owned(), input));
        self
    }

    pub(super) fn push(&mut self, name: &str, source: Source) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, Input::Sources(all))) => all.push(source),
            _ => self.0.push((name.to_owned(), Input::Sources(vec![source]))),
        }
    }

    /// Takes what has this name, if it is of this form.
    fn take(&mut self, name: &str, is: fn(&Input) -> bool) -> Option<Input> {
        let at = self.0.iter().position(|(known, input)| known == name && is(input))?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes a function.
    pub(crate) fn function(&mut self, name: &str) -> Option<Function> {
        match self.take(name, |input| matches!(input, Input::Function(_)))? {
            Input::Function(function) => Some(function),
            _ => None,
        }
    }

    /// Takes the keys of another handle.
    #[cfg(feature = "stores")]
    pub(crate) fn keys(&mut self, name: &str) -> Result<Option<keyswap::source::LentKeys>, Error> {
        match self.take(name, |input| matches!(input, Input::Keys(_))) {
            Some(Input::Keys(keys)) => Ok(Some((&keys()?).into())),
            _ => Ok(None),
        }
    }

    /// Takes sources.
    pub(crate) fn sources(&mut self, name: &str) -> Vec<Source> {
        match self.take(name, |input| matches!(input, Input::Sources(_))) {
            Some(Input::Sources(sources)) => sources,
            _ => Vec::new(),
        }
    }

    /// Takes what the program sees in its environment.
    pub(crate) fn seen(&mut self) -> Option<SecretText> {
        match self.take("seen", |input| matches!(input, Input::Seen(_)))? {
            Input::Seen(text) => Some(text),
            _ => None,
        }
    }

    /// The next of the regions, with its own inputs: it is made as the first one is, from options of the same kind.
    fn region(source: &Source) -> Result<(&Arc<dyn Recipe>, Self), Error> {
        let Kind::Made(recipe, inputs) = &source.0 else { return Err(other()) };
        let mut inputs = inputs.clone();
        if !inputs.sources("regions").is_empty() {
            let what = "a region has no regions of its own: list them all in one place";
            return Err(invalid(what));
        }
        Ok((recipe, inputs))
    }

    /// Takes the regions.
    pub(crate) fn regions<R: Recipe, S>(
        &mut self,
        make: fn(&R, &mut Self) -> Result<S, Error>,
    ) -> Result<Vec<S>, Error> {
        let mut made = Vec::new();
        for source in self.sources("regions") {
            let (recipe, mut inputs) = Self::region(&source)?;
            let recipe: &dyn Any = &**recipe;
            made.push(make(recipe.downcast_ref().ok_or_else(other)?, &mut inputs)?);
            inputs.check()?;
        }
        Ok(made)
    }

    /// What nobody took is not known.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.0.first().map_or(Ok(()), |(name, _)| {
            Err(invalid(format!("{name} is nothing that this source takes in that form")))
        })
    }

    pub(super) fn in_child(&self) -> Self {
        let inputs = self.0.iter().map(|(name, input)| {
            let input = match input {
                Input::Function(function) => Input::Function(function.in_child()),
                Input::Sources(all) => Input::Sources(all.iter().map(Source::in_child).collect()),
                other => other.clone(),
            };
            (name.clone(), input)
        });
        Self(inputs.collect())
    }
}

fn other() -> Error {
    invalid("a region must be an endpoint of the same kind as the first")
}
