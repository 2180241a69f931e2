"""Rules about the log as tabs and store have it: once, in order, alike, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from app.protocol.frames import START, Position
from tests.chaos.history import History, Tab
from tests.chaos.journal import Received, Sent
from tests.chaos.strands import Piece, Strand, shown
from tests.support.document import assert_documented


def frames_are_as_documented(history: History) -> Iterator[str]:
    """Whatever a tab sends and gets is what the published document says."""
    for tab in history.tabs:
        for record in tab.records:
            if isinstance(record, Sent | Received):
                try:
                    assert_documented("fromClient" if isinstance(record, Sent) else "toClient", record.frame)
                except AssertionError as error:
                    yield f"tab {tab.name}: {error}"


def gapless(history: History) -> Iterator[str]:
    """Every event comes once and in order, in the store too; only a `reset` lies between."""
    for strand in (strand for tab in history.tabs for strand in tab.strands):
        if strand.reset is None and strand.since != START:
            yield f"{strand.where}: it says that it is there, and never was"
    for strand in history.strands:
        at = strand.since.seq
        for piece in strand.pieces:
            if piece.first != at + 1:
                yield f"{strand.where}: {at + 1} is due, and {piece.first} comes at {piece.t:.3f}"
            at = piece.last


def entries_are_their_frames(history: History) -> Iterator[str]:
    """The store files every frame under the positions and the mark that stand in it, up to the head it tells of."""
    for session, stored in history.stored.items():
        for entry, piece in zip(stored.log, history.logs[session].pieces, strict=True):
            if (entry.first, entry.last, entry.mark) != (piece.first, piece.last, piece.mark):
                yield f"{session}: filed as {entry.first} to {entry.last} of {entry.mark}: {entry.text}"
        head, end = int(stored.meta["seq"]), history.logs[session].end.seq
        if head != end:
            yield f"{session}: the log ends at {end}, its head is said to be {head}"


def no_needless_reset(history: History) -> Iterator[str]:
    """A `reset` comes only after the store lost something, or to a position that the log no longer holds."""
    for tab in history.tabs:
        for before, strand in zip([None, *tab.strands], tab.strands, strict=False):
            reset = strand.reset
            if reset is not None and reset.t < history.lost_at and not _is_trimmed(history, before, strand):
                yield f"{strand.where}: `{reset.frame['reason']}` at {reset.t:.3f}, though nothing was lost"


def _is_trimmed(history: History, before: Strand | None, strand: Strand) -> bool:
    """Whether a reset says `trimmed`, and the log was indeed cut behind the position that the tab had."""
    assert strand.reset is not None
    log = history.logs.get(strand.session)
    at = before.end.seq if before is not None else 0
    return strand.reset.frame["reason"] == "trimmed" and log is not None and at < log.since.seq


def resets_tell_the_log(history: History) -> Iterator[str]:
    """The snapshot of a `reset` has the texts as the log has them at its head; what is too long has its beginning."""
    for strand in history.strands:
        whole = history.wholes.get(strand.session)
        if strand.reset is not None and whole is not None and _holds(whole, strand.since):
            log = shown(place for place in whole.events if place.seq <= strand.since.seq)
            for message in strand.reset.frame["snapshot"]["messages"]:
                role, due = log.get(message["id"], ("", ""))
                told = message.get("content")
                is_cut = strand.reset.frame["snapshot"]["truncated"] and due.startswith(told)
                if role and (message["role"], told) != (role, due) and not is_cut:
                    yield f"{strand.where}: it is told {told} for {due}"


def _holds(whole: Strand, position: Position) -> bool:
    """Whether a log reaches from its start to a position."""
    marks = (place.mark for place in whole.events if place.seq == position.seq)
    return whole.since == START and (position == START or next(marks, "") == position.mark)


def same_bytes(history: History) -> Iterator[str]:
    """Who has a position has the same frame there, byte for byte; without lost data under the same mark, too."""
    known: dict[tuple[str, int, str], tuple[str, Strand]] = {}
    for strand in history.strands:
        for piece in strand.pieces:
            place = (strand.session, piece.first, piece.mark if history.loses else "")
            text, whose = known.setdefault(place, (piece.text, strand))
            if text != piece.text:
                yield f"{strand.where} and {whose.where} differ at {piece.first}: {piece.text} and {text}"


def tabs_have_what_is_stored(history: History) -> Iterator[str]:
    """In the end every tab that is attached has the store's log: the same head, and the same frames up to it."""
    done = history.done
    for tab in history.tabs:
        if done is not None and tab.is_attached(done.t) and tab.session in history.logs:
            yield from _differences(tab, history.logs[tab.session])


def _differences(tab: Tab, log: Strand) -> Iterator[str]:
    last = tab.strands[-1]
    if last.end != log.end:
        yield f"{last.where}: it stands at {last.end}, the log at {log.end}"
    stored: dict[int, Piece] = {piece.first: piece for piece in log.pieces}
    for piece in last.pieces:
        other = stored.get(piece.first)
        if piece.first > log.since.seq and (other is None or other.mark != piece.mark):
            yield f"{last.where}: at {piece.first} it has {piece.mark}, the log {other.mark if other else 'nothing'}"


def marks_never_return(history: History) -> Iterator[str]:
    """Once another has written, nothing comes under an earlier mark."""
    for strand in history.tales:
        marks = [mark for mark, _ in groupby(piece.mark for piece in strand.pieces)]
        for at, mark in enumerate(marks):
            if mark in marks[:at]:
                yield f"{strand.where}: the mark {mark} comes again after {marks[at - 1]}"


def own_session(history: History) -> Iterator[str]:
    """No event of another session."""
    of_turn: dict[str, str] = {}
    for strand in history.tales:
        for place in strand.events:
            thread = place.event.get("threadId", strand.session)
            if thread != strand.session:
                yield f"{strand.where}: at {place.seq} stands an event of {thread}"
            if place.turn and of_turn.setdefault(place.turn, strand.session) != strand.session:
                yield f"{strand.where}: the turn {place.turn} at {place.seq} is of {of_turn[place.turn]} too"


RULES = (
    frames_are_as_documented,
    gapless,
    entries_are_their_frames,
    no_needless_reset,
    resets_tell_the_log,
    same_bytes,
    tabs_have_what_is_stored,
    marks_never_return,
    own_session,
)
