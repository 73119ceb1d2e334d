//! What a command printed, in any of its forms.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    fuzzing::command(content);
});
