//! `colearn ui`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tempfile::NamedTempFile;

use super::args::NodeAddress;
use super::looking::{self, LookingArgs};
use super::signals::Signals;
use crate::ui;
use crate::ui::{Page, Shared, View};

/// How many bytes of the address nobody can guess.
const SECRET_BYTES: usize = 16;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn ui
  colearn ui --node https://node.example:7400 --key a.pem --open
  colearn ui --node http://127.0.0.1:7400 --ledger cdf1c20e... --witness 'w1+...'
  colearn ui colearn-data
  colearn ui exported/ --listen 127.0.0.1:0

It follows the ledger itself and verifies each entry, like a learner. The page says item by item what was verified.
With --key it goes on from what the key remembers, and holds the ledger to it. A folder is audited and then shown as
it was. The page is served on this machine only, and its address holds a secret: whoever has it reads what you may
read. Ctrl-C ends it. docs/page.md has more.")]
pub(crate) struct Ui {
    /// What to show instead: a node's URL, a node's data folder (it may be running), or an exported folder
    #[arg(value_name = "PLACE")]
    place: Option<String>,
    #[command(flatten)]
    node: NodeAddress,
    #[command(flatten)]
    looking: LookingArgs,
    /// The address to serve the page at, on this machine; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDR")]
    listen: SocketAddr,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// Print what was started as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Ui {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        super::keep_to_oneself();
        // Before anyone is told that it runs, so that no signal is missed.
        let mut signals = Signals::catch()?;
        ensure!(
            self.listen.ip().is_loopback(),
            "the page is for this machine only, and {} is not: --listen takes 127.0.0.1:PORT or [::1]:PORT; for \
             another machine, forward the port: ssh -L 7480:127.0.0.1:7480 HOST",
            self.listen
        );
        let listener = tokio::net::TcpListener::bind(self.listen).await.with_context(|| {
            format!("cannot listen on {} (--listen 127.0.0.1:0 picks a free port)", self.listen)
        })?;
        let at = listener.local_addr()?;
        let place = self.place.clone().unwrap_or_else(|| self.node.node.clone());
        let (view, watching) = tokio::select! {
            opened = self.looking.open(&place) => opened?,
            asked = signals.asked() => return Ok(asked.exit_code()),
        };
        let secret = secret()?;
        let address = format!("http://{at}/{secret}/");
        let opened = self.open.then(|| open(&address)).transpose()?;
        self.tell(&view, &address);
        let shared = Arc::new(Shared::new(view));
        let shown = shared.clone();
        let page = Page::new(move || shown.clone(), ui::MAX_STREAMS);
        tokio::select! {
            () = ui::serve(listener, at, &secret, page) => {}
            () = looking::follow(watching, shared) => {}
            _ = signals.asked() => {}
        }
        drop(opened);
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, view: &View, address: &str) {
        let id = view.keys().map(|keys| keys.ledger().to_string()).unwrap_or_default();
        let entries = view.book.size();
        if self.json {
            let line = serde_json::json!({ "address": address, "ledger": id, "entries": entries });
            return println!("{line}");
        }
        println!("ledger   {id}");
        match &view.told.alarm {
            None => println!("entries  {entries}, verified"),
            Some(alarm) => println!("WRONG    {}", alarm.what),
        }
        println!("page     {address}");
        println!("         The address is a secret: whoever has it reads what you may read.");
    }
}

/// What nobody guesses.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    SysRng.try_fill_bytes(&mut bytes).context("the system gives no random numbers")?;
    Ok(hex::encode(bytes))
}

/// Opens the page in the browser. By way of a file that only this user can read: what a program is started with,
/// every user of the machine can see. It goes with what is given.
fn open(address: &str) -> anyhow::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("colearn-ui-").suffix(".html").tempfile()?;
    writeln!(
        file,
        "<!doctype html><meta charset=utf-8><meta name=referrer content=no-referrer>\
         <meta http-equiv=refresh content=\"0;url={address}\"><title>colearn</title><a href=\"{address}\">colearn</a>"
    )?;
    open::that_detached(file.path())
        .context("no browser could be started; open the address yourself, without --open")?;
    Ok(file)
}
