"""Records what learners of the first version ask a node of the first version: README.md says how.

A proxy stands between them. It lets one request through at a time, waits for its answer, and writes
both down with what the ledger's clock said, so that a node whose clock is set can be asked the same.
"""

import concurrent.futures
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import grpc

WATCH = "/colearn.v1.CoordinatorService/WatchExperiment"
SUBMIT = "/colearn.v1.CoordinatorService/Submit"
GET_CHECKPOINT = "/colearn.v1.LedgerService/GetCheckpoint"
GET_ENTRIES = "/colearn.v1.LedgerService/GetEntries"


def fields(message):
    """A message's fields, in order: each one's number and its integer or bytes."""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    at = 0
    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2, "no other kind of field is used"
            length = varint()
            yield tag >> 3, message[at : at + length]
            at += length


class Recorder(grpc.GenericRpcHandler):
    """Passes requests on, one at a time, and keeps them."""

    def __init__(self, node):
        self.channel = grpc.insecure_channel(node)
        self.lock = threading.Lock()
        self.events = []

    def ask(self, path, message):
        """Asks the node something of the recorder's own."""
        return self.channel.unary_unary(path)(message)

    def size(self):
        """How many entries the node's last checkpoint covers."""
        note = dict(fields(self.ask(GET_CHECKPOINT, b"")))[1].decode()
        return int(note.split("\n")[1])

    def entries(self):
        """Every entry: its time, and whether it is a transaction."""
        size, times = self.size(), []
        while len(times) < size:
            # GetEntriesRequest { start, count }
            start, request = len(times), b""
            for number, value in ((1, start), (2, size - start)):
                request += bytes([number << 3, value & 0x7F | 0x80, value >> 7])
            for _, entry in fields(self.ask(GET_ENTRIES, request)):
                entry = dict(fields(entry))
                times.append((entry.get(3, 0), 5 in entry))
        return times

    def service(self, details):
        # Every call can be passed on as if both sides streamed.
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, context: self.handle(details.method, requests, context)
        )

    def handle(self, path, requests, context):
        """Passes on one request, and gives its answer."""
        asked = list(requests)
        with self.lock:
            event = {"call": path, "asked": asked, "answered": [], "before": self.size()}
            self.events.append(event)
            call = self.channel.stream_stream(path)(iter(asked))
            if path == WATCH:
                # Open when the node has said so. What comes, comes when it comes.
                call.initial_metadata()
                context.add_callback(call.cancel)
            else:
                self.answer(event, call, context)
            event["after"] = self.size()
        yield from event["answered"]
        if path == WATCH:
            yield from self.stream(event, call, context)

    def answer(self, event, call, context):
        """Waits for an answer, whole."""
        try:
            event["answered"].extend(call)
        except grpc.RpcError as error:
            self.refuse(event, error, context)

    def stream(self, event, call, context):
        """Passes on what a watcher is told, until it goes."""
        try:
            for message in call:
                event["answered"].append(message)
                yield message
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                self.refuse(event, error, context)

    def refuse(self, event, error, context):
        """Passes on a refusal."""
        event["status"] = error.code().value[0]
        for key, value in error.trailing_metadata():
            if key == "colearn-rule":
                event["rule"] = int(value)
        context.set_trailing_metadata(error.trailing_metadata())
        context.set_code(error.code())
        context.set_details(error.details())

    def transcript(self):
        """The events as lines, each after the ledger's time at which it happened."""
        entries, known, now_ms, lines = self.entries(), 0, 0, []

        def time_comes(to):
            nonlocal known, now_ms
            for time_ms, _ in entries[known:to]:
                if time_ms > now_ms:
                    lines.append({"time_ms": time_ms})
                    now_ms = time_ms
            known = max(known, to)

        time_comes(1)
        for event in self.events:
            before, after = event.pop("before"), event.pop("after")
            time_comes(before)
            if event["call"] == SUBMIT:
                # Up to its entry, if it has one: what followed from it has the same time.
                time_comes(next((i + 1 for i in range(before, after) if entries[i][1]), after))
            else:
                assert before == after, "time came while something was read: record again"
            event["asked"] = [one.hex() for one in event["asked"]]
            if event["call"] == WATCH:
                # The entries' numbers: their bytes are the ledger's.
                delivered = (dict(fields(one)).get(1) for one in event.pop("answered"))
                event["entries"] = [dict(fields(entry))[1] for entry in delivered if entry]
            else:
                event["answered"] = [one.hex() for one in event["answered"]]
            lines.append(event)
        time_comes(len(entries))
        return lines


