"""Undo and redo: the states that a session had, as copies of its session.json and of the envelopes of its tracks."""

import filecmp
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import atomic_folder, atomic_path
from session.folder import SessionFolder, take_number
from session.model import FILE, Session

MOST_STATES = 200
"""States that are kept; older ones are forgotten."""
HISTORY = "history"
NOW = "now.json"


@dataclass(frozen=True)
class History:
    """The states of a session, in `history/` of its folder.

    Args:
        place: The session as it is now.
    """

    place: SessionFolder

    @property
    def _folder(self) -> Path:
        return self.place.folder / HISTORY

    def _states(self) -> list[Path]:
        """Return the states, the oldest first."""
        return sorted(path for path in self._folder.glob("*/") if path.name.isdigit())

    def _titles(self) -> list[str]:
        return [json.loads((state / "title.json").read_text(encoding="utf-8")) for state in self._states()]

    def _now(self) -> int:
        """Return which of the states, from 0, is the present one."""
        path = self._folder / NOW
        number = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        names = [int(state.name) for state in self._states()]
        return names.index(number) if number in names else len(names) - 1

    def record(self, title: str) -> None:
        """Keep the state that the session has now, after a change; states that were undone are forgotten.

        Args:
            title: What the change was, such as "Move a hit of main".
        """
        states = self._states()
        for state in states[self._now() + 1 :]:
            shutil.rmtree(state)
        number = int(states[self._now()].name) + 1 if states else 0
        with atomic_folder(self._folder / f"{number:06d}") as temporary:
            shutil.copyfile(self.place.folder / FILE, temporary / FILE)
            for track in self.place.session.tracks:
                _link(self.place.envelope_path(track), temporary / f"{track.name}.csv")
            (temporary / "title.json").write_text(json.dumps(title), encoding="utf-8")
        self._set_now(number)
        for state in self._states()[:-MOST_STATES]:
            shutil.rmtree(state)

    def catch_up(self) -> None:
        """Record what changed since the last state: a change that was interrupted, or one from outside the studio."""
        states = self._states()
        if states and not self._is_state(states[self._now()]):
            self.record("Change from outside, or interrupted")

    def _is_state(self, state: Path) -> bool:
        """Return whether the session is as it was in a state; the headroom and the place of the video do not count."""
        now, before = self.place.session, Session.read(state)
        if replace(now, headroom_db=None, video="") != replace(before, headroom_db=None, video=""):
            return False
        paths = ((self.place.envelope_path(track), state / f"{track.name}.csv") for track in now.tracks)
        return all(filecmp.cmp(path, kept, shallow=False) for path, kept in paths)

    def restore(self) -> None:
        """Return to the present state, after a change that did not succeed."""
        if self._states():
            self._restored(self._now())

    def undoes(self) -> str | None:
        """Return what `undo` would undo; None: nothing."""
        now = self._now()
        return self._titles()[now] if now > 0 else None

    def redoes(self) -> str | None:
        """Return what `again` would do again; None: nothing."""
        now = self._now()
        return self._titles()[now + 1] if now + 1 < len(self._states()) else None

    def undo(self) -> SessionFolder:
        """Return to the state before.

        Raises:
            InputError: There is none.
        """
        if self._now() <= 0:
            raise InputError("nothing is to be undone: this is the earliest state that is known")
        return self._restored(self._now() - 1)

    def again(self) -> SessionFolder:
        """Return to the state that was undone last.

        Raises:
            InputError: There is none.
        """
        if self._now() + 1 >= len(self._states()):
            raise InputError("nothing is to be done again: this is the latest state")
        return self._restored(self._now() + 1)

    def _restored(self, number: int) -> SessionFolder:
        state = self._states()[number]
        session = Session.read(state)
        for track in session.tracks:
            path = self.place.envelope_path(track)
            with atomic_path(path) as temporary:
                temporary.unlink()
                _link(state / f"{track.name}.csv", temporary)
        restored = self.place.saved(replace(session, video=self.place.session.video))
        self._set_now(int(state.name))
        return restored

    def _set_now(self, number: int) -> None:
        with atomic_path(self._folder / NOW) as temporary:
            temporary.write_text(json.dumps(number), encoding="utf-8")

    def forget_takes(self) -> None:
        """Remove the sounds of takes that no state has; their envelopes stay, so that no number is used again."""
        states = [self.place.session, *(Session.read(state) for state in self._states())]
        named = {(track.name, take.number) for state in states for track in state.tracks for take in track.takes}
        for path in self.place.folder.glob("tracks/*/take-*"):
            number, is_sound = take_number(path), path.suffix in (".wav", ".safetensors")
            if is_sound and number is not None and (path.parent.name, number) not in named:
                path.unlink()


def _link(source: Path, target: Path) -> None:
    """Give a file one more name; it is never written in place. Where that is not possible, it is copied."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
