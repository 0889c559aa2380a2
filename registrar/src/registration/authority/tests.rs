use super::*;

/// A literal that is remembered, with the name of this number in the static table.
fn literal(name: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![0x40 | name];
    match u8::try_from(value.len()) {
        Ok(length @ 0..127) => field.push(length),
        _ => field.extend([127, u8::try_from(value.len() - 127).unwrap()]),
    }
    field.extend(value);
    field
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// The fields of a request: POST, http, a path, the authority, and one with a name of its own.
fn block(authority: &[u8]) -> Vec<u8> {
    let own = [&[0x40, 2][..], b"te", &[8], b"trailers"].concat();
    [&[0x83, 0x86][..], &literal(4, b"/a/b"), &literal(1, authority), &own].concat()
}

const PATH: &[u8] = b"%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fd-reg.sock";

#[test]
fn path_of_the_socket_becomes_a_host() {
    assert_eq!(block_with_host(&block(PATH)).unwrap(), block(HOST));
    // Longer than one byte of length can say.
    assert_eq!(block_with_host(&block(&[b'x'; 200])).unwrap(), block(HOST));
    // Numbers of remembered fields, and a change of the table's size, stay.
    let later = [0x20, 0xbe, 0xbf, 0x83];
    assert_eq!(block_with_host(&later).unwrap(), later);
    // Literals that are not remembered.
    assert_eq!(block_with_host(&[0x01, 1, b'x']).unwrap(), [&[0x01, 9][..], HOST].concat());
    assert_eq!(block_with_host(&[0x11, 0x81, 0xff]).unwrap(), [&[0x11, 9][..], HOST].concat());
}

#[test]
fn a_block_that_is_cut_off_is_left_alone() {
    let whole = block(PATH);
    for end in [3, 5, 20, whole.len() - 1] {
        let cut = frame(HEADERS, END_HEADERS, &whole[..end]);
        assert_eq!(with_host(&cut), None, "{end}");
    }
    assert_eq!(block_with_host(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
}

#[test]
fn frames_come_out_whole_however_they_come_in() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let priority = [0, 0, 0, 0, 16];
    let sent = [
        &preface[..],
        &frame(4, 0, &[]),
        &frame(HEADERS, END_HEADERS, &block(PATH)),
        &frame(0, 1, &[0; 5]),
        &frame(HEADERS, END_HEADERS | PRIORITY, &[&priority[..], &block(PATH)].concat()),
        &frame(HEADERS, END_HEADERS | PADDED, &block(PATH)),
    ]
    .concat();
    let expected = [
        &preface[..],
        &frame(4, 0, &[]),
        &frame(HEADERS, END_HEADERS, &block(HOST)),
        &frame(0, 1, &[0; 5]),
        &frame(HEADERS, END_HEADERS | PRIORITY, &[&priority[..], &block(HOST)].concat()),
        &frame(HEADERS, END_HEADERS | PADDED, &block(PATH)),
    ]
    .concat();
    for piece in [1, 7, 50, sent.len()] {
        let mut frames = Frames::default();
        sent.chunks(piece).for_each(|bytes| frames.push(bytes));
        assert_eq!(frames.ready, expected, "{piece} bytes at a time");
        assert!(frames.partial.is_empty());
    }
}

#[test]
fn a_frame_that_is_too_long_is_the_servers_to_refuse() {
    let mut frames = Frames { preface: 0, ..Frames::default() };
    let sent = [&[0xff; 9][..], &[1; 100]].concat();
    sent.chunks(10).for_each(|bytes| frames.push(bytes));
    assert_eq!(frames.ready, sent);
}
