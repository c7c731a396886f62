"""Actor and critic with an optimizer each: both are cleared, the critic's is never stepped.

Source: the actor-critic loop of "Spinning Up in Deep RL" with one `step()` left out, a slip that code with several
optimizers invites.
expect: {"code": "GT402", "where": {"parameter": ["critic.0.weight"]}, "line": false}
"""
import torch
from torch import nn
from torch.distributions import Categorical


def main(updates=60):
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
    critic = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))
    actor_optimizer = torch.optim.Adam(actor.parameters(), lr=3e-3)
    critic_optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for update in range(updates):
        state = torch.randn(32, 6)
        choice = Categorical(logits=actor(state))
        action = choice.sample()
        reward = (action == state[:, :3].argmax(-1)).float()
        value = critic(state).squeeze(-1)
        actor_loss = -(choice.log_prob(action) * (reward - value).detach()).mean()
        critic_loss = nn.functional.mse_loss(value, reward)
        actor_optimizer.zero_grad()
        critic_optimizer.zero_grad()
        (actor_loss + 0.5 * critic_loss).backward()
        actor_optimizer.step()
        print(update, reward.mean().item())


main()
