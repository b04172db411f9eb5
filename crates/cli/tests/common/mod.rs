//! A running `norikv`, and a client that is nothing but gRPC.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use norikv_proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Long enough for anything that works.
const SOON: Duration = Duration::from_secs(30);

fn command(args: &[&str]) -> Child {
    start(Command::new(env!("CARGO_BIN_EXE_norikv")).args(args))
}

fn start(command: &mut Command) -> Child {
    command
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a command that ended said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn assert_one_line(&self, about: &str) {
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("norikv: ") && self.stderr.contains(about), "{}", self.stderr);
    }
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    let output = command(args).wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `norikv serve` on a free port, killed when it is dropped.
pub(crate) struct Norikv {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) store: String,
    address: String,
}

impl Norikv {
    /// Starts it and waits until it says that it serves.
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::ready(command(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()))
    }

    /// The same for a process that may have only so many descriptors.
    pub(crate) fn serve_with_descriptors(descriptors: u32, args: &[&str]) -> Self {
        let script = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_norikv"), "serve", "--listen", "127.0.0.1:0"]);
        Self::ready(start(shell.args(args)))
    }

    fn ready(mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let Some((store, address)) = line
            .trim_end()
            .strip_prefix("norikv is serving ")
            .and_then(|rest| rest.rsplit_once(" on "))
            .map(|(store, address)| (store.to_owned(), address.to_owned()))
        else {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("not the line of a server that is ready: {line:?}; {stderr}");
        };
        Self { child, _stdout: stdout, store, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends a signal and waits for the exit code.
    pub(crate) fn signal(&mut self, signal: Signal) -> Option<i32> {
        self.send(signal);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < SOON, "norikv did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM)
    }

    /// Ends it, for what it said.
    pub(crate) fn terminated(mut self) -> Ended {
        let code = self.terminate();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { code, stdout: String::new(), stderr }
    }
}

impl Drop for Norikv {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection, and calls that block.
pub(crate) struct Client {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Client {
    pub(crate) fn connect(norikv: &Norikv) -> Self {
        Self::try_connect(norikv).unwrap()
    }

    pub(crate) fn try_connect(norikv: &Norikv) -> Option<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", norikv.address)).unwrap();
        let channel = runtime.block_on(endpoint.timeout(SOON).connect()).ok()?;
        Some(Self { runtime, channel })
    }

    /// Begins a put whose request never comes.
    pub(crate) fn begin_endless_call(&self) -> tokio::task::JoinHandle<Result<v1::PutResponse, Status>> {
        let mut grpc = Grpc::new(self.channel.clone());
        let (begun, wait) = tokio::sync::oneshot::channel();
        let call = self.runtime.spawn(async move {
            grpc.ready().await.unwrap();
            let mut begun = Some(begun);
            let never = futures_util::stream::poll_fn(move |_| {
                // The body is asked for once the headers are sent.
                if let Some(begun) = begun.take() {
                    let _ = begun.send(());
                }
                std::task::Poll::<Option<v1::PutRequest>>::Pending
            });
            let path = PathAndQuery::from_static("/norikv.v1.Kv/Put");
            let codec = ProstCodec::default();
            grpc.client_streaming(Request::new(never), path, codec).await.map(tonic::Response::into_inner)
        });
        self.runtime.block_on(wait).unwrap();
        call
    }

    fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let codec = ProstCodec::default();
            let answer = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
            answer.map(tonic::Response::into_inner)
        })
    }

    pub(crate) fn try_put(&self, key: &str, value: &str) -> Result<v1::Version, Status> {
        let request = v1::PutRequest {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            ..Default::default()
        };
        self.unary("/norikv.v1.Kv/Put", request).map(|answer: v1::PutResponse| answer.version.unwrap())
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> v1::Version {
        self.try_put(key, value).unwrap()
    }

    pub(crate) fn get(&self, key: &str) -> Option<(bytes::Bytes, v1::Version)> {
        let request = v1::GetRequest { key: key.to_owned().into(), ..Default::default() };
        let answer: v1::GetResponse = self.unary("/norikv.v1.Kv/Get", request).unwrap();
        answer.version.map(|version| (answer.value, version))
    }

    pub(crate) fn cluster(&self) -> v1::ClusterView {
        self.runtime.block_on(async {
            let mut grpc = Grpc::new(self.channel.clone());
            grpc.ready().await.unwrap();
            let path = PathAndQuery::from_static("/norikv.v1.Meta/WatchCluster");
            let request = Request::new(v1::ClusterView::default());
            let views = grpc.server_streaming(request, path, ProstCodec::default()).await.unwrap();
            views.into_inner().message().await.unwrap().unwrap()
        })
    }
}
