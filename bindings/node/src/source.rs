//! Where sets come from.

use std::{collections::HashMap, sync::Arc};

use keyswap_host::{Function, Input, Inputs, SecretText, Source};
use napi::bindgen_prelude::{Function as JsFunction, *};
use napi_derive::napi;

use crate::{
    errors::{Thrown, told},
    foreign::{Answer, JsSource, Queue},
    keys::NativeKeySwap,
};

/// How to make a source.
#[napi]
pub struct NativeSource(pub(crate) Source);

/// What JSON cannot hold: a function, another handle, other sources, or what the program sees in an environment variable.
type JsInput<'a> = Either4<
    JsFunction<'a, Answer, ()>,
    ClassInstance<'a, NativeKeySwap>,
    Vec<ClassInstance<'a, NativeSource>>,
    String,
>;

#[napi]
impl NativeSource {
    /// What the core calls it, its options as JSON, and what JSON cannot hold, by the names of the options.
    #[napi(ts_args_type = "kind: string, options: string, inputs: Record<string, unknown>")]
    pub fn of(
        kind: String,
        options: String,
        inputs: HashMap<String, JsInput<'_>>,
    ) -> Result<Either<NativeSource, Thrown>> {
        // They may hold secrets, and are wiped.
        let options = SecretText::from(options);
        let mut all = Inputs::default();
        for (name, input) in inputs {
            let input = match input {
                Either4::A(ask) => {
                    Input::Function(Function::new(Arc::new(JsSource(Queue::new(&ask)?))))
                }
                Either4::B(handle) => {
                    let keys = handle.keys.core().clone();
                    Input::Keys(Arc::new(move || Ok(keys.clone())))
                }
                Either4::C(sources) => {
                    Input::Sources(sources.iter().map(|source| source.0.clone()).collect())
                }
                Either4::D(seen) => Input::Seen(seen.into()),
            };
            all = all.with(&name, input);
        }
        Ok(told(Source::of(&kind, options.reveal(), all).map(Self)))
    }
}
