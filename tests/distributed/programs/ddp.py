"""DistributedDataParallel on gloo; the argument says what goes wrong on rank 1."""

import os
import sys
import time
from contextlib import nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

fault = sys.argv[1]
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
replica = DistributedDataParallel(model)
optimizer = torch.optim.SGD(replica.parameters(), lr=0.05)
torch.manual_seed(rank)
for step in range(16):
    x = torch.randn(16, 8)
    if fault == "nan" and rank == 1 and step == 7:
        x[3, 2] = float("nan")
    if fault == "slow" and rank == 1:
        time.sleep(0.05)
    accumulating = fault == "accumulate" and step % 2 == 0
    with replica.no_sync() if accumulating else nullcontext():
        (replica(x) - x.sum(1, keepdim=True)).pow(2).mean().backward()
    if accumulating:
        continue
    optimizer.step()
    optimizer.zero_grad()
    if fault == "drift" and rank == 1 and step == 9:
        with torch.no_grad():
            model[2].weight.add_(0.5)
    if fault == "kill" and rank == 1 and step == 9:
        time.sleep(1.5)
        os.kill(os.getpid(), 9)
if rank == 0:
    print("trained")
dist.destroy_process_group()
