//! What the other side of a connection may say to harm a client, below the meaning of an answer.

use std::time::Duration;

use super::server::Script;

/// An attack, and how it is said.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) script: Script,
    /// The client cannot know better than to wait until its time is over. Of all others it has had
    /// enough long before.
    pub(crate) waits: bool,
}

/// Each attack of the transport. `status` is that of the answers that have one, `body` what they bring
/// where they bring what they should.
pub(crate) fn attacks(status: &str, body: &str) -> Vec<Attack> {
    let head = |fields: &str| format!("HTTP/1.1 {status}\r\n{fields}\r\n");
    let chunked = head("transfer-encoding: chunked\r\n");
    let length = body.len();
    let tick = Duration::from_millis(20);
    let attack = |name, script| Attack { name, script, waits: false };
    let waiting = |name, script| Attack { name, script, waits: true };
    vec![
        attack("a body without end", Script::says(head("")).endless(" ")),
        attack(
            "chunks without end",
            Script::says(&*chunked).endless(format!("200\r\n{:512}\r\n", "")),
        ),
        attack(
            "an announced length beyond every number",
            Script::says(head("content-length: 99999999999999999999\r\n")).endless(" "),
        ),
        attack(
            "an announced length of an exabyte",
            Script::says(head("content-length: 1152921504606846976\r\n")).endless(" "),
        ),
        waiting(
            "an announced length, and silence",
            Script::says(head("content-length: 65536\r\n")).held(),
        ),
        waiting(
            "a body by drips",
            Script::says(head("content-length: 65536\r\n")).endless(" ").each(tick),
        ),
        waiting("chunks by drips", Script::says(&*chunked).endless("1\r\n \r\n").each(tick)),
        waiting("a status line by drips", Script::says("HTTP/1.1 ").endless("2").each(tick)),
        waiting(
            "a header by drips",
            Script::says(format!("HTTP/1.1 {status}\r\nx: ")).endless("y").each(tick),
        ),
        waiting(
            "headers by drips",
            Script::says(format!("HTTP/1.1 {status}\r\n")).endless("x: y\r\n").each(tick),
        ),
        attack(
            "a header without end",
            Script::says(format!("HTTP/1.1 {status}\r\nx: ")).endless("y"),
        ),
        attack(
            "headers without end",
            Script::says(format!("HTTP/1.1 {status}\r\n")).endless("x: y\r\n"),
        ),
        attack("a status line without end", Script::says("HTTP/1.1 200 ").endless("O")),
        waiting("interim answers without end", Script::says("").endless("HTTP/1.1 103 X\r\n\r\n")),
        waiting(
            "interim answers with headers without end",
            Script::says("").endless("HTTP/1.1 103 X\r\nlink: </x>\r\n\r\n"),
        ),
        attack(
            "a chunk's extension without end",
            Script::says(format!("{chunked}4;x=")).endless("y"),
        ),
        waiting("a chunk's length without end", Script::says(&*chunked).endless("0")),
        attack(
            "extensions of every chunk",
            Script::says(&*chunked).endless(format!("200;x={:x>64}\r\n{:512}\r\n", "", "")),
        ),
        attack(
            "trailers without end",
            Script::says(format!("{chunked}{length:x}\r\n{body}\r\n0\r\n")).endless("x: y\r\n"),
        ),
        attack(
            "a trailer without end",
            Script::says(format!("{chunked}{length:x}\r\n{body}\r\n0\r\nx: ")).endless("y"),
        ),
        attack(
            "a chunk beyond every number",
            Script::says(format!("{chunked}ffffffffffffffffff\r\n")).endless(" "),
        ),
        attack(
            "a chunk that is no number",
            Script::says(format!("{chunked}-1\r\n{body}\r\n0\r\n\r\n")),
        ),
        attack("two lengths", {
            let fields = format!("content-length: {length}\r\ncontent-length: 1\r\n");
            Script::says(head(&fields) + body)
        }),
        attack("a negative length", Script::says(head("content-length: -1\r\n") + body)),
        attack("less than the length", Script::says(head("content-length: 9999\r\n") + body)),
        attack("chunks that stop", Script::says(format!("{chunked}ffff\r\n{body}"))),
        attack("no such protocol", Script::says(format!("HTTP/7.3 {status}\r\n\r\n{body}"))),
        attack("no protocol at all", Script::says(body)),
        attack("a status of four digits", Script::says(format!("HTTP/1.1 2000 X\r\n\r\n{body}"))),
        attack("a name that is none", Script::says(head("x y: z\r\n") + body)),
        attack("a NUL in a header", Script::says(head("x: \0\r\n") + body)),
        attack("a head that stops", Script::says(format!("HTTP/1.1 {status}\r\nx"))),
        attack(
            "another protocol",
            Script::says("HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n")
                .endless("x"),
        ),
        attack("nothing", Script::says("")),
        waiting("silence", Script::says("").held()),
    ]
}

/// So many zeros, compressed a hundredfold and more (RFC 1951, RFC 1952): one block whose every symbol repeats
/// the byte before it 258 times.
pub(crate) fn gzip_bomb(zeros: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut held, mut count) = (0_u32, 0);
    let mut put = |bits: u32, length: u32| {
        held |= bits << count;
        count += length;
        while count >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    };
    // The last block, of fixed codes. Codes are written from their first bit.
    put(0b1, 1);
    put(0b01, 2);
    put(0b0011_0000_u32.reverse_bits() >> 24, 8);
    for _ in 0..zeros / 258 {
        put(0b1100_0101_u32.reverse_bits() >> 24, 8);
        put(0, 5);
    }
    put(0, 7 + 7);
    // The sum is wrong; whoever gets that far has read too much.
    bytes.extend([0; 8]);
    bytes
}
