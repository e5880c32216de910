"""Curvature against dense Hessians and planted spectra."""

import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, hessian, vmap

from synthetic_tasks.threefry import stream
from tdlab.probes import gradient_variation, hessian_vector, top_eigenvalues
from tdlab.probes.landscape import peak_bytes

KEY = stream(5, "probe")
LAYERS, HEADS, WIDTH, INNER, HIDDEN = 2, 2, 8, 4, 12


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20241110)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# A transformer classifier of 1,001 numbers.


def layer(tokens, W_Q, W_K, W_V, W_O, W_1, W_2):
    query, key, value = (torch.einsum("n d, h d e -> h n e", tokens, W) for W in (W_Q, W_K, W_V))
    attention = (query @ key.mT / math.sqrt(INNER)).softmax(-1)
    tokens = tokens + torch.einsum("h n e, h e d -> n d", attention @ value, W_O)
    return tokens + torch.tanh(tokens @ W_1) @ W_2


@pytest.fixture
def params(generator):
    shapes = {
        "W_Q": (LAYERS, HEADS, WIDTH, INNER),
        "W_K": (LAYERS, HEADS, WIDTH, INNER),
        "W_V": (LAYERS, HEADS, WIDTH, INNER),
        "W_O": (LAYERS, HEADS, INNER, WIDTH),
        "W_1": (LAYERS, WIDTH, HIDDEN),
        "W_2": (LAYERS, HIDDEN, WIDTH),
        "out": (WIDTH, 13),
        "bias": (1,),
    }
    return {name: 0.5 * normal(generator, *shape) for name, shape in shapes.items()}


@pytest.fixture
def risk(generator):
    prompts = normal(generator, 6, 5, WIDTH)
    labels = torch.randint(13, (6,), generator=generator)

    def scores(params, tokens):
        for i in range(LAYERS):
            names = ("W_Q", "W_K", "W_V", "W_O", "W_1", "W_2")
            tokens = layer(tokens, *(params[name][i] for name in names))
        return tokens.mean(0) @ params["out"] * params["bias"]

    def cross_entropy(params):
        outputs = vmap(scores, (None, 0))(params, prompts)
        return torch.nn.functional.cross_entropy(outputs, labels)

    return cross_entropy


def dense(risk, params):
    """The Hessian with respect to all parameters, entry by entry."""
    sizes = [leaf.numel() for leaf in params.values()]

    def of_flat(flat):
        parts = zip(params.items(), flat.split(sizes), strict=True)
        return risk({name: part.view_as(leaf) for (name, leaf), part in parts})

    return hessian(of_flat)(flat(params))


def flat(params):
    return torch.cat([leaf.flatten() for leaf in params.values()])


def quadratic(matrix):
    """Risk of a planted Hessian, in two leaves of which the second has three entries."""

    def risk(params):
        point = flat(params)
        return 0.5 * point @ matrix @ point

    size = len(matrix) - 3
    return risk, {"a": torch.ones(size, dtype=torch.float64), "b": torch.zeros(3).double()}


def with_spectrum(generator, values):
    values = torch.tensor(values, dtype=torch.float64)
    basis = torch.linalg.qr(normal(generator, len(values), len(values))).Q
    return basis @ values.diag() @ basis.T


# Eigenvalues.


def test_the_five_largest_eigenvalues_of_a_transformer_are_those_of_its_dense_hessian(risk, params):
    assert len(flat(params)) == 1001
    expected = torch.linalg.eigvalsh(dense(risk, params)).flip(0)
    found = top_eigenvalues(risk, params, 5, KEY)
    torch.testing.assert_close(found.values, expected[:5], rtol=1e-9, atol=0)
    assert (found.residuals <= 1e-6 * expected.abs().max()).all()
    assert found.products < 100


def test_product_is_that_of_the_dense_hessian_whatever_the_order_of_names(risk, params, generator):
    few = {name: params[name] for name in ("W_Q", "out", "bias")}

    def of_few(leaves):
        return risk({**params, **leaves})

    vector = {name: normal(generator, *few[name].shape) for name in ("out", "bias", "W_Q")}
    product = hessian_vector(of_few, few)(vector)
    expected = dense(of_few, few) @ flat({name: vector[name] for name in few})
    torch.testing.assert_close(flat({name: product[name] for name in few}), expected)


def test_eigenvalues_with_respect_to_moving_leaves_are_those_of_their_block(risk, params):
    few = {name: params[name] for name in ("bias", "out")}
    block = dense(lambda leaves: risk({**params, **leaves}), few)
    found = top_eigenvalues(risk, params, 3, KEY, moving=("bias", "out"))
    torch.testing.assert_close(found.values, torch.linalg.eigvalsh(block).flip(0)[:3])


