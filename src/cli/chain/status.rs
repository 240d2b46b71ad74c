//! `colearn chain status`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colearn_records::on_chain::{TREE_KEY, Tree};
use colearn_relay::{NotProven, Rpc, RpcError, Shown, Status};
use serde_json::{Value, json};

use super::Opened;
use super::price::{Price, prices};

/// How old the newest block of a chain that goes on may be.
const HALTED: Duration = Duration::from_secs(60);

/// What the ledger comes to.
struct Ledger {
    size: u64,
    root: String,
    /// Why it is not proven, if it is not.
    unproven: Option<String>,
    /// The height of the header that proves it.
    proven: Option<u64>,
    /// Who may give the contract other code, if somebody may, which is why it is not proven.
    admin: Option<String>,
}

/// What one of the chain's servers says of it.
struct Server {
    address: String,
    said: Result<Status, RpcError>,
}

impl Server {
    fn is_of(&self, chain: &str) -> bool {
        self.said.as_ref().is_ok_and(|status| status.chain_id == chain)
    }

    fn told(&self, chain: &str) -> String {
        match &self.said {
            Ok(Status { chain_id, .. }) if chain_id != chain => {
                format!("of another chain, {chain_id}: take it out of rpc")
            }
            Ok(status) => {
                let behind = if status.catching_up { ", and it is behind" } else { "" };
                format!("block {}, {} s ago{behind}", status.height, age(status).as_secs())
            }
            Err(error) => error.to_string(),
        }
    }

    fn to_json(&self) -> Value {
        let status = self.said.as_ref().ok();
        json!({
            "address": self.address,
            "chain_id": status.map(|it| &it.chain_id),
            "error": self.said.as_ref().err().map(ToString::to_string),
            "height": status.map(|it| it.height),
            "lag_ms": status.map(|it| age(it).as_millis()),
        })
    }
}

/// All of them, asked at the same time: one may be silent.
async fn servers(rpc: &Rpc) -> Vec<Server> {
    let asked = rpc.each().map(|rpc| {
        tokio::spawn(async move {
            Server { address: rpc.server().to_owned(), said: rpc.status().await }
        })
    });
    let mut servers = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        // It does not panic.
        servers.extend(asked.await);
    }
    servers
}

