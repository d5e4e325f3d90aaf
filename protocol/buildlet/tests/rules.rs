//! The protocol's tables, and what must hold for every input.

use proptest::prelude::*;
use protocol_buildlet::expand::{PathStyle, dedup_env, expand_path, is_secret_variable};
use protocol_buildlet::form::{ExecForm, Fields};
use protocol_buildlet::ls::{FileInfo, Line, parse_time, write_time};
use protocol_buildlet::mode::{self, GoMode};
use protocol_buildlet::path::{check_path_windows, clean};
use protocol_buildlet::process_state::ProcessState;
use protocol_buildlet::*;

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn paths_that_leave_the_work_directory_are_refused() {
    for ok in ["a", "a/b", "a/../b", "./a", ".", "a//b", "..a", "a\\..\\..\\b", "a/"] {
        assert_eq!(check_path(ok), Ok(()), "{ok}");
    }
    for bad in ["..", "../x", "a/../../x", "a/../..", "./../x"] {
        assert_eq!(check_path(bad), Err(PathError::Escapes), "{bad}");
    }
    assert_eq!(check_path("/etc"), Err(PathError::Absolute));
    assert_eq!(check_path("//"), Err(PathError::Absolute));
    assert_eq!(check_path(""), Err(PathError::Missing));
    assert_eq!(check_path("a\0b"), Err(PathError::Nul));
    for bad in ["\\x", "c:x", "C:\\x", "a\\..\\..\\b", "file.txt:stream"] {
        assert!(check_path_windows(bad).is_err(), "{bad}");
    }
    assert_eq!(check_path_windows("a\\b"), Ok(()));
}

#[test]
fn modes_are_decimal_go_values() {
    // Spec T8: a client that sends octal digits gets what the decimal number says.
    assert_eq!(GoMode::from_parameter("0644").map(|m| m.to_string()).as_deref(), Some("--w----r--"));
    assert_eq!(GoMode::from_parameter("420"), Some(GoMode::regular(0o644)));
    assert_eq!(GoMode::from_parameter("33188").map(GoMode::permissions), Some(0o644));
    for bad in ["", "+420", "-1", "4294967296", "2147483648", "0x1a4", "420 "] {
        let got = GoMode::from_parameter(bad);
        assert!(got.is_none(), "{bad} gave {got:?}");
    }
    assert_eq!(GoMode::from_posix(0o041777).to_string(), "dtrwxrwxrwx");
    assert_eq!(GoMode::from_posix(0o020666).to_string(), "Dcrw-rw-rw-");
    assert_eq!(GoMode::from_posix(0o104755).to_string(), "urwxr-xr-x");
    assert_eq!(GoMode::from_posix(0o120777).to_string(), "Lrwxrwxrwx");
    assert_eq!(GoMode(mode::SOCKET | 0o600).to_string(), "Srw-------");
    assert_eq!(GoMode::from_posix(0o104755).posix_permissions(), 0o4755);
}

