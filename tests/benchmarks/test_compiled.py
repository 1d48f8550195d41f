import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from jax import lax

from benchmarks import compiled, hlo
from benchmarks.compiled import EACH, EVALUATION, ONE_BY_ONE, SUM, Case
from benchmarks.turns import Unavailable
from cnn import backends, machine
from cnn.network import ops

# Lines of what XLA compiled for an H100 (jax 0.10.2), without most attributes.
FOR_H100 = """
HloModule jit__steps, is_scheduled=true

%gemm_fusion_dot.2_computation (p0: bf16[8,128,1600], p1: bf16[8,128,128]) -> bf16[8,1568,128] {
  %p0 = bf16[8,128,1600]{2,1,0} parameter(0)
  %p1 = bf16[8,128,128]{2,1,0} parameter(1)
  ROOT %dot.2 = bf16[8,1568,128]{2,1,0} dot(%p0, %p1), lhs_batch_dims={0}, operand_precision={highest,highest}
}

%region_15.44.clone (arg_tuple.1: (s32[], f32[8,16], s32[])) -> pred[] {
  %arg_tuple.1 = (s32[], f32[8,16]{1,0}, s32[]) parameter(0)
  %get-tuple-element.1 = s32[] get-tuple-element(%arg_tuple.1), index=0
  %get-tuple-element.2 = s32[] get-tuple-element(%arg_tuple.1), index=2
  ROOT %lt.1 = pred[] compare(%get-tuple-element.1, %get-tuple-element.2), direction=LT
}

%region_2.43.clone (arg_tuple.2: (s32[], f32[8,16], s32[])) -> (s32[], f32[8,16], s32[]) {
  %cudnn-conv.3 = (bf16[128,28,28,128]{3,2,1,0}, u8[0]{0}) custom-call(%bitcast.76.0, %bitcast.77.0), \
window={size=3x3 pad=1_1x1_1}, feature_group_count=8, custom_call_target="__cudnn$convForward"
  %cudnn-conv.5 = (bf16[8,3,3,16]{3,2,1,0}, u8[0]{0}) custom-call(%bitcast.76.0, %bitcast.78.0), \
window={size=28x28 pad=1_1x1_1}, feature_group_count=8, custom_call_target="__cudnn$convBiasActivationForward"
  %cudnn-conv-bw-filter.3 = (bf16[256,3,3,16]{3,2,1,0}, u8[0]{0}) custom-call(%bitcast.192.0, %bitcast.224.0), \
window={size=3x3}, operand_precision={highest,highest}, custom_call_target="__cudnn$convBackwardFilter"
  %cudnn-conv-bw-input.1 = (bf16[128,28,28,16]{3,2,1,0}, u8[0]{0}) custom-call(%bitcast.1, %bitcast.2), \
custom_call_target="__cudnn$convBackwardInput"
  %gemm_fusion_dot.2 = bf16[8,1568,128]{2,1,0} fusion(%bitcast.32.0, %bitcast.33.0), kind=kCustom, \
calls=%gemm_fusion_dot.2_computation
  %all-reduce-start = f32[1,1568,128]{2,1,0} all-reduce-start(%loop_convert_fusion.1), to_apply=%region_14.14
  %all-reduce-done = f32[1,1568,128]{2,1,0} all-reduce-done(%all-reduce-start)
  ROOT %tuple.1 = (s32[], f32[8,16]{1,0}, s32[]) tuple(%get-tuple-element.9, %get-tuple-element.8)
}

ENTRY %main.45 (x: f32[8,16], count: s32[]) -> f32[8,16] {
  %fusion.6 = u32[8,2560]{1,0} fusion(%loop_xor_fusion), kind=kCustom, calls=%fused_computation
  ROOT %while = (s32[], f32[8,16]{1,0}, s32[]) while(%tuple.79), condition=%region_15.44.clone, body=%region_2.43.clone
}
"""
# The same for a TPU v5e: 8 replicas, one after another.
FOR_V5E = """
%region_22.0.clone (arg_tuple.8: (s32[], s32[1])) -> pred[] {
  ROOT %lt.91 = pred[]{:T(512)} compare(%get-tuple-element.3597, %get-tuple-element.3598), direction=LT
}

%region_3.0.clone.sunk (arg_tuple.9: (s32[], s32[1])) -> (s32[], s32[1]) {
  %copy-start.1 = (f32[1,16]{1,0:T(1,128)S(1)}, f32[1,16]{1,0:T(1,128)}, u32[]{:S(2)}) copy-start(%bitcast.1)
  %copy-done.1 = f32[1,16]{1,0:T(1,128)S(1)} copy-done(%copy-start.1)
  %custom-call.10 = s32[8,128]{1,0:T(8,128)S(1)} custom-call(), custom_call_target="AllocateBuffer"
  %fusion.215 = bf16[128,14,14,16]{0,3,2,1:T(8,128)(2,1)S(1)} fusion(%copy-done.1), kind=kOutput, calls=%absent, \
backend_config={"flag_configs":[],"window_config":{"input_window_bounds":["28"],"estimated_cycles":"7860"}}
  %select-and-scatter.4 = bf16[128,14,14,32]{0,3,2,1:T(8,128)(2,1)S(1)} select-and-scatter(%fusion.215), \
window={size=1x2x2x1 stride=1x2x2x1}, select=%region_16.0, scatter=%region_17.0, backend_config={"flag_configs":[]}
  %all-reduce.83 = (f32[1,16]{1,0:T(1,128)S(1)}, /*index=5*/f32[1]{0:T(128)}) all-reduce(%fusion.1, %fusion.2)
  ROOT %tuple.2 = (s32[]{:T(128)}, s32[1]{0:T(128)}) tuple(%get-tuple-element.3, %get-tuple-element.4)
}

%region_23.0.clone (arg_tuple.3: (s32[], s32[8,1])) -> pred[] {
  %constant.1925 = s32[]{:T(128)} constant(8)
  ROOT %lt.98 = pred[]{:T(512)} compare(%get-tuple-element.3790, %constant.1925), direction=LT
}

%region_0.0.sunk (arg_tuple.5: (s32[], s32[8,1])) -> (s32[], s32[8,1]) {
  ROOT %while.90 = (s32[]{:T(128)}, s32[1]{0:T(128)}) while(%tuple.152), condition=%region_22.0.clone, \
body=%region_3.0.clone.sunk
}

ENTRY %main.0 (states_step.0: s32[8]) -> s32[8] {
  ROOT %while.89 = (s32[]{:T(128)}, s32[8,1]{0,1:T(1,128)}) while(%tuple.9), condition=%region_23.0.clone, \
body=%region_0.0.sunk
}
"""


