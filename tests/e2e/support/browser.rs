//! A real browser without a screen, which is told what to do over the DevTools protocol, through two named pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use base64::Engine as _;
use serde_json::{Value, json};

use super::DEADLINE;

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    orders: File,
    told: mpsc::Receiver<Value>,
    session: Option<String>,
    next: u64,
    /// What has happened in the page meanwhile.
    events: Vec<Value>,
    _dir: tempfile::TempDir,
}

/// The program; a skip where there is none.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("COLEARN_CHROMIUM").filter(|named| !named.is_empty());
    if let Some(named) = named {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut found = names.iter().flat_map(|name| folders.iter().map(move |dir| dir.join(name)));
    let found = found.find(|path| path.exists());
    if found.is_none() {
        colearn_testkit::skip("chromium", "neither COLEARN_CHROMIUM nor chromium on the PATH");
    }
    found
}

impl Browser {
    /// Starts one; `None` is a skip.
    pub(crate) fn start() -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let (orders, answers) = (dir.path().join("orders"), dir.path().join("answers"));
        for pipe in [&orders, &answers] {
            assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
        }
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let process = Command::new("sh")
            .args(["-c", r#"exec "$PROGRAM" "$@" 3<"$ORDERS" 4>"$ANSWERS""#, "sh"])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-first-run", &profile])
            // Tests run as root in containers, where there is no sandbox to be had.
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--hide-scrollbars", "about:blank"])
            .env("PROGRAM", program)
            .envs([("ORDERS", &orders), ("ANSWERS", &answers)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let orders = OpenOptions::new().write(true).open(orders).unwrap();
        let answers = BufReader::new(File::open(answers).unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let messages = answers.split(0).map_while(Result::ok);
            let messages = messages.map(|bytes| serde_json::from_slice(&bytes).unwrap());
            messages.take_while(|message| tell.send(Value::clone(message)).is_ok()).for_each(drop);
        });
        let mut browser =
            Self { process, orders, told, session: None, next: 1, events: Vec::new(), _dir: dir };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Has something done, and gives what comes of it.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let mut order = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = session.as_str().into();
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut message = self.told.recv_timeout(DEADLINE).expect("the browser answers");
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// Opens an address.
    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut told = self.call("Runtime.evaluate", asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        super::wait_for(expression, || (self.value(expression) == true).then_some(()));
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let pressed = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", pressed);
        }
    }

    /// How wide the page is, and whether it is dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// A picture of the whole page.
    pub(crate) fn picture(&mut self, path: &Path) {
        let asked = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.call("Page.captureScreenshot", asked);
        let data = picture["data"].as_str().unwrap();
        std::fs::write(path, base64::engine::general_purpose::STANDARD.decode(data).unwrap())
            .unwrap();
    }

    /// Controls, links and pictures of the page that have no name for who cannot see them.
    pub(crate) fn nameless(&mut self) -> Vec<Value> {
        let mut tree = self.call("Accessibility.getFullAXTree", json!({}));
        let Value::Array(nodes) = tree["nodes"].take() else { panic!("no tree") };
        let named = [
            "button",
            "link",
            "textbox",
            "searchbox",
            "combobox",
            "slider",
            "image",
            "progressbar",
            "region",
        ];
        let is_nameless = |node: &Value| {
            node["ignored"] == false
                && named.iter().any(|role| node["role"]["value"] == **role)
                && node["name"]["value"].as_str().is_none_or(|name| name.trim().is_empty())
        };
        nodes.into_iter().filter(is_nameless).collect()
    }

    /// What went wrong in the page so far, as a console would show it.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_complaint).collect()
    }

    /// All addresses that the page has asked so far.
    pub(crate) fn asked(&self) -> Vec<&str> {
        let sent =
            self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked to, it ends its own processes, too.
        self.session = None;
        let _ = self.orders.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        while self.told.recv_timeout(DEADLINE).is_ok() {}
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
