"""Two networks: the second loss is never sent backward, its optimizer is stepped all the same.

Source: actor-critic loops on the forum; "optimizer.step() without backward does nothing".
expect: {"code": "GT403", "line": true, "also": ["GT301"]}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
projector = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))
opt_student = torch.optim.Adam(student.parameters(), lr=1e-2)
opt_projector = torch.optim.Adam(projector.parameters(), lr=1e-2)

for step in range(40):
    x = torch.randn(64, 8)
    y = x[:, :3].argmax(1)
    logits = student(x)
    loss = F.cross_entropy(logits, y)
    projection_loss = F.mse_loss(projector(logits.detach()), F.one_hot(y, 3).float())

    opt_student.zero_grad()
    loss.backward()
    opt_student.step()

    opt_projector.zero_grad()
    opt_projector.step()  # <- fault
    if step % 10 == 0:
        print(step, loss.item(), projection_loss.item())
