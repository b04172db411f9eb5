mod corrupt;
mod journal_check;
mod load;
mod perf;
mod s_fjall;
mod s_lmdb;
mod s_redb;
mod store;
use std::path::PathBuf;
use store::*;

fn go<S: Store + 'static>(cmd: &str, name: &str, root: PathBuf) -> Res<()> {
    match cmd {
        "perf" => perf::run::<S>(name, &root),
        "durable" => perf::durable::<S>(name, &root),
        "space" => perf::space::<S>(name, &root),
        "crash" => perf::crash::<S>(name, &root),
        "crash-child" => perf::crash_child::<S>(&root),
        "flip" => corrupt::flip::<S>(name, &root),
        "tail" => corrupt::tail::<S>(name, &root),
        "verify-child" => corrupt::verify_child::<S>(&root),
        "full" => corrupt::full::<S>(name, &root),
        "limit" => corrupt::limit::<S>(name, &root),
        _ => Err("unknown command".into()),
    }
}

/// usage: engines-bench <command> <fjall|redb|lmdb> <directory on a real disk>
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (cmd, name, root) = (&a[1], &a[2], PathBuf::from(&a[3]));
    if cmd == "create" {
        return s_fjall::create(&root);
    }
    let r = match name.as_str() {
        "fjall" => go::<s_fjall::Fjall>(cmd, name, root),
        "redb" => go::<s_redb::Redb>(cmd, name, root),
        "lmdb" => go::<s_lmdb::Lmdb>(cmd, name, root),
        _ => Err("unknown engine".into()),
    };
    if let Err(x) = r {
        println!("{name}|{cmd} FAILED|{x}");
        std::process::exit(1);
    }
}
