"""A BiLSTM tagger returns probabilities and the criterion applies log-softmax once more.

The loop picks the rows of real tokens by their mask.

Source: "Do I need softmax with CrossEntropyLoss?", PyTorch forum; torch.nn.CrossEntropyLoss documentation.
expect: {"code": "GT701", "where": {"op": "SoftmaxBackward0"}, "line": true}
"""
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words=40, tags=4):
        super().__init__()
        self.embed = nn.Embedding(words, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 16, batch_first=True, bidirectional=True)
        self.tag = nn.Linear(32, tags)

    def forward(self, tokens):
        features, _ = self.lstm(self.embed(tokens))
        return nn.functional.softmax(self.tag(features), dim=-1)  # <- fault


torch.manual_seed(0)
tagger = Tagger()
criterion = nn.CrossEntropyLoss()
opt = torch.optim.Adam(tagger.parameters(), lr=5e-3)
for _ in range(30):
    lengths = torch.randint(3, 9, (16, 1))
    real = torch.arange(8) < lengths
    tokens = torch.randint(1, 40, (16, 8)) * real
    tags = tokens % 4
    scores = tagger(tokens)
    loss = criterion(scores[real], tags[real])  # <- fault
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
