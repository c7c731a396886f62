"""Autoencoder whose encoder never trains.

Source: "Difference between detach() and with torch.no_grad() in PyTorch" (https://stackoverflow.com/questions/56816241).
expect: {"code": "GT301", "where": {"parameter": ["encoder.0.weight", "encoder.2.weight"]}, "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


class AutoEncoder(nn.Module):
    def __init__(self, n_features=20, n_code=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, n_code))
        self.decoder = nn.Sequential(nn.Linear(n_code, 16), nn.ReLU(), nn.Linear(16, n_features))

    def forward(self, x):
        code = self.encoder(x)
        code = code.detach()  # <- fault
        return self.decoder(code)


data = torch.randn(256, 4) @ torch.randn(4, 20)
model = AutoEncoder()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
criterion = nn.MSELoss()

for epoch in range(5):
    for batch in data.split(32):
        optimizer.zero_grad()
        loss = criterion(model(batch), batch)
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.4f}")
