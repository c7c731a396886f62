"""An utterance with fewer frames than its transcript has letters.

Source: documentation of torch.nn.CTCLoss, zero_infinity ("infinite losses mainly occur when the inputs are too short
to be aligned to the targets").
expect: {"code": "GT203", "where": {"op": ["CtcLossBackward0"]}, "line": true, "backward": 14}
"""
import torch
from torch import nn


class Speech(nn.Module):
    def __init__(self, n=12):
        super().__init__()
        self.rnn = nn.GRU(6, 24, batch_first=False)
        self.proj = nn.Linear(24, n)

    def forward(self, x):
        return self.proj(self.rnn(x)[0]).log_softmax(-1)


torch.manual_seed(0)
asr, ctc = Speech(), nn.CTCLoss()
opt = torch.optim.Adam(asr.parameters(), lr=1e-3)
for utt in range(25):
    frames = 20 if utt != 13 else 5
    x = torch.randn(frames, 4, 6)
    target = torch.randint(1, 12, (4, 8))
    lp = asr(x)
    loss = ctc(lp, target, torch.full((4,), frames), torch.full((4,), 8))  # <- fault
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(utt, loss.item())