pub(super) async fn run(opened: &Opened, json: bool) -> anyhow::Result<ExitCode> {
    let (settings, rpc) = (&opened.settings, &opened.rpc);
    let deliverer = opened.deliverer()?;
    let account = deliverer.address()?;
    let servers = servers(rpc).await;
    // What else is told is asked of the first that has the chain, if one has.
    if let Some(place) = servers.iter().position(|it| it.is_of(&settings.chain_id)) {
        (0..place).for_each(|_| rpc.go_on());
    }
    let status = rpc.status().await?;
    let age = age(&status);
    let (denom, payer) = (&settings.denom, settings.granter.as_ref().unwrap_or(&account));
    let balance = rpc.balance(payer, denom).await?;
    let spent = deliverer.spent_today()?;
    let ledger = match &settings.contract {
        Some(contract) => Some(ledger(opened, contract).await?),
        None => None,
    };
    let prices = match &settings.contract {
        // Only a hint: all else is told whatever a server answers to this.
        Some(contract) => prices(rpc, settings, contract).await.unwrap_or_else(|error| {
            eprintln!("what a round costs is not known: {error:#}");
            Vec::new()
        }),
        None => Vec::new(),
    };
    let is_other_chain = status.chain_id != settings.chain_id;
    let is_halted = age > HALTED;
    // Where nothing is trusted, nothing was to be proven.
    let is_unproven =
        settings.trust.is_some() && ledger.as_ref().is_some_and(|ledger| ledger.proven.is_none());
    if json {
        let ledger = ledger.as_ref().map(|it| {
            json!({
                "admin": it.admin,
                "proven_by": it.proven,
                "root": it.root, "size": it.size, "unproven": it.unproven,
            })
        });
        let told = json!({
            "account": account,
            "balance": balance.to_string(),
            "chain_id": status.chain_id,
            "code": settings.trust.as_ref().map(|trust| hex::encode(trust.code)),
            "contract": settings.contract,
            "halted": is_halted,
            "height": status.height,
            "lag_ms": age.as_millis(),
            "ledger": ledger,
            "payer": payer,
            "prices": prices.iter().map(Price::to_json).collect::<Vec<_>>(),
            "server": rpc.server(),
            "servers": servers.iter().map(Server::to_json).collect::<Vec<_>>(),
            "spent_today": spent.to_string(),
        });
        println!("{told}");
    } else {
        println!("server        {}", rpc.server());
        // Where there is only one, what follows is all of it.
        for server in servers.iter().filter(|_| servers.len() > 1) {
            println!("of rpc        {}: {}", server.address, server.told(&settings.chain_id));
        }
        println!("chain         {}", status.chain_id);
        if is_other_chain {
            println!("              which is another than chain_id, {}", settings.chain_id);
        }
        let halted = if is_halted { ": it has halted, or its servers lag" } else { "" };
        println!("block         {}, {} s ago{halted}", status.height, age.as_secs());
        match (&settings.contract, &ledger) {
            (Some(contract), Some(ledger)) => {
                println!("contract      {contract}");
                tell(ledger);
            }
            _ => println!("contract      none yet: colearn chain deploy"),
        }
        if let Some(trust) = &settings.trust {
            println!("trusted code  {}", hex::encode(trust.code));
        }
        println!("account       {account}");
        if payer != &account {
            println!("paid by       {payer}");
        }
        println!("balance       {balance}{denom}");
        println!("fees today    {spent}{denom} of {}{denom}", settings.max_fee_a_day);
        for price in &prices {
            println!("costs         {}", price.text(denom));
        }
    }
    Ok(match is_other_chain || is_halted || is_unproven {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn tell(ledger: &Ledger) {
    println!("entries       {}", ledger.size);
    println!("root          {}", ledger.root);
    match (&ledger.proven, &ledger.unproven) {
        (Some(height), _) => {
            println!("proven        by block {height}");
            println!("admin         nobody, beside the chain's governance");
        }
        (None, why) => {
            println!("proven        no: {}", why.as_deref().unwrap_or("nothing is trusted"));
        }
    }
}

async fn ledger(opened: &Opened, contract: &str) -> anyhow::Result<Ledger> {
    let rpc = &opened.rpc;
    let mut admin = None;
    let unproven = match &opened.settings.trust {
        None => "chain.toml has no line `trust`, so this is what the server says".to_owned(),
        Some(trust) => match rpc.prove(trust, contract, TREE_KEY).await {
            Ok(Shown { light, established }) => match Tree::from_bytes(&established.value) {
                Some(tree) => {
                    let proven = Some(light.height());
                    let (size, root) = (tree.head().size, tree.root().to_string());
                    return Ok(Ledger { size, root, unproven: None, proven, admin });
                }
                None => "what the contract keeps is no ledger".to_owned(),
            },
            Err(error) => {
                if let NotProven::Admin(who) = &error {
                    admin = Some(who.clone());
                }
                error.to_string()
            }
        },
    };
    let (size, root) = said(rpc, contract).await?;
    Ok(Ledger { size, root, unproven: Some(unproven), proven: None, admin })
}

/// Size and root, as a server says.
async fn said(rpc: &Rpc, contract: &str) -> anyhow::Result<(u64, String)> {
    let state = rpc.smart(contract, &json!({ "ledger": {} })).await?;
    let size = state.get("size").and_then(Value::as_u64);
    let root = state.get("root").and_then(Value::as_str).and_then(|it| STANDARD.decode(it).ok());
    size.zip(root)
        .map(|(size, root)| (size, hex::encode(root)))
        .ok_or_else(|| anyhow::anyhow!("the contract {contract} keeps no ledger"))
}

fn age(status: &Status) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(status.time_ms))
}
