//! Units, numbers and scales: no panic; numbers read back as they were written; base units are base units.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol_benchfmt::{Class, Scaler, format_float, parse_float, parse_int, unit};

fuzz_target!(|data: &[u8]| {
    let (base, factor) = unit::tidy(data);
    assert_eq!(unit::tidy(&base), (base.clone(), 1.0));
    assert!(factor >= 0.0);
    let _ = (unit::class(data), parse_int(data));
    let mut numbers: Vec<f64> = data.chunks_exact(8).filter_map(|bytes| Some(f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?)))).collect();
    numbers.extend(parse_float(data).ok());
    for class in [Class::Decimal, Class::Binary] {
        let scaler = Scaler::common(numbers.iter().copied(), class);
        for number in &numbers {
            let _ = scaler.format(*number);
            let again = [format_float(*number), Scaler::EXACT.format(*number)].map(|text| parse_float(text.as_bytes()).expect("it was written here"));
            assert!(number.is_nan() || again == [*number; 2]);
        }
    }
});
