"""LBFGS, whose closure runs several backwards inside one step.

Source: torch.optim.LBFGS documentation; PyTorch example "time_sequence_prediction".
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
x = torch.linspace(-3, 3, 80).unsqueeze(1)
y = torch.sin(x) + 0.3 * x
seq = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
criterion = nn.MSELoss()
optimizer = torch.optim.LBFGS(seq.parameters(), lr=0.8, max_iter=8)

for i in range(8):
    print("STEP:", i)

    def closure():
        optimizer.zero_grad()
        loss = criterion(seq(x), y)
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    with torch.no_grad():
        print("loss:", criterion(seq(x), y).item())
