"""LSTM classifier over eighty steps.

Source: Hochreiter & Schmidhuber (1997); the gates carry the gradient.
"""
import torch
import torch.nn as nn


class SequenceClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 24, batch_first=True)
        self.fc = nn.Linear(24, 2)
        for name, p in self.lstm.named_parameters():
            if "bias_ih" in name:
                p.data[24:48].fill_(1.0)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out.mean(1))


torch.manual_seed(0)
model = SequenceClassifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(40):
    x = torch.randn(24, 80, 2)
    y = (x[:, :, 0].mean(1) > 0).long()
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
