//! The worker executable. `burrow-buildlet` has everything, so that `burrow` can be a worker too.

fn main() -> std::process::ExitCode {
    burrow_buildlet::main(std::env::args_os().skip(1))
}
