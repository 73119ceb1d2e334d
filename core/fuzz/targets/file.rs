//! A file that is followed, and the files of a folder: a name and a content, a line each.
#![no_main]

use keyswap::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    fuzzing::file(content);
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let pieces: Vec<(&str, &[u8])> = lines
        .chunks_exact(2)
        .filter_map(|pair| Some((std::str::from_utf8(pair[0]).ok()?, pair[1])))
        .collect();
    fuzzing::folder(&pieces);
});
