//! A stream of events. However it is cut on its way, it says the same.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    let whole = fuzzing::events(&[stream]);
    // The first byte says where it is cut.
    if let Some((&cut, _)) = stream.split_first() {
        let pieces: Vec<&[u8]> = stream.chunks(usize::from(cut) + 1).collect();
        assert_eq!(fuzzing::events(&pieces), whole);
    }
});
