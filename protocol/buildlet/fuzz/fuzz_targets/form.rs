#![no_main]
//! Any bytes are a form, and what was understood survives the way back.

use protocol_buildlet::form::{ExecForm, Fields};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let fields = Fields::parse(bytes);
    assert_eq!(Fields::parse(fields.encode().as_bytes()), fields);
    let form = ExecForm::from_fields(&fields, &Fields::default());
    assert_eq!(ExecForm::from_fields(&Fields::parse(form.encode().as_bytes()), &Fields::default()), form);
});
