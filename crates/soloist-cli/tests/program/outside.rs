//! What is seen of the program from outside: exit codes, file descriptors, the terminal, and the list of processes.

use std::process::{Command, Stdio};

use soloist::testing::RedisServer;

use crate::place::{Place, Running, runs, wait_for};

#[test]
fn every_exit_code_is_passed_on() {
    let place = Place::local();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let place = &place;
            scope.spawn(move || {
                for code in (part..256).step_by(4) {
                    let key = format!("k{part}");
                    let ended = place.soloist(&["run", &key, "--", "sh", "-c", &format!("exit {code}")]);
                    assert_eq!((ended.code, ended.err.as_str()), (code, ""));
                }
            });
        }
    });
}

#[test]
fn the_command_inherits_no_descriptor_of_the_program() {
    // What it would have without the program: whoever runs this test may have left some open.
    let mut plain = Command::new("ls");
    plain.arg("/proc/self/fd").stdin(Stdio::null());
    let plain = Running::of(plain).end().text();
    for place in [Place::local(), Place::redis()] {
        assert_eq!(place.ok(&["run", "k", "--", "ls", "/proc/self/fd"]), plain);
        assert_eq!(place.ok(&["once", "k", "--", "ls", "/proc/self/fd"]), plain);
    }
}

/// The program on a terminal of its own, with this typed into it.
fn on_a_terminal(place: &Place, command: &str, typed: &str) -> String {
    let mut script = Command::new("script");
    let program = env!("CARGO_BIN_EXE_soloist");
    script.args(["-qec", &format!("{program} {command}"), "/dev/null"]);
    script.env("SOLOIST_STORE", &place.url).current_dir(place.dir.path()).stdin(Stdio::piped());
    let mut run = Running::of(script);
    run.type_in(typed);
    let ended = run.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.text()
}

#[test]
fn the_command_has_the_terminal_and_can_read_from_it() {
    let place = Place::local();
    let command = "run k -- sh -c 'test -t 0 && test -t 1 && echo >ready; read word; echo heard-$word'";
    let said = on_a_terminal(&place, command, "hello\n");
    assert!(place.file("ready").exists(), "it is a terminal: {said}");
    assert!(said.contains("heard-hello"), "{said}");
}

#[test]
fn a_password_in_the_environment_is_in_no_list_of_processes_and_no_message() {
    let server = RedisServer::start_with(&["--requirepass", "geheim-4711"]);
    let mut place = Place::local();
    place.url = server.url().replace("redis://", "redis://:geheim-4711@");
    let mut command =
        place.command(&["run", "k", "--ttl", "2s", "-v", "--", "sh", "-c", "echo $$ >pid; exec sleep 300"]);
    command.env("RUST_LOG", "trace");
    let run = Running::of(command);
    let sleep = place.line_of("pid");
    // The program, its guard, and the command.
    let wrapper = run.pid().as_raw_nonzero().to_string();
    let children = std::fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children")).unwrap();
    let mut lines = 0;
    for pid in [wrapper.as_str(), &sleep].into_iter().chain(children.split_whitespace()) {
        let line =
            String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap()).into_owned();
        assert!(!line.contains("geheim"), "ps tells it: {line}");
        lines += 1;
    }
    assert!(lines >= 3, "the guard is among them");
    let busy = place.soloist(&["run", "k", "--try", "--", "true"]);
    assert_eq!(busy.code, 124);
    drop(server);
    let ended = run.end();
    assert_eq!(ended.code, 123, "{ended:?}");
    wait_for("the command to end", || !runs(&sleep));
    let gone = place.soloist(&["show", "k"]);
    assert_eq!(gone.code, 125, "{gone:?}");
    for said in [&busy, &ended, &gone] {
        assert!(!said.err.contains("geheim") && !said.text().contains("geheim"), "{said:?}");
    }
}
