"""An exponential moving average of the loss keeps every graph and is itself minimised.

Source: smoothing of a noisy loss; "memory leak because the history is kept" in the PyTorch FAQ (https://docs.pytorch.org/docs/stable/notes/faq.html).
expect: {"code": "GT408", "line": true}
"""
import torch
from torch import nn


def main():
    torch.manual_seed(0)
    scorer = nn.Linear(8, 3)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=5e-3)
    smooth = None
    for step in range(50):
        x = torch.randn(32, 8)
        y = x[:, :3].argmax(1)
        loss = nn.functional.cross_entropy(scorer(x), y)
        smooth = loss if smooth is None else 0.9 * smooth + 0.1 * loss  # <- fault
        optimizer.zero_grad()
        smooth.backward(retain_graph=True)  # <- fault
        optimizer.step()
        if step % 10 == 0:
            print(step, smooth.item())


main()
