"""Events: what workers and launchers report while a study is trained, as JSON objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""An event. Its key ``event`` says of which kind it is, and the kind which other keys it has.

A shard reports (:mod:`ensemble_mtl.worker`):

* ``epoch``: a stack has trained for one more epoch; ``members`` (ids), ``epoch`` (number of epochs so far), ``epochs``
  (the largest number), ``seconds`` (of this epoch);
* ``done``: a member has its result; ``member`` (id);
* ``failed``: a member cannot be trained; ``member`` (id), ``error`` (text);
* ``shortage``: a stack goes on in halves, since memory did not suffice; ``error`` (text).

Launchers pass these on (:mod:`ensemble_mtl.launch`), and add:

* ``failed``, as above, of a member whose workers ended too often;
* ``retry``: a worker ended, and its members are given to a new one; ``members`` (ids), ``error`` (text);
* ``stopping``: a stop signal came; ``killed`` (whether workers are killed, or else checkpoint after their epoch).

:func:`ensemble_mtl.launch.run.run` adds:

* ``reading``: raw data are being read; ``done`` and ``total`` (numbers of files or bytes);
* ``prepared``: the data are ready;
* ``training``: the training begins; ``members`` (number of members asked for), ``done`` (number of these with results).

What a launcher's processes say to each other alone, and nobody else sees, has no other keys: ``idle`` (a worker waits
for a shard), ``stopped`` (a worker ended its shard early, with checkpoints), ``asked`` (a rank got a stop signal),
``moved`` (a Ray worker is bound to a wrong GPU), ``error`` (a rank ends with an error).
"""

Observe = Callable[[Event], None]
"""A function that receives events."""
