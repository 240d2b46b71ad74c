"""A learner's work by several processes: ``colearn learner --exec`` runs this by torchrun.

colearn learner --experiment x --key me.pem \\
    --exec 'torchrun --standalone --nproc-per-node 2 $COLEARN_FROM/exec_torchrun.py'

The processes share the batches (DDP, over gloo; nccl on GPUs), and the first one answers.
"""

import json
import os

import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def private_rows():
    """What nobody else has: 300 rows to train on, 100 to vote on."""
    mine = torch.Generator().manual_seed(int(os.environ.get("SEED", "1")))
    x = torch.randn(400, 4, generator=mine)
    return x, (x @ torch.tensor([1.0, -2.0, 0.5, 0.0]) > 0).long()


def accuracy(file):
    model.load_state_dict(load_file(file))
    with torch.no_grad():
        return (model(x[300:]).argmax(1) == y[300:]).float().mean().item()


task = os.environ["COLEARN_TASK"]
distributed.init_process_group("gloo")
rank, processes = distributed.get_rank(), distributed.get_world_size()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
x, y = private_rows()
if task == "propose":
    model.load_state_dict(load_file("base.safetensors"))
    shared = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(shared.parameters(), lr=0.5)
    own = slice(rank, 300, processes)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(shared(x[own]), y[own]).backward()
        optimizer.step()
if rank == 0:
    answer = {}
    if task in ("start", "propose"):
        save_file(model.state_dict(), "update.safetensors")
    if task == "vote":
        answer["base_score"] = accuracy("base.safetensors")
    if task != "start":
        answer["score"] = accuracy("update.safetensors" if task == "propose" else "model.safetensors")
    with open("result.new", "w") as file:
        json.dump(answer, file)
    os.rename("result.new", "result.json")
distributed.destroy_process_group()
