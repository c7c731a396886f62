"""Two blocks, sharded by fully_shard or split by tensor parallelism; prints the norm of each whole first gradient."""

import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 18), nn.Linear(18, 6)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = nn.Sequential(Block(), Block(), nn.Linear(6, 1))
mesh = init_device_mesh("cpu", (2,))
for block in model[:2]:
    if sys.argv[1] == "fully_shard":
        fully_shard(block, mesh=mesh)
    else:
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
if sys.argv[1] == "fully_shard":
    fully_shard(model, mesh=mesh)
    torch.manual_seed(rank)
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
for step in range(14):
    x = torch.randn(16, 6)
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).pow(2).mean().backward()
    if step == 0:
        whole = {
            name: (p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad).norm().item()
            for name, p in model.named_parameters()
        }
        if rank == 0:
            print(json.dumps(whole))
    optimizer.step()
dist.destroy_process_group()
