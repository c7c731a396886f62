"""float16 autocast with a GradScaler: the first steps overflow and are skipped, as designed.

Source: PyTorch AMP examples, "Typical mixed precision training", with clipping after unscale_.
"""
import torch
from torch import nn


def main(use_amp=True):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18, enabled=use_amp)
    loss_fn = nn.CrossEntropyLoss()
    centers = torch.randn(5, 16)
    for step in range(60):
        y = torch.randint(0, 5, (32,))
        x = centers[y] + torch.randn(32, 16)
        with torch.autocast(device_type="cpu", dtype=torch.float16, enabled=use_amp):
            loss = loss_fn(net(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(opt)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(opt)
        scaler.update()
        opt.zero_grad()
        if step % 20 == 0:
            print(step, loss.item(), scaler.get_scale())


main()
main(use_amp=False)
