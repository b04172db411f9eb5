//! The real binary: started, talked to, and ended, as its users do.
#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // they are tests

mod common;

use std::{
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use common::{Client, Norikv, run};
use rustix::process::Signal;

#[test]
fn a_value_that_was_acknowledged_is_there_when_the_store_is_served_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("file:{}", directory.path().join("data").display());
    let mut norikv = Norikv::serve(&["--store", &store]);
    assert_eq!(norikv.store, store);
    let version = Client::connect(&norikv).put("k", "v");
    assert_eq!(norikv.terminate(), Some(0));

    let norikv = Norikv::serve(&["--store", &store]);
    let client = Client::connect(&norikv);
    assert_eq!(client.get("k"), Some(("v".into(), version)));
    assert_eq!(client.get("other"), None);
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_acknowledged() {
    for durability in ["fsync", "relaxed"] {
        let directory = tempfile::tempdir().unwrap();
        let store = format!("file:{}", directory.path().display());
        let mut norikv = Norikv::serve(&["--store", &store, "--durability", durability]);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let client = Client::connect(&norikv);
                std::thread::spawn(move || {
                    let mut acknowledged = 0;
                    while client.try_put(&format!("{writer}:{acknowledged}"), "v").is_ok() {
                        acknowledged += 1;
                    }
                    acknowledged
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(norikv.terminate(), Some(0));
        let acknowledged: Vec<u32> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();

        let norikv = Norikv::serve(&["--store", &store]);
        let client = Client::connect(&norikv);
        for (writer, count) in acknowledged.into_iter().enumerate() {
            assert!(count > 0);
            for number in 0..count {
                assert!(
                    client.get(&format!("{writer}:{number}")).is_some(),
                    "{durability} {writer}:{number}"
                );
            }
        }
    }
}

#[test]
fn sigint_ends_it_as_well_and_the_store_in_memory_is_gone() {
    let mut norikv = Norikv::serve(&["--store", "memory:"]);
    Client::connect(&norikv).put("k", "v");
    assert_eq!(norikv.signal(Signal::INT), Some(0));
    let norikv = Norikv::serve(&["--store", "memory:"]);
    assert_eq!(Client::connect(&norikv).get("k"), None);
}

#[test]
fn the_settings_reach_the_store_and_the_server() {
    let norikv = Norikv::serve(&[
        "--store",
        "memory:",
        "--max-value-bytes",
        "5",
        "--node-id",
        "me",
        "--advertise",
        "db.example:7",
        "--max-connections",
        "1",
    ]);
    let client = Client::connect(&norikv);
    client.put("k", "12345");
    let refused = client.try_put("k", "123456").unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let view = client.cluster();
    assert_eq!((view.nodes[0].id.as_str(), view.nodes[0].addr.as_str()), ("me", "db.example:7"));
}

#[test]
fn a_port_or_a_store_that_is_taken_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["serve", "--store", "memory:", "--listen", &address]);
    assert_eq!(refused.code, Some(1));
    refused.assert_one_line(&address);

    let directory = tempfile::tempdir().unwrap();
    let store = format!("file:{}", directory.path().display());
    let _norikv = Norikv::serve(&["--store", &store]);
    let refused = run(&["serve", "--store", &store, "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, Some(1));
    refused.assert_one_line("open");
}

#[test]
fn what_cannot_be_served_is_said_in_one_clear_line() {
    for (store, about) in [("etcd://127.0.0.1:1", "127.0.0.1:1"), ("127.0.0.1:7447", "127.0.0.1:7447")] {
        let refused = run(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
        assert_eq!(refused.code, Some(1), "{store}");
        refused.assert_one_line(about);
    }
    for (args, about) in [
        (&["serve"][..], "--store"),
        (&["serve", "--store", "nowhere"], "nowhere"),
        (&["serve", "--store", "memory:", "--listen", "localhost"], "localhost"),
        (&["serve", "--store", "memory:", "--durability", "never"], "never"),
        (&["serve", "--store", "memory:", "--loud"], "--loud"),
        (&["sing"], "sing"),
        (&[], "subcommand"),
    ] {
        let refused = run(args);
        assert_eq!(refused.code, Some(2), "{args:?}");
        refused.assert_one_line(about);
    }
}

#[test]
fn the_version_and_the_help_go_to_stdout() {
    let version = run(&["--version"]);
    assert_eq!((version.code, version.stderr.as_str()), (Some(0), ""));
    assert_eq!(version.stdout.trim(), format!("norikv {}", env!("CARGO_PKG_VERSION")));
    let help = run(&["serve", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("--durability"));
}

#[test]
fn it_logs_only_if_it_is_asked_to() {
    let quiet = Norikv::serve(&["--store", "memory:"]).terminated();
    assert_eq!(quiet.stderr, "");
    let loud = Norikv::serve(&["--store", "memory:", "--log", "info"]).terminated();
    assert!(loud.stderr.contains("serving"), "{}", loud.stderr);
    assert_eq!(loud.code, Some(0));
}

#[test]
fn a_call_that_does_not_end_is_broken_off_after_the_grace_or_at_a_second_signal() {
    for (grace, signals, code) in [("200", 1, 0), ("600000", 2, 1)] {
        let mut norikv = Norikv::serve(&["--store", "memory:", "--grace-ms", grace]);
        let client = Client::connect(&norikv);
        let _call = client.begin_endless_call();
        // It came on the same connection before this, so it is under way when this is answered.
        client.put("k", "v");
        for _ in 1..signals {
            norikv.send(Signal::TERM);
            // Two signals at once are one. The first has arrived when no more connections are taken.
            while TcpStream::connect(norikv.address()).is_ok() {}
        }
        assert_eq!(norikv.terminate(), Some(code), "{grace}");
    }
}

#[test]
fn out_of_descriptors_clients_are_refused_and_the_server_goes_on() {
    let norikv = Norikv::serve_with_descriptors(48, &["--store", "memory:"]);
    let client = Client::connect(&norikv);
    client.put("k", "v");
    let many: Vec<_> = (0..100).map(|_| TcpStream::connect(norikv.address())).collect();
    let refused = many.iter().flatten().filter(|stream| {
        let mut stream = *stream;
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // What is served stays open and silent.
        !stream.read(&mut [0; 64]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    assert!(refused.count() > 0);
    assert!(client.get("k").is_some());
    drop(many);
    let begun = Instant::now();
    while Client::try_connect(&norikv).and_then(|client| client.try_put("k", "v").ok()).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "no connection is free again");
    }
}

#[test]
fn the_library_answers_an_exit_code_and_leaves_the_process_alone() {
    let args = |text: &str| text.split(' ').map(str::to_owned).collect();
    assert_eq!(norikv_cli::main_with(args("norikv --version")), 0);
    assert_eq!(norikv_cli::main_with(args("norikv serve --store nowhere")), 2);
    assert_eq!(norikv_cli::main_with(args("norikv serve --store etcd://a:1")), 1);
    assert_eq!(norikv_cli::main_with(Vec::new()), 2);
}

#[test]
fn certificates_that_cannot_be_used_are_one_clear_line_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("server.crt", "nothing"), file("server.key", "nothing"));
    let missing = directory.path().join("missing.crt").display().to_string();
    for (cert, about) in [(&cert, "has no certificate"), (&missing, "cannot read")] {
        let args =
            ["serve", "--store", "memory:", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", &key];
        let refused = run(&args);
        assert_eq!(refused.code, Some(1));
        refused.assert_one_line(cert);
        refused.assert_one_line(about);
    }
    let half = run(&["serve", "--store", "memory:", "--tls-cert", &cert]);
    assert_eq!(half.code, Some(2));
    half.assert_one_line("--tls-key");
}

#[test]
fn options_of_etcd_are_for_etcd_and_a_password_is_never_shown() {
    let refused = run(&["serve", "--store", "memory:", "--store-prefix", "app/"]);
    assert_eq!(refused.code, Some(1));
    refused.assert_one_line("--store-prefix");
    for store in ["etcd://root:secret@host", "ectd://root:secret@host:1"] {
        let refused = run(&["serve", "--store", store]);
        assert!(!refused.stderr.contains("secret"), "{}", refused.stderr);
        refused.assert_one_line("");
    }
}
