"""A tab of the chaos suite counts as docs/protocol.md says: what it sends again must not be its own mistake."""

from __future__ import annotations

from tests.chaos.row import Kept, Row


def numbers(kept: list[Kept]) -> list[tuple[int, str]]:
    return [(each.n, str(each.frame.get("id", each.frame["type"]))) for each in kept]


def row_of(*ids: str) -> Row:
    row = Row()
    for message in ids:
        row.add({"type": "message", "id": message})
    return row


def test_the_example_of_the_protocol() -> None:
    row = row_of("one", "two")
    row.acknowledged(1, "A")
    row.ended("A")
    assert numbers(row.welcomed(2, known=True)) == [(2, "two")], "sent again, to learn its turn"
    row.acknowledged(2, "B")
    row.ended("B")
    for message in ("three", "four"):
        row.add({"type": "message", "id": message})
    assert numbers(row.refused(3)) == [(3, "three"), (4, "four")]
    row.acknowledged(3, "C")
    row.acknowledged(4, "D")
    assert numbers(row.welcomed(2, known=True)) == [(3, "three"), (4, "four")], "the store lost both"


def test_what_is_left_is_numbered_on_from_what_was_taken() -> None:
    row = row_of("one", "two", "three")
    row.acknowledged(2, "B")
    row.ended("B")
    assert numbers(row.welcomed(0, known=True)) == [(1, "one"), (2, "three")]
    assert row.add({"type": "cancel"}).n == 3


def test_a_server_that_does_not_know_the_client_is_sent_all_of_it_from_1() -> None:
    row = row_of("one", "two")
    row.acknowledged(1, "A")
    assert numbers(row.welcomed(0, known=False)) == [(1, "one"), (2, "two")]


def test_what_is_no_message_is_kept_until_it_is_acknowledged() -> None:
    row = row_of("one")
    row.acknowledged(1, "A")
    row.add({"type": "cancel"})
    row.add({"type": "answer"})
    row.acknowledged(2, "")
    assert numbers(row.welcomed(2, known=True)) == [(3, "answer")]
    assert row.welcomed(3, known=True) == []


def test_a_turn_may_end_before_its_ack_comes() -> None:
    row = row_of("one")
    row.ended("A")
    row.acknowledged(1, "A")
    assert row.kept == []


def test_an_echo_tells_the_turn_whose_ack_was_lost() -> None:
    row = row_of("one")
    row.echoed("one", "A")
    row.ended("A")
    assert row.kept == []


def test_a_snapshot_tells_what_has_ended_unseen() -> None:
    row = row_of("over", "running", "unseen")
    row.acknowledged(1, "A")
    row.acknowledged(2, "B")
    row.acknowledged(3, "C")
    row.reset({"messages": [{"id": "over"}, {"id": "running"}], "open": [{"kind": "turn", "id": "B"}]})
    assert numbers(row.kept) == [(2, "running"), (3, "unseen")]


def test_a_number_that_another_input_has_is_given_up() -> None:
    row = row_of("one", "two")
    assert numbers(row.conflicted(1)) == [(3, "one")]
    assert numbers(row.kept) == [(2, "two"), (3, "one")]
