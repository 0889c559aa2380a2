#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| inputs::rbd_class(data));