def test_a_step_on_a_gpu_is_what_the_loop_of_unknown_length_starts():
    step = hlo.step(FOR_H100)
    assert (step.kernels, step.products, step.cycles) == (6, 5, None)
    assert step.asked == {"highest": 2}
    assert step.convolutions == {"forward": 2, "filter": 1, "input": 1}
    assert step.largest_window == (28, 28)
    assert step.collectives == {"all-reduce": 1}
    bfloat16 = 128 * 28 * 28 * 128 + 8 * 9 * 16 + 256 * 9 * 16 + 128 * 28 * 28 * 16 + 8 * 1568 * 128
    assert step.written == 2 * bfloat16 + 4 * 1568 * 128


def test_a_step_on_a_tpu_has_the_estimates_of_each_pass_and_names_what_has_none():
    step = hlo.step(FOR_V5E)
    assert (step.kernels, step.cycles) == (8 * 3, 8 * 7860)
    assert step.silent == {"select-and-scatter": 8}  # the sums over devices are too small to be named
    assert step.collectives == {"all-reduce": 8} and step.convolutions == {}


def text(groups, count=None):
    """What XLA compiles for a CPU: groups one after another, each for a number of steps."""

    def run(x, steps):
        loop = count or steps
        return lax.map(lambda group: lax.fori_loop(0, loop, lambda _, y: jnp.sort(jnp.sin(y @ y)), group), x)

    return jax.jit(run).lower(jnp.ones((groups, 64, 64)), 5).compile().as_text()