#[test]
fn listing_lines_have_the_known_bytes() {
    let mut out = String::new();
    Line { mode: GoMode::directory(0o755), name: "src".into(), file: None }.write(&mut out);
    let sha1 = Some("a9993e364706816aba3e25717850c26c9cd0d89d".to_owned());
    Line { mode: GoMode::regular(0o644), name: "src/a".into(), file: Some(FileInfo { size: 3, modified: 1_700_000_000, sha1 }) }.write(&mut out);
    Line { mode: GoMode::from_posix(0o120777), name: "l".into(), file: None }.write(&mut out);
    assert_eq!(out, "drwxr-xr-x\tsrc/\n-rw-r--r--\tsrc/a\t3\t2023-11-14T22:13:20Z\ta9993e364706816aba3e25717850c26c9cd0d89d\nLrwxrwxrwx\tl\n");
    for bad in ["", "x", "-rw-r--r--\ta", "-rw-r--r--\ta\t-1\t2023-11-14T22:13:20Z", "-rw-r--r--\ta\t1\t2023-02-30T22:13:20Z", "drwxr-xr-x\tsrc"] {
        assert!(Line::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn process_states_are_gos_words() {
    assert_eq!(ProcessState::Exited(0).to_string(), "ok");
    assert_eq!(ProcessState::Exited(3).to_string(), "exit status 3");
    assert_eq!(ProcessState::Exited(0xC000_0005).to_string(), "exit status 0xc0000005");
    assert_eq!(ProcessState::Signaled { signal: 9, core: false }.to_string(), "signal: killed");
    assert_eq!(ProcessState::Signaled { signal: 11, core: true }.to_string(), "signal: segmentation fault (core dumped)");
    assert_eq!(ProcessState::Signaled { signal: 34, core: false }.to_string(), "signal: signal 34");
    assert_eq!(ProcessState::parse("fork/exec /etc: permission denied"), None);
}

#[test]
fn path_elements_expand_once_and_in_order() {
    let env = strings(&["PATH=/first", "HOME=/h", "PATH=/bin:/usr/bin"]);
    let table: [(&[&str], Option<&str>); 8] = [
        (&[], None),
        (&["$PATH"], None),
        (&["$EMPTY"], Some("")),
        (&["$WORKDIR/go/bin", "$PATH"], Some("/w/$PATH/go/bin:/bin:/usr/bin")),
        (&["$PATH", "/x"], Some("/bin:/usr/bin:/x")),
        (&["/x", "$EMPTY", "/y"], Some("/x:/y")),
        (&["$HOME"], Some("$HOME")),
        (&["/a$EMPTY/b"], Some("/a/b")),
    ];
    for (elements, want) in table {
        assert_eq!(expand_path(&strings(elements), &env, "/w/$PATH", PathStyle::UNIX).as_deref(), want, "{elements:?}");
    }
    let windows = strings(&["Path=C:\\bin"]);
    assert_eq!(expand_path(&strings(&["x", "$PATH"]), &windows, "C:\\w", PathStyle::WINDOWS).as_deref(), Some("x;C:\\bin"));
}

#[test]
fn later_variables_win() {
    let env = strings(&["A=1", "B=2", "a=3", "A=4", "=C:=C:\\x", "junk"]);
    assert_eq!(dedup_env(env.clone(), false), strings(&["B=2", "a=3", "A=4", "=C:=C:\\x", "junk"]));
    assert_eq!(dedup_env(env, true), strings(&["B=2", "A=4", "=C:=C:\\x", "junk"]));
}

#[test]
fn secrets_are_recognised_by_name() {
    for secret in ["META_password", "META_tls_key", "GO_BUILD_KEY_PATH", "GO_BUILD_KEY_DELETE_AFTER_READ", "GO_BUILDLET_TOKEN", "BURROW_ENROLL", "GOMOTEID"] {
        assert!(is_secret_variable(secret), "{secret}");
    }
    for harmless in ["PATH", "HOME", "GO_BUILDER_NAME", "GOROOT_BOOTSTRAP", "KEYBOARD"] {
        assert!(!is_secret_variable(harmless), "{harmless}");
    }
}

#[test]
fn forms_take_scalars_from_both_places_and_lists_from_the_body() {
    let body = Fields::parse(b"cmd=a%20b&cmdArg=1&cmdArg=+2&bad=%zz&env=K%3DV&x;y=1");
    let query = Fields::parse(b"dir=src&mode=sys&cmd=ignored&cmdArg=ignored&debug=T");
    let form = ExecForm::from_fields(&body, &query);
    let want = ExecForm { cmd: "a b".into(), system: true, dir: "src".into(), args: strings(&["1", " 2"]), env: strings(&["K=V"]), path: vec![], debug: true };
    assert_eq!(form, want);
    assert_eq!(ExecForm { cmd: "x".into(), ..Default::default() }.encode(), "cmd=x&mode=&dir=&debug=false");
}

#[test]
fn unknown_keys_of_a_request_are_refused() {
    assert!(serde_json::from_str::<ExecRequest>(r#"{"cmd":"x","shell":true}"#).is_err());
    let request: ExecRequest = serde_json::from_str(r#"{"cmd":"x","network":"none"}"#).unwrap();
    assert_eq!(request.network, Network::None);
    assert_eq!(serde_json::to_string(&StoppedBy::IdleTimeout).unwrap(), "\"idle_timeout\"");
    let go: Status = serde_json::from_str(r#"{"Version":26}"#).unwrap();
    assert_eq!(go.burrow, None);
}

#[test]
fn execution_ids() {
    for good in ["a", "7f.1-_Z", &"x".repeat(100)] {
        assert!(valid_execution_id(good), "{good}");
    }
    for bad in ["", ".", "..", ".a", "a/b", "ä", "a b", &"x".repeat(101)] {
        assert!(!valid_execution_id(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_accepted_path_climbs(path in "([a-z.]{0,3}/?){0,8}") {
        if check_path(&path).is_ok() {
            let cleaned = clean(&path);
            prop_assert!(cleaned != ".." && !cleaned.starts_with("../"), "{} -> {}", path, cleaned);
            prop_assert!(!cleaned.starts_with('/'));
        }
    }

    #[test]
    fn modes_read_back(bits in any::<u32>()) {
        let mode = GoMode(bits & !(0x7f << 9) & !(1 << 16) & !(1 << 17) & !(1 << 18));
        prop_assert_eq!(GoMode::parse(&mode.to_string()), Some(mode));
    }

    #[test]
    fn lines_read_back(name in "[^\n]{0,30}", size in any::<u64>(), time in 0i64..253_402_300_799, digest in proptest::option::of("[0-9a-f]{40}")) {
        let line = Line { mode: GoMode::regular(0o640), name, file: Some(FileInfo { size, modified: time, sha1: digest }) };
        let mut text = String::new();
        line.write(&mut text);
        prop_assert_eq!(Line::parse(&text), Ok(line));
    }

    #[test]
    fn times_read_back(time in -62_167_219_200i64..253_402_300_799) {
        let mut text = String::new();
        write_time(&mut text, time);
        prop_assert_eq!(parse_time(&text), Some(time));
    }

    #[test]
    fn process_states_read_back(code in 0i64..=0xffff_ffff, signal in 1i32..64, core in any::<bool>()) {
        for state in [ProcessState::Exited(code), ProcessState::Signaled { signal, core }] {
            prop_assert_eq!(ProcessState::parse(&state.to_string()), Some(state));
        }
    }

    #[test]
    fn forms_read_back(cmd in ".*", args in proptest::collection::vec(".*", 0..4), debug in any::<bool>()) {
        let form = ExecForm { cmd, args, debug, dir: "d".into(), ..Default::default() };
        let fields = Fields::parse(form.encode().as_bytes());
        prop_assert_eq!(ExecForm::from_fields(&fields, &Fields::default()), form);
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Line::parse(&text), GoMode::parse(&text), parse_time(&text), ProcessState::parse(&text));
        let _ = (check_path(&text), check_path_windows(&text), clean(&text));
        let fields = Fields::parse(&bytes);
        let _ = ExecForm::from_fields(&fields, &fields).encode();
        let mut out = String::new();
        write_time(&mut out, i64::MIN);
        write_time(&mut out, i64::MAX);
    }
}
