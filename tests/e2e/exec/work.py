"""What a learner's command can look like, with nothing but Python: everybody's model is one number, and together they
look for the mean of theirs. Waits before a task where a file says so."""

import json
import os
import struct
import sys
import time

mine, task, state = float(sys.argv[1]), os.environ["COLEARN_TASK"], os.environ["COLEARN_STATE"]


def read(name):
    with open(name, "rb") as file:
        data = file.read()
    return struct.unpack("<f", data[8 + int.from_bytes(data[:8], "little") :])[0]


def write(name, value):
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    with open(name, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + struct.pack("<f", value))


with open(f"{state}/begun", "a") as begun:
    print(os.environ["COLEARN_ROUND"], task, file=begun)
while os.path.exists(f"{state}/wait-{task}"):
    time.sleep(0.01)
answer = {}
if task == "start":
    write("update.safetensors", 0.0)
elif task == "propose":
    base = read("base.safetensors")
    write("update.safetensors", base + 0.5 * (mine - base))
    with open("round.json") as file:
        planned = json.load(file)["privacy"]
    answer = {"privacy": planned} if planned else {}
else:
    answer = {"score": -abs(read("model.safetensors") - mine)}
with open("result.new", "w") as file:
    json.dump(answer, file)
os.rename("result.new", "result.json")
