//! The buildlet's HTTP protocol: names, rules and codecs, without I/O.
