"""The running total of the loss is sent backward with retain_graph=True.

Source: "GPU memory increase while I wanna to backward() with accumulative loss"
(https://discuss.pytorch.org/t/gpu-memory-increase-while-i-wanna-to-backward-with-accumulative-loss/43284).
expect: {"code": "GT408", "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
X = torch.randn(60, 16, 5)
true_w = torch.randn(5, 1)
model = nn.Linear(5, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.002)

total_loss = 0
for i in range(60):
    x = X[i]
    y = x @ true_w
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    total_loss += loss  # <- fault
    total_loss.backward(retain_graph=True)  # <- fault
    optimizer.step()
    if i % 20 == 0:
        print(i, total_loss.item() / (i + 1))
