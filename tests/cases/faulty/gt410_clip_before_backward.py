"""clip_grad_norm_ stands before backward.

Source: "How to do gradient clipping in pytorch?" (https://stackoverflow.com/questions/54716377): clip between backward and step.
expect: {"code": "GT410", "line": true}
"""
import torch
import torch.nn as nn


class CharModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(15, 12)
        self.lstm = nn.LSTM(12, 24, batch_first=True)
        self.fc = nn.Linear(24, 15)

    def forward(self, x):
        out, _ = self.lstm(self.emb(x))
        return self.fc(out)


torch.manual_seed(0)
model = CharModel()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for step in range(40):
    seq = (torch.arange(12) + torch.randint(0, 15, (16, 1))) % 15
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(seq[:, :-1]).transpose(1, 2), seq[:, 1:])
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)  # <- fault
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
