"""train() is called once before the loop, eval() every few steps inside it.

Source: "Model.eval() vs with torch.no_grad()" (https://discuss.pytorch.org/t/model-eval-vs-with-torch-no-grad/19615).
expect: {"code": "GT409", "line": false}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
model = nn.Sequential(
    nn.Linear(12, 48), nn.ReLU(), nn.Dropout(0.5), nn.Linear(48, 48), nn.ReLU(), nn.Dropout(0.5), nn.Linear(48, 3)
)
opt = torch.optim.Adam(model.parameters(), lr=2e-3)
xs = torch.randn(500, 12)
ys = xs[:, :3].argmax(1)
xv, yv = xs[400:], ys[400:]

model.train()
step = 0
while step < 90:
    for idx in torch.randperm(400).split(50):
        loss = F.cross_entropy(model(xs[idx]), ys[idx])
        opt.zero_grad()
        loss.backward()
        opt.step()
        step += 1
        if step % 30 == 0:
            model.eval()
            with torch.inference_mode():
                print(step, loss.item(), F.cross_entropy(model(xv), yv).item())
