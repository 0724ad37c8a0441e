//! Round trips, foreign forms, damage and caps of the codecs.

use super::*;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use std::io::Write;

const PACKED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const LIMIT_BYTES: usize = 64 << 20;

fn pack(codec: Codec, level: Option<i32>, input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    Codecs::of_thread(|codecs| codecs.compress(codec, level, input, &mut output)).unwrap();
    output
}

/// Reads in steps that leave part of each chunk behind, as a reader of records does.
fn unpack(codec: Codec, input: &[u8], limit_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let mut output = Vec::new();
    Codecs::of_thread(|codecs| {
        let mut inflate = codecs.open(codec, input, limit_bytes)?;
        while inflate.more()? {
            let taken = inflate.ready().len() / 2;
            output.extend_from_slice(&inflate.ready()[..taken]);
            inflate.consume(taken);
        }
        output.extend_from_slice(inflate.ready());
        Ok(output)
    })
}

/// Text that compresses, so that blocks, matches and windows all come into play.
fn text(bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut n = 1_u32;
    while text.len() < bytes {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(format!("order {} of customer {}; ", n >> 20, n >> 28).as_bytes());
    }
    text.truncate(bytes);
    text
}

proptest! {
    #[test]
    fn what_is_packed_comes_back(
        input in proptest::collection::vec(0..8_u8, 0..5_000),
        repeats in 1..40_usize,
        codec in proptest::sample::select(&Codec::ALL[..]),
    ) {
        let input = input.repeat(repeats);
        prop_assert_eq!(unpack(codec, &pack(codec, None, &input), LIMIT_BYTES), Ok(input));
    }

    #[test]
    fn damage_is_an_error_or_other_bytes_but_never_a_panic(
        codec in proptest::sample::select(&PACKED[..]),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packed = pack(codec, None, &text(3_000));
        for (position, byte) in changes {
            let position = position.index(packed.len());
            packed[position] = byte;
        }
        let _ = unpack(codec, &packed, LIMIT_BYTES);
        let _ = unpack(codec, &packed[..cut.index(packed.len())], LIMIT_BYTES);
    }

    #[test]
    fn noise_is_no_frame(
        codec in proptest::sample::select(&PACKED[..]),
        noise in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        if let Ok(output) = unpack(codec, &noise, LIMIT_BYTES) {
            prop_assert!(output.len() <= noise.len() * 22, "only raw snappy may read it");
        }
    }
}

#[test]
fn every_level_gives_the_input_back() {
    let input = text(100_000);
    for codec in PACKED {
        for level in [None, Some(-5), Some(-1), Some(1), Some(3), Some(9), Some(19), Some(99)] {
            let packed = pack(codec, level, &input);
            assert!(packed.len() < input.len() / 2, "{codec:?} {level:?}");
            assert_eq!(unpack(codec, &packed, LIMIT_BYTES).as_ref(), Ok(&input));
        }
    }
}

#[test]
fn a_cut_anywhere_is_noticed() {
    for codec in PACKED {
        let input = text(500);
        let packed = pack(codec, None, &input);
        for cut in 0..packed.len() {
            let read = unpack(codec, &packed[..cut], LIMIT_BYTES);
            let lost = read.as_ref().map_or(true, |read| read.len() < input.len());
            assert!(lost, "{codec:?} cut at {cut}");
        }
    }
}

#[test]
fn output_beyond_the_limit_is_refused_and_memory_stays_small() {
    let input = vec![0; 16 << 20];
    for codec in PACKED {
        let packed = pack(codec, None, &input);
        let limit_bytes = 4 << 20;
        let taken = allocation_counter::measure(|| {
            let refused = CompressionError::TooLarge { limit_bytes };
            assert_eq!(unpack_and_drop(codec, &packed, limit_bytes), Err(refused), "{codec:?}");
        });
        assert!(taken.bytes_max < 1 << 20, "{codec:?} took {} bytes", taken.bytes_max);
        assert_eq!(unpack(codec, &packed, input.len()).map(|output| output.len()), Ok(16 << 20));
    }
}

