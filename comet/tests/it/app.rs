//! The smallest application: keeps what it is sent.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use colearn_comet::abci::{self, *};
use sha2::{Digest as _, Sha256};

use response_process_proposal::ProposalStatus;

/// What outlives the application's process.
#[derive(Clone, Default, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) height: i64,
    pub(crate) txs: Vec<Vec<u8>>,
}

impl Kept {
    pub(crate) fn hash(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        for tx in &self.txs {
            hash.update(Sha256::digest(tx));
        }
        hash.finalize().to_vec()
    }
}

/// An application: what is kept, and the block that is not committed.
#[derive(Clone, Default)]
pub(crate) struct App {
    pub(crate) kept: Arc<Mutex<Kept>>,
    candidate: Arc<Mutex<Option<Kept>>>,
    pub(crate) requests: Arc<Mutex<Vec<&'static str>>>,
}

impl App {
    /// After a restart: what is not committed is gone.
    pub(crate) fn restarted(&self) -> Self {
        Self { kept: self.kept.clone(), ..Self::default() }
    }

    pub(crate) fn kept(&self) -> Kept {
        self.kept.lock().unwrap().clone()
    }

    pub(crate) fn serve(&self, socket: &Path, stopping: &Stopping) -> JoinHandle<()> {
        let listener = UnixListener::bind(socket).unwrap();
        self.serve_at(listener, stopping)
    }

    pub(crate) fn serve_at(&self, listener: UnixListener, stopping: &Stopping) -> JoinHandle<()> {
        let app = self.clone();
        abci::serve(listener, move |request| app.answer(request), stopping.clone()).unwrap()
    }

    /// A transaction that begins with `no` is refused, one that begins with `die` is fatal.
    fn answer(&self, request: request::Value) -> Result<response::Value, Fatal> {
        use request::Value as Ask;
        use response::Value as Answer;
        let mut kept = self.kept.lock().unwrap();
        let asked = |name| self.requests.lock().unwrap().push(name);
        Ok(match request {
            Ask::Info(_) => {
                asked("Info");
                Answer::Info(ResponseInfo {
                    last_block_height: kept.height,
                    last_block_app_hash: if kept.height > 0 { kept.hash() } else { vec![] }.into(),
                    ..ResponseInfo::default()
                })
            }
            Ask::InitChain(_) => {
                asked("InitChain");
                let app_hash = kept.hash().into();
                Answer::InitChain(ResponseInitChain { app_hash, ..ResponseInitChain::default() })
            }
            Ask::CheckTx(ask) => {
                let code = u32::from(ask.tx.starts_with(b"no"));
                Answer::CheckTx(ResponseCheckTx { code, ..ResponseCheckTx::default() })
            }
            Ask::PrepareProposal(ask) => {
                Answer::PrepareProposal(ResponsePrepareProposal { txs: ask.txs })
            }
            Ask::ProcessProposal(_) => Answer::ProcessProposal(ResponseProcessProposal {
                status: ProposalStatus::Accept.into(),
            }),
            Ask::FinalizeBlock(ask) => {
                asked("FinalizeBlock");
                if ask.txs.iter().any(|tx| tx.starts_with(b"die")) {
                    return Err(Fatal::new("asked to die"));
                }
                let mut next = kept.clone();
                next.height = ask.height;
                next.txs.extend(ask.txs.iter().map(|tx| tx.to_vec()));
                let app_hash = next.hash().into();
                *self.candidate.lock().unwrap() = Some(next);
                let tx_results = vec![ExecTxResult::default(); ask.txs.len()];
                Answer::FinalizeBlock(ResponseFinalizeBlock {
                    tx_results,
                    app_hash,
                    ..ResponseFinalizeBlock::default()
                })
            }
            Ask::Commit(_) => {
                asked("Commit");
                *kept = self.candidate.lock().unwrap().take().unwrap();
                Answer::Commit(ResponseCommit::default())
            }
            Ask::Query(_) => Answer::Query(ResponseQuery::default()),
            Ask::ListSnapshots(_) => Answer::ListSnapshots(ResponseListSnapshots::default()),
            other => return Err(Fatal::new(format!("not expected: {other:?}"))),
        })
    }
}
