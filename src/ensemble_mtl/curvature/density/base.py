"""What every estimator of the spectral density offers.

* ``Options(registry.Options)``;
* ``estimate(options, num_steps, num_runs, operator, generator) -> Density`` — from Lanczos runs of
  ``num_steps`` (``probes.lanczos_steps``), ``num_runs`` of them (``probes.lanczos_starts``);
* ``num_products(options, num_steps, num_runs) -> int`` — Hessian-vector products that this takes.

It takes any operator (:mod:`ensemble_mtl.curvature.operator`). Members must not touch each other
and draw the same random vectors, or a result would depend on the stack.
"""