def test_largest_means_algebraically(generator):
    values = [-9.0, 4.0, 2.5, 1.0, -0.3, *(0.01 * i for i in range(30))]
    risk, params = quadratic(with_spectrum(generator, values))
    found = top_eigenvalues(risk, params, 4, KEY)
    torch.testing.assert_close(found.values, torch.tensor([4.0, 2.5, 1.0, 0.29]).double())
    lowest = top_eigenvalues(lambda p: -risk(p), params, 2, KEY)
    torch.testing.assert_close(-lowest.values, torch.tensor([-9.0, -0.3]).double())


def test_all_eigenvalues_can_be_asked_for(generator):
    values = [3.0, -1.0, 0.7, 0.2, -2.2, 0.1, 5.0]
    risk, params = quadratic(with_spectrum(generator, values))
    found = top_eigenvalues(risk, params, 7, KEY)
    torch.testing.assert_close(found.values, torch.tensor(sorted(values)[::-1]).double())
    assert found.products == 7


def test_on_a_hessian_of_low_rank_the_rest_is_zero(generator):
    risk, params = quadratic(with_spectrum(generator, [3.0, 2.0, 0.5] + [0.0] * 37))
    found = top_eigenvalues(risk, params, 3, KEY)
    torch.testing.assert_close(found.values, torch.tensor([3.0, 2.0, 0.5]).double())
    assert found.products <= 5  # three eigenvectors and two of the null space
    more = top_eigenvalues(risk, params, 6, KEY)
    expected = torch.tensor([3.0, 2.0, 0.5, 0.0, 0.0, 0.0]).double()
    torch.testing.assert_close(more.values, expected, rtol=0, atol=1e-12)
    assert (more.residuals <= 1e-12).all()


@pytest.mark.parametrize("share", [2.5, 0.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_every_vector_is_an_eigenvector_others_are_drawn(share, dtype):
    risk, params = quadratic(share * torch.eye(40, dtype=dtype))
    found = top_eigenvalues(risk, {n: leaf.to(dtype) for n, leaf in params.items()}, 9, KEY)
    assert found.values.tolist() == pytest.approx([share] * 9, abs=1e-6)
    assert found.products == 10  # the last of them adds nothing


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ([5.0, 5.0, 5.0, 3.0, 3.0, 1.0, 0.5, 0.1], 5),
        ([5.0, 5.0, 5.0, 3.0, 3.0, 1.0, 0.5, 0.1], 2),
        ([5.0, 5.0, 3.0, 3.0, 2.0] + [0.0] * 60, 2),
        ([-1.0, -2.0, -4.0] + [0.0] * 30, 4),  # a maximum, flat along most directions
        ([3.0] * 20 + [1.0] * 20, 24),
    ],
)
def test_where_few_eigenvalues_differ_all_copies_are_found(generator, values, count):
    risk, params = quadratic(with_spectrum(generator, values))
    found = top_eigenvalues(risk, params, count, KEY)
    expected = torch.tensor(sorted(values)[::-1][:count]).double()
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-12)
    assert (found.residuals <= 1e-12).all()


def test_where_many_eigenvalues_differ_a_repeated_one_counts_once(generator):
    values = [5.0, 5.0, 5.0, 3.0, 2.0, *(0.01 * i for i in range(100))]
    risk, params = quadratic(with_spectrum(generator, values))
    found = top_eigenvalues(risk, params, 3, KEY)
    torch.testing.assert_close(found.values, torch.tensor([5.0, 3.0, 2.0]).double())


def test_an_outlier_does_not_hide_what_lies_far_below_it(generator):
    values = [1e6, 3.0, 2.0, *(0.01 * i for i in range(100))]
    risk, params = quadratic(with_spectrum(generator, values))
    found = top_eigenvalues(risk, params, 3, KEY, tolerance=1e-14)
    torch.testing.assert_close(found.values, torch.tensor(values[:3]).double(), rtol=1e-8, atol=0)
    assert found.products < 80


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_unit_of_the_loss_is_that_of_the_eigenvalues(generator, scale):
    risk, params = quadratic(with_spectrum(generator, [3.0, 2.0, 2.0, 0.5] + [0.0] * 37))
    found = top_eigenvalues(risk, params, 5, KEY)
    other = top_eigenvalues(lambda p: scale * risk(p), params, 5, KEY)
    torch.testing.assert_close(other.values / scale, found.values, rtol=0, atol=1e-12)
    assert other.products == found.products


