//! The answer of any JSON endpoint, and what pointers find in it.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    fuzzing::json(content);
});
