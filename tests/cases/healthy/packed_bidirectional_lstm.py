"""Packed sequences through a bidirectional two-layer LSTM tagger; padding is ignored by the loss.

Source: torch.nn.utils.rnn documentation.
"""
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(30, 12, padding_idx=0)
        self.lstm = nn.LSTM(12, 16, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.tag = nn.Linear(32, 3)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.tag(out)


def collate(samples):
    lengths = torch.tensor([len(s) for s in samples])
    ids = pad_sequence(samples, batch_first=True)
    tags = pad_sequence([s % 3 for s in samples], batch_first=True, padding_value=-1)
    return ids, lengths, tags


if __name__ == "__main__":
    torch.manual_seed(0)
    corpus = [torch.randint(1, 30, (int(n),)) for n in torch.randint(2, 9, (200,))]
    loader = DataLoader(corpus, batch_size=20, shuffle=True, collate_fn=collate)
    model = Tagger()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss(ignore_index=-1)
    for epoch in range(4):
        for ids, lengths, tags in loader:
            loss = criterion(model(ids, lengths).flatten(0, 1), tags.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        print(epoch, loss.item())