fn unpack_and_drop(codec: Codec, input: &[u8], limit_bytes: usize) -> Result<(), CompressionError> {
    Codecs::of_thread(|codecs| {
        let mut inflate = codecs.open(codec, input, limit_bytes)?;
        while inflate.more()? {
            inflate.consume(inflate.ready().len());
        }
        Ok(())
    })
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    // A raw snappy block of 4 GiB, and a frame of 2 GiB, both in a few bytes.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &i32::MAX.to_be_bytes(), &[1]].concat();
    for input in [&raw[..], &framed] {
        let taken = allocation_counter::measure(|| {
            assert!(unpack(Codec::Snappy, input, usize::MAX).is_err());
        });
        assert!(taken.bytes_max < 64 << 10, "{} bytes", taken.bytes_max);
    }
}

#[test]
fn snappy_comes_raw_or_framed() {
    let input = text(70_000);
    let raw = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(unpack(Codec::Snappy, &raw, LIMIT_BYTES).as_ref(), Ok(&input));
    let framed = pack(Codec::Snappy, None, &input);
    assert!(framed.starts_with(b"\x82SNAPPY\0"));
    assert_eq!(unpack(Codec::Snappy, &framed, LIMIT_BYTES).as_ref(), Ok(&input));
}

#[test]
fn gzip_members_follow_each_other_and_carry_names() {
    let (first, second) = (text(40_000), text(10));
    let mut packed = pack(Codec::Gzip, None, &first);
    let named = pack(Codec::Gzip, None, &second);
    packed.extend_from_slice(&[0x1f, 0x8b, 8, 0b1_1110, 0, 0, 0, 0, 0, 0xff]);
    packed.extend_from_slice(b"\x02\0xxname\0comment\0hc");
    packed.extend_from_slice(&named[10..]);
    packed.extend_from_slice(b"padding");
    let read = unpack(Codec::Gzip, &packed, LIMIT_BYTES).unwrap();
    assert_eq!(read, [first, second].concat());
}

#[test]
fn gzip_checksums_are_checked() {
    for position_from_end in [1, 8] {
        let mut packed = pack(Codec::Gzip, None, &text(100));
        let position = packed.len() - position_from_end;
        packed[position] ^= 1;
        let read = unpack(Codec::Gzip, &packed, LIMIT_BYTES);
        assert!(matches!(read, Err(CompressionError::Corrupt { .. })), "{read:?}");
    }
}

#[test]
fn lz4_frames_of_other_writers() {
    let input = text(200_000);
    let frame = |shape: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(shape, Vec::new());
        encoder.write_all(&input).unwrap();
        encoder.finish().unwrap()
    };
    let independent = FrameInfo::new().block_mode(BlockMode::Independent);
    for shape in [
        independent.clone().block_size(BlockSize::Max64KB).content_checksum(true),
        independent.clone().block_size(BlockSize::Max256KB).block_checksums(true),
        independent.clone().block_size(BlockSize::Max4MB).content_size(Some(200_000)),
    ] {
        assert_eq!(unpack(Codec::Lz4, &frame(shape), LIMIT_BYTES).as_ref(), Ok(&input));
    }
    let linked = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Linked);
    assert!(unpack(Codec::Lz4, &frame(linked), LIMIT_BYTES).is_err());
    let mut checked = frame(independent.block_size(BlockSize::Max64KB).block_checksums(true));
    let last = checked.len() - 5;
    checked[last] ^= 1;
    assert!(unpack(Codec::Lz4, &checked, LIMIT_BYTES).is_err());
}

#[test]
fn lz4_stores_what_does_not_compress() {
    let mut noise = text(100_000);
    let mut state = 7_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    assert_eq!(unpack(Codec::Lz4, &pack(Codec::Lz4, None, &noise), LIMIT_BYTES), Ok(noise));
}

#[test]
fn zstd_frames_follow_each_other() {
    let packed = [pack(Codec::Zstd, None, b"one "), pack(Codec::Zstd, None, b"two")].concat();
    assert_eq!(unpack(Codec::Zstd, &packed, LIMIT_BYTES).as_deref(), Ok(&b"one two"[..]));
}

#[test]
fn nested_use_gets_codecs_of_its_own() {
    let packed = pack(Codec::Zstd, None, &text(100_000));
    let (outer, inner) = Codecs::of_thread(|codecs| {
        let mut inflate = codecs.open(Codec::Zstd, &packed, LIMIT_BYTES).unwrap();
        inflate.more().unwrap();
        let inner = unpack(Codec::Zstd, &packed, LIMIT_BYTES).unwrap();
        while inflate.more().unwrap() {}
        (inflate.ready().to_vec(), inner)
    });
    assert_eq!(outer, inner);
}