def test_what_is_taken_for_rounding_stays_in_the_residuals(generator):
    values = torch.tensor([1e13, *range(-9, 11, 2)], dtype=torch.float64)
    risk, params = quadratic(values.diag())  # so far apart that doubles just hold both
    found = top_eigenvalues(risk, params, 3, KEY)
    away = (found.values[:, None] - values).abs().amin(-1)
    assert (away <= found.residuals + 0.1).all()
    assert away.max() > 0.2


@pytest.mark.parametrize("iterations", [3, 6, 12])
def test_cut_short_each_value_has_an_eigenvalue_within_its_residual(risk, params, iterations):
    found = top_eigenvalues(risk, params, 3, KEY, iterations=iterations)
    assert found.products == iterations
    spectrum = torch.linalg.eigvalsh(dense(risk, params))
    away = (found.values[:, None] - spectrum).abs().amin(-1)
    assert (away <= found.residuals).all()
    assert (found.residuals > 1e-6 * spectrum.abs().max()).any()  # it has not arrived, and says so


def test_a_looser_tolerance_takes_fewer_products(risk, params):
    products = [
        top_eigenvalues(risk, params, 2, KEY, tolerance=tolerance).products
        for tolerance in (1e-1, 1e-4, 1e-10)
    ]
    assert products == sorted(set(products))
    assert len(top_eigenvalues(risk, params, 4, KEY, tolerance=1e3).values) == 4


def test_values_do_not_depend_on_the_vector_that_it_starts_from(risk, params):
    one, again, other = (top_eigenvalues(risk, params, 3, stream(s, "probe")) for s in (5, 5, 6))
    assert one.values.equal(again.values)
    torch.testing.assert_close(one.values, other.values)
    assert not one.residuals.equal(other.residuals)


def test_no_gradient_is_recorded_though_the_parameters_ask_for_it(risk, params):
    def bytes_taken():
        return peak_bytes(lambda _: top_eigenvalues(risk, params, 2, KEY, few, 0.1), at)

    few, at = ("bias", "out"), torch.tensor([0.0, 0.5], dtype=torch.float64)
    taken = bytes_taken()
    expected = gradient_variation(risk, params, params, at, few)
    for leaf in params.values():
        leaf.requires_grad_()
    assert bytes_taken() == taken
    found = gradient_variation(risk, params, params, at, few)
    assert found.equal(expected)
    assert not found.requires_grad


def test_single_precision_agrees_to_its_own_digits(generator):
    values = [4.0, 2.5, 1.0, *(0.01 * i for i in range(30))]
    risk, params = quadratic(with_spectrum(generator, values).float())
    single = {name: leaf.float() for name, leaf in params.items()}
    found = top_eigenvalues(risk, single, 5, KEY).values
    expected = torch.tensor([4.0, 2.5, 1.0, 0.29, 0.28]).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=4e-6)


def test_counts_leaves_and_hessians_that_make_no_sense_are_refused(risk, params):
    with pytest.raises(ValueError, match=r"^count is 2, but there are 1 parameters and 300 iter"):
        top_eigenvalues(risk, params, 2, KEY, moving=("bias",))
    with pytest.raises(ValueError, match=r"^count is 9, but there are 1001 parameters and 8 iter"):
        top_eigenvalues(risk, params, 9, KEY, iterations=8)
    with pytest.raises(ValueError, match=r"^count is 0, but must be at least 1$"):
        top_eigenvalues(risk, params, 0, KEY)
    with pytest.raises(ValueError, match=r"^there is no parameter 'W_9'"):
        top_eigenvalues(risk, params, 1, KEY, moving=("W_9",))
    with pytest.raises(ValueError, match=r"^product 1 of the Hessian with a vector is not finite$"):
        top_eigenvalues(lambda p: risk(p) * math.nan, params, 1, KEY)
    with pytest.raises(ValueError, match=r"^leaves are W_Q, .* in one, bias in the other$"):
        hessian_vector(risk, params)({"bias": params["bias"]})


# Variation of the gradient.


@pytest.mark.parametrize("memory", [1, 2**40])
def test_on_a_quadratic_the_gradient_varies_by_the_hessian_times_the_unit_direction(
    generator, memory
):
    H = with_spectrum(generator, [-9.0, 4.0, 2.5, 1.0, -0.3, 0.2, 0.1])
    risk, params = quadratic(H)
    direction = {"a": normal(generator, 4), "b": normal(generator, 3)}
    d = flat(direction)
    at = torch.tensor([-0.5, 0.1, 0.2, 1.7], dtype=torch.float64)
    found = gradient_variation(risk, params, direction, at, memory=memory)
    torch.testing.assert_close(found, ((H @ d).norm() / d.norm()).expand(3))
    longer = {name: 7 * leaf for name, leaf in direction.items()}
    torch.testing.assert_close(gradient_variation(risk, params, longer, at), found)


