"""Masked softmax that zeroes the saved exponentials in place.

Source: forum threads on in-place masking before backward; torch.exp saves its result.
expect: {"code": "GT304", "line": true}
"""
import torch
import torch.nn as nn


def masked_softmax(scores, mask):
    e = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)  # <- fault
    e[mask] = 0.0  # <- fault
    return e / e.sum(-1, keepdim=True)


class Pointer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(8, 8)

    def forward(self, items, mask):
        scores = (self.query(items.mean(1)).unsqueeze(1) * items).sum(-1)
        return masked_softmax(scores, mask)


def main():
    torch.manual_seed(0)
    model = Pointer()
    opt = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(8):
        items = torch.randn(12, 5, 8)
        mask = torch.zeros(12, 5, dtype=torch.bool)
        mask[:, -1] = True
        p = model(items, mask)
        loss = -(p[:, 0] + 1e-9).log().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()


if __name__ == "__main__":
    main()
