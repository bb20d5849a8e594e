"""The chain: what is taken, in which order, and what is left out."""

from __future__ import annotations

import itertools

import pytest

from rolesanywhere_helper.identity.chain import build_chain, is_root
from tests.unit.identity import making
from tests.unit.identity.making import NOW, Authority, Wanted, ca_named, certify, ec_key, name

ROOT = Authority.root()
UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
LEAF = LOWER.issue(ec_key())
EXPECTED = (LOWER.certificate, UPPER.certificate)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_the_order_of_the_files_does_not_matter(order: tuple[int, ...]) -> None:
    pool = (LEAF, LOWER.certificate, UPPER.certificate, ROOT.certificate)
    assert build_chain(LEAF, [pool[place] for place in order], NOW) == EXPECTED


def test_what_does_not_belong_to_the_way_is_left_out() -> None:
    stranger = Authority.root("Stranger")
    pool = (
        stranger.certificate,
        stranger.intermediate("Lower").certificate,  # the right name, another key
        stranger.issue(ec_key()),
        LOWER.issue(ec_key()),  # a sibling of the leaf
        *EXPECTED,
        *EXPECTED,
    )
    assert build_chain(LEAF, pool, NOW) == EXPECTED


def test_with_nothing_above_it_the_chain_is_empty() -> None:
    assert build_chain(LEAF, (), NOW) == ()
    assert build_chain(LEAF, (LEAF, ROOT.certificate, UPPER.certificate), NOW) == ()


def test_a_gap_ends_the_chain() -> None:
    assert build_chain(LEAF, (LOWER.certificate, ROOT.certificate), NOW) == (LOWER.certificate,)


def test_of_a_renewed_intermediate_the_valid_one_is_taken() -> None:
    expired = UPPER.issue(LOWER.key, Wanted(subject=name("Lower"), ca=True, begins=-9, ends=-1, serial=7))
    later = UPPER.issue(LOWER.key, Wanted(subject=name("Lower"), ca=True, begins=9, ends=10, serial=8))
    for pool in itertools.permutations((expired, later, *EXPECTED)):
        assert build_chain(LEAF, pool, NOW) == EXPECTED
    assert build_chain(LEAF, (expired, UPPER.certificate), NOW) == (expired, UPPER.certificate)


def test_at_most_five_are_taken() -> None:
    authorities = [ROOT]
    for number in range(7):
        authorities.append(authorities[-1].intermediate(f"Number {number}"))
    leaf = authorities[-1].issue(ec_key())
    chain = build_chain(leaf, [authority.certificate for authority in authorities], NOW)
    assert chain == tuple(authority.certificate for authority in authorities[:-6:-1])


def test_authorities_that_signed_each_other_end() -> None:
    one, two = Authority.root("One"), Authority.root("Two")
    one_by_two = two.issue(one.key, ca_named("One", serial=12))
    two_by_one = one.issue(two.key, ca_named("Two", serial=21))
    leaf = one.issue(ec_key())
    pool = (one.certificate, two.certificate, one_by_two, two_by_one)
    assert build_chain(leaf, pool, NOW) == (one_by_two, two_by_one)


def test_a_ca_that_changed_its_key_links_the_new_with_the_old() -> None:
    new_key = ec_key()
    new_with_old = certify(ca_named("Root", serial=2), new_key, name("Root"), ROOT.key)
    new_root = certify(ca_named("Root", serial=3), new_key, name("Root"), new_key)
    assert is_root(new_root)
    assert not is_root(new_with_old)
    leaf = certify(Wanted(), ec_key(), name("Root"), new_key)
    assert build_chain(leaf, (new_root, ROOT.certificate, new_with_old), NOW) == (new_with_old,)


def test_roots_are_told_from_intermediates() -> None:
    assert is_root(ROOT.certificate)
    assert not is_root(UPPER.certificate)
    assert not is_root(LEAF)


def test_a_root_signed_with_sha1_is_still_a_root() -> None:
    root = Authority.root(key=making.rsa_key()).certificate
    assert is_root(making.as_if_signed_with_sha1(root))