def test_variation_reaches_the_largest_curvature_and_never_passes_it(generator):
    H = with_spectrum(generator, [-9.0, 4.0, 2.5, 1.0, -0.3, 0.2, 0.1])
    risk, params = quadratic(H)
    at = torch.linspace(0, 1, 3, dtype=torch.float64)
    worst = torch.linalg.eigh(H).eigenvectors[:, 0]
    along = gradient_variation(risk, params, {"a": worst[:4], "b": worst[4:]}, at)
    assert along.tolist() == pytest.approx([9.0, 9.0])
    for _ in range(20):
        step = {"a": normal(generator, 4), "b": normal(generator, 3)}
        assert (gradient_variation(risk, params, step, at) < 9.0).all()


def test_variation_is_the_difference_of_gradients_and_each_pair_has_its_own(
    risk, params, generator
):
    direction = {name: normal(generator, *leaf.shape) for name, leaf in params.items()}
    at = [0.0, 0.05, 0.2]
    gradients = []
    for t in at:
        point = {n: (leaf + t * direction[n]).requires_grad_() for n, leaf in params.items()}
        gradients.append(
            [torch.autograd.grad(risk(point), [point[n] for n in names]) for names in LEAVES]
        )
    size = flat(direction).norm()
    for which, moving in enumerate((None, ("W_O", "bias"))):
        found = gradient_variation(
            risk, params, direction, torch.tensor(at, dtype=torch.float64), moving
        )
        for i in range(2):
            pairs = zip(gradients[i][which], gradients[i + 1][which], strict=True)
            change = math.sqrt(sum((b - a).square().sum() for a, b in pairs))
            assert found[i].item() == pytest.approx(change / (size * (at[i + 1] - at[i])).item())
        assert found[0] != pytest.approx(found[1].item(), rel=1e-3)


OWN = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)


def of_other_parameters(params):
    """What becomes of a closure over a module: it reads the module's own."""
    return OWN.square().sum()


BEFORE = OWN.square().sum()


def of_a_number_from_before(params):
    return BEFORE


def of_each(params):
    return params["bias"] * params["out"].flatten()


def detached(params):
    return params["bias"].detach().square().sum()


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        (of_other_parameters, "the risk does not depend on the parameters that it is given"),
        (of_a_number_from_before, "the risk does not depend on the parameters that it is given"),
        (detached, "the risk does not depend on the parameters that it is given"),
        (of_each, r"the risk has shape \(104,\), but must be a single number"),
    ],
)
def test_a_risk_that_is_no_function_of_its_parameters_is_refused(params, risk, words):
    for probe in (
        lambda: hessian_vector(risk, params),
        lambda: top_eigenvalues(risk, params, 1, KEY),
        lambda: gradient_variation(risk, params, params, torch.tensor([0.0, 1.0])),
    ):
        with pytest.raises(ValueError, match=words):
            probe()


def test_a_hessian_may_itself_be_mapped_and_differentiated(generator):
    """As over the members of an ensemble."""

    def product(a: Tensor, v: Tensor) -> Tensor:
        return hessian_vector(lambda p: (p["a"] ** 4).sum(), {"a": a})({"a": v})["a"]

    a, v = (torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(vmap(product)(a, v), 12 * a**2 * v)
    slope = grad(lambda a: product(a, v[0]).sum())(a[0])
    torch.testing.assert_close(slope, 24 * a[0] * v[0])


LEAVES = (("W_Q", "W_K", "W_V", "W_O", "W_1", "W_2", "out", "bias"), ("W_O", "bias"))


def test_segments_without_length_or_order_are_refused(risk, params):
    zero = {name: torch.zeros_like(leaf) for name, leaf in params.items()}
    with pytest.raises(
        ValueError, match=r"^the gradient does not vary along a direction of length"
    ):
        gradient_variation(risk, params, zero, torch.tensor([0.0, 1.0]))
    for at in ([0.0], [0.0, 0.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match=r"must increase, and be at least two$"):
            gradient_variation(risk, params, params, torch.tensor(at))
    with pytest.raises(ValueError, match=r"^there is no parameter 'W_9'"):
        gradient_variation(risk, params, params, torch.tensor([0.0, 1.0]), moving=("W_9",))
