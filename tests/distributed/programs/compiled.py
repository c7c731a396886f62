"""DistributedDataParallel around a compiled module, or compiled as a whole, on gloo."""

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

compiled = sys.argv[1]
dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
if compiled == "inside":
    model = torch.compile(model, backend="aot_eager")
replica = DistributedDataParallel(model)
if compiled == "around":
    replica = torch.compile(replica, backend="aot_eager")
optimizer = torch.optim.SGD(replica.parameters(), lr=0.05)
torch.manual_seed(dist.get_rank())
for _ in range(8):
    x = torch.randn(16, 8)
    (replica(x) - x.sum(1, keepdim=True)).pow(2).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
total = sum(parameter.double().sum() for parameter in replica.parameters())
if dist.get_rank() == 0:
    print(f"{total.item():.17g}")
dist.destroy_process_group()
