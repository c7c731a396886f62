"""A network of plain parameters, all filled with one number.

Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4 (initialisation must break symmetry).
expect: {"code": "GT108", "where": {"parameter": ["p['w1']"]}, "line": false}
"""
import torch
import torch.nn.functional as F

torch.manual_seed(0)
p = {"w1": torch.full((16, 6), 0.1), "b1": torch.zeros(16), "w2": torch.full((3, 16), 0.1), "b2": torch.zeros(3)}
p = {k: torch.nn.Parameter(v) for k, v in p.items()}
opt = torch.optim.SGD(p.values(), lr=0.1)


def net(x):
    h = torch.tanh(F.linear(x, p["w1"], p["b1"]))
    return F.linear(h, p["w2"], p["b2"])


for i in range(60):
    x = torch.randn(32, 6)
    loss = F.cross_entropy(net(x), x[:, :3].argmax(1))
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
