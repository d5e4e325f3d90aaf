//! Compares this crate with cases that a program over the reference's packages wrote (their form: `tests/reference.rs`); ends at the first difference.
//!
//! The program is not part of the repository: `cargo run -p protocol-benchfmt --example oracle -- FILE…`.

#[path = "../tests/oracle/mod.rs"]
mod oracle;

fn main() {
    for path in std::env::args().skip(1) {
        let cases = oracle::cases(&std::fs::read(&path).unwrap());
        oracle::whole(&cases);
        oracle::pieces(&cases);
        oracle::store(&cases);
        println!("{path}: {} cases, no difference", cases.len());
    }
}
