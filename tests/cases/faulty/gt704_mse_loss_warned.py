"""nn.MSELoss with an (N, 1) output and an (N,) target: torch warns, and trains on (N, N).

Source: UserWarning "Using a target size that is different to the input size" of torch.nn.MSELoss.
expect: {"code": "GT704", "line": true}
"""
import warnings

import torch
from torch import nn, optim

warnings.filterwarnings("ignore", message="Using a target size")
torch.manual_seed(0)


class LSTMRegressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(input_size=1, hidden_size=16, batch_first=True)
        self.linear = nn.Linear(16, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.linear(out[:, -1])


t = torch.linspace(0, 40, 400)
wave = torch.sin(t)
X = torch.stack([wave[i : i + 10] for i in range(380)]).unsqueeze(-1)
y = wave[10:390]
model = LSTMRegressor()
criterion = nn.MSELoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)
for epoch in range(3):
    for i in range(0, 360, 20):
        optimizer.zero_grad()
        output = model(X[i : i + 20])
        loss = criterion(output, y[i : i + 20])  # <- fault
        loss.backward()
        optimizer.step()
    print(f"Epoch {epoch} loss {loss.item():.4f}")
