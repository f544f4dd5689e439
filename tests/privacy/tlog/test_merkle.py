from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ugsd_privacy.errors import LogTampered
from ugsd_privacy.tlog.merkle import (
    EMPTY_ROOT,
    NodeReader,
    consistency_proof,
    extend_frontier,
    frontier_root,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The vectors of certificate-transparency's reference Merkle tree tests.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSIONS = {
    (0, 1): [],
    (0, 8): [A, B, C],
    (5, 8): [D, E, ROOTS[4]],
    (2, 3): [ROOTS[2]],
    (1, 5): [ROOTS[1], B, D],
}
CONSISTENCIES = {
    (1, 1): [],
    (1, 8): [A, B, C],
    (6, 8): [F, E, ROOTS[4]],
    (2, 5): [B, D],
}


def reader(leaves: list[bytes]) -> NodeReader:
    nodes: dict[tuple[int, int], bytes] = {}
    frontier: list[bytes] = []
    for size, leaf in enumerate(leaves):
        frontier, new = extend_frontier(frontier, size, leaf_hash(leaf))
        nodes |= {(level, position): value for level, position, value in new}
    return lambda level, position: nodes[level, position]


# RFC 6962 section 2.1, word for word.


def mth(d: list[bytes]) -> bytes:
    if not d:
        return hashlib.sha256(b"").digest()
    if len(d) == 1:
        return hashlib.sha256(b"\0" + d[0]).digest()
    k = largest_power_below(len(d))
    return hashlib.sha256(b"\1" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = largest_power_below(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], whole: bool) -> list[bytes]:
    if m == len(d):
        return [] if whole else [mth(d)]
    k = largest_power_below(len(d))
    if m <= k:
        return [*subproof(m, d[:k], whole), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    assert tree_root(size, reader(LEAVES)).hex() == ROOTS[size]
    assert EMPTY_ROOT.hex() == ROOTS[0]


@pytest.mark.parametrize(("at", "proof"), INCLUSIONS.items())
def test_published_inclusion_proofs(at: tuple[int, int], proof: list[str]) -> None:
    index, size = at
    assert [step.hex() for step in inclusion_proof(index, size, reader(LEAVES))] == proof
    steps = [bytes.fromhex(step) for step in proof]
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, steps, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("sizes", "proof"), CONSISTENCIES.items())
def test_published_consistency_proofs(sizes: tuple[int, int], proof: list[str]) -> None:
    old, new = sizes
    assert [step.hex() for step in consistency_proof(old, new, reader(LEAVES))] == proof
    steps = [bytes.fromhex(step) for step in proof]
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), steps)


leaves = st.lists(st.binary(max_size=8), min_size=1, max_size=70)


@given(leaves, st.data())
def test_roots_and_proofs_match_the_rfc_recursion(d: list[bytes], data: st.DataObject) -> None:
    node, size = reader(d), len(d)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root = tree_root(size, node)
    assert root == mth(d)
    assert tree_root(old, node) == mth(d[:old])
    proof = inclusion_proof(index, size, node)
    assert proof == path(index, d)
    verify_inclusion(leaf_hash(d[index]), index, size, proof, root)
    steps = consistency_proof(old, size, node)
    assert steps == subproof(old, d, True)
    verify_consistency(old, size, mth(d[:old]), root, steps)


@given(leaves, st.data())
def test_damaged_proofs_do_not_verify(d: list[bytes], data: st.DataObject) -> None:
    size = len(d)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root, old_root, leaf = mth(d), mth(d[:old]), leaf_hash(d[index])

    def damaged(proof: list[bytes]) -> list[bytes]:
        wrong = list(proof)
        how = data.draw(st.sampled_from(["drop", "add", "change"] if proof else ["add"]))
        at = data.draw(st.integers(0, max(len(proof) - 1, 0)))
        if how == "drop":
            del wrong[at]
        elif how == "add":
            wrong.insert(at, bytes(32))
        else:
            wrong[at] = bytes(32)
        return wrong

    with pytest.raises(LogTampered):
        verify_inclusion(leaf, index, size, damaged(path(index, d)), root)
    with pytest.raises(LogTampered):
        verify_inclusion(bytes(32), index, size, path(index, d), root)
    with pytest.raises(LogTampered):
        verify_consistency(old, size, old_root, root, damaged(subproof(old, d, True)))
    with pytest.raises(LogTampered):
        verify_consistency(old, size, bytes(32), root, subproof(old, d, True))


def test_empty_and_impossible_trees() -> None:
    root = bytes.fromhex(ROOTS[8])
    verify_consistency(0, 8, EMPTY_ROOT, root, [])
    assert frontier_root([]) == EMPTY_ROOT
    for old, new, old_root in ((9, 8, root), (-1, 8, root), (0, 8, root), (8, 8, EMPTY_ROOT)):
        with pytest.raises(LogTampered):
            verify_consistency(old, new, old_root, root, [])
    with pytest.raises(LogTampered):
        verify_consistency(3, 8, root, root, [])
    for index in (-1, 8):
        with pytest.raises(LogTampered):
            verify_inclusion(root, index, 8, [], root)


def test_valid_proof_fails_for_another_size() -> None:
    d = LEAVES[:2]
    root, left, right = mth(d), mth(d[:1]), mth(d[1:])
    verify_inclusion(left, 0, 2, [right], root)
    verify_consistency(1, 2, left, root, [right])
    for size in (3, 4, 9):
        with pytest.raises(LogTampered):
            verify_inclusion(left, 0, size, [right], root)
        with pytest.raises(LogTampered):
            verify_consistency(1, size, left, root, [right])


def test_proofs_read_few_nodes() -> None:
    node, reads = reader([b"%d" % n for n in range(1000)]), []

    def counting(level: int, position: int) -> bytes:
        reads.append(level)
        return node(level, position)

    for index in (0, 511, 512, 999):
        reads.clear()
        inclusion_proof(index, 1000, counting)
        assert len(reads) <= 20
    for old in (1, 511, 513, 999):
        reads.clear()
        consistency_proof(old, 1000, counting)
        assert len(reads) <= 20
