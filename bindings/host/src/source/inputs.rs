//! What a program passes to a source that JSON cannot hold.

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
    Keys(std::sync::Arc<dyn Fn() -> Result<keyswap::KeySwap, Error> + Send + Sync>),
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

    fn take<T>(&mut self, name: &str, pick: fn(&Input) -> Option<T>) -> Option<T> {
        let mut all = self.0.iter().enumerate().filter(|(_, (known, _))| known == name);
        let (at, found) = all.find_map(|(at, (_, input))| Some((at, pick(input)?)))?;
        self.0.swap_remove(at);
        Some(found)
    }

    /// Takes a function.
    pub(crate) fn function(&mut self, name: &str) -> Option<Function> {
        self.take(name, |input| match input {
            Input::Function(function) => Some(function.clone()),
            _ => None,
        })
    }

    /// Takes the keys of another handle.
    #[cfg(feature = "stores")]
    pub(crate) fn keys(&mut self, name: &str) -> Result<Option<keyswap::source::LentKeys>, Error> {
        let taken = self.take(name, |input| match input {
            Input::Keys(keys) => Some(keys.clone()),
            _ => None,
        });
        taken.map(|keys| keys().map(|keys| (&keys).into())).transpose()
    }

    /// Takes sources.
    pub(crate) fn sources(&mut self, name: &str) -> Vec<Source> {
        let taken = self.take(name, |input| match input {
            Input::Sources(sources) => Some(sources.clone()),
            _ => None,
        });
        taken.unwrap_or_default()
    }

    /// Takes what the program sees in its environment.
    pub(crate) fn seen(&mut self) -> Option<SecretText> {
        self.take("seen", |input| match input {
            Input::Seen(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// Takes the regions: each is made as the first one is, from options of the same kind.
    pub(crate) fn regions<R: Recipe, S>(
        &mut self,
        make: fn(&R, &mut Self) -> Result<S, Error>,
    ) -> Result<Vec<S>, Error> {
        let regions = self.sources("regions").into_iter().map(|region| {
            let other = || invalid("a region must be an endpoint of the same kind as the first");
            let Kind::Made(recipe, mut inputs) = region.0 else { return Err(other()) };
            let recipe: &dyn std::any::Any = &*recipe;
            let recipe = recipe.downcast_ref().ok_or_else(other)?;
            if !inputs.sources("regions").is_empty() {
                let what = "a region has no regions of its own: list them all in one place";
                return Err(invalid(what));
            }
            let made = make(recipe, &mut inputs)?;
            inputs.check().map(|()| made)
        });
        regions.collect()
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
