"""What was said first, asked after sixty steps of a plain nn.RNN: the gradient dies on its way, inside one call.

Source: "Learning long-term dependencies with gradient descent is difficult" (Bengio et al. 1994).
expect: {"code": "GT101", "where": [{"module": ["r"]}, {"parameter": ["r.weight_hh_l0"]}]}
"""
import torch
from torch import nn
torch.manual_seed(0)
class N(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.Embedding(8, 16); self.r = nn.RNN(16, 32, batch_first=True); self.o = nn.Linear(32, 8)
    def forward(self, x):
        return self.o(self.r(self.e(x))[0][:, -1])
net = N(); opt = torch.optim.Adam(net.parameters(), 1e-3)
for i in range(40):
    x = torch.randint(0, 8, (32, 60))
    loss = nn.functional.cross_entropy(net(x), x[:, 0])
    opt.zero_grad(); loss.backward(); opt.step()
