"""Pictures of networks that other people wrote, at their very first backward, blame nothing."""

from __future__ import annotations

import pytest
import torch

import gradtrace
from gradtrace.renderers.drawing.verdict import verdict
from gradtrace.renderers.drawing.view import View

pytestmark = pytest.mark.slow  # importing all that transformers needs takes longer than all other tests of pictures

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}


def gpt2(transformers):
    config = transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=8, n_head=4, bos_token_id=0, eos_token_id=0)
    return transformers.GPT2LMHeadModel(config), {}


def t5(transformers):
    sizes = {"d_model": 32, "d_ff": 64, "num_layers": 3, "num_heads": 4, "d_kv": 8}
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=50, decoder_start_token_id=0, **sizes)
    ), {}


def convnext(transformers):
    """Its residual branches begin at a millionth."""
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 32, 64], depths=[2, 2, 4, 2], num_labels=3)
    given = {"pixel_values": torch.randn(2, 3, 64, 64), "labels": torch.tensor([0, 1])}
    return transformers.ConvNextForImageClassification(config), given


def mixtral(transformers):
    """Its routers get little beside its experts."""
    return transformers.MixtralForCausalLM(
        transformers.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4)
    ), {}


def mamba(transformers):
    """Its gates get little beside what they let through, and its first state is zero."""
    config = transformers.MambaConfig(vocab_size=50, hidden_size=32, state_size=8, num_hidden_layers=4)
    return transformers.MambaForCausalLM(config), {}


@pytest.mark.parametrize("make", [gpt2, t5, convnext, mixtral, mamba])
@pytest.mark.filterwarnings("ignore")  # of theirs, about kernels that are not installed
def test_a_network_at_its_first_backward(make):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model, given = make(transformers)
    tokens = torch.randint(1, 50, (2, 16))
    with gradtrace.trace(model.train(), on_finding="ignore") as trace:
        model(**(given or {"input_ids": tokens, "labels": tokens})).loss.backward()
    assert verdict(View().shown(trace.graph(1))) == []
