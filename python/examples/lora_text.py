"""Three learners tune adapters (LoRA) of one transformer, and only the adapters travel.

Run it: ``python lora_text.py [ROUNDS]``. The transformer is a tiny one with weights from a seed, and
nothing is downloaded; with ``AutoModelForSequenceClassification.from_pretrained(...)`` all else stays.
"""

import sys

try:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification
except ImportError:
    raise SystemExit("skipped: pip install 'colearn-client[transformers]'") from None

from torch.utils.data import DataLoader

from colearn_client import TorchLearner, run_local

LEARNERS, WORDS, LENGTH = 3, 64, 12


def transformer() -> torch.nn.Module:
    """The same for everybody: what is not shared has to be."""
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    base = BertForSequenceClassification(BertConfig(vocab_size=WORDS, intermediate_size=64, **sizes))
    lora = LoraConfig(r=8, target_modules=["query", "value", "dense"], modules_to_save=["classifier"])
    return get_peft_model(base, lora)


def rows(seed: int, count: int) -> list[dict[str, torch.Tensor]]:
    """Sentences in batches, and whether most of their words are of the first half of the dictionary."""
    words = torch.randint(0, WORDS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
    labels = ((words < WORDS // 2).sum(dim=1) > LENGTH // 2).long()
    batch = {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": labels}
    data = [{name: it[at] for name, it in batch.items()} for at in range(count)]
    return list(DataLoader(data, batch_size=32))


def learner(at: int) -> TorchLearner:
    model = transformer()
    optimizer = torch.optim.AdamW((it for it in model.parameters() if it.requires_grad), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
    loaders = rows(3 * at, 960), rows(3 * at + 1, 320), rows(3 * at + 2, 320)
    return TorchLearner(
        model, optimizer, *loaders, parameters="trainable", epochs=4, accumulate=2, scheduler=scheduler
    )


if __name__ == "__main__":
    learners = [learner(at) for at in range(LEARNERS)]
    whole = sum(it.numel() * it.element_size() for it in learners[0].model.state_dict().values())
    print(f"{len(learners[0].current())} bytes of {whole} travel")
    for item in run_local(learners, rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 6).rounds:
        print(f"round {item.number}: {item.verdict}, {item.mean_test_score():.3f}")
