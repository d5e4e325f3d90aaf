//! Black-box tests of the real executables.
