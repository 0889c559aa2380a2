//! Upstream's library, in a process of its own: a question a line, an answer a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::Value;

/// The running program.
pub(crate) struct Upstream {
    process: Child,
    questions: Sender<String>,
    answers: BufReader<ChildStdout>,
}

impl Upstream {
    /// Starts the program.
    pub(crate) fn start(program: &Path) -> Self {
        let mut process = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("csi-translation starts");
        let mut input = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        // A thread of its own writes, so that neither side waits for the other with a full pipe.
        let (questions, asked) = channel::<String>();
        thread::spawn(move || {
            for line in asked {
                if writeln!(input, "{line}").is_err() {
                    return;
                }
            }
        });
        Self { process, questions, answers }
    }

    /// The answers to these questions, in order.
    pub(crate) fn ask(&mut self, questions: Vec<String>) -> Vec<Value> {
        let count = questions.len();
        for question in questions {
            self.questions.send(question).expect("the writer is there");
        }
        let mut answer = || {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("an answer");
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        (0..count).map(|_| answer()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
