#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inputs::status_query(data));
