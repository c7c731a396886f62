"""One weight of the checkpoint is NaN, and loading it says nothing.

Source: documentation of torch.nn.Module.load_state_dict, which checks names and shapes, not values.
expect: {"code": "GT203", "where": {"parameter": ["decoder.weight"]}, "line": false, "backward": 1}
"""
import io
import torch
from torch import nn


class AE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(10, 4)
        self.decoder = nn.Linear(4, 10)

    def forward(self, x):
        return self.decoder(torch.relu(self.encoder(x)))


def checkpoint():
    torch.manual_seed(1)
    src = AE()
    src.decoder.weight.data[3, 1] = float("nan")
    buf = io.BytesIO()
    torch.save(src.state_dict(), buf)
    buf.seek(0)
    return buf


ae = AE()
ae.load_state_dict(torch.load(checkpoint()))
opt = torch.optim.Adam(ae.parameters(), lr=1e-3)
for i in range(15):
    x = torch.randn(16, 10)
    loss = nn.functional.mse_loss(ae(x), x)
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
