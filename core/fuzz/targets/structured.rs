//! Structured fields, and the one that an API may announce a key's end with.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|field: &[u8]| {
    if let Ok(text) = std::str::from_utf8(field) {
        fuzzing::structured_field(text);
    }
    fuzzing::credential_status(field);
});
