"""Selection of groups by name, and their order by what they depend on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

from sidelane.model.errors import UnknownGroup
from sidelane.ops.groups import AUTOSCALER
from sidelane.ops.programs import Program


def check_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `UnknownGroup` with a suggestion if one of the names is not among the known groups."""
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            suggestion = f" Did you mean {close[0]!r}?" if close else ""
            groups = f"The groups are {', '.join(sorted(known))}." if known else "There is no group."
            raise UnknownGroup(f"There is no group {name!r}.{suggestion} {groups}")


def select(programs: Sequence[Program], names: Sequence[str]) -> list[Program]:
    """Return the programs with these names and all that they depend on, with the autoscaler if it decides about one of them.

    Without names: those with `autostart`, and likewise.
    """
    known = {each.name: each for each in programs}
    check_names(names, known)
    waiting = [*(names or (each.name for each in programs if each.autostart))]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [each for each in known[name].depends_on if each in known]
    if AUTOSCALER in known and any(known[name].autoscaled for name in found):
        found.add(AUTOSCALER)
    return [each for each in programs if each.name in found]


def order(programs: Sequence[Program]) -> dict[str, int]:
    """Return the place of each program: 0 if it depends on nothing, else one more than the highest of what it depends on."""
    known = {each.name: each for each in programs}
    levels: dict[str, int] = {}

    def level(name: str, path: tuple[str, ...]) -> int:
        if name not in levels:
            needed = [each for each in known[name].depends_on if each in known and each not in path]
            levels[name] = max((level(each, (*path, name)) + 1 for each in needed), default=0)
        return levels[name]

    for each in programs:
        level(each.name, ())
    return levels


def by_level(names: Iterable[str], levels: Mapping[str, int]) -> list[list[str]]:
    """Return names in groups that may stop together, in the order of the stop: what nothing depends on comes first."""
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        found.setdefault(levels.get(name, 0), []).append(name)
    return [found[level] for level in sorted(found, reverse=True)]
