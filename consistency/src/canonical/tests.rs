//! Tests: the canonical form, type by type.

use proptest::prelude::*;

use super::*;

fn text(kind: Kind, printed: &str) -> String {
    String::from_utf8(canonical(kind, printed.into()).expect("printed by MySQL")).expect("UTF-8")
}

#[test]
fn numbers_lose_their_padding_and_nothing_else() {
    assert_eq!(text(Kind::Integer, "00042"), "42");
    assert_eq!(text(Kind::Integer, "0000"), "0");
    assert_eq!(text(Kind::Integer, "-8388608"), "-8388608");
    assert_eq!(text(Kind::Integer, "18446744073709551615"), "18446744073709551615");
    assert_eq!(text(Kind::Decimal, "00012.50"), "12.50");
    assert_eq!(text(Kind::Decimal, "0.00"), "0.00");
    assert_eq!(text(Kind::Decimal, "-0.10"), "-0.10");
}

#[test]
fn floating_point_numbers_take_the_shortest_text() {
    assert_eq!(text(Kind::Float, "3.4028234663852886e38"), "3.4028235e38");
    assert_eq!(text(Kind::Float, "0.10000000149011612"), "0.1");
    assert_eq!(text(Kind::Float, "-0"), "-0.0");
    assert_eq!(text(Kind::Double, "1e16"), "1e16");
    assert_eq!(text(Kind::Double, "1.5"), "1.5");
    assert_eq!(text(Kind::Double, "2"), "2.0");
}

#[test]
fn timestamps_say_that_they_are_utc() {
    assert_eq!(
        text(Kind::Timestamp, "2026-01-02 03:04:05.678900"),
        "2026-01-02T03:04:05.678900Z"
    );
    assert_eq!(text(Kind::Timestamp, "0000-00-00 00:00:00"), "0000-00-00T00:00:00Z");
    assert!(canonical(Kind::Timestamp, b"2026".to_vec()).is_err());
}

#[test]
fn bytes_geometries_and_vectors_are_spelled_out() {
    assert_eq!(canonical(Kind::Binary, vec![0, 0xff, 0]).expect("any bytes"), b"AP8A");
    let point = [&4326_u32.to_le_bytes()[..], &[1, 2]].concat();
    assert_eq!(
        canonical(Kind::Geometry, point).expect("a geometry"),
        br#"{"srid":4326,"wkb":"AQI="}"#
    );
    assert_eq!(text(Kind::Vector, "0000803F00002040"), "[1.0,2.5]");
    assert!(canonical(Kind::Vector, b"0000".to_vec()).is_err());
}

#[test]
fn what_no_value_can_have_written_is_told_apart() {
    for (kind, wrong) in [
        (Kind::Integer, "007"),
        (Kind::Integer, "+7"),
        (Kind::Integer, "x"),
        (Kind::Integer, ""),
        (Kind::Decimal, "1.2.3"),
        (Kind::Decimal, ".5"),
        (Kind::Decimal, "-"),
        (Kind::Float, "1"),
        (Kind::Double, "inf"),
        (Kind::Date, "tomorrow"),
        (Kind::Date, "'"),
        (Kind::Timestamp, "2026-01-02 03:04:05"),
        (Kind::Binary, "AP8"),
    ] {
        assert!(!is_canonical(kind, wrong.as_bytes()), "{kind:?} {wrong}");
    }
}

#[test]
fn literals_cannot_end_early() {
    assert_eq!(literal(Kind::Characters, "a'b".as_bytes()), "_utf8mb4 X'612762'");
    assert_eq!(literal(Kind::Binary, b"AP8A"), "X'00FF00'");
    assert_eq!(
        literal(Kind::Timestamp, b"2026-01-02T03:04:05Z"),
        "'2026-01-02 03:04:05'"
    );
    assert_eq!(literal(Kind::Float, b"0.1"), "1.0000000149011612e-1");
}

proptest! {
    #[test]
    fn a_float_reads_back_as_itself(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        let printed = canonical(Kind::Float, f64::from(value).to_string().into_bytes()).expect("a number");
        let back: f32 = std::str::from_utf8(&printed).expect("digits").parse().expect("a number");
        prop_assert_eq!(back.to_bits(), bits);
        prop_assert!(is_canonical(Kind::Float, &printed));
    }

    #[test]
    fn a_double_reads_back_as_itself(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
        let printed = canonical(Kind::Double, format!("{value:e}").into_bytes()).expect("a number");
        let back: f64 = std::str::from_utf8(&printed).expect("digits").parse().expect("a number");
        prop_assert_eq!(back.to_bits(), value.to_bits());
        prop_assert!(is_canonical(Kind::Double, &printed));
    }

    #[test]
    fn padding_never_changes_a_number(value in any::<u64>(), width in 1_usize..30) {
        let padded = format!("{value:0width$}").into_bytes();
        let printed = canonical(Kind::Integer, padded).expect("digits");
        prop_assert!(is_canonical(Kind::Integer, &printed));
        prop_assert_eq!(printed, value.to_string().into_bytes());
    }

    #[test]
    fn a_decimal_keeps_its_scale(whole in any::<i64>(), scale in 0_usize..30) {
        let point = if scale > 0 { "." } else { "" };
        let number = format!("{whole}{point}{}", "0".repeat(scale)).into_bytes();
        prop_assert_eq!(canonical(Kind::Decimal, number.clone()).expect("digits"), number.clone());
        prop_assert!(is_canonical(Kind::Decimal, &number));
    }

    #[test]
    fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let printed = canonical(Kind::Binary, bytes.clone()).expect("any bytes");
        prop_assert!(is_canonical(Kind::Binary, &printed));
        prop_assert_eq!(BASE64.decode(printed).expect("base64"), bytes);
    }

    #[test]
    fn no_text_makes_a_panic(kind in 0_usize..14, bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        const KINDS: [Kind; 14] = [
            Kind::Integer, Kind::Bit, Kind::Float, Kind::Double, Kind::Decimal, Kind::Date, Kind::Time,
            Kind::DateTime, Kind::Timestamp, Kind::Characters, Kind::Binary, Kind::Json, Kind::Geometry, Kind::Vector,
        ];
        let kind = KINDS[kind];
        let _ = is_canonical(kind, &bytes);
        let _ = canonical(kind, bytes.clone());
        let _ = literal(kind, &bytes);
    }
}
