//! A `keyswap/1` document: an endpoint's answer, what it says with an error, and what a program writes.
#![no_main]

use keyswap::{fuzzing, host, source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    // The short form lets pieces stand beside the id as well; all else means the same in both.
    if let (Ok(set), Ok(short)) = (source::parse(document), host::parse_short(document)) {
        assert_eq!(set.generation(), short.generation());
        assert_eq!(set.primary().map(|it| it.id()), short.primary().map(|it| it.id()));
    }
    // A signed answer must say more.
    assert!(
        !fuzzing::answer(document, Some("eu"), true)
            || fuzzing::answer(document, Some("eu"), false)
    );
    fuzzing::problem(document, Some("eu"));
});
