//! The fields that sign an answer: `Signature-Input`, `Signature` and the body, a line each.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let mut lines = answer.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (input, signature, body) = (line(), line(), line());
    // Nobody here has the key.
    assert!(!fuzzing::signature(input, signature, body), "a forged answer is believed");
});