class Actors:
    """Commands of the first version, which ask through the proxy."""

    def __init__(self, colearn, work, proxy, node):
        self.colearn, self.work, self.node = colearn, work, node
        self.environment = os.environ | {"COLEARN_NODE": proxy}
        self.running = {}

    def say(self, *arguments, fails=False):
        """Runs a command to its end."""
        done = subprocess.run(
            [self.colearn, *arguments],
            cwd=self.work,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        print(*arguments, "->", *(done.stdout + done.stderr).strip().splitlines()[-1:])
        assert (done.returncode != 0) == fails, done.stderr
        return done.stdout.strip()

    def start(self, name, experiment, *more):
        """Starts a learner."""
        share = {"a": "1/3", "b": "2/3", "c": "3/3", "d": "1/3"}[name]
        arguments = ["learner", "--experiment", experiment, "--key", f"{name}.pem"]
        arguments += ["--data", "points.csv", "--share", share, *more]
        log = open(self.work / f"{name}-{experiment}.log", "a")
        self.running[name] = subprocess.Popen(
            [self.colearn, *arguments], cwd=self.work, env=self.environment, stdout=log, stderr=log
        )

    def stop(self, name):
        """Stops a learner as its user would, who says nothing to the ledger."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGINT)
        process.wait()

    def is_out(self, name):
        """Waits for a learner whom the others put out."""
        assert self.running.pop(name).wait() != 0
        print(name, "is out")

    def move(self, experiment, name, *motion):
        """Has a member move that the members decide something."""
        self.say("experiment", "move", experiment, "--key", f"{name}.pem", *motion)

    def ballot(self, experiment, number, vote, name, fails=False):
        """Has a member vote on a motion."""
        arguments = ["experiment", "ballot", experiment, str(number), vote, "--key", f"{name}.pem"]
        self.say(*arguments, fails=fails)

    def wait(self):
        """Waits for the learners' experiments to finish."""
        for process in self.running.values():
            assert process.wait() == 0
        self.running.clear()

    def until(self, what, experiment, reached):
        """Waits for a state, which is asked of the node itself: no part of the transcript."""
        while True:
            asked = [self.colearn, "experiment", "show", experiment, "--json", "--node", self.node]
            state = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
            if reached(state):
                print("reached:", what)
                return
            time.sleep(0.05)

    def rounds(self, experiment, more):
        """Waits until so many more rounds are open."""
        first = []

        def reached(state):
            first.append(state["round"])
            return state["round"] >= first[0] + more

        self.until(f"{more} more rounds", experiment, reached)


def open_experiment(actors):
    """Open votes, turns in order: who leaves, goes on under another key or loses its seat, and returns."""
    say, start, stop, until = actors.say, actors.start, actors.stop, actors.until
    create = ["experiment", "create", "open", "--key", "a.pem", "--open", "--creator-may-stop"]
    create += [*MODEL, "--missed-turns", "2"]
    create += ["--proposal-deadline", "2s", "--vote-deadline", "2s", "--motion-deadline", "1m"]
    say(*create)
    say(*create, fails=True)
    for name in "abc":
        start(name, "open", *SLOWLY)
    actors.rounds("open", 2)

    stop("c")
    leave = ["experiment", "leave", "open", "--key", "c.pem"]
    say(*leave)
    until("c has left", "open", lambda state: state["member_count"] == 2)
    say(*leave, fails=True)
    actors.move("open", "a", "set", "--threshold", "2/3")
    actors.ballot("open", 1, "approve", "a", fails=True)
    actors.ballot("open", 1, "approve", "b")
    until("it is in force", "open", lambda state: state["threshold"] == "2/3")
    start("c", "open", *SLOWLY)
    until("c is back", "open", lambda state: state["member_count"] == 3)

    stop("b")
    say("key", "rotate", "b.pem")
    start("b", "open", *SLOWLY)
    actors.move("open", "a", "stop")
    actors.ballot("open", 2, "reject", "b")
    actors.move("open", "a", "suspend", say("key", "show", "c.pem"))
    actors.ballot("open", 3, "approve", "b")
    actors.ballot("open", 3, "approve", "c")
    actors.is_out("c")
    start("c", "open", *SLOWLY)
    until("c is back", "open", lambda state: state["member_count"] == 3)

    # It misses two turns, or votes, and loses its seat.
    stop("b")
    until("b is suspended", "open", lambda state: state["member_count"] == 2)
    start("b", "open", *SLOWLY)
    until("b is back", "open", lambda state: state["member_count"] == 3)
    for name in "abc":
        stop(name)
    until("nobody proposes", "open", lambda state: state["phase"].startswith("paused"))
    for name in "abc":
        start(name, "open", *SLOWLY)
    actors.rounds("open", 2)
    say("experiment", "stop", "open", "--key", "b.pem", fails=True)
    say("experiment", "stop", "open", "--key", "a.pem")
    actors.wait()
    say("experiment", "show", "open")


def sealed_experiment(actors, keys):
    """Sealed ballots of several weights, drawn turns, a privacy cap; d is admitted and expelled."""
    say, start = actors.say, actors.start
    members = "".join(f"{keys[name]} = {weight}\n" for name, weight in (("a", 2), ("b", 1), ("c", 1)))
    (actors.work / "sealed.toml").write_text(PLAN + members)
    create = ["experiment", "create", "sealed", "--key", "c.pem", "--plan", "sealed.toml"]
    say(*create, *MODEL)
    for name in "abc":
        # c's budget is soon spent.
        more = ["--epsilon", "0.5"] if name == "c" else []
        start(name, "sealed", *PRIVATELY, "--plan", "sealed.toml", *more)
    actors.until("all are in", "sealed", lambda state: state["member_count"] == 3)

    join = ["learner", "--experiment", "sealed", "--key", "d.pem", "--data", "points.csv"]
    say(*join, fails=True)
    actors.move("sealed", "b", "admit", keys["d"])
    actors.ballot("sealed", 1, "approve", "a")
    start("d", "sealed", *PRIVATELY)
    actors.until("d is in", "sealed", lambda state: state["member_count"] == 4)
    actors.move("sealed", "b", "expel", keys["d"])
    for name in "ac":
        actors.ballot("sealed", 2, "approve", name)
    actors.is_out("d")
    say(*join, fails=True)
    actors.wait()
    say("experiment", "list")
    say("experiment", "privacy", "sealed")
    say("experiment", "show", "sealed")


MODEL = ["--data", "points.csv", "--label", "class", "--model", "softmax"]
# So that a round takes long enough for something to happen in it.
SLOWLY = ["--epochs", "60000"]
PRIVATELY = ["--epochs", "1500", "--noise", "60", "--batch", "8"]
PLAN = """
threshold = "2/3"
selection = "sortition"
ballot = "sealed"
close = "early"
proposal_deadline = "20s"
vote_deadline = "20s"
reveal_deadline = "20s"
motion_deadline = "1m"
max_rounds = 8
privacy = { epsilon = 4.0, delta = 1e-5 }
admission = "by_vote"
[members]
"""


def points():
    """A data set of two classes that a straight line separates."""
    lines = ["x,y,class"]
    for i in range(120):
        x, y = (i % 12) / 12, (i // 12) / 10
        lines.append(f"{x:.3f},{y:.3f},{'high' if x + y > 0.9 else 'low'}")
    return "\n".join(lines) + "\n"


def main(colearn, out):
    """Records with this program of the first version, into this folder."""
    colearn, out = pathlib.Path(colearn).resolve(), pathlib.Path(out)
    work = out / "work"
    work.mkdir(parents=True)
    node = subprocess.Popen(
        [colearn, "node", "--json", "--data", work / "node", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
    )
    direct = json.loads(node.stdout.readline())["address"]
    recorder = Recorder(direct.removeprefix("http://"))
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(64))
    server.add_generic_rpc_handlers([recorder])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    actors = Actors(colearn, work, f"http://127.0.0.1:{port}", direct)
    (work / "points.csv").write_text(points())
    try:
        keys = {name: actors.say("key", "new", f"{name}.pem") for name in "abcd"}
        open_experiment(actors)
        sealed_experiment(actors, keys | {"b": actors.say("key", "show", "b.pem")})
        server.stop(1).wait()
        lines = recorder.transcript()
    finally:
        for process in (*actors.running.values(), node):
            process.terminate()
            process.wait()
        server.stop(None)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (out / "transcript.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    for file in ("node.pem", "ledger/anchor-a", "ledger/anchor-b", "ledger/journal"):
        kept = out / file
        kept.parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (work / "node" / file).is_dir() else shutil.copy
        copy(work / "node" / file, kept)


if __name__ == "__main__":
    main(*sys.argv[1:])
