//! Asking for those who do not await: from any thread, be it one of a runtime's or not.

use std::sync::mpsc;
use std::time::Duration;

use crate::{Address, Answer, Http, NetError, Trust};

struct Question {
    path: String,
    limit: usize,
    reply: mpsc::SyncSender<Result<Answer, NetError>>,
}

/// As [`Http`], and each call waits. It has a thread of its own, which ends with it.
pub struct Client {
    address: Address,
    questions: tokio::sync::mpsc::UnboundedSender<Question>,
}

impl Client {
    /// Asks a server in whom one trusts so; a whole answer may take so long.
    ///
    /// # Errors
    /// If files in which the trust is kept cannot be used, or there can be no thread.
    pub fn new(address: &Address, trust: &Trust, patience: Duration) -> Result<Self, NetError> {
        let http = Http::new(address, trust, patience)?;
        let failed = |error: std::io::Error| NetError::Unreachable {
            url: address.url().to_owned(),
            reason: error.to_string(),
        };
        let (questions, mut asked) = tokio::sync::mpsc::unbounded_channel::<Question>();
        let serve = move || {
            // Here, since it can be dropped where nothing is awaited only. Whoever asks is told that nobody answers.
            let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = built else { return };
            runtime.block_on(async {
                while let Some(Question { path, limit, reply }) = asked.recv().await {
                    // Whoever has gone does not want it.
                    let _ = reply.send(http.get(&path, limit).await);
                }
            });
        };
        std::thread::Builder::new().name("asking".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { address: address.clone(), questions })
    }

    /// What is under a path, of at most so many bytes.
    ///
    /// # Errors
    /// If it does not answer, or more.
    pub fn get(&self, path: &str, limit: usize) -> Result<Answer, NetError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let gone = || NetError::Unreachable {
            url: self.address.url().to_owned(),
            reason: "the thread that asks has ended".to_owned(),
        };
        self.questions
            .send(Question { path: path.to_owned(), limit, reply })
            .map_err(|_| gone())?;
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}
