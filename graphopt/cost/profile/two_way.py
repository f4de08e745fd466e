"""Networks measured in the same sessions, each in most of them: what each takes in the usual session, and what the sessions do to all of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TURNS = 50
_OUTLIER = 0.02  # relative: rests beyond it weigh less


class Sessions(NamedTuple):
    """`ms`, shape (networks,): the time of each in the usual session; `moved`, shape (sessions,): by which logarithm each session moved them all."""

    ms: Floats
    moved: Floats


def usual_session(ms: npt.ArrayLike) -> Sessions:
    """Times and sessions from the times of every session, shape (networks, sessions), NaN where there is none.

    log(ms) = network + session + rest, an additive fit (two-way analysis of variance) with Huber's weights, as what moves the times of a session
    moves those of all its networks. A network's time is that in a session of average effect: where nothing is missing about the geometric mean
    of its sessions, and where some are, not that of a better or worse choice of sessions than others have. NaN for a network or a session without
    any time.
    """
    logs = np.log(np.asarray(ms, dtype=np.float64))
    known = ~np.isnan(logs)
    found = Sessions(*(np.full(length, np.nan) for length in logs.shape))
    rows, columns = known.any(axis=1), known.any(axis=0)
    if not rows.any():
        return found
    known, logs = known[np.ix_(rows, columns)], logs[np.ix_(rows, columns)]
    networks, sessions = np.nanmedian(logs, axis=1), np.zeros(logs.shape[1])
    logs = np.where(known, logs, 0.0)
    for _ in range(_TURNS):
        rest = np.abs(logs - networks[:, None] - sessions)
        weights = known * (_OUTLIER / np.maximum(rest, _OUTLIER))
        sessions = (weights * (logs - networks[:, None])).sum(axis=0) / weights.sum(axis=0)
        networks = (weights * (logs - sessions)).sum(axis=1) / weights.sum(axis=1)
    found.ms[rows] = np.exp(networks + sessions.mean())
    found.moved[columns] = sessions - sessions.mean()
    return found
