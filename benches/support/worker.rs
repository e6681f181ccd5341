//! Worker processes driven without a server.
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use playhouse::media::work::{Answer, FromWorker, PROTOCOL_VERSION, ProcessLimits, Task, ToWorker};

/// A worker that is ready.
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let (socket, theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut command = Command::new(env!("CARGO_BIN_EXE_playhouse"));
        let child = command.arg("worker").stdin(Stdio::from(OwnedFd::from(theirs))).spawn().expect("a worker");
        let lines = BufReader::new(socket.try_clone().expect("a second handle"));
        let mut worker = Self { child, socket, lines };
        let limits = ProcessLimits { nice: 0, address_space_bytes_max: 16 << 30 };
        worker.say(&ToWorker::Hello { protocol: PROTOCOL_VERSION, limits });
        assert!(matches!(worker.hear(), FromWorker::Ready { .. }));
        worker
    }

    fn say(&mut self, message: &ToWorker) {
        let mut line = serde_json::to_vec(message).expect("a line");
        line.push(b'\n');
        self.socket.write_all(&line).expect("a worker that listens");
    }

    fn hear(&mut self) -> FromWorker {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a worker that answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Runs a task to its end.
    pub(crate) fn run(&mut self, task: Task) -> Answer {
        self.say(&ToWorker::Run { id: 1, task: Box::new(task) });
        loop {
            if let FromWorker::Done { answer, .. } = self.hear() {
                return answer.unwrap_or_else(|failure| panic!("{failure:?}"));
            }
        }
    }
}