def test_loops_of_known_length_are_counted_as_often_as_they_run():
    one, three = hlo.step(text(1)), hlo.step(text(3))
    assert one.kernels >= 2 and one.written >= 2 * 4 * 64 * 64
    assert (three.kernels, three.written) == (3 * one.kernels, 3 * one.written)


def test_a_program_without_a_loop_over_steps_is_counted_as_a_whole():
    with pytest.raises(ValueError, match="no loop of unknown length"):
        hlo.step(text(3, count=4))
    assert hlo.whole(text(3, count=4)).kernels >= 12 * hlo.step(text(1)).kernels


@pytest.fixture
def unchecked():
    """No annotation is checked: where shapes are lowered, JAX puts placeholders of its own into the pytrees."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.thorough
def test_the_programs_are_those_of_the_training_loop(unchecked):
    """On a CPU the same programs compile: side by side a step has one convolution where one by one it has two."""
    devices = machine.all_devices()[:1]
    together, after = (
        compiled.compiled(Case("28x28x1", "float32", gradient, "windows", replicas=2), devices)
        for gradient in (SUM, ONE_BY_ONE)
    )
    assert after["products"] == 2 * together["products"] > 0
    assert together["collectives"] == after["collectives"] == {}
    images = compiled.BATCH * compiled.STEPS * 28 * 28
    assert all(row["arguments"] > images and row["temporaries"] > 0 for row in (together, after))
    assert list(compiled.cells(after)) == list(compiled.cells(together))
    evaluation = compiled.compiled(Case("28x28x1", "float32", EVALUATION, "windows", replicas=2), devices)
    assert evaluation["products"] == compiled.BATCHES * 4  # the products of the network, forward alone


def test_a_case_changes_the_program_as_it_says():
    by_product = compiled.program(Case("28x28x1", "bfloat16", EACH, "cells", "product"))
    assert isinstance(by_product, compiled.Each) and by_product.precision == "bfloat16"
    x, kernel, bias = jnp.arange(50.0).reshape(1, 5, 5, 2), jnp.ones((3, 3, 2, 4)), jnp.arange(4.0)
    ours, plain = (form(x, kernel, bias, padding=1) for form in (by_product.forms.conv2d, ops.conv2d))
    assert jnp.allclose(ours, plain)


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_every_compiled_choice_is_compared(backend):
    cases = list(compiled.cases(backend))
    assert len(cases) == len(set(cases))
    assert {case.max_pool for case in cases} == {"cells", "windows"}
    assert {case.convolution for case in cases} == {"plain", "product"}
    assert {case.precision for case in cases} == set(backends.PRECISIONS)
    assert {case.gradient for case in cases} == {SUM, EACH, ONE_BY_ONE, EVALUATION}
    assert {(case.replicas, case.devices) for case in cases} >= {(8, 1), (1, 1), (8, 4), (1, 4)}


def test_a_compiler_that_is_missing_is_told_in_one_line():
    with pytest.raises(Unavailable, match=r"^no compiler for a TPU: pip install libtpu$"):
        compiled._installed("a TPU", "no-such-package")


@pytest.mark.thorough
def test_command(tmp_path):
    """Without a compiler for a device: one line and status 1, and nothing is written."""
    output = tmp_path / "c.json"
    missing = f"import sys; sys.argv[1:] = ['--devices=tpu', '--output={output}']; import benchmarks.compiled as c"
    hidden = "c.version = lambda name: (_ for _ in ()).throw(c.PackageNotFoundError)"
    run = f"{missing}; {hidden}; c.report.run(c.main, c.define_flags)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", run], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "no compiler for a TPU: pip install libtpu\n")
    assert done.stdout == "" and not output.exists()
