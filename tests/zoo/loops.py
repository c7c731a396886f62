"""Training loops: several losses, several optimizers, gradients switched off, scaled, taken in threads."""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader, TensorDataset

from zoo.base import Program, awkward, batch, mlp, plain, plain_step


@awkward()
def gradient_accumulation() -> Program:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> list[Tensor]:
        optimizer.zero_grad()
        losses = []
        for _ in range(3):
            x, y = batch()
            loss = functional.mse_loss(model(x), y) / 3
            loss.backward()
            losses.append(loss)
        optimizer.step()
        return losses

    return Program(step, [model], [optimizer])


@awkward()
def clipping() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        total = clip_grad_norm_(model.parameters(), 0.1)
        clip_grad_value_(model.parameters(), 0.01)
        optimizer.step()
        return [loss, total]

    return Program(step, [model], [optimizer])


@awkward()
def lbfgs_closure() -> Program:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), 0.5, max_iter=4)
    x, y = batch()

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    return Program(lambda number: optimizer.step(closure), [model], [optimizer], steps=3)


@awkward()
def gan() -> Program:
    """Two optimizers; one forward of the generator feeds both losses."""
    generator, critic = mlp(), nn.Sequential(nn.Linear(1, 8), nn.LeakyReLU(0.1), nn.Linear(8, 1))
    of_generator = torch.optim.Adam(generator.parameters(), 0.01)
    of_critic = torch.optim.Adam(critic.parameters(), 0.01)

    def step(number: int) -> list[Tensor]:
        noise, real = batch()
        fake = generator(noise)
        of_critic.zero_grad()
        critic_loss = functional.softplus(-critic(real)).mean() + functional.softplus(critic(fake.detach())).mean()
        critic_loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        generator_loss = functional.softplus(-critic(fake)).mean()
        generator_loss.backward()
        of_generator.step()
        return [critic_loss, generator_loss]

    return Program(step, [generator, critic], [of_generator, of_critic])


@awkward()
def frozen_and_unused() -> Program:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen = nn.Linear(4, 4).requires_grad_(requires_grad=False)
            self.trained = nn.Linear(4, 1)
            self.unused = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.trained(self.frozen(x))

    return plain(Partly())


@awkward()
def scheduler_and_average() -> Program:
    model = mlp()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=10)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        scheduler.step()
        average.update_parameters(model)
        with torch.no_grad():
            return [loss, average(torch.ones(2, 4))]

    return Program(step, [model, average], [optimizer])


@awkward()
def evaluation_without_grad() -> Program:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        model.eval()
        with torch.no_grad():
            held_out = model(batch()[0])
        model.train()
        return [loss, held_out]

    return Program(step, [model], [optimizer])


@awkward()
def trained_in_eval_mode() -> Program:
    """One network is, beside another that is not."""
    models = [nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)) for _ in range(2)]
    models[0].eval()
    optimizers = [torch.optim.SGD(model.parameters(), 0.05) for model in models]
    steps = [plain_step(model, optimizer) for model, optimizer in zip(models, optimizers, strict=True)]
    return Program(lambda number: [train(number) for train in steps], models, optimizers)


@awkward()
def evaluation_in_inference_mode() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Any]:
        loss = train(number)
        with torch.inference_mode():
            output = model(batch()[0])
            output.add_(1)
            return [loss, output.mean().item()]

    return Program(step, [model], [optimizer])


@awkward()
def gradients_globally_off() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    train = plain_step(model, optimizer)

    def step(number: int) -> list[Tensor]:
        loss = train(number)
        torch.set_grad_enabled(False)
        held_out = model(batch()[0])
        torch.set_grad_enabled(True)
        return [loss, held_out]

    return Program(step, [model], [optimizer])


@awkward()
def cpu_grad_scaler() -> Program:
    """The second step overflows and is skipped."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(number: int) -> list[Any]:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.mse_loss(model(x), y)
        if number == 1:
            loss = loss * math.inf
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return [loss, scaler.get_scale()]

    return Program(step, [model], [optimizer])


@awkward()
def autocast_bfloat16() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)

    def step(number: int) -> Tensor:
        x, y = batch()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Program(step, [model], [optimizer])


@awkward(slow=True)
def loader_with_workers() -> Program:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    data = TensorDataset(*batch(16))

    def step(number: int) -> list[Tensor]:
        losses = []
        for x, y in DataLoader(data, 4, shuffle=True, num_workers=2):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss)
        return losses

    return Program(step, [model], [optimizer], steps=2)


@awkward()
def replicas_in_threads() -> Program:
    """Each thread runs forward and backward on its own replica, as in data parallelism by hand."""
    replicas = [mlp() for _ in range(3)]
    optimizers = [torch.optim.SGD(replica.parameters(), 0.05) for replica in replicas]

    def work(replica: nn.Module, x: Tensor, y: Tensor, losses: list[Any], number: int) -> None:
        losses[number] = functional.mse_loss(replica(x), y)
        losses[number].backward()

    def step(number: int) -> list[Tensor]:
        losses: list[Any] = [None] * len(replicas)
        threads = [
            threading.Thread(target=work, args=(replica, *batch(), losses, position))
            for position, replica in enumerate(replicas)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return losses

    return Program(step, replicas, optimizers)
