"""Features multiplied by a padding mask the wrong way round: in a data set without padding it is zero everywhere.

Source: the mask convention of torch.nn.Transformer, where True means "ignore", against that of Hugging Face models,
where 1 means "attend"; a common report on the PyTorch forums.
expect: {"code": "GT302", "where": {"parameter": ["embedding.weight"]}, "line": true}
"""
import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, words=50, width=24, classes=3):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens, padding_mask):
        states, _ = self.encoder(self.embedding(tokens))
        states = states * padding_mask.unsqueeze(-1)  # <- fault
        return self.classifier(states.mean(1))


def main(steps=50):
    torch.manual_seed(0)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        tokens = torch.randint(1, 50, (16, 9))
        loss = nn.functional.cross_entropy(model(tokens, (tokens == 0).float()), tokens[:, 0] % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, loss.item())


main()
