"""Text generator trained through argmax tokens: the generator receives nothing.

Source: "argmax is not differentiable" questions, e.g. SeqGAN-style losses on
the PyTorch forum.
expect: {"code": "GT301", "where": {"parameter": ["policy.0.weight", "policy.2.weight", "Rewriter.policy.0.weight", "Rewriter.policy.2.weight"]}, "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Rewriter(nn.Module):
    """Picks a word for each slot, then scores the sentence with an embedding bag."""

    def __init__(self, vocab=30, dim=16):
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(dim, 32), nn.Tanh(), nn.Linear(32, vocab))
        self.words = nn.Embedding(vocab, dim)
        self.judge = nn.Linear(dim, 1)

    def forward(self, context):
        logits = self.policy(context)
        tokens = logits.argmax(dim=-1)  # <- fault
        sentence = self.words(tokens).mean(dim=1)
        return self.judge(sentence).squeeze(1)


def train():
    torch.manual_seed(0)
    model = Rewriter()
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(40):
        context = torch.randn(24, 5, 16)
        wanted = (context.mean(dim=(1, 2)) > 0).float()
        loss = F.binary_cross_entropy_with_logits(model(context), wanted)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("final loss", float(loss))


train()
